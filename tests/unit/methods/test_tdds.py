"""The TDDS score by hand and by its invariants; the room on small scenes."""

import io
import itertools
import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional as F

from workbench.baselines.coresets import select
from workbench.config import override
from workbench.data.chips import digits
from workbench.data.coresets import subset
from workbench.errors import InputError
from workbench.event import drain, tee
from workbench.methods import tdds
from workbench.methods.tdds.running import run
from workbench.methods.tdds.samples import samples_of
from workbench.methods.tdds.scoring import TDDS, change, ema_weights, spread, trajectory_length
from workbench.methods.tdds.settings import SMOKE, Config
from workbench.parts.dynamics import dynamics, score
from workbench.parts.schedules import cosine

P = [0.5, 0.8, 0.6, 0.9]  # the card's example: p of class one in four epochs, two classes


def logits_for(p) -> np.ndarray:
    """(T,) probabilities of class one -> logits (T, 1, 2)."""
    p = np.asarray(p, float)
    return np.log(np.stack([p, 1 - p], -1))[:, None, :]


def walk(T=12, N=9, C=5, seed=0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(0, 1.5, (T, N, C)), 0).astype(np.float32)


def of(logits, scorer) -> np.ndarray:
    return score(dynamics(logits), scorer).values


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_worked_example_depth_one():
    p = torch.tensor([[q, 1 - q] for q in P], dtype=torch.float64)
    # d_0 = 0.8 ln 1.6 + 0.2 |ln 0.4| = 0.376003 + 0.183258
    np.testing.assert_allclose(change(p[1:], p[:-1]), [0.559261, 0.449868, 0.503548], atol=5e-7)
    # the classes cancel in KL: 0.376003 - 0.183258
    np.testing.assert_allclose(change(p[1:], p[:-1], "kl"), [0.192745, 0.104650, 0.226289], atol=5e-7)
    # the label's loss, label 0: ln(0.5 / 0.8), ln(0.8 / 0.6), ln(0.6 / 0.9)
    np.testing.assert_allclose(
        change(p[1:], p[:-1], "loss", torch.zeros(3, dtype=torch.int64)), [-0.470004, 0.287682, -0.405465], atol=5e-7
    )


def test_worked_example_depth_two_and_score():
    # |0.559261 - 0.449868| / sqrt 2 = 0.0773525; |0.449868 - 0.503548| / sqrt 2 = 0.0379574
    window = torch.tensor([[0.559261, 0.449868], [0.449868, 0.503548]], dtype=torch.float64)
    np.testing.assert_allclose(spread(window), [0.0773525, 0.0379574], atol=1e-6)
    # S = 0.9 x 0.0379574 + 0.09 x 0.0773525
    np.testing.assert_allclose(of(logits_for(P), TDDS(J=3, T=4, beta=0.9)), [0.0411234], atol=1e-6)
    assert abs(of(logits_for(P), TDDS(J=3, T=4, difference="kl"))[0] - 0.0411234) > 0.01


def test_weights_of_the_windows():
    np.testing.assert_allclose(ema_weights(13, 10, 0.9), [0.0009, 0.009, 0.09, 0.9])  # the newest is last
    with pytest.raises(InputError, match="does not fit"):
        ema_weights(9, 10)


def test_length_by_budget():
    assert [trajectory_length(k, 200, 5) for k in (0.7, 0.5, 0.3, 0.2, 0.1)] == [90, 70, 60, 20, 10]
    assert trajectory_length(0.1, 30, 5) == 10  # 1.5 epochs would be too few: two windows
    assert trajectory_length(0.1, 30, 20) == 30  # and never more than there are
    assert trajectory_length(1.0, 5, 5) == 5


# --- invariants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("difference", ["abs", "kl"])
def test_constant_probabilities_score_nothing(difference):
    still = np.repeat(walk(1), 12, 0)
    assert (of(still, TDDS(5, difference=difference)) == 0).all()


def test_constant_change_scores_nothing():
    # two states in turn whose change is the same both ways: p = (a, b), then (b, a)
    turns = np.array([logits_for([0.7])[0], logits_for([0.3])[0]] * 6)
    recorded = of(turns, TDDS(5))
    assert (recorded == 0).all()
    assert change(torch.tensor([[0.7, 0.3]]), torch.tensor([[0.3, 0.7]]))[0] > 0.5


@pytest.mark.parametrize("difference", ["abs", "kl"])
def test_a_constant_on_all_logits_of_a_row_is_nothing(difference):
    logits = walk()
    moved = logits + np.random.default_rng(1).normal(0, 5, (12, 9, 1)).astype(np.float32)
    np.testing.assert_allclose(
        of(moved, TDDS(5, difference=difference)), of(logits, TDDS(5, difference=difference)), atol=2e-6
    )


def test_names_of_classes_do_not_matter():
    logits = walk()
    np.testing.assert_allclose(of(logits[:, :, [3, 0, 4, 1, 2]], TDDS(5)), of(logits, TDDS(5)), rtol=1e-12)


def test_epochs_after_T_are_ignored():
    logits = walk()
    np.testing.assert_array_equal(of(logits, TDDS(5, T=8)), of(logits[:8], TDDS(5)))
    assert not np.allclose(of(logits, TDDS(5)), of(logits, TDDS(5, T=8)))


def test_score_has_scale():
    d = torch.rand(9, 4, dtype=torch.float64)
    torch.testing.assert_close(spread(2 * d), 2 * spread(d))


def test_score_is_the_weighted_sum_of_windows():
    logits, J, T = walk(), 5, 12
    p = torch.softmax(torch.from_numpy(logits).double(), -1)
    d = torch.stack([change(a, b) for b, a in itertools.pairwise(p)])
    windows = torch.stack([spread(d[k : k + J - 1]) for k in range(T - J + 1)]).numpy()
    np.testing.assert_allclose(of(logits, TDDS(J)), ema_weights(T, J) @ windows, atol=1e-7)


def test_coresets_are_nested():
    found = xr.DataArray(of(walk(N=60), TDDS(5)), dims="sample")
    sets = [set(np.flatnonzero(select(found, keep))) for keep in (0.1, 0.3, 0.7, 1.0)]
    assert [len(s) for s in sets] == [6, 18, 42, 60]
    assert sets[0] < sets[1] < sets[2] < sets[3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"J": 5, "T": 4}, "does not fit"),
        ({"J": 2}, "at least 3"),
        ({"beta": 0.0}, "beta"),
        ({"difference": "l2"}, "not 'l2'"),
    ],
)
def test_settings_that_make_no_score(options, words):
    with pytest.raises(InputError, match=words):
        TDDS(**options)


def test_too_few_epochs():
    with pytest.raises(InputError, match="needs 10 epochs; 7 were recorded"):
        of(walk(7), TDDS(10))
    with pytest.raises(InputError, match="needs 8 epochs"):
        of(walk(7), TDDS(5, T=8))
    with pytest.raises(InputError, match="needs labels"):
        of(walk(7), TDDS(5, difference="loss"))


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_crop_flip_moves_whole_images():
    torch.manual_seed(0)
    x = torch.arange(1, 65, dtype=torch.float32).reshape(1, 1, 8, 8).repeat(200, 2, 1, 1)
    y = tdds.crop_flip(x, torch.zeros(2))
    options = {}
    for dy, dx, mirrored in itertools.product(range(9), range(9), (False, True)):
        moved = F.pad(x[:1, :1], (4, 4, 4, 4))[..., dy : dy + 8, dx : dx + 8]
        options[(moved.flip(-1) if mirrored else moved).numpy().tobytes()] = (dy, dx, mirrored)
    assert (y[:, 0] == y[:, 1]).all()  # bands move together
    seen = {options[row.numpy().tobytes()] for row in y[:, 0]}  # KeyError if an image is none of these
    assert len(seen) > 80
    assert {m for *_, m in seen} == {True, False}


def test_crop_flip_pads_with_black_as_loaders_that_pad_before_they_standardise():
    """The official order: pad the image with 0, crop, then subtract the mean and divide by the deviation."""
    raw = torch.rand(30, 3, 8, 8) * 255
    scene = xr.Dataset(
        {"image": (("sample", "band", "y", "x"), raw.numpy()), "label": ("sample", np.arange(30) % 3)},
        {"sample": [str(i) for i in range(30)]},
    )
    samples = samples_of(scene, Config(test_share=0.2))
    train = raw[torch.from_numpy(samples.train)]
    mean, deviation = train.mean((0, 2, 3)), train.std((0, 2, 3), correction=0)
    torch.manual_seed(3)
    theirs = (tdds.crop_flip(raw, torch.zeros(3)) - mean[:, None, None]) / deviation[:, None, None]
    torch.manual_seed(3)
    torch.testing.assert_close(tdds.crop_flip(samples.only, samples.blank["image"]), theirs, rtol=1e-4, atol=1e-4)


def test_accuracy_of_each_class_averages_to_the_accuracy():
    result = drain(
        tdds.run(digits(), override(Config(), {**SMOKE, "compare": ["tdds", "tdds_ccs"], "test_share": 0.3}))
    ).result
    count = np.bincount(digits()["label"].sel(sample=result["test_sample"]).values, minlength=10)
    for name in ("tdds", "tdds_ccs"):
        by_class = result["class_accuracy"].sel(budget=0.3, trained=name).values
        assert (by_class * count).sum() / count.sum() == pytest.approx(float(result[f"accuracy_{name}"]))
    assert (result["class_accuracy_full"].values * count).sum() / count.sum() == pytest.approx(
        float(result["accuracy_full"])
    )
    assert float(result["kept_tdds_ccs"].sum()) == float(result["kept"].sum())
    assert (result["kept_tdds_ccs"] != result["kept"]).any()


# --- samples of scenes ------------------------------------------------------------------------------------------------


def chips(n=60, classes=3, side=6, seed=0, split=False) -> xr.Dataset:
    """Simulated chips: a class is a bright band of its own, with noise; one in five is hard."""
    random = np.random.default_rng(seed)
    label = np.arange(n) % classes
    image = random.random((n, classes, side, side)).astype(np.float32) * 0.5
    image[np.arange(n), label] += np.where(np.arange(n) % 5 == 0, 0.05, 0.4)[:, None, None].astype(np.float32)
    scene = xr.Dataset(
        {
            "image": (("sample", "band", "y", "x"), image.clip(0, 1)),
            "label": ("sample", label, {"names": ["water", "grass", "roof"][:classes]}),
        },
        coords={"sample": [f"chip-{i:02d}" for i in range(n)]},
        attrs={"id": "chips", "simulated": "bright bands"},
    )
    return scene.assign_coords(split=("sample", np.where(np.arange(n) % 4, "train", "test"))) if split else scene


def pixels(size=24, seed=0) -> xr.Dataset:
    """A simulated scene of two classes in stripes of 6 columns, unlabelled in the first row; 5 bands."""
    random = np.random.default_rng(seed)
    truth = np.tile((np.arange(size) // 6 % 2 + 1).astype(np.int16), (size, 1))
    truth[0] = 0
    cube = random.normal(0, 0.3, (5, size, size)) + truth * np.linspace(0, 1, 5)[:, None, None]
    return xr.Dataset(
        {"hsi": (("band", "y", "x"), cube.astype(np.float32)), "truth": (("y", "x"), truth)},
        coords={"y": np.arange(size, dtype=float), "x": np.arange(size, dtype=float)},
        attrs={"id": "stripes", "simulated": "stripes"},
    )


SMALL = Config(epochs=6, J=3, T=5, batch=8, keep=0.4, iterations=12)


def test_held_out_part_is_by_class():
    samples = tdds.samples_of(chips(), SMALL)
    assert np.bincount(samples.label[samples.test]).tolist() == [5, 5, 5]
    assert not set(samples.train) & set(samples.test)
    other = tdds.samples_of(chips(), override(SMALL, {"seed": 1}))
    assert set(samples.test) != set(other.test)


def test_split_of_the_scene_is_kept():
    samples = tdds.samples_of(chips(split=True), SMALL)
    assert samples.test.tolist() == list(range(0, 60, 4))
    assert len(samples.train) == 45


def test_bands_are_standardised_over_training_samples():
    samples = tdds.samples_of(chips(), SMALL)
    rows = samples.only[samples.train]
    torch.testing.assert_close(rows.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_large_chips_are_averaged_down():
    scene = chips(side=6)
    samples = tdds.samples_of(scene, override(SMALL, {"size": 4}))
    assert samples.only.shape[-2:] == (4, 4)


@pytest.mark.parametrize("patch", [1, 3, 5])
def test_patches_of_training_and_test_do_not_overlap(patch):
    samples = tdds.samples_of(pixels(), override(SMALL, {"patch": patch, "block": 6}))
    assert samples.only.shape[1:] == (5, patch, patch)
    place = samples.position
    apart = np.abs(place[samples.train][:, None] - place[samples.test][None]).max(-1)
    assert apart.min() >= patch
    assert 0.2 < len(samples.test) / (23 * 24) < 0.35  # of all labelled; the gap between is left out
    # the middle of a patch is its pixel
    scene = pixels()
    raw = scene["hsi"].values[:, place[:, 0], place[:, 1]].T
    middle = samples.only[:, :, patch // 2, patch // 2].numpy()
    for band in range(5):
        assert np.corrcoef(raw[:, band], middle[:, band])[0, 1] > 0.99999
    assert samples.ids[0] == f"{place[0, 0]},{place[0, 1]}"


def test_the_leak_meter_is_told_for_pixels_of_one_scene_only():
    r = drain(run(pixels(), override(SMALL, {"compare": [], "block": 6}))).result
    assert 0 <= float(r["leak_split"]) <= 1
    assert "random pixels" in r["leak_random"].attrs["long_name"]
    assert "leak_split" not in drain(run(chips(), override(SMALL, {"compare": []}))).result


def test_a_class_may_be_missing_from_training():
    """As in a coreset that dropped it: the network still knows the class, and gets it wrong."""
    scene = chips().assign_coords(split=("sample", np.where(np.arange(60) % 3, "train", "test")))
    r = drain(run(scene, override(SMALL, {"compare": []}))).result
    assert r["label_total"].values.tolist() == [0, 20, 20]
    assert float(r["accuracy_full"]) == 0  # all that is tested is water


def test_one_marked_class_is_against_its_background(small_scene):
    samples = tdds.samples_of(small_scene, SMALL)
    assert samples.names[0] == "background"
    assert samples.classes == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: chips(classes=1), "at least two classes"),
        (lambda: chips().isel(sample=slice(0, 60, 3)), "at least two classes"),
        (lambda: pixels().assign(truth=pixels()["truth"] * 0), "at least two classes"),
        (lambda: chips().drop_vars("label"), "'label'"),
        (lambda: chips().drop_vars("image"), "'image'"),
        (lambda: chips().assign(image=chips()["image"] * np.nan), "missing"),
        (lambda: chips().assign(image=chips()["image"] * 1j), "complex"),
        (lambda: chips().isel(sample=0, drop=True).assign(label=chips()["label"]), "mixes"),
        (lambda: chips().assign_coords(split=("sample", ["test"] * 60)), "no training samples"),
        (
            lambda: chips().assign(
                label=chips()["label"].copy(data=np.arange(60) % 3 - 1).assign_attrs(names=["a", "b", "c"])
            ),
            "between 0 and 2",
        ),
    ],
)
def test_scenes_that_cannot_be_used(make, words):
    with pytest.raises(InputError, match=words):
        drain(run(make(), SMALL))


def test_wrong_labels_on_purpose():
    c = override(SMALL, {"label_noise": 0.2})
    samples = tdds.samples_of(chips(), c)
    changed = samples.label.numpy() != chips()["label"].values
    assert changed.sum() == 9 == round(0.2 * len(samples.train))
    np.testing.assert_array_equal(changed, samples.flipped)
    assert not changed[samples.test].any()


def test_a_coreset_that_has_wrong_labels_gets_no_more():
    whole = chips()
    wrong = np.zeros(whole.sizes["sample"], bool)
    wrong[tdds.samples_of(whole, SMALL).train[:3]] = True
    part = whole.assign_coords(wrong_label=("sample", wrong))
    samples = tdds.samples_of(part, SMALL)
    np.testing.assert_array_equal(samples.flipped, wrong)
    np.testing.assert_array_equal(samples.label.numpy(), whole["label"].values)
    with pytest.raises(InputError, match="3 labels of this coreset were made wrong"):
        tdds.samples_of(part, override(SMALL, {"label_noise": 0.1}))


# --- the run ----------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be():
    for changes, words in [
        ({"epochs": 4}, "J=5.*epochs=4"),
        ({"T": 4}, "between J=5 and epochs=30"),
        ({"keep": 0}, "keep"),
        ({"keep": 1.5}, "keep"),
        ({"compare": ["tdss"]}, "Did you mean 'tdds'"),
        ({"budgets": [0.2, 1.5]}, "above 0 and at most 1; 1.5"),
        ({"budgets": [0.2, 0.2]}, "must differ"),
        ({"networks": ["vggg"]}, "Did you mean 'vgg'"),
        ({"networks": ["vgg", "vgg"]}, "twice"),
        ({"patch": 4}, "odd"),
    ]:
        with pytest.raises(InputError, match=words):
            override(Config(), changes)
    assert override(Config(), tdds.PAPER).epochs == 200
    assert override(Config(), {"balance": "none", "T": "none", "compare": "[]"}) == Config(compare=())
    assert override(Config(), json.loads(Config().model_dump_json())) == Config()
    assert Config.model_validate(json.loads(SMALL.model_dump_json())) == SMALL


def test_run_on_chips():
    scene = chips(split=True)
    events, trace = [], run(scene, override(SMALL, {"label_noise": 0.1, "compare": ["tdds", "ccs"]}))
    outcome = drain(tee(trace, events.append))
    assert [e.step for e in events] == list(range(1, 19))
    assert {e.of for e in events} == {18}
    assert all(math.isfinite(v) for e in events for v in e.scalars.values())
    assert set(events[0].arrays) == {"p_label"}
    assert set(events[2].arrays) == {"p_label", "contribution", "score"}
    assert events[1].arrays["contribution"].shape == (45, 1)
    r = outcome.result
    # the last event's window is the last two changes of the result, and its score that of T = 6
    np.testing.assert_array_equal(events[5].arrays["contribution"].T, r["contribution"].sel(change=[5, 6]))
    np.testing.assert_array_equal(events[5].arrays["contribution"].window, [5, 6])
    np.testing.assert_allclose(events[5].arrays["score"], r["score_by_T"].sel(T=6), rtol=1e-6)
    np.testing.assert_allclose(r["score"], r["score_by_T"].sel(T=5), rtol=1e-6)
    # and the score follows from the changes
    d = torch.from_numpy(r["contribution"].values[:4]).double()
    windows = torch.stack([spread(d[k : k + 2]) for k in range(3)]).numpy()
    np.testing.assert_allclose(r["score"], ema_weights(5, 3) @ windows, rtol=1e-5, atol=1e-7)
    assert int(r["kept"].sum()) == 18 == round(0.4 * 45)
    assert r["score"].where(r["kept"]).min() >= r["score"].where(~r["kept"]).max()
    assert r["per_class"].sum("class").values.tolist() == [18] * 12
    assert set(r["sample"].values) == set(scene["sample"].values[scene["split"].values == "train"])
    for name in ("full", "tdds", "ccs"):
        assert 0 <= float(r[f"accuracy_{name}"]) <= float(r[f"accuracy_best_{name}"]) <= 1
        assert r[f"accuracy_{name}"].attrs["long_name"]
    assert float(r["noise_share_tdds"]) == pytest.approx(float(r["flipped"].where(r["kept"]).mean()))
    assert set(outcome.weights) == {"full", "tdds", "ccs"}


def test_run_on_pixels_paints_the_scene():
    scene = pixels()
    before = scene.copy(deep=True)
    trace = run(scene, override(SMALL, {"compare": []}))
    events = list(itertools.islice(trace, 6))
    r = drain(trace).result
    xr.testing.assert_identical(scene, before)
    np.testing.assert_array_equal(r["score_map"]["x"], scene["x"])
    y, x = r["sample_y"].values, r["sample_x"].values
    np.testing.assert_allclose(r["score_map"].values[y, x], r["score"], rtol=1e-6)
    assert int(np.isfinite(r["score_map"]).sum()) == r.sizes["sample"]
    assert np.isnan(r["score_map"].values[0]).all()  # unlabelled
    assert int((r["kept_map"] == 1).sum()) == int(r["kept"].sum())
    assert events[-1].arrays["score_map"].dims == ("y", "x")
    assert float(r["accuracy_full"]) > 0.9  # stripes are easy


def same(a: xr.Dataset, b: xr.Dataset):
    xr.testing.assert_identical(a, b)


@pytest.mark.long
@pytest.mark.parametrize("stop", [1, 4, 6, 7, 11, 12, 13, 18])
def test_interrupted_run_ends_the_same(tmp_path, stop):
    config = override(SMALL, {"augment": "crop-flip", "log": str(tmp_path / "a")})
    straight = drain(run(chips(), config))
    config = override(config, {"log": str(tmp_path / "b")})
    trace = run(chips(), config)
    event = list(itertools.islice(trace, stop))[-1]
    buffer = io.BytesIO()
    torch.save(event.state(), buffer)
    trace.close()
    buffer.seek(0)
    again = drain(run(chips(), config, state=torch.load(buffer, weights_only=True)))
    same(again.result.drop_attrs(deep=False), straight.result.drop_attrs(deep=False))
    for name, weights in straight.weights.items():
        for key, value in weights.items():
            torch.testing.assert_close(again.weights[name][key], value, rtol=0, atol=0)


def test_changed_data_is_noticed():
    trace = run(chips(), SMALL)
    state = next(trace).state()
    trace.close()
    for scene in (chips(seed=1), chips().assign(label=chips()["label"].copy(data=(np.arange(60) + 1) % 3))):
        with pytest.raises(InputError, match="changed between the runs"):
            next(run(scene, SMALL, state=state))
    with pytest.raises(InputError, match=r"other settings: lr=0.02 there and 0.1 here"):
        next(run(chips(), override(SMALL, {"lr": 0.1}), state=state))


def test_listener_and_dask_change_nothing():
    one = drain(run(chips(), SMALL)).result
    trace, outcome = run(chips().chunk(sample=7), SMALL), None
    while outcome is None:
        try:
            next(trace)
            torch.rand(3), np.random.rand(3)  # the listener draws
        except StopIteration as end:
            outcome = end.value
    same(outcome.result, one)


def test_clean_pass_and_balance():
    r = drain(run(chips(), override(SMALL, {"clean_pass": True, "balance": "class", "compare": []}))).result
    assert r["per_class"].sel(selector="tdds").values.tolist() == [6, 6, 6]
    plain = drain(run(chips(), override(SMALL, {"compare": []}))).result
    assert not np.allclose(r["score"], plain["score"])
    assert float(r["accuracy_full"]) == float(plain["accuracy_full"])  # looking changes nothing


def test_divergence_is_told():
    with pytest.raises(InputError, match="diverged"):
        drain(run(chips(), override(SMALL, {"lr": 10.0, "momentum": 0.99, "epochs": 30, "T": 20})))


def test_official_loss_scale():
    r = drain(run(chips(), override(SMALL, {"loss_scale": "official", "compare": ["tdds"]}))).result
    values = r["score"].values
    # all 18 kept are seen about equally often: the mean factor is near the mean normalised score of the kept
    expected = ((values - values.min()) / (values.max() - values.min()))[r["kept"].values].mean()
    assert float(r["loss_factor_tdds"]) == pytest.approx(expected, rel=0.5)
    assert float(r["loss_factor_tdds"]) < 1
    samples = tdds.samples_of(chips(), SMALL)
    ids = samples.ids[samples.train]
    weight = tdds.official_weight(xr.DataArray(np.linspace(2, 4, len(ids)), {"sample": ids}, "sample"), samples)
    np.testing.assert_allclose(weight[samples.train], np.linspace(0, 1, len(ids)), atol=1e-6)


# --- training on a selection ------------------------------------------------------------------------------------------


def test_train_on_is_what_the_run_does():
    r = drain(run(chips(), SMALL)).result
    outcome = drain(tdds.train_on(chips(), r["kept"], SMALL, name="tdds"))
    assert float(outcome.result["accuracy_tdds"]) == float(r["accuracy_tdds"])


def test_iterations_are_equal_whatever_is_kept():
    samples = tdds.samples_of(chips(), SMALL)
    ids = samples.ids[samples.train]
    for n in (2, 40):
        kept = xr.DataArray(np.arange(len(ids)) < n, {"sample": ids}, "sample")
        events = list(tdds.train_on(chips(), kept, SMALL))
        assert len(events) == 6
        assert events[-1].scalars["lr/coreset"] == 0
        assert events[0].scalars["lr/coreset"] == pytest.approx(cosine(2, 12, 0.02))


def test_further_budgets_are_trained_on_from_the_same_scores():
    settings = {"compare": ["tdds", "ccs"], "keep": 0.5, "budgets": [0.25, 0.5], "label_noise": 0.2}
    events = []
    outcome = drain(tee(run(chips(), override(SMALL, settings)), events.append))
    r = outcome.result
    alone = drain(run(chips(), override(SMALL, {**settings, "keep": 0.25, "budgets": []}))).result
    assert r["budget"].values.tolist() == [0.25, 0.5]
    assert r["trained"].values.tolist() == ["tdds", "ccs"]
    for name in ("tdds", "ccs"):
        assert float(r["accuracy"].sel(budget=0.5, trained=name)) == float(r[f"accuracy_{name}"])
        assert float(r["accuracy"].sel(budget=0.25, trained=name)) == float(r[f"accuracy_{name}_at_0.25"])
        assert float(r[f"accuracy_{name}_at_0.25"]) == float(alone[f"accuracy_{name}"])  # as if asked for alone
        assert float(r["noise_share"].sel(budget=0.25, selector=name)) == float(alone[f"noise_share_{name}"])
    assert r["budget_T"].values.tolist() == [5, 5]  # given; else by the share
    steps = [e.step for e in events]
    assert steps == sorted(set(steps))
    assert steps[-1] == events[-1].of
    assert {"loss/ccs", "loss/ccs@0.25"} <= {name for e in events for name in e.scalars}
    assert set(outcome.weights) == {"full", "tdds", "ccs"}


@pytest.mark.long
def test_coresets_of_one_network_are_trained_on_by_others():
    """The same kept samples and as many steps; a network that is the scoring one ends as it does."""
    config = Config(**SMOKE, network="cnn", networks=("mlp", "cnn"), compare=("tdds", "random"), budgets=(0.1,))
    events = []
    result = drain(tee(run(digits(), config), events.append)).result
    assert result["accuracy_by_network"].dims == ("network", "budget", "trained")
    assert result["accuracy_by_network"].shape == (2, 2, 2)
    for selector in ("tdds", "random"):
        for keep, end in ((0.3, ""), (0.1, "_at_0.1")):
            own = result["accuracy_by_network"].sel(network="cnn", trained=selector, budget=keep)
            assert (
                float(own) == float(result[f"accuracy_{selector}{end}"]) == float(result[f"accuracy_{selector}{end}_on_cnn"])
            )
    assert float(result["accuracy_full_on_mlp"]) != float(result["accuracy_full_on_cnn"])
    assert len(events) == events[-1].of == SMOKE["epochs"] * (1 + 4 + 2 * 5)
    assert "test_accuracy/tdds@0.1_on_mlp" in {name for e in events for name in e.scalars}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["cnn", "resnet10", "vgg", "mlp"])
def test_every_network_can_score(kind):
    result = drain(run(digits(), Config(**SMOKE, network=kind, compare=()))).result
    assert np.isfinite(result["score"]).all()
    assert np.isfinite(result["score_grand"]).all()  # reads the input of the last layer


def test_a_checkpoint_from_before_there_were_further_networks_continues():
    """Its identity does not name them; one of a run that has them is refused without them."""
    states = []
    drain(tee(run(digits(), Config(**SMOKE, compare=())), lambda e: states.append(e.state())))
    assert "networks" not in states[0]["about"]
    with pytest.raises(InputError, match="networks"):
        drain(run(digits(), Config(**SMOKE, compare=(), networks=("mlp",)), states[1]))


def test_a_run_with_further_budgets_continues_where_it_was():
    config = override(SMALL, {"compare": ["tdds", "random"], "budgets": [0.25]})
    whole, states = [], []
    outcome = drain(tee(run(chips(), config), whole.append, lambda event: states.append(event.state())))
    at = SMALL.epochs + (whole[-1].step - SMALL.epochs) * 5 // 8  # in the third of four coresets
    saved = io.BytesIO()
    torch.save(states[at - 1], saved)
    saved.seek(0)
    rest = []
    again = drain(tee(run(chips(), config, state=torch.load(saved, weights_only=True)), rest.append))
    assert [e.step for e in rest] == [e.step for e in whole[at:]]
    assert [dict(e.scalars) for e in rest] == [dict(e.scalars) for e in whole[at:]]
    xr.testing.assert_identical(again.result, outcome.result)


@pytest.mark.parametrize("make", [chips, pixels])
def test_a_coreset_is_trained_on_at_once(make):
    """The scene of the kept samples alone, opened anew, is the coreset of the run: same network, same accuracy."""
    config = override(SMALL, {"iterations": 100, **({"patch": 3} if make is pixels else {})})
    r = drain(run(make(), config)).result
    part = subset(make(), r["kept"], r["test_sample"].values)
    samples = tdds.samples_of(part, config)
    assert set(samples.ids[samples.train]) == set(r["sample"].values[r["kept"].values])
    assert set(samples.ids[samples.test]) == set(r["test_sample"].values)
    outcome = drain(tdds.train_on(part, None, config))
    assert float(outcome.result["accuracy_coreset"]) > 0.5


def test_a_selection_of_other_data_is_refused():
    kept = xr.DataArray([True, True], {"sample": ["chip-00", "nothing"]}, "sample")
    with pytest.raises(InputError, match="not among the training samples"):
        drain(tdds.train_on(chips(), kept, SMALL))
    with pytest.raises(InputError, match="keeps no sample"):
        drain(tdds.train_on(chips(), xr.zeros_like(kept), SMALL))
    with pytest.raises(InputError, match="give scores"):
        drain(tdds.train_on(chips(), None, override(SMALL, {"loss_scale": "official"})))
