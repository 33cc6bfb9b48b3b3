"""The federation page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dashboards.conftest import restored
from workbench import execution
from workbench.data.synth_sensors import simulate
from workbench.methods import load
from workbench.pages.federation.findings import Findings, at, phases, reads
from workbench.pages.federation.page import Federation
from workbench.parts.federation import class_counts, dirichlet
from workbench.runs import result
from workbench.runs.watch import Live

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module")
def scene():
    return simulate("sim-two-sensors", 32, bands=6, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory, scene):
    """A folder of runs with a finished run of each method, called by its name."""
    made = tmp_path_factory.mktemp("federation") / "runs"
    for method in ("fedfusion", "feddiff"):
        more = {"away": 0.5, "rounds": 4} if method == "fedfusion" else {}
        execution.execute(method, scene, {**load(method).SMOKE, "split": "class", **more}, made / method)
    return made


@pytest.fixture(scope="module")
def _watched(root, scene):
    opened = Federation(scene, root=root)
    opened.runner.follow("fedfusion")
    yield opened
    opened.close()


@pytest.fixture
def page(_watched):
    """One page of the run of FedFusion; what a test moves is moved back."""
    with restored(_watched, "phase", "rank", "alpha", "parties", "level", "tab") as opened:
        yield opened


@pytest.fixture(scope="module")
def diffusion(root, scene):
    opened = Federation(scene, root=root)
    opened.choose("feddiff")
    opened.runner.follow("feddiff")
    yield opened
    opened.close()


def history(root, method):
    live = Live(root / method)
    live.poll()
    return live.history


# --- events -----------------------------------------------------------------------------------------------------------


def test_a_value_stays_until_the_next_one():
    assert at(([1, 5], [0.5, 0.25]), 4) == 0.5
    assert at(([1, 5], [0.5, 0.25]), 5) == 0.25
    assert np.isnan(at(([3], [1.0]), 2))


def test_rounds_of_both_methods_are_counted_from_one(root):
    found = phases(history(root, "fedfusion"))
    assert list(found) == ["exchange", "fedavg"]
    exchange, fedavg = found["exchange"], found["fedavg"]
    assert (exchange.unit, exchange.length, list(exchange.clients)) == ("step", 4, ["hsi", "lidar"])
    assert (fedavg.unit, fedavg.length) == ("global round", 4)
    assert all(steps[0] == 1 for steps, _ in (*exchange.loss.values(), *exchange.oa.values(), *exchange.sent.values()))
    assert exchange.exact[1][-1] > exchange.sent["features"][1][-1] > 0
    assert exchange.apart["after"][1][-1] == 0
    assert {n: len(v[0]) for n, v in fedavg.oa.items()} == {"common weights": 4, "local": 4}
    missing = [sum(step not in steps for steps in fedavg.present.values()) for step in range(1, 5)]
    assert missing == [int(v) for v in history(root, "fedfusion")["failed"][1]]
    assert sum(missing) > 0
    assert sum(fedavg.shares(4).values()) == pytest.approx(1)
    rounds = {n: len(steps) for n, steps in fedavg.present.items()}
    assert fedavg.shares(4) == {n: count / sum(rounds.values()) for n, count in rounds.items()}
    assert exchange.shares(1) == {"hsi": 0.5, "lidar": 0.5}
    found = phases(history(root, "feddiff"))
    assert list(found) == ["home", "exchange"]
    assert found["home"].sent == {}
    assert (list(found["home"].clients), found["home"].length) == (["hsi", "lidar"], 4)
    assert (list(found["exchange"].clients), found["exchange"].length) == (["hsi", "lidar"], 3)


# --- clients ----------------------------------------------------------------------------------------------------------


def test_cards_follow_the_slider(page):
    tab = page.learning
    tab.choice.value = "exchange"
    tab.stepper.slider.value = 2
    exchange = tab.found["exchange"]
    text = tab.cards.panel.object
    assert f"{at(exchange.loss['hsi'], tab.stepper.at + 1):.3f}" in text
    assert "with exact features" in text
    tab.stepper.slider.value = 4
    assert "Shared weights apart after the last average: <b" in tab.cards.panel.object
    assert ">0</b> (must be 0)" in tab.cards.panel.object
    tab.choice.value = "fedavg"
    assert page.phase == "fedavg"
    for step in range(1, 5):
        tab.stepper.slider.value = step
        away = sum(tab.stepper.at + 1 not in steps for steps in tab.found["fedavg"].present.values())
        assert tab.cards.panel.object.count("AWAY") == away
    assert "training pixels" in tab.cards.panel.object
    assert tab.loss.figure.xaxis[0].axis_label == "global round"


def test_before_a_run_there_is_an_invitation_alone(scene, tmp_path):
    opened = Federation(scene, root=tmp_path / "runs")
    try:
        for part in (opened.learning, opened.partition, opened.messages, opened.maps, opened.diffusion):
            assert (part._invite.visible, part._content.visible) == (True, False)
        assert opened.method == "fedfusion"
    finally:
        opened.close()


# --- partition and messages -------------------------------------------------------------------------------------------


def test_the_preview_is_the_draw_that_a_run_makes(page):
    page.tab = 1
    page.param.update(alpha=0.05, parties=3)
    findings, shown = page.findings, page.partition.preview.source.data
    counts = class_counts(findings.labels, dirichlet(findings.labels, 3, 0.05, 0), len(findings.names))
    assert np.asarray(shown["count"]).reshape(counts.shape).tolist() == counts.tolist()
    assert counts.sum() == findings.result["clients"].values.sum()
    page.partition.alpha.value = 2.0
    assert page.alpha == 100
    assert "alpha = 100" in page.partition.text.object


def test_the_rank_moves_maps_and_numbers(page):
    page.tab, page.rank = 2, 1
    messages, result_ = page.messages, page.findings.result
    low = [np.asarray(v.picture.array) for v in messages.maps]
    page.rank = 16
    full = [np.asarray(v.picture.array) for v in messages.maps]
    np.testing.assert_array_equal(low[0], full[0])
    assert np.abs(low[2]).max() > 1e-3 > np.abs(full[2]).max()
    assert f"OA {float(result_['oa_by_rank'][15]):.3f}" in messages.text.object
    assert "rank 16" in messages.maps[1].picture.title
    names = set(messages.pareto.points.data["name"])
    assert names == {"low_rank 4", "dense", "random_basis 1"}
    axis = messages.pareto.figure.xaxis[0]
    assert set(axis.major_label_overrides.values()) >= {"4,096"}
    assert set(axis.ticker.ticks) == set(axis.major_label_overrides)


def test_a_message_larger_than_the_pixels_lights_the_warning(page, diffusion):
    text = page.messages.inspector.object
    kinds, sizes = page.findings.sizes()
    assert text.count("LARGER THAN THE PIXELS") == int((sizes[-1] > sizes[1]).sum()) > 0
    assert kinds == ["raw pixel", "raw window", "features", "message"]
    assert "LARGER THAN THE PIXELS" in diffusion.messages.inspector.object
    assert diffusion.findings.sizes()[0][2] == "bank"


# --- maps and diffusion -----------------------------------------------------------------------------------------------


def test_maps_are_drawn_beside_the_truth(page, diffusion):
    for opened, shown in ((page, "differ"), (diffusion, "heads_differ")):
        opened.tab = 3
        assert opened.maps.given.source.data["image"][0].shape == (32, 32)
        assert opened.maps.true.panel.visible
        assert opened.maps.apart[shown].panel.visible
        assert "best single owner" in opened.maps.text.object
    assert not page.maps.apart["heads_differ"].panel.visible


def test_one_slider_moves_both_owners_from_noise_to_patches(page, diffusion):
    assert page.diffusion._invite.visible
    tab = diffusion.diffusion
    diffusion.tab, diffusion.level = 4, 0
    first = [s.source.data["image"][0].copy() for s in tab.sheets]
    assert "Noise level t 499" in tab.text.object
    diffusion.level = int(tab.level.end)
    assert "new patches" in tab.text.object
    assert all(not np.array_equal(a, s.source.data["image"][0]) for a, s in zip(first, tab.sheets, strict=True))
    way = diffusion.findings.result["centre_hsi"].values
    np.testing.assert_allclose(tab.centres[0].lines.data["ys"][-1], way[-1], rtol=1e-6)
    assert len(tab.levels.lines.data["name"]) == 4


def test_an_old_result_is_said_to_be_old(root, scene, tmp_path):
    known = result(root / "fedfusion")
    assert reads(known)
    assert not reads(known.drop_vars("oa_by_rank"))
    assert Findings(known, "fedfusion").apart == 0
