"""What kind of picture an array is, on a page and on paper."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from workbench.event import Bars, Curves, Film, Matrix
from workbench.views.declared import Declared
from workbench.views.kinds import picture, pictures
from workbench.views.looks import look
from workbench.views.paper import declared as paper
from workbench.views.picture import PictureView

YX = ("y", "x")
NAMED = {"layer": ["a", "b", "c"]}


def array(dims: tuple[str, ...], *shape: int, dtype: type = float, **coords: object) -> xr.DataArray:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return xr.DataArray(values, dims=dims, coords=coords)


KINDS = [
    ("score", array(YX, 4, 5), "map", 1),
    ("score", array(("sample", *YX), 3, 4, 5), "map", 3),
    ("labels", array(YX, 4, 5, dtype=int), "classes", 1),
    ("probability", array(("class", *YX), 2, 4, 5, **{"class": ["water", "land"]}), "map", 2),
    ("quiet", array(("quiet_band", *YX), 3, 4, 5), "composite", 1),
    ("importance", array(("band", *YX), 2, 4, 5), "map", 2),  # two bands are no composite
    ("view_change", array(("view_y", "view_x"), 4, 5), "map", 1),
    ("score", array(("y_overview", "x_overview"), 4, 5), "map", 1),
    ("box", array(("object", "edge"), 2, 4), "boxes", 1),
    ("bits", array(("layer",), 3, **NAMED), "bars", 1),
    ("kept", array(("sample",), 6, dtype=bool), "kept", 1),
    ("labels", array(("sample",), 6, dtype=int), "counts", 1),
    ("score", array(("sample",), 6), "histogram", 1),
    ("auc_k", array(("k",), 4), "lines", 1),
    ("age", array(("layer", "steps"), 3, 4, steps=[1, 2, 4, 8], **NAMED), "lines", 1),
    ("signal", array(("step", "layer"), 5, 3, step=range(5), **NAMED), "matrix", 1),
    ("overlap", array(("one", "other"), 2, 2, one=["a", "b"], other=["a", "b"]), "matrix", 1),
]


@pytest.mark.parametrize(("name", "values", "kind", "positions"), KINDS)
def test_kind_and_positions_by_name_and_dims(name: str, values: xr.DataArray, kind: str, positions: int) -> None:
    made = picture(name, values)
    assert made is not None
    assert made.kind == kind
    assert len(made.positions) == positions
    last = made.at(positions - 1).values
    np.testing.assert_array_equal(last, values.values.reshape(-1, *last.shape)[-1])


@pytest.mark.parametrize(("name", "values", "kind", "positions"), KINDS)
def test_every_kind_is_drawn_on_a_page_and_on_paper(name: str, values: xr.DataArray, kind: str, positions: int) -> None:
    made = picture(name, values)
    view = PictureView()
    view.show(made)
    assert view._place.objects
    assert view.slider.visible == (positions > 1)
    view.slider.value = positions
    view.show(None)
    assert view._place.objects == []
    figure = paper.together([made])
    figure.canvas.draw()
    assert figure.axes


@pytest.mark.parametrize(("names", "slanted"), [(["a", "b"], False), ([f"block {n}.second" for n in range(22)], True)])
def test_many_names_below_a_picture_do_not_overlap(names: list[str], slanted: bool) -> None:
    """On a page and on paper, of bars and of a table."""
    values = [
        array(("layer",), len(names), layer=names),
        array(("arm", "layer"), 3, len(names), layer=names, arm=["x", "y", "z"]),
    ]
    for made in (picture("share", values[0]), picture("arm_bits", values[1])):
        view = PictureView()
        view.show(made)
        angles = [d.figure.xaxis.major_label_orientation for d in view._drawers.values() if hasattr(d, "figure")]
        assert any(angle > 0 for angle in angles) == slanted
        (axes, *_) = paper.together([made]).axes
        assert any(t.get_rotation() == 90 for t in axes.get_xticklabels()) == slanted


def test_positions_are_named_by_their_coordinates() -> None:
    made = picture("probability", array(("class", *YX), 2, 4, 5, **{"class": ["water", "land"]}))
    assert made.positions == ["class water", "class land"]


def test_numbers_texts_and_nothing_are_no_pictures() -> None:
    assert picture("auc", xr.DataArray(0.9)) is None
    assert picture("names", xr.DataArray(["a", "b"], dims="n")) is None
    assert picture("box", array(("object", "edge"), 0, 4)) is None


def test_names_of_the_vocabulary_come_first_and_an_overview_stands_for_its_map() -> None:
    result = xr.Dataset({"other": array(YX, 4, 5), "score": array(("r", "c"), 40, 50)})
    result["score_overview"] = array(("y_overview", "x_overview"), 4, 5)
    made = pictures(result)
    assert [p.name for p in made] == ["score", "other"]
    assert made[0].array.shape == (4, 5)


def test_boxes_have_their_scores_labels_and_image() -> None:
    arrays = {
        "box": array(("object", "edge"), 2, 4, dtype=int),
        "box_score": array(("object",), 2),
        "box_label": array(("object",), 2, dtype=int),
        "image": array(("band", *YX), 3, 9, 9),
    }
    made = next(p for p in pictures(arrays) if p.kind == "boxes")
    assert made.score is arrays["box_score"]
    assert made.image is arrays["image"]
    view = PictureView()
    view.show(made)
    boxes = view._drawers["grid"].boxes.data
    assert boxes["left"] == [-0.5, 3.5]
    assert boxes["text"] == ["0 0.00", "1 1.00"]


@pytest.mark.parametrize(("shown", "left"), [("a", [0.0]), ("c", []), (None, [4.0, 8.0])])
def test_boxes_of_many_images_are_drawn_on_their_own(shown: str | None, left: list[float]) -> None:
    """On an image that says which sample it is: its boxes; without one: those of the image with most boxes."""
    arrays = {
        "box": array(("object", "edge"), 3, 4, dtype=int),
        "box_score": array(("object",), 3),
        "box_label": array(("object",), 3, dtype=int),
        "box_sample": xr.DataArray(["a", "b", "b"], dims="object"),
    }
    image = None if shown is None else array(YX, 9, 9).assign_attrs(sample=shown)
    made = picture("box", arrays["box"], arrays, image)
    assert made.array[:, 0].values.tolist() == left
    assert made.score.sizes == made.label.sizes == {"object": len(left)}
    assert made.title.endswith(f", image {shown or 'b'}")


def test_classes_have_a_legend_and_no_colour_for_no_class() -> None:
    labels = array(YX, 2, 2, dtype=int).assign_attrs(names=["sea", "sand", "town", "wood"])
    labels = labels.where(labels > 0, -1).astype(int).assign_attrs(labels.attrs)
    view = PictureView()
    view.show(picture("labels", labels))
    assert "sea" not in view.legend.object
    assert "sand (1)" in view.legend.object
    assert np.isnan(view._drawers["grid"].values.data["image"][0][0, 0])


def test_a_picture_of_another_kind_takes_the_place() -> None:
    view = PictureView()
    view.show(picture("score", array(YX, 4, 5)))
    grid = view._place.objects[0]
    view.show(picture("bits", array(("layer",), 3, **NAMED)))
    assert view._place.objects[0] is not grid
    view.show(picture("score", array(YX, 4, 5)))
    assert view._place.objects[0] is grid


def test_a_view_without_a_picture_takes_no_room() -> None:
    view = PictureView()
    assert not view.panel.visible
    view.show(picture("score", array(YX, 4, 5)))
    assert view.panel.visible
    view.show(None)
    assert not view.panel.visible


def test_long_names_below_a_narrow_picture_are_slanted_and_have_room() -> None:
    view = PictureView()
    view.show(picture("bits", array(("layer",), 3).assign_coords(layer=["features", "weights", "indices"])))
    made = view._drawers["bars"].figure
    assert made.xaxis[0].major_label_orientation == 0.7
    assert made.min_border_left == 90
    view.show(picture("bits", array(("layer",), 3).assign_coords(layer=["0", "1", "2"])))
    assert (made.xaxis[0].major_label_orientation, made.min_border_left) == (0.0, 5)


def test_curves_on_paper_have_a_line_for_each_series_and_run() -> None:
    history = {"loss/ours": ([5, 6], [1.0, 0.5]), "loss/random": ([7, 8], [1.0, 0.9]), "floor": ([5], [0.2])}
    groups = (Curves("loss", ("loss",), references=("floor",), own_steps=True), Curves("nothing", ("absent",)))
    figure = paper.curves(groups, {"seed 0": history, "seed 1": history})
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert {"ours", "random", "floor"} <= set(lines)
    assert lines["random"].get_color() == look("random").colour
    assert len(axes.lines) == 5
    assert list(lines["random"].get_xdata()) == [1, 2]
    assert paper.curves((groups[1],), {"seed 0": history}) is None


def test_curves_against_a_scalar_have_its_values_below_them() -> None:
    """Passes are numbered from 0, though their events count on from the last training step."""
    history = {"auc_pass": ([61, 62, 63], [0.7, 0.8, 0.9]), "pass": ([61, 62, 63], [0.0, 1.0, 2.0]), "auc": ([60], [0.9])}
    group = Curves("AUC after each pass", ("auc_pass",), against="pass")
    assert group.points("auc_pass", history) == ([0.0, 1.0, 2.0], [0.7, 0.8, 0.9])
    assert group.points("auc", history) == ([], [])  # its event is no pass
    (axes,) = paper.curves((group,), {"seed 0": history}).axes
    assert axes.get_xlabel() == "pass"
    assert list(axes.lines[0].get_xdata()) == [0, 1, 2]
    shown = Declared((group,))
    shown.take(SimpleNamespace(history=history, frames={}))
    (plot,) = shown.curves
    assert plot.lines.figure.xaxis.axis_label == "pass"
    assert list(plot.lines.lines.data["xs"][0]) == [0, 1, 2]


def test_a_composite_names_the_wavelengths_of_its_bands() -> None:
    view = PictureView()
    three = array(("quiet_band", *YX), 3, 4, 5)
    view.show(picture("quiet", three))
    assert "nm" not in view.where.object
    named = three.assign_coords(quiet_wavelength=("quiet_band", [653.2, 550.0, 456.1]))
    view.show(picture("quiet", named))
    assert "653 / 550 / 456 nm" in view.where.object


def test_a_film_on_paper_shows_a_few_steps_from_first_to_last() -> None:
    steps = {"score": list(range(1, 30)), "quiet": [1, 29]}
    frames = {"score": array(YX, 4, 5), "quiet": array(("band", *YX), 3, 4, 5)}
    figure = paper.film(Film(("score", "quiet")), steps, lambda name, step: frames[name])
    assert [a.get_title() for a in figure.axes][:5] == ["step 1", "step 8", "step 15", "step 22", "step 29"]
    assert paper.film(Film(("absent",)), steps, lambda name, step: None) is None


def test_a_declaration_says_the_kind() -> None:
    made = paper.declared(Bars("auc_k", "By pass"), array(("k",), 4), "auc_k", None, {})
    assert (made.kind, made.title) == ("bars", "By pass")
    made = paper.declared(Matrix("age"), array(("layer", "steps"), 3, 4, **NAMED), "age", None, {})
    assert made.kind == "matrix"
