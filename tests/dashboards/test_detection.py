"""The detection page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.dashboards.conftest import restored
from workbench import execution, runs
from workbench.baselines.detection import cfar
from workbench.data.synth_ships import small
from workbench.metrics.detect import Boxes, evaluate
from workbench.metrics.outcomes import Judged, judge, outcomes
from workbench.pages.detection import findings
from workbench.pages.detection.findings import FACTORS
from workbench.pages.detection.found import TILE, thumbnail
from workbench.pages.detection.page import Detections
from workbench.views.boxes import Box, BoxView
from workbench.views.plots import Frame

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")]
TINY = {"steps": 6, "width": 2, "crop": 64, "batch": 4, "show_every": 2, "rivals": ["plain"], "threshold": 0.004, "most": 60}


@pytest.fixture(scope="module")
def ships():
    return small(seed=0).compute()


@pytest.fixture(scope="module")
def root(tmp_path_factory, ships):
    """A folder of runs with one finished run, called `one`."""
    made = tmp_path_factory.mktemp("detection") / "runs"
    execution.execute("sarnet", ships, TINY, made / "one")
    return made


@pytest.fixture(scope="module")
def _watched(root, ships):
    opened = Detections(ships, root=root)
    opened.runner.follow("one")
    yield opened
    opened.close()


@pytest.fixture
def page(_watched):
    """One page of the run; what a test moves is moved back."""
    with restored(_watched, "sample", "detector", "score", "iou", "place", "cfar", "factor", "marked", "tab") as opened:
        opened.score = 0.01
        yield opened


# --- matching -------------------------------------------------------------------------------------------------------------


def test_what_became_of_each_box():
    """One box twice, one that overlaps too little, one on nothing, one true box that nothing finds."""
    true = Boxes(np.array([[0, 0, 10, 10], [20, 20, 30, 30.0]]), np.array(["a", "b"]), np.zeros(2, int))
    box = np.array([[0, 0, 10, 9], [0, 0, 9, 10], [5, 0, 15, 10], [40, 40, 50, 50.0]])
    found = Boxes(box, np.array(["a", "a", "a", "b"]), np.zeros(4, int), np.array([0.9, 0.8, 0.7, 0.6]))
    judged = judge(found, true, 1, 0.5, 300)
    assert judged.counts(0.0) == (1, 3, 1)
    assert judged.counts(0.85) == (1, 0, 1)
    assert judged.counts(0.95) == (0, 0, 2)
    assert [(o.kind, o.name) for o in outcomes(judged, found, true, 0.65)] == [
        ("hit", "d0"), ("false alarm", "d1"), ("false alarm", "d2"), ("missed", "t0"),
    ]  # fmt: skip
    assert [o.name for o in outcomes(judged, found, true, 0.95)] == ["t0", "t0"]
    strict = judge(found, true, 1, 0.95, 300)
    assert strict.counts(0.0)[0] == 0


def test_the_page_has_the_scores_of_the_result(page, root):
    result = runs.result(root / "one")
    got: dict[str, Judged] = {}
    page.judged(got.update)
    assert set(got) == {"sarnet", "plain", "shuffled_gates", "ca_cfar", "os_cfar"}
    for name, judged in got.items():
        assert judged.ap == pytest.approx(float(result["ap50" if name == "sarnet" else f"ap50_{name}"])), name
        assert judged.count == sum(len(b) for b, i in zip(page.images.box, page.ids, strict=True) if i in page.findings.ids)
    for place in ("inshore", "offshore"):
        page.place = place
        page.judged(got.update)
        assert got["ca_cfar"].ap == pytest.approx(float(result[f"ap50_{place}_ca_cfar"]))


# --- the first tab --------------------------------------------------------------------------------------------------------


def test_the_slider_moves_boxes_point_and_numbers_together(page):
    page.detector = "sarnet"
    first = page.found
    name = page.sample
    found = page.findings.found["sarnet"]
    here = found.image == name
    for score in (0.006, float(np.median(found.score[here])), 0.99):
        page.score = score
        shown = [
            n
            for n, what in zip(first.view.boxes.data["name"], first.view.boxes.data["what"], strict=True)
            if n and "true box" not in what
        ]
        assert sum("|d" in n for n in shown) == int((found.score[here] >= score).sum())
        got: dict[str, Judged] = {}
        page.judged(got.update)
        hits, alarms, missed = got["sarnet"].counts(score)
        row = first.plot.points.data
        at = row["name"].index("SAR-Net")
        assert row["x"][at] == pytest.approx(hits / (hits + missed))
        assert row["y"][at] == pytest.approx(hits / (hits + alarms) if hits + alarms else 1.0)
        assert row["text"][at] == f"score ≥ {score:.2f}"
    text = first.numbers.object
    assert "IoU ≥ 0.5" in text
    assert "at most 60 boxes an image (maxDets)" in text
    assert "score ≥ 0.99" in text


def test_iou_and_place_are_printed_and_change_what_counts(page):
    page.iou = "0.75"
    assert "IoU ≥ 0.75" in page.found.numbers.object
    assert "AP75" in page.found.numbers.object
    everything = page.found.numbers.object
    page.place = "inshore"
    assert "inshore</b>: IoU ≥ 0.75" in page.found.numbers.object != everything
    near = dict(zip(page.ids, page.data["inshore"].values, strict=True))
    assert all(near[i] for i in page.tested)


def test_cfar_has_its_own_slider_on_the_same_axes(page):
    page.found.detectors.value = "os_cfar"
    assert page.cfar == "os_cfar"
    assert page.found.plot.points.data["name"][0] == "OS-CFAR"
    page.found.detectors.value = "ca_cfar"
    image = 255 * page.amplitude(page.sample)
    for factor in (1.6, 3.0):
        page.factor = factor
        box, _ = cfar("ca_cfar", image, 12, 24, factor)
        data = page.found.view.boxes.data
        assert sum("|d" in n for n in data["name"]) == len(box)
        row = page.found.plot.points.data
        at = row["name"].index("CA-CFAR")
        assert row["text"][at] == f"factor {factor:.1f}"
        true = page.true(page.tested)
        parts = [(i, *cfar("ca_cfar", 255 * page.amplitude(i), 12, 24, factor)) for i in page.tested]
        found = Boxes(
            np.concatenate([b for _, b, _ in parts]), np.repeat([i for i, *_ in parts], [len(b) for _, b, _ in parts]),
            np.zeros(sum(len(b) for _, b, _ in parts), int), np.concatenate([s for *_, s in parts]),
        )  # fmt: skip
        hits = evaluate(found, true).matched[0].true[0].sum()
        assert row["x"][at] == pytest.approx(hits / len(true.box))
        assert row["y"][at] == pytest.approx(hits / len(found.box) if len(found.box) else 1.0)
    assert len(page.found.plot.lines.data["xs"][page.found.plot.lines.data["name"].index("CA-CFAR")]) == len(FACTORS)


def test_a_click_in_the_gallery_shows_the_box_in_its_image(page):
    page.found.kinds.value = "missed"
    page.score = 0.9
    names = page.found.gallery.source.data["id"]
    assert names
    other = next(n for n in names if not n.startswith(page.sample))
    page.found.pick(other, zoom=True)
    assert page.sample == other.partition("|")[0]
    assert page.marked == other
    data = page.found.view.boxes.data
    assert data["width"][data["name"].index(other)] > min(data["width"])
    assert "missed" in page.found.picked.object
    shown = page.found.frame.x_range
    assert shown.end - shown.start <= 128
    assert "true box" in data["what"][0] or "missed" in data["what"]


def test_without_a_run_there_are_true_boxes_and_cfar(ships, tmp_path):
    opened = Detections(ships, root=tmp_path / "runs")
    assert opened.findings is None
    assert opened.found.detectors.options == {"CA-CFAR": "ca_cfar", "OS-CFAR": "os_cfar"}
    assert opened.found.plot.points.data["name"] == ["CA-CFAR"]
    assert not opened.found.score.visible
    assert opened.mistakes._invite.visible
    assert len(opened.found.view.boxes.data["name"]) > 0
    opened.close()


# --- the other tabs -------------------------------------------------------------------------------------------------------


def test_training_is_shown_with_its_boxes_and_curves(page):
    learning = page.learning
    assert learning.steps[0] == 0
    assert "validation image" in learning.text.object
    true = sum("true box" in what for what in learning.view.boxes.data["what"])
    sample = page.runner.live.frame("chip").attrs["sample"]
    assert true == len(page.images.box[page.ids.index(sample)])
    assert {w.split()[0] for w in learning.view.boxes.data["what"]} <= {"true", "found", "false", "missed"}
    assert len(learning.losses.sources["loss"].data["x"]) == 6
    assert len(learning.ap50.sources["plain neck"].data["x"]) >= 2
    assert max(learning.ap50.sources["plain neck"].data["x"]) == 6  # the steps of a rival start at 1


def test_errors_are_sorted_and_places_are_apart(page, root):
    result = runs.result(root / "one")
    page.param.update(detector="sarnet", tab=2)
    bars = page.mistakes.lost.picture.array
    np.testing.assert_allclose(bars.values, result["lost_ap50"].values, atol=1e-12)
    np.testing.assert_array_equal(page.mistakes.count.picture.array.values, result["error_count"].values)
    text = page.mistakes.table.object
    assert "AP50, inshore" in text
    assert "AP50, offshore" in text
    assert f"{float(result['ap50_inshore_ca_cfar']):.3f}" in text
    assert f"{float(result['ap_plain']):.3f}" in text
    assert f"{float(result['ap50_os_cfar']):.3f}" in text


def test_gates_and_scales_can_be_switched_off(page):
    page.param.update(tab=3, score=0.02)
    inside = page.inside
    before = len(inside.changed.boxes.data["name"])
    assert inside.gates.strips.data["image"][0].shape[1] == 1
    assert inside.maps["g3"].figure.title.text.startswith("g3")
    whole = [v.copy() for v in inside.maps["g3"].source.data["image"]]
    inside.off.value = ["C2", "C5"]
    assert "without C2, without C5" in inside.changed.figure.title.text
    assert not np.array_equal(inside.maps["g3"].source.data["image"][0], whole[0])
    assert inside.maps["C2"].figure.title.text == "C2, not seen by UCM"
    inside.off.value = []
    inside.gates_on.value = False
    assert "gates flat" in inside.changed.figure.title.text
    inside.gates_on.value = True
    assert len(inside.changed.boxes.data["name"]) == before
    inside.level.value = 16
    assert inside.gates.figure.title.text == "gates, stride 16"


@pytest.mark.long
def test_boxes_and_network_are_taken_along(page, tmp_path):
    page.param.update(tab=4, score=0.006)
    count = page.export.dataset().sizes["object"]
    assert count == int((page.findings.found["sarnet"].score >= 0.006).sum()) > 0
    coco = json.loads(page.export.boxes(".json").read())
    assert len(coco["annotations"]) == count
    assert page.export.boxes(".csv").read().decode().count("\n") == count + 1
    names = sorted(zipfile.ZipFile(page.export.onnx()).namelist())
    assert names == ["network.json", "network.onnx", "network_loader.py"]
    assert 'wb.execute("sarnet"' in page.export.as_code()


def test_a_run_without_the_boxes_of_all_detectors_says_so(page, root, tmp_path):
    result = runs.result(root / "one")
    assert findings.reads(result)
    old = result.drop_vars([n for n in result.variables if str(n).startswith("detection_")])
    assert not findings.reads(old)
    kept = page.findings
    page.findings = None
    page.ended(page.runner.live, old)
    assert page.findings is None
    assert Detections.OLD.split(".")[0] in page.alert.object
    page.complain("")
    page.findings = kept
    page.found.take()


# --- views ----------------------------------------------------------------------------------------------------------------


def test_a_tap_gives_the_smallest_box_under_it():
    frame = Frame()
    frame.fit(40, 40)
    view = BoxView(frame)
    view.show(np.zeros((40, 40, 3), np.uint8))
    taken: list[str] = []
    view.on_box(taken.append)
    view.draw_boxes(
        [
            Box((0, 0, 30, 30), "hit", "0.90", "large"),
            Box((4, 4, 10, 10), "missed", "", "little"),
            Box((0, 0, 9, 9), "true box"),
        ]
    )
    from bokeh.events import Tap

    for x, y in ((6, 6), (20, 20), (35, 35)):
        view.figure._trigger_event(Tap(view.figure, x=x, y=y))
    assert taken == ["little", "large"]
    assert view.boxes.data["left"][1] == 3.5  # the centre of pixel 4 is at 4
    frame.look_at(2, 38, 20)
    assert (frame.x_range.start, frame.x_range.end) == (-0.5, 19.5)
    assert (frame.y_range.start, frame.y_range.end) == (39.5, 19.5)


def test_a_thumbnail_is_centred_and_black_beyond_the_image():
    image = np.zeros((100, 100), np.float32)
    image[40:60, 40:60] = 1
    small_ = thumbnail(image, np.array([40, 40, 60, 60]))
    assert small_.shape == (TILE, TILE, 3)
    assert small_[TILE // 2, TILE // 2, 0] == 255
    assert small_[0, 0, 0] == 0
    edge = thumbnail(np.ones((30, 30), np.float32), np.array([0, 0, 8, 8]))
    assert edge[0, 0, 0] == 0
    assert edge[-1, -1, 0] == 255


def test_opening_something_else_forgets_the_result(root, ships, tmp_path):
    opened = Detections(ships, root=root)
    opened.runner.follow("one")
    assert opened.findings is not None
    opened.runner.take()
    assert opened.findings is None
    assert "none" not in opened.sample
    opened.close()
    assert isinstance(opened.data, xr.Dataset)
    assert Path(opened.root) == root
