"""The views by themselves: what ends up in their sources, with numbers worked out by hand."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import xarray as xr
from bokeh.models import ColumnDataSource
from pydantic import Field

from workbench.config import Settings, override
from workbench.methods import METHODS, load
from workbench.views import save
from workbench.views.card import card
from workbench.views.curves import Curves
from workbench.views.decide import HistogramView, RocView
from workbench.views.form import Form
from workbench.views.image import EVEN, ImageView, as_colours, composite, departures, equal_share, presets, stretch
from workbench.views.looks import Look
from workbench.views.maps import OWN, ScoreMap, exceedance
from workbench.views.player import Player, clock, pace
from workbench.views.plots import LARGEST, Frame, edges, thin
from workbench.views.scene_card import scene_card
from workbench.views.spectra import Axis, SpectraView
from workbench.views.steps import Steps, Still


def cube(bands: int, wavelength=None, good=None, rows: int = 3, columns: int = 4) -> xr.DataArray:
    values = np.arange(bands * rows * columns, dtype=np.float32).reshape(bands, rows, columns)
    coords = {}
    if wavelength is not None:
        coords["wavelength"] = ("band", np.asarray(wavelength, float))
    if good is not None:
        coords["good"] = ("band", np.asarray(good, bool))
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords)


# --- image --------------------------------------------------------------------------------------------------------------


def test_stretch_is_linear_between_the_percentiles_and_blind_to_missing_values():
    values = np.array([[0.0, 50.0], [100.0, np.nan]])
    # percentiles 0 and 100 of 0, 50, 100: 0.5 * 255 = 127.5 is cut to 127
    assert stretch(values, 0, 100).tolist() == [[0, 127], [255, 0]]


@pytest.mark.parametrize("values", [np.full((2, 2), 7.0), np.full((2, 2), np.nan)])
def test_stretch_of_nothing_to_stretch_is_black(values):
    assert (stretch(values) == 0).all()


def test_a_huge_range_does_not_wash_out_the_picture():
    values = np.linspace(0, 1, 1000).reshape(20, 50)
    values[0, 0] = 1e7
    assert stretch(values).std() > 60


def test_presets_take_the_nearest_good_band():
    hsi = cube(6, wavelength=[450, 550, 640, 655, 860, 2200], good=[1, 1, 1, 0, 1, 1])
    found = presets(hsi)
    assert found["True colour"] == (2, 1, 0)  # 655 nm is nearer to 650 but bad
    assert found["False colour (near infrared)"] == (4, 2, 1)
    assert "Shortwave infrared" not in found  # nothing within 60 nm of 1650


def test_without_wavelengths_bands_are_evenly_spaced():
    # of bands 0..8: 0.75 * 8 = 6, 0.5 * 8 = 4, 0.25 * 8 = 2
    assert presets(cube(9)) == {EVEN: (6, 4, 2)}


def test_composite_has_red_green_blue_last():
    assert composite(cube(5), (4, 2, 0)).shape == (3, 4, 3)


def test_image_is_drawn_with_pixel_centres_on_integers_and_row_zero_on_top():
    frame = Frame()
    view = ImageView(frame)
    frame.fit(3, 4)
    view.show(np.full((3, 4, 3), 9, np.uint8))
    drawn = view.source.data
    assert (drawn["x"], drawn["y"], drawn["dw"], drawn["dh"]) == ([-0.5], [-0.5], [4], [3])
    assert drawn["image"][0].shape == (3, 4)
    assert (frame.y_range.start, frame.y_range.end) == (2.5, -0.5)
    # red is the lowest byte: 9 + 9 * 2**8 + 9 * 2**16 + 255 * 2**24
    assert int(drawn["image"][0][0, 0]) == 0xFF090909


def test_frames_keep_the_aspect_of_the_scene():
    frame = Frame()
    view = ImageView(frame)
    frame.fit(80, 100)
    assert "* 0.8 +" in view.figure.stylesheets[0]  # height of the frame
    frame.fit(1000, 10)  # a very long scene gets margins at its sides
    assert "* 1.7 +" in view.figure.stylesheets[0]
    assert frame.x_range.end - frame.x_range.start == pytest.approx(1000 / 1.7)


def test_mask_is_red_where_flagged_and_clear_elsewhere():
    view = ImageView(Frame())
    view.flag(np.array([[True, False]]), opacity=1.0)
    first, second = view.mask.data["image"][0][0]
    assert first >> 24 == 255
    assert second >> 24 == 0
    view.flag(None)
    assert view.mask.data["image"] == []


def test_large_images_are_thinned_in_place():
    small, place = thin(np.zeros((2 * LARGEST + 2, 10)))
    assert small.shape == (-(-(2 * LARGEST + 2) // 3), 4)
    assert place["dw"] == 12
    assert place["dh"] == 3 * small.shape[0]


@pytest.mark.parametrize(
    ("x", "y", "pixel"),
    [(12.2, 1.4, (1, 12)), (12.5, 0.0, (0, 13)), (-0.4, -0.4, (0, 0)), (-0.6, 0, None), (19.6, 0, None), (0, 2.6, None)],
)
def test_taps_round_to_pixel_centres_and_miss_outside(x, y, pixel):
    frame = Frame()
    frame.fit(3, 20)
    assert frame.inside(x, y) == pixel


def test_edges_go_around_a_region_not_through_it():
    found = edges(np.array([[False, True, True]]))
    # two pixels side by side: 2 + 2 horizontal sides, 2 vertical ends, none between them
    assert len(found["x0"]) == 6
    assert sorted(zip(found["x0"], found["y0"], found["x1"], found["y1"], strict=True)) == [
        (0.5, -0.5, 0.5, 0.5),
        (0.5, -0.5, 1.5, -0.5),
        (0.5, 0.5, 1.5, 0.5),
        (1.5, -0.5, 2.5, -0.5),
        (1.5, 0.5, 2.5, 0.5),
        (2.5, -0.5, 2.5, 0.5),
    ]


# --- spectra ------------------------------------------------------------------------------------------------------------


def test_lines_break_at_bad_bands_and_at_gaps():
    axis = Axis(cube(6, wavelength=[400, 410, 420, 430, 600, 610], good=[1, 0, 1, 1, 1, 1]))
    x, y = axis.line(np.array([1.0, 2, 3, 4, 5, 6]))
    assert x.tolist() == [400, 410, 420, 430, 515, 600, 610]
    np.testing.assert_array_equal(y, [1, np.nan, 3, 4, np.nan, 5, 6])
    assert axis.grey == [(405.0, 415.0), (435.0, 595.0)]
    assert axis.label == "wavelength (nm)"


def test_descending_wavelengths_are_drawn_in_order():
    x, y = Axis(cube(3, wavelength=[500, 450, 400])).line(np.array([3.0, 2, 1]))
    assert x.tolist() == [400, 450, 500]
    assert y.tolist() == [1, 2, 3]


def test_without_wavelengths_the_axis_says_so():
    axis = Axis(cube(3))
    assert axis.at.tolist() == [0, 1, 2]
    assert "not known" in axis.label
    assert axis.name(2) == "band 2"


def test_spread_is_one_polygon_per_stretch():
    axis = Axis(cube(5, wavelength=[1, 2, 3, 4, 5], good=[1, 1, 0, 1, 1]))
    xs, ys = axis.patches(np.zeros(5), np.ones(5))
    assert [x.tolist() for x in xs] == [[1, 2, 2, 1], [4, 5, 5, 4]]
    assert [y.tolist() for y in ys] == [[0, 0, 1, 1], [0, 0, 1, 1]]


def test_the_vertical_range_covers_lines_and_backdrop():
    view = SpectraView("value")
    view.set_axis(Axis(cube(3)))
    view.backdrop(np.zeros(3), np.ones(3))
    view.show({1: np.array([0.0, 9.0, np.nan])}, {1: "#123456"})
    # from -1 to 9, and 4 % of 10 to either side
    assert (view.figure.y_range.start, view.figure.y_range.end) == pytest.approx((-1.4, 9.4))
    assert view.lines.data["color"] == ["#123456"]


# --- maps and cuts --------------------------------------------------------------------------------------------------------


def test_exceedance_counts_ties_and_leaves_missing_out():
    share = exceedance(np.array([3.0, 1.0, 3.0, np.nan, 2.0]))
    np.testing.assert_array_equal(share, [0.5, 1.0, 0.5, np.nan, 0.75])


def test_rank_is_the_same_for_any_units():
    score = np.random.default_rng(0).random((5, 6))
    one, other = ScoreMap(Frame(), "a"), ScoreMap(Frame(), "b")
    one.show(score)
    other.show(np.exp(20 * score))
    np.testing.assert_array_equal(one.source.data["rank"][0], other.source.data["rank"][0])
    assert one.mapper.high == other.mapper.high == pytest.approx(np.log10(30))
    other.set_scale(OWN)
    assert other.mapper.high > 100


def test_roc_draws_the_chosen_detector_last_and_keeps_zero_false_alarms_on_the_log_axis():
    view = RocView()
    curve = (np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    view.show({"a": (*curve, "#111111"), "b": (*curve, "#222222")}, "a", negatives=100)
    assert view.curves.data["name"] == ["b", "a"]
    assert view.curves.data["xs"][0].tolist() == [0.005, 0.005, 1.0]  # half a false alarm of 100
    view.operate({"a": (0.0, 0.5), "b": (0.02, 0.5)})
    assert view.points.data["pf"][0] == 0.02
    assert view.points.data["pf"][1] == pytest.approx(0.007)
    assert view.points.data["size"] == [8, 14]


def test_histogram_counts_every_finite_pixel_once():
    view = HistogramView()
    view.show(np.array([[0.0, 1.0, np.nan], [1.0, 0.0, 0.5]]), "RX")
    tops = view.bars.data["top"]
    assert tops[tops >= 1].sum() == 5
    view.mark(0.75)
    assert view.cut.data == {"x": [0.75]}


# --- curves and steps ---------------------------------------------------------------------------------------------------


def test_growing_curves_are_streamed_and_others_replaced(monkeypatch):
    view = Curves("step", "loss", [Look("loss", "#111111")], [Look("level", "#222222", "dashed")], log=True)
    streamed = []
    original = ColumnDataSource.stream

    def counted(source, new, **options):
        streamed.append(len(new["x"]))
        original(source, new, **options)

    monkeypatch.setattr(ColumnDataSource, "stream", counted)
    view.set("loss", [0, 1], [1.0, 0.5])
    view.set("loss", [0, 1, 2], [1.0, 0.5, 0.25])
    assert streamed == [1]
    view.set("loss", [0, 1], [1.0, 0.5])  # a run that was taken back to its checkpoint
    assert list(view.sources["loss"].data["x"]) == [0, 1]


def test_reference_lines_are_in_range_and_in_the_legend_only_when_there():
    view = Curves("step", "loss", [Look("loss", "#111111")], [Look("level", "#222222", "dashed")])
    view.set("loss", [0, 1], [1.0, 0.5])
    assert "level" not in view.legend.object
    view.refer("level", 0.1)
    assert "level" in view.legend.object
    assert view.figure.y_range.start < 0.1
    view.refer("level", None)
    assert view.figure.y_range.start > 0.1


def still(step: int, value: float) -> Still:
    score = xr.DataArray(np.full((2, 2), value), dims=("y", "x"))
    quiet = xr.DataArray(np.random.default_rng(step).random((3, 2, 2)), dims=("quiet_band", "y", "x"))
    return Still(step, f"step {step}", "", lambda: {"score": score, "quiet": quiet})


def test_steps_follow_the_newest_until_somebody_scrubs_back():
    view = Steps(Frame(), {"a": "A"}, lambda bands: np.stack([np.full((2, 2), b) for b in bands]))
    stills = [still(0, 0.0), still(10, 1.0)]
    view.set("a", stills)
    assert view.stepper.at == 1
    assert view.score.source.data["own"][0][0, 0] == 1.0
    view.stepper.slider.value = 1
    assert not view.stepper.follow.value
    assert view.score.source.data["own"][0][0, 0] == 0.0
    view.set("a", [*stills, still(20, 2.0)])
    assert view.stepper.at == 0
    view.stepper.follow.value = True
    assert view.stepper.at == 2
    assert view.score.source.data["own"][0][0, 0] == 2.0


def test_a_still_without_a_picture_shows_none_instead_of_the_last_one():
    view = Steps(Frame(), {"a": "A"}, lambda bands: np.stack([np.full((2, 2), b) for b in bands]))
    view.set("a", [still(0, 0.0)])
    assert view.quiet.source.data["image"]
    view.set("a", [still(0, 0.0), Still(1, "bare", "", dict)])
    assert view.quiet.source.data["image"] == []
    assert view.score.empty


def test_steps_name_the_bands_and_show_the_scene_in_them():
    asked = []

    def scene(bands):
        asked.append(tuple(bands))
        return np.random.default_rng(0).random((3, 2, 2))

    view = Steps(Frame(), {"a": "A"}, scene)
    words, maps = view._waiting.panel.objects
    assert (words.visible, maps.visible) == (True, False)
    bands = {"quiet_band": [28, 17, 6], "quiet_wavelength": ("quiet_band", [653.2, 550.0, 455.9])}
    plain = still(0, 0.0).arrays()
    arrays = [
        {**plain, "quiet": plain["quiet"].assign_coords(bands)},
        {**plain, "quiet": plain["quiet"].assign_coords(quiet_band=[2, 1, 0])},
    ]
    view.set("a", [Still(0, "zero", "", lambda: arrays[0]), Still(1, "one", "", lambda: arrays[0])])
    assert (words.visible, maps.visible) == (False, True)
    assert "Red, green and blue: 653 / 550 / 456 nm" in view.text.object
    assert view.scene.source.data["image"]
    assert asked == [(28, 17, 6)]  # not again for a step with the same bands
    view.stepper.slider.value = 1
    assert asked == [(28, 17, 6)]
    view.set("a", [Still(0, "zero", "", lambda: arrays[1])])
    assert "bands 2 / 1 / 0" in view.text.object
    assert asked[1:] == [(2, 1, 0)]
    assert "one and the same" not in view.text.object
    flat = {**arrays[1], "background": xr.zeros_like(arrays[1]["quiet"])}
    view.set("a", [Still(0, "zero", "", lambda: flat)])
    assert "one and the same for 100% of the pixels" in view.text.object
    view.set("a", [still(0, 0.0)])  # of an old run: the bands are not known
    assert view.scene.source.data["image"] == []


def test_departures_are_grey_at_the_median_whatever_units_and_tails():
    values = np.random.default_rng(0).normal(size=(3, 40, 40))
    values *= np.array([1.0, -2000.0, 1e-3])[:, None, None]
    values += np.array([0.5, -17_000.0, 3.0])[:, None, None]
    values[:, 0, 0] = 1e6, -1e9, 1e3  # a long tail
    values[:, 1, 1] = np.nan
    picture = departures(values)
    assert picture.dtype == np.uint8
    assert picture.shape == (40, 40, 3)
    assert np.abs(np.median(picture, axis=(0, 1)) - 127).max() <= 3
    assert (picture[1, 1] == 0).all()
    saturated = ((picture == 0) | (picture == 255)).mean(axis=(0, 1))
    assert saturated.max() < 0.03
    assert len(np.unique(picture[..., 1])) > 100  # the tail leaves the others apart
    assert (departures(np.zeros((3, 2, 2))) == 127).all()
    mostly = np.zeros((3, 10, 10))
    mostly[:, :2] = np.linspace(1, 2, 20).reshape(2, 10)  # 80 % of the pixels are equal: the others still differ
    assert len(np.unique(departures(mostly)[:2])) > 10
    assert equal_share(mostly) == 0.8
    assert (departures(np.full((3, 2, 2), np.nan)) == 0).all()


# --- form and player ----------------------------------------------------------------------------------------------------


class Example(Settings):
    steps: int = Field(500, ge=1, le=900, description="optimiser steps")
    rate: float = Field(1e-4, gt=0, description="learning rate")
    kind: Literal["paper", "official"] = Field("paper", description="which")
    frozen: bool = Field(True, description="one noise")
    pixels: int | None = Field(None, ge=1, description="how many")


def test_a_form_gives_only_what_was_changed_and_a_config_takes_it():
    form = Form(Example, first=("steps",))
    assert form.overrides == {}
    form.widgets["steps"].value = 20
    form.widgets["kind"].value = "official"
    form.widgets["frozen"].value = False
    form.widgets["pixels"].value = "64"
    assert form.overrides == {"steps": 20, "kind": "official", "frozen": False, "pixels": 64}
    assert override(Example(), form.overrides) == Example(steps=20, kind="official", frozen=False, pixels=64)
    form.set({})
    assert form.overrides == {}


class Lists(Settings):
    factors: tuple[float, ...] = Field((1.5, 2.0), description="several numbers")
    caps: tuple[int, ...] = Field((8, 4), description="several whole numbers")
    names: tuple[str, ...] = Field(("a",), description="several texts")
    ends: tuple[int, int] | None = Field(None, description="two numbers or none")


def test_a_list_in_a_form_keeps_the_type_of_its_items():
    form = Form(Lists)
    assert form.overrides == {}
    for name, text in {"factors": "1.5, 3", "caps": "8,6", "names": "1, b", "ends": "130, 150"}.items():
        form.widgets[name].value = text
    assert form.overrides == {"factors": [1.5, 3.0], "caps": [8, 6], "names": ["1", "b"], "ends": [130, 150]}
    assert override(Lists(), form.overrides).ends == (130, 150)
    form.widgets["caps"].value = "8, many"
    assert "caps" in form.error
    form.set({"ends": [1, 2]})
    assert form.overrides == {"ends": [1, 2]}


@pytest.mark.parametrize("method", METHODS)
def test_a_form_with_nothing_changed_has_no_override(method):
    assert Form(load(method).Config).overrides == {}


def test_a_form_shows_ranges_and_descriptions():
    form = Form(Example)
    assert form.widgets["steps"].helper_text == "1 to 900"
    assert form.widgets["steps"].description == "optimiser steps"
    assert (form.widgets["steps"].start, form.widgets["steps"].end) == (1, 900)
    assert form.widgets["rate"].helper_text == "above 0"
    assert form.widgets["seed"].helper_text == "0 to 4,294,967,295"


def test_a_form_tells_what_is_wrong():
    form = Form(Example)
    form.widgets["pixels"].value = "many"
    assert "pixels" in form.error
    assert form.alert.visible
    form.widgets["pixels"].value = ""
    assert form.error == ""
    assert not form.alert.visible


def test_pace_is_steps_per_second_of_the_newest_events():
    slow, fast = [{"step": 0, "seconds": 0.0}, {"step": 1, "seconds": 100.0}], [{"step": 5, "seconds": 102.0}]
    assert pace(slow + fast, window=2) == 2.0
    assert pace(slow[:1]) is None


@pytest.mark.parametrize(("seconds", "text"), [(41.6, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_player_offers_what_can_be_done():
    player = Player()
    lines = [{"step": 0, "seconds": 0.0, "of": 10}, {"step": 4, "seconds": 2.0, "of": 10}]
    player.show("running", lines)
    assert (player.start.visible, player.pause.visible, player.resume.visible, player.stop.visible) == (
        False,
        True,
        False,
        True,
    )
    assert "2.0 steps/s" in player.text.object  # 4 steps in 2 s; 6 more take 3 s
    assert "3 s left" in player.text.object
    assert 'aria-valuenow="40"' in player.text.object
    player.show("pausing", lines)
    assert "Pausing after this step" in player.text.object
    assert (player.pause.visible, player.resume.visible, player.stop.visible) == (False, True, True)
    player.show("paused", lines)
    assert (player.pause.visible, player.resume.visible, player.stop.visible) == (False, True, True)
    player.show("killed", lines, error="out of <memory>")
    assert (player.start.visible, player.resume.visible, player.stop.visible) == (True, True, False)
    assert "out of &lt;memory&gt;" in player.text.object


# --- card and keeping ---------------------------------------------------------------------------------------------------


def test_the_card_of_a_map_of_classes_counts_classes_and_not_marks(small_scene):
    assert "Marked" in scene_card(small_scene)
    small_scene["truth"] = (
        small_scene["truth"].astype("int16") + np.arange(24, dtype="int16") // 12 - 1
    )  # classes -1, 0 and 1
    small_scene["truth"][0, 0] = 2
    text = scene_card(small_scene)
    assert "Marked" not in text
    assert f"3; {int((small_scene['truth'] >= 0).sum())} of 576 pixels are labelled" in text
    small_scene["truth"].attrs["names"] = ["unlabelled", "a", "b"]
    assert f"2; {int((small_scene['truth'] > 0).sum())} of 576 pixels are labelled" in scene_card(small_scene)


def test_the_card_says_sizes_in_words():
    ships = xr.Dataset(
        {
            "image": (("sample", "band", "y", "x"), np.zeros((3, 1, 8, 9))),
            "box": (("object", "edge"), np.zeros((1, 4)), {"units": "pixel"}),
            "box_sample": ("object", ["a"]),
            "box_label": ("object", [0], {"names": ["ship"]}),
        }
    )
    heights = xr.Dataset({"lidar": (("lidar_band", "y", "x"), np.zeros((2, 5, 6)), {"units": "m"})})
    text = scene_card(ships) + scene_card(heights)
    assert "3 samples of 8 × 9 pixels, 1 band<" in text
    assert "Boxes" in text
    assert "1 of the class ship<" in text
    assert "box_sample" not in text
    assert "5 × 6 pixels, 2 bands, m<" in text


def test_card_tells_simulated_truth_hash_and_escapes(small_scene):
    small_scene.attrs.update(title="a <b>", sha256="ab" * 32)
    text = card(small_scene)
    assert "SIMULATED" in text
    assert "a &lt;b&gt;" in text
    assert "abababababababab…" in text
    assert f"{int((small_scene['truth'] > 0).sum())} of 576 pixels" in text
    small_scene.attrs["simulated"] = ""
    text = card(small_scene.drop_vars("truth"))
    assert "SIMULATED" not in text
    assert "no ROC" in text


def test_spectra_csv_leaves_missing_values_empty():
    text = save.spectra_csv({"band": np.array([0, 1]), "row1_column2": np.array([0.5, np.nan])}).getvalue()
    assert text == "band,row1_column2\n0,0.5\n1,\n"


def test_maps_come_back_from_netcdf(small_scene):
    score = xr.DataArray(
        np.random.default_rng(0).random((24, 24)), dims=("y", "x"), coords={"y": small_scene.y, "x": small_scene.x}
    )
    back = xr.load_dataset(save.maps_netcdf({"rx": score}, small_scene), engine="h5netcdf")
    np.testing.assert_array_equal(back["score_rx"], score)
    np.testing.assert_array_equal(back["truth"], small_scene["truth"])
    assert back.attrs["simulated"] == small_scene.attrs["simulated"]


def test_maps_png_is_a_picture_with_all_maps():
    from PIL import Image

    score = np.random.default_rng(0).random((20, 20))
    one = Image.open(save.maps_png({"RX": score}, "scene"))
    two = Image.open(save.maps_png({"RX": score, "PCA-RX": score}, "scene", score > 0.9))
    assert one.format == "PNG"
    assert two.width > 1.5 * one.width


def test_an_image_with_many_negative_values_is_no_brightness():
    rng = np.random.default_rng(0)
    bright = xr.DataArray(rng.random((3, 6, 7)), dims=("band", "y", "x"))
    np.testing.assert_array_equal(as_colours(bright), composite(bright))
    noisy = bright - 0.02  # a few negative reflectances
    np.testing.assert_array_equal(as_colours(noisy), composite(noisy))
    signed = bright - 0.5
    np.testing.assert_array_equal(as_colours(signed), departures(signed.values))
    grey = as_colours(bright[0])
    assert (grey == grey[..., :1]).all()
    five = xr.DataArray(rng.random((5, 6, 7)), dims=("quiet_band", "y", "x"))
    np.testing.assert_array_equal(as_colours(five), composite(five, (3, 2, 1)))
