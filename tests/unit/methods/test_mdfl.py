"""MDFL: fusion cell and classifier by hand, patches and splits, resuming, controls, and input that cannot be used."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench.config import override
from workbench.data.sensor_patches import CENTRE, GUARD, patches_of
from workbench.data.synth_sensors import simulate
from workbench.errors import InputError
from workbench.execution import execute
from workbench.methods.mdfl import SMOKE, Config, frequency_view, load_networks, noise_view, run, spectra
from workbench.methods.mdfl.arms import denoiser_of
from workbench.methods.mdfl.blocks import by_network, by_rows, classify_blocks
from workbench.parts.bank_training import ZERO, Classifier
from workbench.parts.reuse import FusionCell, Reuse

QUICK = override(Config(), {**SMOKE, "split": "class", "rivals": [], "networks": []})


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return simulate("sim-two-sensors", 48, bands=6, seed=3)


@pytest.fixture(scope="module")
def patches(scene):
    return patches_of(scene, QUICK)


# --- the classifier ---------------------------------------------------------------------------------------------------


def bare_cell() -> FusionCell:
    cell = FusionCell(2)
    cell.before = torch.nn.Identity()
    for layer in (cell.column, cell.row):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return cell


def test_fusion_cell_by_hand():
    """Gates of one half: (1 + 2 / 2) twice is 4; without the second map, twice the first."""
    one = torch.ones(1, 2, 2, 2)
    assert (bare_cell()(one, 2 * one) == 4).all()
    assert (bare_cell()(3 * one, 0 * one) == 6).all()


def test_one_sensor_has_one_head_and_two_have_three():
    x, bank = torch.randn(4, 3, 8, 8), torch.randn(4, 16, 4, 4)
    assert [tuple(o.shape) for o in Reuse([3], [16], 5, wide=16)([x], [bank])] == [(4, 5)]
    both = Reuse([3, 3], [16, 0], 5, wide=16)
    assert len(both([x, x], [bank, None])) == 3
    torch.testing.assert_close(both.probability([x, x], [bank, None]).sum(1), torch.ones(4))
    assert {m.momentum for m in both.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


def test_the_classifier_leaves_the_diffusion_network_alone_and_uses_the_bank(patches):
    denoiser = denoiser_of("mdfl", patches, QUICK)
    for _ in range(3):
        denoiser.step()
    for network in denoiser.networks.values():
        network.zero_grad(set_to_none=True)
    before = {n: net.state_dict()["stem.weight"].clone() for n, net in denoiser.networks.items()}
    place = patches.place[patches.train]
    bank = denoiser.bank(place)
    classifier = Classifier(patches, override(QUICK, {"head_steps": 40}), bank)
    losses = [classifier.step()["head_loss"] for _ in range(40)]
    assert losses[-1] < losses[0]
    assert all(p.grad is None for net in denoiser.networks.values() for p in net.parameters())
    assert all(torch.equal(net.state_dict()["stem.weight"], before[n]) for n, net in denoiser.networks.items())
    right = classifier.probability(patches, place, bank)
    order = np.random.default_rng(0).permutation(len(place))
    other = classifier.probability(patches, place, {n: b[order] for n, b in bank.items()})
    label = patches.label[patches.train]
    assert not np.allclose(right, other)
    assert (right.argmax(1) == label).mean() > (other.argmax(1) == label).mean()


# --- diffusion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [False, True])
def test_the_first_loss_is_that_of_predicting_nothing(patches, joint):
    config = override(QUICK, {"batch": 512, "joint": joint})
    denoiser = denoiser_of("mdfl", patches, config)
    assert list(denoiser.networks) == (["joint"] if joint else ["hsi", "lidar"])
    first = denoiser.step()["loss"]
    assert first == pytest.approx(0.798, abs=0.01)
    assert pytest.approx(0.797885, abs=1e-6) == ZERO
    for _ in range(5):
        last = denoiser.step()["loss"]
    assert last < first


# --- patches ----------------------------------------------------------------------------------------------------------


def test_a_patch_has_its_pixel_in_the_centre(scene, patches):
    rows = patches.take(patches.place[:50], "lidar")
    assert rows.shape == (50, 2, 8, 8)
    scaled = patches.scalers["lidar"](scene["lidar"].values)
    _, y, x = patches.place[:50].T
    np.testing.assert_array_equal(rows[:, :, CENTRE, CENTRE].numpy(), scaled[:, y, x].T)
    inner = next(i for i, (_, y, x) in enumerate(patches.place) if 10 < y < 30 and 10 < x < 30)
    _, y, x = patches.place[inner]
    np.testing.assert_array_equal(
        patches.take(patches.place[inner : inner + 1], "lidar")[0], scaled[:, y - 4 : y + 4, x - 4 : x + 4]
    )
    assert patches.cubes["hsi"].shape[1] == 3  # principal components


def test_scaling_knows_training_pixels_only(scene):
    changed = scene.copy(deep=True)
    split = override(QUICK, {"split": "halves"})
    one = patches_of(scene, split)
    tested = np.zeros(scene["truth"].shape, bool)
    tested[tuple(one.place[one.test, 1:].T)] = True
    changed["hsi"].values[:, tested] += 5
    two = patches_of(changed, split)
    for sensor in ("hsi", "lidar"):
        np.testing.assert_array_equal(one.scalers[sensor].low, two.scalers[sensor].low)
    np.testing.assert_array_equal(one.scalers["hsi"].axes, two.scalers["hsi"].axes)


@pytest.mark.parametrize("split", ["halves", "block"])
def test_no_patch_for_training_touches_a_test_patch(scene, split):
    found = patches_of(scene, override(QUICK, {"split": split, "block": 12, "test_share": 0.15}))
    test = found.place[found.test, 1:]
    for places in (found.place[found.train, 1:], found.free[:, 1:]):
        apart = np.abs(places[:, None] - test[None]).max(2).min()
        assert apart >= GUARD
    assert "9 pixels apart" in found.split
    assert found.warning == ""


def test_random_pixels_carry_a_warning(patches):
    assert patches.split == "random pixels"
    assert "too high" in patches.warning


@pytest.mark.long
def test_plots_and_polygons_are_whole(scene):
    plots = xr.concat(
        [simulate("sim-two-sensors", 24, bands=6, seed=s) for s in range(5)],
        xr.DataArray(list("abcde"), dims="sample", name="sample"),
    )
    found = patches_of(plots, override(QUICK, {"split": "own"}))
    assert found.split == "whole images (plots)"
    assert not set(found.place[found.train, 0]) & set(found.place[found.test, 0])
    assert not set(found.free[:, 0]) & set(found.place[found.test, 0])
    _, outcome = played(run(plots, override(QUICK, {"split": "own", "steps": 2, "head_steps": 2})))
    tested = np.unique(found.place[found.test, 0])
    assert outcome.result["sample"].values.tolist() == [list("abcde")[i] for i in tested]
    assert outcome.result["labels"].dims == ("sample", "y", "x")
    assert (outcome.result["labels"] >= 0).all()
    assert outcome.result["probability"].dims == ("sample", "class", "y", "x")
    crown = (np.arange(48) // 4)[:, None] * 100 + (np.arange(48) // 4)[None] + 1
    fields = scene.assign_coords(crown=(("y", "x"), crown))
    found = patches_of(fields, override(QUICK, {"split": "polygon"}))
    label = found.label
    sides = [{(label[i], crown[tuple(found.place[i, 1:])]) for i in part} for part in (found.train, found.test)]
    assert not sides[0] & sides[1]
    with pytest.raises(InputError, match="needs the coordinate 'crown'"):
        patches_of(scene, override(QUICK, {"split": "polygon"}))


# --- runs -------------------------------------------------------------------------------------------------------------


STOPPED = override(QUICK, {"rivals": ["none"], "steps": 4, "map": False, "head_steps": 3, "per_class": 5})


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return simulate("sim-two-sensors", 28, bands=6, seed=3)


@pytest.fixture(scope="module")
def unbroken(small):
    return played(run(small, STOPPED))


@pytest.mark.long
@pytest.mark.parametrize("after", [2, 6, 10])
def test_a_stopped_run_continues_to_the_same_numbers(small, unbroken, after):
    """Stopped in the own diffusion network, in that of a rival, and in a classifier."""
    whole, expected = unbroken
    trace = run(small, STOPPED)
    state = list(islice(trace, after + 1))[-1].state()
    trace.close()
    rest, outcome = played(run(small, STOPPED, state))
    assert [e.step for e in rest] == [e.step for e in whole[after + 1 :]]
    assert [e.scalars for e in rest] == [e.scalars for e in whole[after + 1 :]]
    xr.testing.assert_identical(outcome.result, expected.result)
    with pytest.raises(InputError, match="belongs to another scene or other settings"):
        next(run(small, override(STOPPED, {"lr": 0.1}), state))


@pytest.fixture(scope="module")
def outcome(scene):
    """Of a run with a rival, a network of others, and maps."""
    return played(run(scene, override(QUICK, {"rivals": ["none"], "networks": ["cnn"], "steps": 2, "head_steps": 2})))[1]


@pytest.mark.long
def test_every_row_and_the_map(outcome):
    result = outcome.result
    rows = {n[2:] for n in result.data_vars if n.startswith("oa") and result[n].ndim == 0}
    assert rows >= {
        "",
        "_raw",
        "_bank",
        "_untrained",
        "_raw_shuffled",
        "_raw_pca",
        "_bank_none",
        "_only_hsi",
        "_only_lidar",
        "_svm",
        "_forest",
        "_cnn",
    }
    assert all("random pixels" in result[f"oa{row}"].attrs["long_name"] for row in rows)
    assert result.attrs["split"].startswith("random pixels")
    assert result.attrs["split_warning"]
    assert 0 <= float(result["leak_split"]) <= 1
    assert result["labels"].shape == (48, 48)
    np.testing.assert_allclose(result["probability"].sum("class"), 1, atol=1e-5)
    assert int(result["confusion"].sum()) == int(result.attrs["split"].split(", ")[1].split()[0])
    assert float(result["area"].sel(estimate="mapped").sum()) == 48 * 48
    assert float(result["area"].sel(estimate="estimated").sum()) == pytest.approx(48 * 48)
    assert float(result["first_loss"]) == pytest.approx(0.798, abs=0.01)
    assert set(outcome.weights) >= {"mdfl-hsi", "none-lidar", "reuse", "raw_only"}


@pytest.mark.long
def test_the_table_of_test_pixels_has_the_classes_of_every_row(scene, outcome):
    """Counted again, it gives the accuracies; those of the rows with a map are on the map."""
    result = outcome.result
    image, row, column = (result[f"test_{n}"].values for n in ("image", "row", "column"))
    assert (image == 0).all()
    true = result["test_true"].values
    np.testing.assert_array_equal(true, scene["truth"].values[row, column] - 1)
    for name, given in zip(result["classifier"].values, result["test_given"].values, strict=True):
        assert float(result["oa" if name == "mdfl" else f"oa_{name}"]) == pytest.approx((given == true).mean()), name
    for ending, name in (("", "mdfl"), ("_raw_only", "raw_only"), ("_bank", "bank")):
        on_map = result[f"labels{ending}"].values[row, column]
        assert (on_map == result["test_given"].sel(classifier=name).values).mean() > 0.99, (
            name
        )  # batches of another size round
        np.testing.assert_allclose(result[f"probability{ending}"].sum("class"), 1, atol=1e-5)


# --- a run from inside ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    """A run with a hardly trained diffusion network and classifiers that tell the classes apart."""
    at = tmp_path_factory.mktemp("inside") / "run"
    execute("mdfl", scene, {**QUICK.model_dump(), "steps": 2, "head_steps": 60, "trees": 2, "map": False}, at)
    return at


@pytest.mark.long
def test_a_run_from_inside(scene, folder):
    """At the lowest noise level the image is nearly clean; an untrained network predicts no noise, so its estimate is x_t / sqrt(abar)."""
    trained = load_networks(folder, scene)
    low, high = (noise_view(trained, 0, t) for t in (0, 450))
    assert low["clean"].shape == (3, 48, 48)
    np.testing.assert_array_equal(low["clean"], trained.patches.cubes["hsi"][0, :, 4:52, 4:52])
    far = [float(np.abs(v["noisy"] - v["clean"]).mean()) for v in (low, high)]
    assert far[0] < 0.02 < 0.5 < far[1]
    assert low.attrs == {"row": 0, "column": 0, "signal": pytest.approx(0.9999**0.5, abs=1e-6), "sensor": "hsi"}
    for network in trained.denoiser.networks.values():
        torch.nn.init.zeros_(network.last[-1].weight)
        torch.nn.init.zeros_(network.last[-1].bias)
    blank = noise_view(trained, 0, 450)
    np.testing.assert_allclose(blank["denoised"], blank["noisy"] / blank.attrs["signal"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(blank["noisy"], high["noisy"])  # the noise repeats

    pixel = spectra(trained, 0, 11, 6, [5, 450])
    scaler = trained.patches.scalers["hsi"]
    value = scene["hsi"].values[:, 11, 6].astype(np.float64)
    kept = scaler.axes @ (scaler.axes.T @ (value - scaler.mean)) + scaler.mean  # what three components hold
    inside = np.abs(scaler(value[:, None])) < 3  # not cut
    assert inside.all()
    np.testing.assert_allclose(pixel["clean"], kept, atol=1e-5)
    assert pixel["noisy"].dims == ("time", "band")
    assert float(np.abs(pixel["noisy"] - pixel["clean"]).sel(time=5).max()) < float(
        np.abs(pixel["noisy"] - pixel["clean"]).sel(time=450).max()
    )
    for wrong in (
        lambda: noise_view(trained, 1, 5),
        lambda: noise_view(trained, 0, 500),
        lambda: spectra(trained, 0, 48, 0, [5]),
    ):
        with pytest.raises(InputError, match="There is no"):
            wrong()


@pytest.mark.long
def test_classes_without_a_band_of_frequencies(scene, folder):
    """An annulus beyond all frequencies removes nothing; all but the zero frequency leaves every pixel alike but for its noise."""
    trained = load_networks(folder, scene)
    nothing = frequency_view(trained, 0, 50, 0.8, 0.9)
    np.testing.assert_array_equal(nothing["labels"], nothing["without"])
    assert nothing.attrs == {"row": 0, "column": 0, "changed": 0.0}
    flat = frequency_view(trained, 0, 50, 0.001, 0.9, middle=(0, 0))
    assert flat.attrs["changed"] > 0.3
    assert len(np.unique(flat["without"])) < len(np.unique(flat["labels"]))
    np.testing.assert_allclose(flat["before"], flat["after"], atol=0.3)  # after two steps the parser is nearly the identity
    middle = tuple(n // 2 for n in flat["before"].shape)
    assert flat["before"].values.argmax() == np.ravel_multi_index(middle, flat["before"].shape)
    with pytest.raises(InputError, match="An annulus has an inner radius"):
        frequency_view(trained, 0, 50, 0.3, 0.3)


def test_the_inside_of_another_run_is_refused(scene, tmp_path):
    execute("rx", scene.drop_vars("lidar"), {}, tmp_path / "rx")
    with pytest.raises(InputError, match="a run of rx, not of mdfl"):
        load_networks(tmp_path / "rx", scene)
    about = json.loads((tmp_path / "rx" / "run.json").read_text())
    for wrong in ({"width": 10**6}, {"lr": "nan"}, {"split": 3}, {"widht": 8}):
        (tmp_path / "rx" / "run.json").write_text(json.dumps({**about, "method": "mdfl", "config": wrong}))
        with pytest.raises(InputError, match=next(iter(wrong))):
            load_networks(tmp_path / "rx", scene)


# --- what cannot be used ----------------------------------------------------------------------------------------------


def test_wrong_input_is_refused_with_its_name(scene):
    halves = scene.assign(truth=scene["truth"].astype("float32"))
    with pytest.raises(InputError, match="whole numbers; truth is float32"):
        patches_of(halves, QUICK)
    one = scene.copy(deep=True)
    one["truth"].values[:] = np.where(one["truth"].values == 3, -1, one["truth"].values)
    one["truth"].values[5, 5] = 3
    with pytest.raises(InputError, match=r"at least two pixels of each class.*spectrum 2, low \(1\)"):
        patches_of(one, QUICK)
    sided = scene.copy(deep=True)
    sided["truth"].values[:, 24:] = np.where(sided["truth"].values[:, 24:] == 2, 1, sided["truth"].values[:, 24:])
    with pytest.raises(InputError, match="'halves' leaves no pixel for testing of spectrum 1, high"):
        patches_of(sided, override(QUICK, {"split": "halves"}))
    small = scene.drop_vars("lidar").assign(lidar=(("lidar_band", "row", "column"), np.zeros((2, 20, 20), "float32")))
    with pytest.raises(InputError, match="lidar"):
        patches_of(small, QUICK)
    with pytest.raises(InputError, match="trains on 'sar'"):
        patches_of(scene, override(QUICK, {"sensors": ["hsi", "sar"]}))
    with pytest.raises(InputError, match="noise levels lie between 0 and 499"):
        override(Config(), {"times": [5, 500]})


# --- scenes larger than memory ----------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_map_block_by_block_is_the_map_of_the_whole(scene, patches):
    """Of the network, with a block that does not divide the image, and of a classifier of pixels; a missing value stays without a class."""
    denoiser = denoiser_of("mdfl", patches, QUICK)
    for _ in range(3):
        denoiser.step()
    classifier = Classifier(patches, QUICK, denoiser.bank(patches.place[patches.train]))
    for _ in range(3):
        classifier.step()
    every = np.argwhere(patches.usable)
    whole = classifier.probability(patches, every, denoiser.bank(every)).argmax(1).reshape(48, 48)
    small = scene.isel(y=slice(0, 48), x=slice(0, 48)).chunk(y=20, x=20)
    found = classify_blocks(small, patches.scalers, by_network(patches, denoiser, classifier), block=20)
    assert (found.values == whole).mean() > 0.999  # batches of another size round differently
    missing = scene.copy(deep=True)
    missing["lidar"].values[:, 3, 4] = np.nan
    rows = by_rows(lambda x: np.eye(8)[(x[:, 0] > 0).astype(int)])
    lost = classify_blocks(missing, patches.scalers, rows, block=17)
    assert np.argwhere(lost.values == -1).tolist() == [[3, 4]]
    np.testing.assert_array_equal(lost.values, classify_blocks(missing, patches.scalers, rows, block=48).values)
    with pytest.raises(InputError, match="needs one image with hsi, lidar"):
        classify_blocks(scene.drop_vars("lidar"), patches.scalers, rows)
