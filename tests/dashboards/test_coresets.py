"""The coreset page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from tests.dashboards.conftest import restored
from workbench import execution, runs
from workbench.baselines.coresets import budget, select
from workbench.config import Settings, override
from workbench.data.catalog import open_scene
from workbench.data.source import Source
from workbench.pages.coresets.measured import gathered
from workbench.pages.coresets.page import Coresets
from workbench.pages.coresets.samples import Film, Pictures
from workbench.views.form import Form
from workbench.views.looks import PICKS, STATES
from workbench.views.tables import spread

TINY = {"epochs": 6, "J": 3, "batch": 256, "iterations": 6, "budgets": [0.1], "label_noise": 0.2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of runs with one finished run, called `one`."""
    folder = tmp_path_factory.mktemp("coresets") / "runs"
    execution.execute("tdds", "digits", TINY, folder / "one")
    return folder


@pytest.fixture
def page(root):
    made = []

    def make(scene="digits", run="one", **state):
        opened = Coresets(scene, root=state.pop("root", root), **state.pop("address", {}), **state)
        if run:
            opened.runner.follow(run)
        made.append(opened)
        return opened

    yield make
    for opened in made:
        opened.close()


@pytest.fixture(scope="module")
def _watched(root):
    opened = Coresets("digits", root=root)
    opened.runner.follow("one")
    yield opened
    opened.close()


@pytest.fixture
def shared(_watched):
    """One page of the run for all tests that move nothing but these."""
    with restored(_watched, "keep", "length", "selector", "balanced") as opened:
        yield opened


@pytest.fixture(scope="module")
def result(root):
    return runs.result(root / "one")


# --- opening ------------------------------------------------------------------------------------------------------------


def test_offers_what_has_labels_and_begins_with_an_invitation(page):
    opened = page(run=None)
    offered = set(opened.choice.options.values())
    assert {"digits", "eurosat-rgb-200", "mstar-10", "sim-coast-town", "hydice-urban-175"} <= offered
    assert "gamsberg" not in offered  # no truth
    assert opened.score._invite.visible
    assert not opened.score._watch.visible
    assert opened.choosing._waiting.visible
    assert "1,797 chips of 8 × 8 pixels" in opened.card.object


def test_what_cannot_be_opened_is_told_and_what_was_shown_stays(shared):
    opened = shared
    opened.open("digit")
    assert opened.alert.visible
    assert "Did you mean &#x27;digits&#x27;" in opened.alert.object
    assert opened.scene == "digits"
    assert opened.result is not None
    opened.open("")
    assert "No data were given" in opened.alert.object


def test_a_run_of_other_data_is_refused_by_name(page, root, scene_file):
    opened = page(str(scene_file), run="one")
    assert "is of tdds on digits" in opened.runner.player.text.object
    assert opened.run == ""
    opened.runner.follow("nowhere")
    assert "There is no run" in opened.runner.player.text.object


def test_state_of_the_address_is_restored(page, result):
    ids = result["sample"].values[[4, 9]].tolist()
    again = page(run=None, address={"run": "one", "picks": "|".join([*ids, "nobody"])}, keep=0.1, length=5, balanced=True)
    assert again.picked == ids  # what lies outside is left out
    assert again.keep == 0.1  # and not the 0.3 of the run
    assert (again.choosing.keep.value, again.choosing.length.value, again.choosing.balanced.value) == (0.1, 5, True)


# --- scores -------------------------------------------------------------------------------------------------------------


def test_the_map_shows_ease_and_score_of_the_newest_epoch(shared, result):
    opened = shared
    shown = opened.score.map.source.data
    assert opened.score.epoch == 6
    np.testing.assert_allclose(shown["x"], result["p_label"].values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(shown["y"], result["score_by_T"].sel(T=6), rtol=1e-5)
    assert np.sum(np.array(shown["color"]) == STATES["kept"].colour) == budget(len(shown["x"]), 0.3)
    assert set(shown["color"]) == {STATES["kept"].colour, STATES["dropped"].colour}
    np.testing.assert_array_equal(np.array(shown["wrong"]) > 0, result["flipped"])
    assert "S uses epochs 1 to 6" in opened.score.text.object


def test_scrubbing_back_shows_that_epoch_and_stops_following(shared, result):
    opened = shared
    opened.score.stepper.slider.value = 4
    assert not opened.score.stepper.follow.value
    shown = opened.score.map.source.data
    np.testing.assert_allclose(shown["y"], result["score_by_T"].sel(T=4), rtol=1e-5)
    np.testing.assert_array_equal(np.argsort(shown["y"], kind="stable"), np.argsort(shown["rank_y"], kind="stable"))
    for axis in ("rank_x", "rank_y"):  # no corner: each tenth of an axis holds a tenth of the points
        tenths = np.histogram(shown[axis], 10, (0, 1))[0] / len(shown[axis])
        assert (tenths > 0.08).all()
        assert (tenths < 0.12).all()
    labels = list(opened.score.map.figure.yaxis.major_label_overrides.values())
    assert float(labels[-1]) == pytest.approx(float(shown["y"].max()), rel=0.01)
    np.testing.assert_allclose(opened.score.map.source.data["x"], result["p_label"].values[:4].mean(0), rtol=1e-5)
    opened.score.stepper.slider.value = 2  # before the first window of three epochs is full
    assert "first scores come at epoch 3" in opened.score.text.object
    assert list(opened.score.most.source.data["id"]) == []
    opened.score.stepper.follow.value = True
    assert opened.score.epoch == 6


def test_the_strips_hold_the_highest_and_the_lowest(shared, result):
    opened = shared
    order = result["sample"].values[np.argsort(-result["score_by_T"].sel(T=6).values, kind="stable")]
    assert opened.score.most.source.data["id"] == order[:18].tolist()
    assert opened.score.least.source.data["id"] == order[::-1][:18].tolist()


def test_the_lasso_lists_the_pictures_and_a_tap_brings_one_to_the_front(page, result):
    opened = page()
    opened.score.map.source.selected.indices = [3, 8, 20]
    score, ids = result["score_by_T"].sel(T=6).values, result["sample"].values
    wanted = ids[sorted([3, 8, 20], key=lambda r: -score[r])].tolist()
    assert opened.score.chosen.source.data["id"] == wanted
    assert opened.picks == "|".join(wanted)
    first = opened.score.chosen.source.data["image"][0].view(np.uint8).reshape(8, 8, 4)[..., 0]
    digit = open_scene("digits")["image"].sel(sample=wanted[0]).values[0]
    np.testing.assert_array_equal(first, (digit * 255).astype(np.uint8))
    opened.focus(ids[50])
    assert opened.picked == [ids[50], *wanted]
    marked, shown = opened.score.map.picks.data, opened.score.map.source.data
    assert [marked["rank_x"][0], marked["rank_y"][0]] == pytest.approx([shown["rank_x"][50], shown["rank_y"][50]], rel=1e-6)
    assert opened.score.trajectory.lines.data["name"] == opened.picked
    assert opened.score.trajectory.lines.data["color"] == list(PICKS[:4])
    np.testing.assert_allclose(opened.score.trajectory.lines.data["ys"][0], result["p_label"].values[:, 50], rtol=1e-6)
    np.testing.assert_allclose(
        opened.score.trajectory.changes.data["ys"][0], result["contribution"].values[:, 50], rtol=1e-6
    )
    opened.pick([])
    assert opened.score.trajectory.lines.data["xs"] == []
    kept = np.zeros(len(ids), bool)
    kept[np.argsort(-opened.film.S[opened.score.epoch], kind="stable")[: budget(len(ids), opened.keep)]] = True
    behind = opened.score.trajectory.means[0].data
    assert behind["name"] == ["mean of kept", "mean of dropped"]
    np.testing.assert_allclose(behind["ys"][0], result["p_label"].values[:, kept].mean(1), rtol=1e-5)


def test_the_window_that_the_score_reads_is_shaded(page):
    opened = page()
    opened.focus("digit-0000" if "digit-0000" in opened.film.ids else str(opened.film.ids[0]))
    shade = opened.score.trajectory._windows[0]
    assert (shade.visible, shade.left, shade.right) == (True, 4, 6)  # J = 3: the predictions of epochs 4, 5 and 6
    opened.score.stepper.slider.value = 2
    assert not opened.score.trajectory._windows[0].visible


def test_a_run_is_followed_while_it_goes_on(page, tmp_path):
    trace = execution.start("tdds", "digits", {**TINY, "compare": [], "budgets": []}, tmp_path / "live")
    opened = page(run=None, root=tmp_path)
    next(trace)
    opened.runner.follow("live")
    assert opened.film.epochs == [1]
    assert opened.choosing._waiting.visible
    for _ in range(3):
        next(trace)
    opened.poll()
    assert opened.film.epochs == [1, 2, 3, 4]
    assert opened.score.epoch == 4
    np.testing.assert_allclose(opened.score.map.source.data["y"], opened.film.S[4], rtol=1e-5)
    for _ in trace:
        pass
    opened.poll()
    assert opened.result is not None
    assert opened.choosing._content.visible
    assert "Finished" in opened.runner.player.text.object


# --- choosing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.05, 0.3, 1.0])
def test_the_slider_keeps_that_share(shared, result, keep):
    opened = shared
    opened.keep = keep
    opened.length = 5
    n = result.sizes["sample"]
    kept = select(result["score_by_T"].sel(T=5), keep).values
    assert f"{budget(n, keep):,} of {n:,} kept" in opened.choosing.readout.object
    np.testing.assert_array_equal(opened.choosing.bars.source.data["kept"], np.bincount(result["label"].values[kept]))
    share = 100 * result["flipped"].values[kept].mean()
    assert f"wrong labels {share:.1f} % of the kept" in opened.choosing.readout.object


def test_without_a_choice_T_is_that_of_the_share(shared):
    opened = shared
    assert opened.choosing.length.value == 6  # our rule gives 0.3 of 6 epochs, but two windows of 3 at least
    opened.length = 4
    assert opened.choosing.length.value == 4


def test_rivals_and_overlap_are_those_of_the_run(shared, result):
    opened = shared
    for name in ("el2n", "ccs", "random"):
        opened.selector = name
        kept = opened.choosing.choices()[name].values
        np.testing.assert_array_equal(kept, result[f"kept_{name}"])
    value = np.array(opened.choosing.overlap.source.data["value"]).reshape(14, 14)[:12, :12]  # the last two: in strata
    np.testing.assert_allclose(value, result["overlap"].values, atol=1e-6)


def test_by_class_leaves_no_class_empty(shared, result):
    opened = shared
    opened.keep = 0.01  # 13 samples for ten classes
    opened.balanced = True
    assert (np.array(opened.choosing.bars.source.data["kept"]) >= 1).all()
    assert "is left" not in opened.choosing.readout.object


def test_the_index_list_tells_what_is_kept(shared, result):
    opened = shared
    opened.keep, opened.selector = 0.2, "el2n"
    table = pd.read_csv(io.BytesIO(opened.choosing.table(".csv").read()))
    assert len(table) == result.sizes["sample"]
    assert table["kept"].sum() == budget(len(table), 0.2)
    assert table.loc[table["kept"], "score"].min() >= table.loc[~table["kept"], "score"].max()
    parquet = pytest.importorskip("fastparquet").ParquetFile(opened.choosing.table(".parquet")).to_pandas()
    assert parquet["kept"].tolist() == table["kept"].tolist()


def test_the_coreset_file_opens_as_data_and_can_be_trained_on(page, result, root):
    opened = page()
    opened.keep = 0.1
    kept = result["sample"].values[opened.choosing.choices()["tdds"].values]
    opened.choosing.open()
    assert opened.scene.endswith(".yml")
    assert not opened.alert.visible
    scene = open_scene(opened.scene)
    assert sorted(scene["sample"].values[scene["split"].values == "train"]) == sorted(kept)
    assert (scene["split"].values == "test").sum() == result.sizes["test"]
    assert opened.result is None
    outcome = execution.execute("tdds", opened.scene, {"epochs": 3, "J": 3, "batch": 64, "compare": []})
    assert outcome.result.sizes["sample"] == len(kept)


def test_a_coreset_keeps_the_wrong_labels_it_was_chosen_under(page, result):
    opened = page()
    opened.keep = 0.2
    kept, flipped = opened.choosing.choices()["tdds"].values, result["flipped"].values
    assert opened.runner.form.overrides["label_noise"] == 0.2
    opened.choosing.open()
    scene = open_scene(opened.scene)
    assert scene["wrong_label"].values.sum() == (kept & flipped).sum() > 0
    trained = dict(zip(result["sample"].values, result["label"].values, strict=True))
    for sample, label, wrong in zip(scene["sample"].values, scene["label"].values, scene["wrong_label"].values, strict=True):
        assert not wrong or trained[sample] == label
    assert "label_noise" not in opened.runner.form.overrides  # what is wrong stays wrong, and no more is made wrong


def test_a_coreset_of_data_with_a_truth_file_opens(page, tmp_path):
    import scipy.io

    cube, truth, runs_of = tmp_path / "cube.mat", tmp_path / "truth.mat", tmp_path / "runs"
    random = np.random.default_rng(0)
    scipy.io.savemat(cube, {"data": random.normal(size=(24, 24, 8)), "other": random.normal(size=(24, 24, 8))})
    scipy.io.savemat(truth, {"map": (np.arange(24 * 24).reshape(24, 24) // 5) % 2})
    keys = {"cube": "data", "truth": "map"}
    options = {**TINY, "block": 6, "label_noise": 0.0}
    execution.execute("tdds", Source(cube, truth, keys), options, runs_of / "pixels")
    address = {"truth": str(truth), "keys": "cube=data, truth=map"}
    opened = page(str(cube), run="pixels", root=runs_of, address=address)
    assert not opened.choosing.opener.disabled
    kept = int(opened.choosing.choices()["tdds"].values.sum())
    opened.choosing.open()
    assert opened.scene.endswith(".yml")
    assert not opened.alert.visible
    assert (opened.truth, opened.keys) == ("", "")
    assert int((opened.data["split"].values == 0).sum()) >= kept
    assert execution.execute("tdds", opened.scene, {**options, "compare": []}).result.sizes["sample"] == kept


def test_chips_in_memory_have_no_name_that_a_file_could_give(page, tmp_path):
    opened = page(open_scene("digits").load(), run=None, root=tmp_path / "runs")
    assert "cannot be given to a separate process" in opened.choosing._unnamed()


def test_the_cumulative_curve_ends_at_one_and_rises_fastest_first(shared, result):
    opened = shared
    opened.selector = "el2n"
    drawn = opened.choosing.cumulative.source.data
    assert drawn["name"] == ["TDDS", "EL2N"]
    for x, y in zip(drawn["xs"], drawn["ys"], strict=True):
        assert (x[0], y[0], x[-1]) == (0, 0, 1)
        assert y[-1] == pytest.approx(1)
        assert (np.diff(y) >= 0).all()
        assert (y >= x - 1e-9).all()
    opened.selector = "aum"  # margins are negative too: they have no share of a whole
    assert opened.choosing.cumulative.source.data["name"] == ["TDDS"]
    opened.keep = 0.25
    assert opened.choosing.cumulative.cut.data == {"x": [0.25]}


def test_the_score_is_painted_on_the_scene(page, scene_file, tmp_path):
    execution.execute("tdds", str(scene_file), {**TINY, "block": 6, "label_noise": 0.0}, tmp_path / "runs" / "pixels")
    opened = page(str(scene_file), run="pixels", root=tmp_path / "runs")
    result = runs.result(tmp_path / "runs" / "pixels")
    assert opened.score._maps.visible
    shown = opened.score.painted.source.data["own"][0]
    known = np.isfinite(result["score_map"].values)
    np.testing.assert_array_equal(np.isfinite(shown), known)
    np.testing.assert_allclose(opened.film.S[6], result["score_by_T"].sel(T=6), rtol=1e-6)
    y, x = opened.film.place[7]
    opened.score._tapped(int(y), int(x))
    assert opened.picked == [f"{y},{x}"]
    assert opened.score.frame.marks.data["x"] == [x]


# --- accuracy -----------------------------------------------------------------------------------------------------------


def test_accuracies_are_gathered_by_share_and_seed():
    def run(seed, tdds, random):
        numbers = {"accuracy_full": 0.9 + seed / 100, "accuracy_best_tdds": 1.0, "accuracy_tdds": tdds, "keep": 0.3}
        return {"seed": seed, "keep": 0.3}, {**numbers, "accuracy_random_balanced_at_0.1": random}

    again = run(1, 0.8, 0.5)
    values, full = gathered([run(0, 0.7, 0.4), run(1, 0.1, 0.1), again])
    assert values == {"tdds": {0.3: [0.7, 0.8]}, "random_balanced": {0.1: [0.4, 0.5]}}  # of equal runs the last
    assert full == {0: 0.9, 1: pytest.approx(0.91)}


def test_the_accuracy_tab_shows_the_run(shared, root):
    opened = shared
    numbers = runs.metrics(root / "one")
    shown = opened.measured.accuracy.sources["tdds"].data
    assert shown["y"].tolist() == [numbers["accuracy_tdds_at_0.1"], numbers["accuracy_tdds"]]
    assert f">{numbers['accuracy_random']:.4f}<" in opened.measured.table.object
    assert opened.measured.lines.sources["TDDS"].data["y"][-1] == numbers["accuracy_tdds"]
    assert "1 finished run" in opened.measured.text.object


def test_several_runs_give_a_spread(page, root, tmp_path):
    for seed in (0, 1):
        execution.execute("tdds", "digits", {**TINY, "budgets": [], "seed": seed}, tmp_path / f"seed{seed}")
    execution.execute("tdds", "digits", {**TINY, "budgets": [], "epochs": 5, "seed": 2}, tmp_path / "other")
    opened = page(root=tmp_path, run="seed0")
    seen = [runs.metrics(tmp_path / f"seed{s}")["accuracy_tdds"] for s in (0, 1)]
    shown = opened.measured.accuracy.sources["tdds"].data
    assert shown["y"].tolist() == [pytest.approx(np.mean(seen))]
    assert shown["high"] - shown["y"] == pytest.approx(np.std(seen, ddof=1))
    assert shown["runs"] == [2]  # the run with other settings is not one of them
    assert spread(seen) in opened.measured.table.object


# --- what the page is made of -------------------------------------------------------------------------------------------


def test_a_film_without_trajectories_still_has_the_scores(root, result):
    film = Film()
    film.finish(result.drop_vars(["p_label", "contribution"]))
    assert film.epochs == []
    assert sorted(film.S) == [3, 4, 5, 6]


def test_pictures_of_pixels_are_their_surroundings(small_scene):
    pictures = Pictures(small_scene.load())
    shown = pictures.of(["0,0", "12,7"])
    assert shown.shape == (2, 9, 9, 3)
    np.testing.assert_array_equal(shown[1], pictures.ground[8:17, 3:12])
    np.testing.assert_array_equal(shown[0][4:, 4:], pictures.ground[:5, :5])
    assert (shown[0][:4] == 0).all()  # beyond the edge


class Several(Settings):
    compare: tuple[str, ...] = Field(("tdds", "random"), description="several names")
    budgets: tuple[float, ...] = Field((), description="several numbers")
    augment: Literal["crop-flip"] | None = Field(None, description="one or none")
    log: str | None = Field(None, description="a folder")


def test_a_form_takes_several_values_and_none():
    form = Form(Several)
    assert form.overrides == {}
    assert form.widgets["compare"].value == "tdds, random"
    assert form.widgets["augment"].options == ["none", "crop-flip"]
    form.widgets["budgets"].value = "0.5, .1"
    form.widgets["compare"].value = "ccs"
    form.widgets["augment"].value = "crop-flip"
    form.widgets["log"].value = "here"
    config = override(Several(), form.overrides)
    assert config == Several(compare=("ccs",), budgets=(0.5, 0.1), augment="crop-flip", log="here")
    form.set({"budgets": [0.2], "compare": []})
    assert override(Several(), form.overrides) == Several(compare=(), budgets=(0.2,))
