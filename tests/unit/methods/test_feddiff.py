"""FedDiff: federated training is pooled training, what leaves an owner, bytes, resuming, and input that cannot be used."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench.config import override
from workbench.data.sensor_patches import CENTRE, patches_of
from workbench.data.synth_sensors import simulate
from workbench.errors import InputError
from workbench.methods.feddiff import SMOKE, Config, run
from workbench.methods.feddiff.banks import Banks
from workbench.methods.feddiff.owners import private_to, weights_of
from workbench.methods.feddiff.rival import fedfusion, windows_of
from workbench.methods.feddiff.rounds import Federation
from workbench.parts.bank_training import Classifier, Denoiser
from workbench.parts.features import checkpoint_hash
from workbench.parts.federation import Codec, divergence

QUICK = override(Config(), {**SMOKE, "split": "class", "rivals": [], "pooled": [], "map": False})


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return simulate("sim-two-sensors", 48, bands=6, seed=3)


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return simulate("sim-two-sensors", 28, bands=6, seed=3)


@pytest.fixture(scope="module")
def patches(scene):
    return patches_of(scene, QUICK, "feddiff")


@pytest.fixture(scope="module")
def banks(patches):
    made = {name: Denoiser(patches, {name: [name]}, QUICK, owner=i) for i, name in enumerate(("hsi", "lidar"))}
    for denoiser in made.values():
        for _ in range(3):
            denoiser.step()
    return Banks(patches, QUICK, made)


def federation(patches, banks, config=QUICK, codec="low_rank", row="feddiff"):
    return Federation(patches, config, banks.of(row), Codec(codec, config.rank))


# --- what is trained where --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["feddiff", "no_diffusion"])
def test_exact_messages_train_as_on_pooled_data(patches, banks, row):
    """Every weight of both owners, and the statistics of the batches; the averages change nothing."""
    config = override(QUICK, {"head_steps": 6})
    fed, pooled = federation(patches, banks, config, "dense", row), Classifier(patches, config, banks.of(row))
    for _ in range(6):
        got, expected = fed.step(), pooled.step()
        assert got["head_loss"] == pytest.approx(expected["head_loss"], abs=1e-6)
        assert got["apart"] < 1e-4
    whole = pooled.network.state_dict()
    for owner in fed.owners:
        for name, value in owner.network.state_dict().items():
            if private_to(name) in (None, owner.number):
                torch.testing.assert_close(value, whole[name], atol=2e-5, rtol=1e-4, msg=name)
    place = patches.place[patches.test[:50]]
    bank = banks.at("trained" if row == "feddiff" else "none", place)
    answers = fed.answers(patches, place, bank)
    np.testing.assert_allclose(answers.fused[0], pooled.probability(patches, place, bank), atol=1e-3)
    np.testing.assert_allclose(answers.fused[0], answers.fused[1], atol=1e-6)


def test_coded_messages_part_the_owners_until_they_average(patches, banks):
    fed = federation(patches, banks, override(QUICK, {"average_every": 2, "rank": 1, "head_steps": 4}))
    assert fed.step()["apart"] == 0  # of the last average: there was none
    assert divergence(fed.shared()) > 0
    assert fed.step()["apart"] > 0
    assert divergence(fed.shared()) == 0
    fed.step()
    assert divergence(fed.shared()) > 0
    fed.step()
    assert divergence(fed.shared()) == 0


def test_private_weights_stay_and_the_other_branch_is_dead(patches, banks):
    fed = federation(patches, banks)
    before = [{n: v.clone() for n, v in o.network.state_dict().items()} for o in fed.owners]
    fed.step()
    for owner, old in zip(fed.owners, before, strict=True):
        changed = {n for n, v in owner.network.named_parameters() if not torch.equal(v, old[n])}
        assert {n for n in changed if private_to(n) == 1 - owner.number} == set()
        assert {n for n in changed if private_to(n) == owner.number}
        assert {n for n in changed if private_to(n) is None}
    shared, private = weights_of(fed.owners[0].network)
    assert len(shared) + len(private[0]) + len(private[1]) == len(list(fed.owners[0].network.parameters()))


def test_the_rounds_leave_each_diffusion_network_byte_for_byte(patches, banks):
    before = {n: checkpoint_hash(d.networks[n]) for n, d in banks.made.items()}
    fed = federation(patches, banks)
    for _ in range(3):
        fed.step()
    place = patches.place[patches.test[:20]]
    fed.answers(patches, place, banks.at("trained", place))
    assert {n: checkpoint_hash(d.networks[n]) for n, d in banks.made.items()} == before


def test_an_owner_that_is_alone_needs_no_message(patches, banks):
    """Its own head gives the same with any message; with everybody away in training nothing is sent."""
    fed = federation(patches, banks)
    place = patches.place[patches.test[:20]]
    bank = banks.at("trained", place)
    other = np.roll(np.arange(20), 7)
    right, wrong = fed.answers(patches, place, bank), fed.answers(patches, place, bank, other)
    for i in range(2):
        np.testing.assert_array_equal(right.alone[i], wrong.alone[i])
        assert not np.allclose(right.fused[i], wrong.fused[i])
    for owner in fed.owners:
        owner.network.eval()
        own, theirs = torch.rand(2, 5, 128, 4, 4)
        torch.testing.assert_close(owner.logits(own, None)[0], owner.logits(own, theirs)[1 + owner.number])
    lonely = federation(patches, banks, override(QUICK, {"away": 0.999999}))
    lonely.step()
    assert lonely.traffic.of("features") == 0


@pytest.mark.parametrize("codec", ["low_rank", "int8", "top_k", "random_basis", "dense"])
def test_bytes_of_a_round_are_those_of_the_messages(patches, banks, codec):
    """Two owners, 8 pixels, 2 x 64 channels of 4 x 4 places; and the shared weights of both, up and down."""
    config = override(QUICK, {"average_every": 2, "head_steps": 2})
    fed = federation(patches, banks, config, codec)
    first = fed.step()
    values = 8 * 128 * 16
    wanted = {"dense": 4 * values, "int8": values + 8}.get(codec, 4 * 4 * (8 * 128 + 16))
    assert first["megabytes/features"] == pytest.approx(2 * wanted / 1e6, abs=8e-6)
    assert first["megabytes/weights"] == 0
    assert fed.step()["megabytes/features"] == pytest.approx(2 * first["megabytes/features"])
    shared = sum(v.numel() * 4 for v in fed.shared()[0].values())
    assert fed.traffic.of("weights") == 4 * shared


# --- banks ------------------------------------------------------------------------------------------------------------


def test_a_bank_depends_on_pixel_time_and_seed_only(patches, banks):
    place = patches.place[patches.test[:12]]
    whole, part = banks.at("trained", place), banks.at("trained", place[5:7])
    for name in ("hsi", "lidar"):
        torch.testing.assert_close(whole[name][5:7], part[name], atol=1e-5, rtol=1e-5)
        assert whole[name].shape == (12, 2 * QUICK.width * len(QUICK.times), 4, 4)
        torch.testing.assert_close(banks.at("trained", place)[name], whole[name], atol=0, rtol=0)


def test_owners_draw_different_noise_and_networks(patches, banks):
    one, other = banks.made["hsi"], banks.made["lidar"]
    assert one.seed_of("hsi") != other.seed_of("lidar")
    assert not torch.equal(one.networks["hsi"].time[0].weight, other.networks["lidar"].time[0].weight)


# --- runs -------------------------------------------------------------------------------------------------------------


FEW = override(QUICK, {"per_class": 5})


@pytest.fixture(scope="module")
def unbroken(small):
    return played(run(small, FEW))


@pytest.mark.long
@pytest.mark.parametrize("after", [2, 6, 9])
def test_a_stopped_run_continues_to_the_same_numbers(small, unbroken, after):
    """Stopped in a diffusion network, in that of the other owner, in the federation."""
    config = FEW
    whole, expected = unbroken
    trace = run(small, config)
    state = list(islice(trace, after + 1))[-1].state()
    trace.close()
    rest, outcome = played(run(small, config, state))
    assert [e.scalars for e in rest] == [e.scalars for e in whole[after + 1 :]]
    xr.testing.assert_identical(outcome.result, expected.result)
    with pytest.raises(InputError, match="belongs to another scene or other settings"):
        next(run(small, override(config, {"rank": 2}), state))


@pytest.mark.long
def test_every_row_names_its_split_and_the_bytes_are_those_of_the_formulas(small):
    config = override(
        QUICK, {"rivals": ["dense", "no_diffusion"], "pooled": ["mdfl", "raw_patches"], "map": True, "batch": 16}
    )
    _, outcome = played(run(small, config))
    result = outcome.result
    rows = {n[3:] for n in result.data_vars if n.startswith("oa_") and result[n].ndim == 0}
    assert rows >= {
        "partner",
        "alone_hsi",
        "alone_lidar",
        "only_hsi",
        "only_lidar",
        "shuffled",
        "late",
        "dense",
        "no_diffusion",
    }
    assert rows >= {"mdfl", "raw_patches", "bank", "untrained_bank", "raw", "svm", "forest", "only_best"}
    assert all("random pixels" in result[f"oa_{row}"].attrs["long_name"] for row in rows - {"only_best"})
    got = result["bytes"].sel(owner="hsi")
    assert got.sel(message="raw pixel") == 3 * 4
    assert got.sel(message="raw patch") == 3 * 64 * 4
    assert got.sel(message="bank") == 2 * 8 * 2 * 16 * 4
    assert got.sel(message="features") == 128 * 16 * 4
    assert float(result["networks_changed"]) == 0
    assert float(result["apart"]) == 0
    assert result["labels"].shape == (28, 28)
    assert set(np.unique(result["differ"])) <= {0, 1}
    assert "lidar" in result.attrs["message_warning"]
    assert float(result["told_apart_hsi"]) > 0.5
    assert result["strip"].dims == ("level", "strip_band", "strip_y", "strip_x")
    assert result["level"].values.tolist() == ["t 499", "t 250", "t 0", "end"]
    error = result["denoising_error"].sel(denoising_error_of=["hsi, predicts 0", "hsi, linear"]).values
    assert (error[1] < error[0]).all()


@pytest.mark.long
def test_fedfusion_is_trained_on_the_same_pixels(small, patches, unbroken):
    """Its windows are the inner 7 x 7 of the patches; a run is that of the room on these windows, and the other rows stay as they are."""
    x = windows_of(patches, patches.place[patches.train[:5]])
    assert {n: v.shape for n, v in x.items()} == {"hsi": (5, 3, 7, 7), "lidar": (5, 2, 7, 7)}
    centre = patches.take(patches.place[patches.train[:5]], "lidar")[:, :, CENTRE, CENTRE]
    torch.testing.assert_close(x["lidar"][:, :, 3, 3], centre)
    learner = fedfusion(patches, QUICK)
    assert learner.groups[0][1].x.shape == (len(patches.train), 2, 7, 7)
    assert torch.equal(learner.groups[0][0].label, torch.from_numpy(patches.label[patches.train]))
    _, alone = unbroken
    events, beside = played(run(small, override(FEW, {"rivals": ["fedfusion"]})))
    assert float(alone.result["oa"]) == float(beside.result["oa"])
    assert "random pixels" in beside.result["oa_fedfusion"].attrs["long_name"]
    sent = float(beside.result["megabytes_fedfusion"])
    features = FEW.head_steps * 2 * 2 * 4 * 4 * (FEW.batch * 64 + 16)  # of two owners, up and down, rank 4, float32
    assert features / 1e6 < sent
    assert sum("head_loss/fedfusion" in e.scalars for e in events) == FEW.head_steps


def test_one_sensor_is_refused(scene):
    with pytest.raises(InputError, match="feddiff needs two sensors, one for each owner; this scene has hsi"):
        next(run(scene, override(QUICK, {"sensors": ["hsi"]})))
    with pytest.raises(InputError, match="'truth'"):
        next(run(scene.drop_vars("truth"), QUICK))
