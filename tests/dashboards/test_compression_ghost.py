"""The compression page with GHOST: bits by a threshold, levels in use, switches, attention, and boxes of teacher and copy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bokeh.plotting import figure

from tests.dashboards.conftest import restored
from workbench import execution, runs
from workbench.data.synth_ships import small
from workbench.methods.ghost import SMOKE
from workbench.methods.ghost.network import BLOCKS
from workbench.pages.compression.page import Compression
from workbench.pages.frame.several import methods_of
from workbench.parts.cluster_bits import LEVELS, below

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module")
def ships():
    return small(seed=0).compute()


@pytest.fixture(scope="module")
def root(tmp_path_factory, ships):
    """A folder of runs with one finished run, called `one`."""
    made = tmp_path_factory.mktemp("ghosts") / "runs"
    execution.execute("ghost", ships, SMOKE, made / "one")
    return made


@pytest.fixture(scope="module")
def _watched(root, ships):
    opened = Compression(ships, root=root, method="ghost")
    opened.runner.follow("one")
    yield opened
    opened.close()


@pytest.fixture
def page(_watched):
    """One page of the run; what a test moves is moved back."""
    with restored(_watched, "threshold", "edited", "layer", "block", "sample", "tab") as opened:
        yield opened


@pytest.fixture
def result(root):
    return runs.result(root / "one")


def tap(of: figure, x: float, y: float) -> None:
    """A click at these coordinates of a figure."""
    for then in of._event_callbacks["tap"]:
        then(SimpleNamespace(x=x, y=y))


def test_the_page_offers_ghost_for_images_with_boxes(page):
    assert {"picpq", "ghost"} <= set(methods_of("compression"))
    assert page.method == page.runner.method == "ghost"
    assert not page.choosing._cutting.visible  # it removes no filters


def test_the_costs_of_the_run_are_those_of_the_result(page, result):
    whole, now = page.findings.whole(), page.cost()
    assert whole.total / now.total == pytest.approx(float(result["bops_ratio"]))
    assert now.kilobytes == pytest.approx(float(result["kilobytes"]))
    assert whole.kilobytes == pytest.approx(float(result["kilobytes_teacher"]))
    assert f"{now.kilobytes:,.1f} kB" in page.choosing.text.object


def test_a_moved_threshold_gives_every_layer_the_bits_of_the_rule(page, result):
    own = float(result["distance_threshold"])
    np.testing.assert_array_equal(page.findings.bits_below(own), result["bits"])
    before = page.cost()
    d = dict(zip(map(str, result["layer"].values), 10.0 ** result["distance"].values, strict=True))
    for threshold in (own / 50, own * 50):
        page.levels.slider.value = np.log10(threshold)
        assert page.bits().tolist() == list(below(d, page.threshold * (1 + 1e-9)).values())
        np.testing.assert_array_equal(page.levels.curves.points.data["x"][:-1], np.delete(page.bits(), 0))
        assert f"{page.cost().kilobytes / 1e3:.4f} MB" in page.levels.text.object
        assert page.levels.curves.line.data["y"] == [page.threshold]
    assert page.cost().total < before.total
    assert page.cost().kilobytes < before.kilobytes
    assert page.choosing.waterfall.source.data["name"][-1] == "the run"
    page.set_bits(2, 8)
    assert page.bits()[2] == 8
    tap(page.levels.curves.figure, 4, own)  # a click moves the threshold, and forgets what was changed by hand
    assert (page.edited, page.threshold) == ("", pytest.approx(own))
    page.choosing.back.clicks += 1
    assert not page.moved()


def test_the_image_keeps_its_bits_when_the_first_layer_gets_others(page, result):
    first = result["layer"].values.tolist().index("stem.0")
    for bits in (2, 4):
        page.set_bits(first, bits)
        assert page.cost().bops[first] == float(result["macs"][first]) * bits * 8


def test_the_levels_in_use_are_those_of_the_trained_copy(page, result):
    for layer in (0, 5):
        page.layer = layer
        drawn = page.levels.histogram
        assert len(drawn.levels.data["x"]) <= 2 ** int(result["bits"][layer])
        assert float(np.sum(drawn.levels.data["share"])) == pytest.approx(1)
        assert float(np.sum(drawn.bars.data["share"])) == pytest.approx(1)
        steps = np.diff(drawn.levels.data["x"])
        np.testing.assert_allclose(steps / steps.min(), np.round(steps / steps.min()), atol=1e-2)  # an even grid


def test_teacher_and_copy_are_compared_box_by_box(page, result):
    page.tab = 3
    while page.teaching.images is None:  # they are read by another thread
        page.MADE.ask(("boxed", page.key), lambda: None).result()
        page.teaching._opened(page.MADE.ask(("boxed", page.key), lambda: None))
    sample = str(result["tested"].values[1])
    page.teaching.samples.value = sample
    assert page.sample == sample
    images = page.teaching.images
    count = len(images.box[images.ids.tolist().index(sample)])
    for who, lead in (("teacher", "teacher_box"), ("copy", "box")):
        drawn = page.teaching.found[who].boxes.data["what"]
        here = int((result[f"{lead}_sample"].values.astype(str) == sample).sum())
        words = [w.split()[0] for w in drawn]
        assert len(drawn) == count + here + words.count("missed")
    assert f"{count}</b> true boxes" in page.teaching.text.object


def test_attention_maps_and_switches_are_those_of_the_result(page, result):
    page.tab = 3
    page.block = 5
    maps = result["attention_map"].isel(block=5)
    np.testing.assert_allclose((maps**2).sum(("map_y", "map_x")), 1, rtol=1e-4)
    difference = page.teaching.maps["difference"].picture.array.values
    np.testing.assert_allclose(difference, maps.sel(who="copy").values - maps.sel(who="teacher").values)
    assert BLOCKS[5] in page.teaching.blocks.options
    assert page.teaching.switches.picture.array.shape[0] == len(BLOCKS)
    assert page.teaching.logits.picture.array.shape == (len(BLOCKS), len(BLOCKS))


def test_copies_are_compared_with_the_teacher_by_ap50(page, result):
    page.tab = 2
    rivals = {r.name: r for r in page.findings.rivals()}
    assert {"teacher", "ghost", "uniform", "off", "lsq8", "ptq"} == set(rivals)
    assert rivals["ghost"].quality == float(result["ap50"])
    assert rivals["teacher"].ratio == 1
    assert rivals["off"].kilobytes == float(result["kilobytes_off"])
    table = page.comparing.table.object
    assert "our bits, no teacher" in table
    assert "on test images" not in table  # common to all


def test_a_run_of_old_shows_what_it_has(page, result):
    new = ["tested", "teacher_box", "attention_map", "weight_count", "weight_share", "input_fixed", "float_macs"]
    kept = page.findings
    try:
        page.findings = page.read(result.drop_vars(new))
        page.fill()
        page.tab = 3
        assert page.teaching.panel.visible
        assert not page.teaching._detections.visible
        assert not page.levels.histogram.panel.visible
        assert "kB" not in page.choosing.text.object
    finally:
        page.findings = kept
        page.fill()
    assert len(LEVELS) == result.sizes["width"]
