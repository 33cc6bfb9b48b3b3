"""The compression page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dashboards.conftest import restored
from tests.taps import tap
from tests.unit.methods.test_picpq import chips
from workbench import execution, runs
from workbench.methods.picpq import SMOKE, assigned, open_float
from workbench.methods.picpq.settings import Config
from workbench.pages.compression.findings import Findings, quality_of, reads
from workbench.pages.compression.page import Compression
from workbench.parts.pruning import Plan
from workbench.views.compression import LEVELS

pytest.importorskip("torch_pruning")
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")]
TINY = {**SMOKE, "rivals": ["hrank", "lsq3", "caps"]}


@pytest.fixture(scope="module")
def scene():
    return chips()


@pytest.fixture(scope="module")
def root(tmp_path_factory, scene):
    """A folder of runs with one finished run, called `one`."""
    made = tmp_path_factory.mktemp("compression") / "runs"
    execution.execute("picpq", scene, TINY, made / "one")
    return made


@pytest.fixture(scope="module")
def _watched(root, scene):
    opened = Compression(scene, root=root)
    opened.runner.follow("one")
    yield opened
    opened.close()


@pytest.fixture
def page(_watched):
    """One page of the run; what a test moves is moved back."""
    with restored(_watched, "criterion", "gone", "edited", "filter", "without", "tab") as opened:
        yield opened


@pytest.fixture
def result(root):
    return runs.result(root / "one")


# --- costs ----------------------------------------------------------------------------------------------------------------


def test_the_view_of_the_run_has_the_costs_of_the_result(page, result):
    now = page.cost()
    np.testing.assert_array_equal(now.macs, result["macs_left"])
    stages = result["waterfall"].values
    assert now.bops.sum() / 1e9 == pytest.approx(stages[2])
    bars = page.choosing.waterfall.source.data
    np.testing.assert_allclose(bars["top"], stages)
    assert "input-act" in page.choosing.text.object
    assert page.choosing.back.disabled


def test_the_line_of_the_run_removes_what_the_run_removed(page, result):
    findings = page.findings
    scores = page.scores()
    gone = findings.removals(scores)
    np.testing.assert_array_equal(findings.counts(scores, gone), findings.chosen)
    alive = findings.kept(scores, findings.chosen)
    owner, kept = result["filter_layer"].values.astype(str), result["filter_kept"].values
    for group, own in zip(findings.plan.groups, alive, strict=True):
        np.testing.assert_array_equal(own, kept[owner == group.root])
    drawn = page.choosing.strips.source.data
    assert drawn["what"].count("kept") == int(findings.chosen.sum())
    line = page.choosing.strips.line.data["x"][0]
    assert all(what == "kept" for x, what in zip(drawn["x"], drawn["what"], strict=True) if x > line)


def test_a_moved_line_changes_channels_macs_and_bops(page, result):
    start = page.cost()
    page.choosing.line.value = 0
    whole = page.cost()
    np.testing.assert_array_equal(whole.macs, result["macs"])
    np.testing.assert_array_equal(page.choosing.channels.source.data["kept"], result["plan_outs"])
    assert "Only the network of the run was trained" in page.choosing.text.object
    tap(page.choosing.strips.figure, 1e9, 0)  # a click right of all filters
    least = page.cost()
    assert least.macs.sum() < start.macs.sum() < whole.macs.sum()
    np.testing.assert_allclose(page.choosing.macs.source.data["kept"], least.macs / 1e6)
    np.testing.assert_allclose(page.choosing.bops.source.data["kept"], least.bops / 1e9)
    assert page.choosing.channels.source.data["kept"].min() >= 2
    page.choosing.back.clicks += 1
    assert (page.gone, page.cost().macs.sum()) == (-1, start.macs.sum())


def test_bits_of_a_layer_change_the_bit_operations_and_the_address(page, result):
    before = page.cost()
    layer = 3
    level = LEVELS.index(2)
    tap(page.choosing.ladder.figure, layer, level)
    assert page.edited == f"{layer}:2"
    now = page.cost()
    own = int(result["bits"][layer])
    assert now.bops[layer] == pytest.approx(before.bops[layer] * 4 / own**2)  # the inputs follow
    np.testing.assert_array_equal(np.delete(now.bops, layer), np.delete(before.bops, layer))
    assert page.choosing.waterfall.source.data["name"][-1] == "the run"
    cells = page.choosing.ladder.cells.data
    shown = {(x, y) for x, y, a in zip(cells["x"], cells["y"], cells["alpha"], strict=True) if a > 0.5}
    assert (layer, level) in shown
    page.set_bits(layer, own)
    assert page.edited == ""
    page.edited = "99:4,x:2,2:1,1:4"  # of another network, or damaged
    assert page.changed == {1: 4}


def test_ranks_alone_are_another_criterion(page):
    best = page.scores()
    page.choosing.criteria.value = -1
    alone = page.scores()
    rank = page.findings.result["filter_rank"].values
    owner = page.findings.result["filter_layer"].values.astype(str)
    first = page.findings.plan.groups[0]
    np.testing.assert_allclose(alone[0], np.mean([rank[owner == n] for n in first.members], 0))
    assert (
        any(not np.allclose(a, b) for a, b in zip(best, alone, strict=True)) or page.findings.best == SMOKE["population"] - 1
    )


# --- one filter -----------------------------------------------------------------------------------------------------------


def wait(page):
    """Until the worker thread has done all that was asked."""
    for _ in range(3):
        page.MADE.ask(object(), lambda: None).result()


def test_a_picked_filter_has_its_maps_and_its_removal_an_accuracy(page, result, root, scene):
    page.tab = 3
    strips = page.filters.strips
    data = strips.source.data
    at = 5
    tap(strips.figure, float(data["x"][at]), float(data["y0"][at]) + 0.36)
    assert page.picked == (round(float(data["y0"][at]) + 0.36), int(data["number"][at]))
    assert len(strips.picked.data["x"]) == 1
    page.filters.remove.clicks += 1
    assert page.removed_by_hand == [page.picked]
    opened = open_float(root / "one", scene)
    whole, left = opened.without([]), opened.without([page.picked])
    assert whole.test == pytest.approx(float(result["accuracy_dense"]))
    rows = opened.shown()
    wait(page)
    assert f"<b>{left.validation:.3f}</b>" in page.filters.worth.object
    assert f"whole network {whole.validation:.3f}" in page.filters.worth.object
    assert opened.maps(*page.picked, rows).shape[0] == len(rows) == opened.images(rows).shape[0]
    assert strips.source.data["what"].count("removed") == 1
    page.filters.remove.clicks += 1
    assert page.removed_by_hand == []
    page.without = "0:0,0:1,99:0,0:999,x:1,0:0"  # a damaged address
    assert page.removed_by_hand == [(0, 0), (0, 1)]
    page.filters.back.clicks += 1
    assert page.without == ""


# --- search and comparison ------------------------------------------------------------------------------------------------


def test_the_search_has_its_losses_and_heat_strips(page, result):
    curves = page.learning.declared.curves[2].lines.lines.data
    np.testing.assert_allclose(curves["ys"][0], result["search_loss"])
    assert (np.diff(curves["ys"][1]) <= 0).all()
    strips = {s.show.variable: s.view.picture for s in page.learning.declared.stills}
    assert set(strips) == {"scale", "shift"}
    np.testing.assert_array_equal(strips["scale"].array, result["scale"])


def test_every_rival_is_compared_by_its_own_costs(page, result):
    page.tab = 2
    names = {r.name for r in page.findings.rivals()}
    assert names == {"dense", "picpq", "hrank", "lsq3", "caps"}
    points = page.comparing.plots["bops"].points.data
    at = points["name"].index("lsq3")
    assert points["y"][at] == float(result["accuracy_lsq3"])
    assert points["x"][at] == pytest.approx(float(result["waterfall"][0] / result["bops_ratio_lsq3"]))
    packed = page.comparing.plots["kilobytes"].points.data
    assert packed["x"][packed["name"].index("dense")] == float(result["kilobytes_weights_dense"])
    assert not page.comparing.plots["milliseconds"].panel.visible  # the run measured none
    assert "test samples" in page.comparing.table.object
    page.edited = "1:2"
    assert page.comparing.plots["bops"].cost.data["x"] == [pytest.approx(page.cost().bops.sum() / 1e9)]


def test_measured_files_stand_beside_the_bit_operations(page, result):
    assert not page.choosing._files.visible  # this run measured none
    values = np.array([[[1.0, 1.5], [8.0, 9.0]], [[0.5, 0.6], [4.0, 5.0]]])
    about = {"threads": 1, "cpu": "a <CPU>", "instructions": "avx2"}
    new = {
        "latency": (("file", "batch", "statistic"), values, about),
        "file": ["picpq", "dense"],
        "batch": ["one image", "16 images"],
        "statistic": ["median", "p95"],
        "accuracy_file_picpq": 0.5,
        "kilobytes_file_picpq": 7.0,
        "milliseconds_file_picpq": 1.0,
    }
    kept = page.findings
    try:
        page.findings = page.read(result.assign(new))
        page.choosing.take()
        assert page.choosing._files.visible
        bars = page.choosing.timed.source.data
        assert list(zip(bars["name"], bars["top"], strict=True)) == [("dense", 0.5), ("picpq", 1.0)]
        table = page.choosing.files.object
        assert "p95, 16 images (ms)" in table
        assert "a &lt;CPU&gt;" in table
        assert page.findings.files()[1].quality == 0.5
        page.tab = 2
        page.comparing.take()
        assert page.comparing.plots["milliseconds"].panel.visible
    finally:
        page.findings = kept
        page.choosing.take()
        page.comparing.take()


def test_a_result_without_filters_has_bits_and_rivals(page, result):
    """As a method yields it that quantises only: the names decide, not the method."""
    bare = result.drop_vars(
        [n for n in result.data_vars if n.startswith(("plan_", "filter_")) or n in ("scale", "shift", "search_loss")]
    )
    assert reads(bare)
    findings = Findings(
        bare.rename({n: n.replace("accuracy", "ap50") for n in bare.data_vars if n.startswith("accuracy_")}), "ap50"
    )
    assert findings.plan is None
    assert findings.candidates == 0 or "search_loss" not in findings.result
    np.testing.assert_array_equal(findings.cost(None, findings.bits).macs, result["macs_left"])
    assert {r.name for r in findings.rivals()} == {"dense", "picpq", "hrank", "lsq3", "caps"}
    kept = page.findings
    try:
        page.findings = findings
        page.choosing.take()
        page.comparing.take()
        assert not page.choosing._cutting.visible
        assert not page.choosing.channels.panel.visible
        assert len(page.choosing.ladder.marks.data["x"]) == len(findings.layers)
        assert page.choosing.waterfall.source.data["name"] == ["float", "quantised"]
    finally:
        page.findings = kept
        page.choosing.take()
        page.comparing.take()


def test_what_a_method_calls_its_accuracy():
    assert quality_of("accuracy_picpq", "picpq") == "accuracy"
    assert quality_of("ap50", "ghost") == "ap50"


def test_the_plan_of_a_result_has_the_costs_of_the_network(result):
    table = {n: result[f"plan_{n}"].values for n in ("unit", "ins", "outs", "depthwise", "group", "reads")}
    plan = Plan.from_table([str(n) for n in result["layer"].values], table)
    np.testing.assert_array_equal(plan.macs(), result["macs"])
    counts = np.maximum(2, plan.full() // 2)
    assert plan.cost(counts) < plan.cost()
    bits = assigned(plan, plan.full(), Config(**TINY))
    assert list(bits.values()) == result["cap"].values.tolist()


def test_a_run_of_old_is_named(root, scene, monkeypatch, result):
    monkeypatch.setattr(runs, "result", lambda *a, **k: result.drop_vars("macs"))
    opened = Compression(scene, root=root)
    opened.runner.follow("one")
    assert Compression.OLD.split(",")[0] in opened.alert.object
    assert opened.findings is None
    opened.close()


def test_an_address_without_a_method_opens_the_run_that_it_names(scene, root):
    opened = Compression(scene, root=root, method="ghost", run="one")  # chips cannot be used by GHOST
    try:
        assert (opened.method, opened.methods.value, opened.run) == ("picpq", "picpq", "one")
        assert opened.findings is not None
        assert opened.controls["picpq"].visible
        assert not opened.controls["ghost"].visible
    finally:
        opened.close()
