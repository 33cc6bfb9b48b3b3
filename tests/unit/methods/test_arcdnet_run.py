"""AR-CDNet on scenes: what trains and what tests, crops, missing pixels, checkpoints, controls, rivals, weights put to use."""

from __future__ import annotations

import io
from itertools import islice

import numpy as np
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench.config import override
from workbench.data.synth_change import simulate, small
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import execute
from workbench.methods.arcdnet import Config, run
from workbench.methods.arcdnet.pairs import TEST, TRAIN, UNUSED, VAL, Crops, enlarged, pairs_of
from workbench.methods.arcdnet.running import learners

QUICK = {"width": 2, "steps": 4, "batch": 2, "crop": 32, "show_every": 2, "rivals": [], "block": 32}


def config(**settings) -> Config:
    return override(Config(), QUICK | settings)


@pytest.fixture(scope="module")
def tiles() -> xr.Dataset:
    return small(seed=0).compute()


@pytest.fixture(scope="module")
def one() -> xr.Dataset:
    return simulate(size=128, seed=2).compute()


# --- what trains and what tests ---------------------------------------------------------------------------------------


def test_a_set_is_split_by_pair_as_it_says(tiles):
    pairs = pairs_of(tiles, config())
    tests = {str(i) for i in pairs.ids[pairs.of(TEST)]}
    assert tests == {str(i) for i in tiles["sample"].values[tiles["split"].values == "test"]}
    assert len(pairs.of(VAL)) >= 1
    assert set(pairs.of(TRAIN)) | set(pairs.of(VAL)) | set(pairs.of(TEST)) == set(range(24))
    assert not set(pairs.of(TRAIN)) & (set(pairs.of(VAL)) | set(pairs.of(TEST)))


def test_without_a_split_the_seed_draws_one(tiles):
    scene = tiles.drop_vars("split")
    first, again, other = (pairs_of(scene, config(seed=s)).part for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert len(np.unique(np.where((first == TEST).any((1, 2)))[0])) == 6  # a quarter of 24


def test_one_pair_is_split_by_squares(one):
    pairs = pairs_of(one, config())
    assert pairs.single
    for rows in range(0, 128, 32):
        for columns in range(0, 128, 32):
            assert len(np.unique(pairs.part[0, rows : rows + 32, columns : columns + 32])) == 1
    for part in (TRAIN, VAL, TEST):
        assert ((pairs.part == part) & (pairs.truth == 1)).any()


def test_what_is_missing_or_not_labelled_is_of_no_part(one):
    scene = one.copy(deep=True)
    scene["before"].values[1, :10] = np.nan
    scene["after"].values[0, :, :5] = np.nan
    scene["truth"].values[50:60] = -1
    part = pairs_of(scene, config()).part[0]
    for place in ((slice(0, 10), slice(None)), (slice(None), slice(0, 5)), (slice(50, 60), slice(None))):
        assert (part[place] == UNUSED).all()


@pytest.mark.parametrize("names", [{0: 0, 1: 255}, {0: 0, 1: 3}])
def test_every_label_above_zero_is_change(tiles, names):
    scene = tiles.copy(deep=True)
    scene["truth"].values[:] = np.vectorize(names.get)(scene["truth"].values)
    np.testing.assert_array_equal(pairs_of(scene, config()).truth, tiles["truth"])


def test_bands_are_scaled_by_training_pixels(tiles):
    pairs = pairs_of(tiles, config())
    mean, std = pairs.moments(config())
    used = np.concatenate(
        [tiles[d].values[pairs.of(TRAIN)].transpose(1, 0, 2, 3).reshape(3, -1) for d in ("before", "after")], 1
    )
    np.testing.assert_allclose(mean, used.mean(1), rtol=1e-4)
    np.testing.assert_allclose(std, used.std(1), rtol=1e-4)
    np.testing.assert_allclose(pairs.moments(config(scaling="imagenet"))[0], [0.485, 0.456, 0.406])


def test_sar_is_trained_on_as_logarithms():
    scene = simulate(size=128, seed=1, modality="sar").compute()
    pairs = pairs_of(scene, config())
    step = float(scene["before"].attrs.get("step", 1e-3))
    np.testing.assert_allclose(pairs.before[0], np.log(scene["before"] + step), rtol=1e-5)
    assert pairs_of(scene, config(transform="linear")).log is None


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda s: s.assign(truth=s["truth"] * 0), "0 changed"),
        (lambda s: s.drop_vars("truth"), "learns from truth"),
        (lambda s: s.isel(sample=[0]), "No labelled pixel is left|changed"),
        (lambda s: s.drop_vars("after"), "needs 'after'"),
        (lambda s: s.assign(before=s["before"] * np.nan), "known on both dates"),
    ],
    ids=["no change", "no truth", "one chip", "one date", "all missing"],
)
def test_unusable_pairs_are_input_errors(tiles, spoil, match):
    with pytest.raises(InputError, match=match):
        next(run(spoil(tiles), config()))


def test_settings_that_do_not_go_together(tiles):
    with pytest.raises(InputError, match="only network='full'"):
        next(run(tiles, config(encoder="x.pth")))
    with pytest.raises(InputError, match="for 3 bands; this scene has 2"):
        next(run(tiles.isel(band=[0, 1]), config(scaling="imagenet")))
    with pytest.raises(InputError, match="twice"):
        config(rivals=["fc-ef", "fc-ef"])


# --- crops ------------------------------------------------------------------------------------------------------------


def test_crops_hold_training_pixels_only_where_they_count(one):
    pairs = pairs_of(one, config())
    crops = Crops(pairs, config(augment=[], batch=16))
    torch.manual_seed(0)
    batch = crops.draw()
    assert batch.before.shape == (16, 3, 32, 32)
    assert (batch.valid.sum((1, 2, 3)) > 0).all()
    truth = torch.from_numpy((pairs.truth[0] == 1).astype(np.float32))
    train = torch.from_numpy((pairs.part[0] == TRAIN).astype(np.float32))
    for n in range(16):  # each is a window of the pair, and its labels are that window's
        starts = (pairs.before[0, 0, :97, :97] == batch.before[n, 0, 0, 0]).nonzero().tolist()
        r, c = next((r, c) for r, c in starts if torch.equal(pairs.before[0, :, r : r + 32, c : c + 32], batch.before[n]))
        assert torch.equal(batch.y[n, 0], truth[r : r + 32, c : c + 32])
        assert torch.equal(batch.valid[n, 0], train[r : r + 32, c : c + 32])


def test_augmentation_moves_images_and_labels_together():
    size = 32
    ramp = torch.arange(size, dtype=torch.float32).expand(1, size, size)
    y = (ramp > 15.5).float()
    a, b, label, _ = enlarged(ramp, ramp + 1, y, torch.ones_like(y), 4)
    assert a.shape == (1, 32, 32)
    assert float((a - (b - 1)).abs().max()) < 1e-5
    assert ((a > 15.5).float() == label).float().mean() > 0.96
    assert (float(a.min()), float(a.max())) == pytest.approx((4, 27), abs=0.5)


def test_a_missing_pixel_that_augmentation_spreads_does_not_count():
    a = torch.rand(3, 32, 32)
    a[:, 16, 16] = torch.nan
    grown, _, _, valid = enlarged(a, torch.rand(3, 32, 32), torch.zeros(1, 32, 32), torch.ones(1, 32, 32), 3)
    assert torch.equal(torch.isfinite(grown).all(0), valid[0] > 0)
    assert 0 < int((valid == 0).sum()) < 20


def test_dates_are_exchanged_half_of_the_time(tiles):
    pairs = pairs_of(tiles, config())
    torch.manual_seed(0)
    crops = Crops(pairs, config(augment=["exchange"], batch=64))
    batch = crops.draw()
    swapped = sum(any(torch.equal(batch.before[n], after) for after in pairs.after) for n in range(64))
    assert 18 < swapped < 46


def test_images_smaller_than_a_crop_are_filled_up(tiles):
    cut = tiles.isel(y=slice(0, 20), x=slice(0, 27))
    batch = Crops(pairs_of(cut, config()), config(augment=[])).draw()
    assert batch.y.shape == (2, 1, 32, 32)
    assert torch.isnan(batch.before[..., 20:, :]).all()
    assert float(batch.valid[..., 20:, :].sum() + batch.valid[..., 27:].sum()) == 0
    assert drain(run(cut, config(steps=2))).result["change"].shape == (8, 20, 27)


# --- the run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended(tiles):
    return played(run(tiles, config(rivals=["fc-siam-diff"], measures=["mc-dropout", "ensemble"], passes=2)))


def test_events(ended):
    events, _ = ended
    names = learners(config(rivals=["fc-siam-diff"], measures=["mc-dropout", "ensemble"]))
    assert names == ["arcdnet", "fc_siam_diff", "mc_dropout", "ensemble_2", "ensemble_3"]
    assert [e.step for e in events] == list(range(21))
    assert {"before", "after", "truth", "change", "uncertainty", "target"} == set(events[0].arrays)
    assert {"loss", "loss_change", "loss_side_2", "loss_side_3", "loss_side_4", "loss_uncertainty", "floor", "lr"} <= set(
        events[1].scalars
    )
    for event in events[1:5]:
        s = event.scalars
        parts = [v for k, v in s.items() if k.startswith("loss_")]
        assert s["loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert s["loss_uncertainty"] >= s["floor"]
        assert bool(event.arrays) == (event.step % 2 == 0)
    shown = events[2].arrays
    target = np.abs((events[0].arrays["truth"] == 1) - shown["change"])
    np.testing.assert_allclose(shown["target"], target, atol=1e-6)
    assert "loss/fc_siam_diff" in events[5].scalars
    assert "val_f1/fc_siam_diff" in events[8].scalars


def test_the_result(ended, tiles):
    result = ended[1].result
    tests = tiles["sample"].values[tiles["split"].values == "test"]
    assert list(result["sample"].values) == list(tests)
    for name in ("change", "uncertainty", "change_fc_siam_diff", "change_cva", "change_mc_dropout", "change_ensemble"):
        assert result[name].dims == ("sample", "y", "x")
        assert 0 <= float(result[name].min()) <= float(result[name].max()) <= 1
    assert list(result["rival"].values) == ["arcdnet", "fc_siam_diff", "mc_dropout", "ensemble", "cva", "pca_kmeans"]
    measures = [
        "uncertainty",
        "max_probability",
        "entropy",
        "variance",
        "probability",
        "temperature",
        "isotonic",
        "shuffled",
        "untrained",
        "mc_dropout",
        "ensemble",
    ]
    assert list(result["measure"].values) == measures
    scores = result["uncertainty_scores"]
    assert 0 <= float(scores.sel(measure="uncertainty", quantity="auroc_given_isotonic")) <= 1
    assert np.isnan(
        scores.sel(measure=["mc_dropout", "ensemble"], quantity="auroc_given_isotonic")
    ).all()  # another map's errors
    np.testing.assert_array_equal(result["uncertainty_probability"], result["change"])
    np.testing.assert_array_equal(result["truth"], tiles["truth"].sel(sample=tests))
    same = (
        result["uncertainty_scores"].sel(quantity="error_auroc", measure=["max_probability", "entropy", "variance"]).values
    )
    np.testing.assert_allclose(same, same[0], atol=1e-6)  # they rank alike
    assert float(result["scores"].sel(rival="cva", metric="f1")) == pytest.approx(float(result["f1_cva"]))
    np.testing.assert_array_equal(result["ambiguity"], tiles["ambiguity"].sel(sample=tests))
    assert {"krm_mask", "krm_reverse", "krm_disagreement", "view_change", "view_before"} <= set(result.data_vars)


def test_scores_are_those_of_the_maps_on_test_pixels(ended):
    result = ended[1].result
    p, y = result["change"].values > 0.5, result["truth"].values
    tp, fp, fn = (int((a & b).sum()) for a, b in ((p, y == 1), (p, y == 0), (~p, y == 1)))
    assert float(result["f1"]) == pytest.approx(2 * tp / (2 * tp + fp + fn))


def test_one_pair_gives_a_whole_map_and_scores_on_its_test_part(one):
    result = drain(run(one, config())).result
    assert result["change"].dims == ("y", "x")
    assert result["change"].shape == (128, 128)
    chosen = result["part"].values == TEST
    p, y = result["change"].values[chosen] > 0.5, result["truth"].values[chosen]
    assert float(result["uncertainty_scores"].sel(measure="entropy", quantity="error_rate")) == pytest.approx(
        (p != (y == 1)).mean()
    )


def test_missing_pixels_change_nothing_else_of_the_maps(tiles):
    scene = tiles.copy(deep=True)
    at = {"sample": 20, "y": slice(4, 9), "x": slice(0, 32)}
    scene["before"][at] = np.nan
    result = drain(run(scene, config())).result
    lost = np.isnan(result["change"].sel(sample=scene["sample"][20]).values)
    assert lost.sum() == 5 * 32
    assert lost[4:9].all()
    for name in ("uncertainty", "uncertainty_entropy", "change_cva"):
        assert np.isnan(result[name].sel(sample=scene["sample"][20]).values[4:9]).all()


def test_labels_held_out_do_not_enter_the_training(tiles):
    other = tiles.copy(deep=True)
    held = pairs_of(tiles, config()).part == TEST
    other["truth"].values[held] = 1 - other["truth"].values[held]
    a, b = (list(islice(run(scene, config()), 3)) for scene in (tiles, other))
    assert [e.scalars for e in a] == [e.scalars for e in b]
    held[:] = False
    held[pairs_of(tiles, config()).of(TRAIN)] = True  # and this test can fail
    other["truth"].values[held] = 1 - other["truth"].values[held]
    assert [e.scalars for e in islice(run(other, config()), 3)] != [e.scalars for e in a]


@pytest.mark.long
@pytest.mark.parametrize("after", [2, 5])
def test_a_continued_run_gives_the_same_numbers(tiles, after):
    c = config(rivals=["fc-ef"], steps=3)
    whole, outcome = played(run(tiles, c))
    event = next(islice(run(tiles, c), after, None))
    kept = io.BytesIO()
    torch.save(event.state(), kept)
    kept.seek(0)
    rest, again = played(run(tiles, c, state=torch.load(kept, weights_only=True)))
    assert [e.step for e in rest] == [e.step for e in whole][after + 1 :]
    assert [e.scalars for e in rest] == [e.scalars for e in whole[after + 1 :]]
    xr.testing.assert_identical(again.result, outcome.result)
    with pytest.raises(InputError, match="other settings: steps=3 there and 4 here"):
        next(run(tiles, config(rivals=["fc-ef"], steps=4), state=event.state()))


@pytest.mark.long
def test_controls_change_nothing_for_the_network(tiles):
    alone, beside = (played(run(tiles, config(controls=on))) for on in (False, True))
    assert [e.scalars for e in alone[0]] == [e.scalars for e in beside[0]]
    np.testing.assert_array_equal(alone[1].result["change"], beside[1].result["change"])
    assert "uncertainty_shuffled" not in alone[1].result
    shuffled, untrained = (beside[1].result[f"uncertainty_{n}"] for n in ("shuffled", "untrained"))
    assert float(abs(shuffled - untrained).max()) > 0


def test_without_the_branch_there_is_entropy_only(tiles):
    outcome = drain(run(tiles, config(oue=False, krm=False)))
    assert "uncertainty" not in outcome.result
    assert float(outcome.result["error_auroc"]) == float(outcome.result["error_auroc_entropy"])


@pytest.mark.long
def test_weights_of_a_run_are_applied_to_other_pairs(tiles, one, tmp_path):
    folder = tmp_path / "run"
    outcome = execute("arcdnet", tiles, QUICK, folder)
    again = execute("arcdnet", tiles, {"weights": str(folder)}, tmp_path / "again")
    tests = outcome.result["sample"].values
    np.testing.assert_allclose(again.result["change"].sel(sample=tests), outcome.result["change"], atol=1e-6)
    assert "f1" in again.result
    whole = execute("arcdnet", one.drop_vars("truth"), {"weights": str(folder / "weights.safetensors")})
    assert whole.result["change"].shape == (128, 128)
    assert "f1" not in whole.result
    with pytest.raises(InputError, match="trained with 3 bands"):
        execute("arcdnet", one.isel(band=[0]), {"weights": str(folder)})


@pytest.mark.long
@pytest.mark.parametrize(
    "settings", [{"network": "full", "width": 4}, {"compat": True}, {"difference": "abs"}, {"context": "global"}]
)
def test_every_kind_of_network_trains(tiles, settings):
    events = list(islice(run(tiles, config(steps=2, **settings)), 3))
    assert np.isfinite(events[-1].scalars["loss"])
