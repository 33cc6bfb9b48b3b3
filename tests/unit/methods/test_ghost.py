"""GHOST: the switches and their loss, the copies, plans, a run, the file; and what the authors' code does instead."""

import argparse

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from tests.driving import played
from workbench.config import override
from workbench.data.boxed_images import images_of
from workbench.data.synth_ships import small
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import execute
from workbench.methods import load
from workbench.methods.ghost import SMOKE, Config, Detector, exportable, load_network
from workbench.methods.ghost.deploy import decoded
from workbench.methods.ghost.network import BLOCKS, detector
from workbench.methods.ghost.plans import Plans
from workbench.methods.ghost.teaching import COIN, Switches, attention, map_distance, switch
from workbench.methods.ghost.training import Student, calibration, hears, quantised
from workbench.parts.bops import bill
from workbench.parts.quantize import grids, layers, quantize
from workbench.parts.seeding import Seeded

QUICK = override(Config(), SMOKE)


@pytest.fixture(scope="module")
def ships():
    return small(seed=0).compute()


@pytest.fixture(scope="module")
def images(ships):
    return images_of(ships, QUICK, who="ghost")


@pytest.fixture(scope="module")
def teacher():
    with Seeded(3):
        return Detector(1, 1, 2).eval()


def features(seed, count=2):
    with Seeded(seed):
        return [torch.rand(4, 3, 8, 8) for _ in range(count)]


# --- attention and switches -------------------------------------------------------------------------------------------


def test_attention_has_unit_length_and_no_scale():
    (f,) = features(0, 1)
    torch.testing.assert_close(attention(f).norm(dim=1), torch.ones(4))
    torch.testing.assert_close(attention(7 * f), attention(f))
    assert float(map_distance(f, f).max()) == 0
    other = torch.zeros_like(f)
    other[:, :, 0, 0] = 1
    apart, mean = map_distance(f, other), map_distance(f, other, "mean")
    assert float(apart.max()) <= 2  # maps are never below 0
    torch.testing.assert_close(mean, apart / 64)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.0])
def test_a_switch_with_one_gumbel_variable_opens_as_often_as_the_formula_says(logit):
    with Seeded(1):
        opened = float(switch(torch.full((100_000,), logit), "gumbel1").mean())
        true = float(switch(torch.full((100_000,), logit), "logistic").mean())
    assert opened == pytest.approx(1 - np.exp(-np.exp(logit)), abs=0.01)
    assert true == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.01)  # what two Gumbel variables would give
    assert pytest.approx(1 - np.exp(-1.0), abs=1e-3) == COIN


def test_a_closed_switch_gives_no_gradient_to_the_maps():
    switches = Switches([3, 3], 8)
    student, wanted = [f.requires_grad_() for f in features(1)], features(2)
    with Seeded(0):
        taught = switches(student, wanted, "switch", "none", "sum")
    taught.loss.backward()
    closed = taught.z.detach() < 0.5
    for i, f in enumerate(student):
        through_key = f.grad - f.grad.mean((2, 3), keepdim=True)  # the key sees means only
        assert (through_key[closed[:, i]].abs() < 1e-6).all()
    assert taught.logits.shape == (2, 2)


def test_the_loss_is_zero_for_equal_maps_and_the_sum_of_open_distances_else():
    switches, f, g = Switches([3, 3], 8), features(1), features(2)
    assert float(switches(f, f, "on", "none", "sum").loss) == 0
    taught = switches(f, g, "on", "none", "sum")
    torch.testing.assert_close(taught.loss, sum(map_distance(a, b).mean() for a, b in zip(f, g, strict=True)))
    with Seeded(0):
        share = torch.stack([switches(f, g, "coin", "none", "sum").z.mean() for _ in range(2000)]).mean()
    assert float(share) == pytest.approx(COIN, abs=0.02)


# --- copies and plans -------------------------------------------------------------------------------------------------


def test_a_copy_without_bits_is_the_teacher(teacher):
    x = torch.rand(2, 1, 64, 64)
    copied = quantize(Detector(1, 1, 2), dict.fromkeys(layers(teacher), 32))
    copied.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        for a, b in zip(copied.eval()(x).levels, teacher(x).levels, strict=True):
            torch.testing.assert_close(a, b)


def test_all_layers_but_the_last_of_each_head_are_quantised(teacher, images):
    start = calibration(images, QUICK)
    plans = Plans(teacher, images, QUICK, start)
    assert set(layers(teacher)) - set(plans.weights) == {"head.0.1", "head.1.1", "head.2.1"}
    copied = quantised(teacher, plans.uniform(3), "lsq", start)
    assert len(grids(copied)) == 2 * len(plans.weights)
    assert not grids(copied.head[0][1])
    names = {n.replace("parametrizations.weight.original", "weight") for n in copied.state_dict()}
    assert set(teacher.state_dict()) <= names
    assert copied.stem[0].input_quantizer.bits == 8  # the image
    with torch.no_grad():
        features_of = copied(start[:2]).features
    assert len(features_of) == len(BLOCKS) == len(teacher.channels)
    assert all(float(f.min()) >= 0 for f in features_of)


def test_plans_cost_about_the_same(teacher, images):
    plans = Plans(teacher, images, QUICK, calibration(images, QUICK))
    limit = plans.cost(plans.uniform(3))
    for arm in ("ghost", "spread"):
        assert 0.8 * limit < plans.cost(plans.of(arm)) <= limit
    assert plans.whole == 1024 * sum(plans.macs.values())
    published = Plans(teacher, images, override(QUICK, {"plan": "published"}), plans.start)
    assert np.mean(list(published.of("ghost").values())) > 7  # T = 0.1 on the wide weights of a small network
    assert plans.kilobytes(plans.uniform(8)) < plans.kilobytes({}) / 2


@pytest.mark.long
def test_greedy_bits_keep_the_budget(teacher, images):
    some = Plans(teacher, images, QUICK, calibration(images, QUICK))
    bits = some.of("greedy")
    macs = some.macs
    assert sum(macs[n] * b * b for n, b in bits.items()) <= sum(macs[n] * 9 for n in bits)


def test_all_arms_train_and_hear_what_they_should(teacher, images):
    start = calibration(images, QUICK)
    plans = Plans(teacher, images, QUICK, start)
    assert [hears(a, QUICK) for a in ("ghost", "uniform", "off", "on", "coin", "logit", "lsq4")] == [
        "switch", "switch", "nothing", "on", "coin", "logit", "nothing",
    ]  # fmt: skip
    for arm in ("logit", "published", "coin"):
        numbers = Student(arm, teacher, plans.of("ghost"), images, QUICK, start).step()
        assert np.isfinite(numbers["loss"])
        assert ("open" in numbers) == (arm != "logit")


def test_switches_learn_only_where_the_setting_says_so(teacher, images):
    start, bits = calibration(images, QUICK), Plans(teacher, images, QUICK, calibration(images, QUICK)).of("ghost")
    for gate, moves in (("random", False), ("learned", True)):
        student = Student("ghost", teacher, bits, images, override(QUICK, {"gate": gate}), start)
        before = [p.detach().clone() for p in student.switches.parameters()]
        student.done = 1  # the first learning rate is 0
        student.step()
        changed = any(not torch.equal(a, b) for a, b in zip(before, student.switches.parameters(), strict=True))
        assert changed is moves


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driven(ships):
    return played(load("ghost").run(ships, QUICK))


def test_a_run_says_what_each_arm_costs(driven):
    events, outcome = driven
    r = outcome.result
    assert events[-1].step == 4 + 3 * 4 == events[-1].of
    assert set(map(str, r["arm"].values)) == {"ghost", "uniform", "off", "lsq8", "ptq"}
    assert float(r["bops_ratio_lsq8"]) < float(r["bops_ratio"])
    assert float(r["kilobytes"]) < float(r["kilobytes_teacher"]) / 4
    assert r["distance"].sizes == {"layer": len(r["layer"]), "width": 7}
    assert (r["attention_distance"] >= 0).all()
    assert ((r["openness"] >= 0) & (r["openness"] <= 1)).all()
    own = [e for e in events if "open" in e.scalars]
    assert len(own) == 3


@pytest.mark.parametrize("after", [2, 6, 12])
def test_a_stopped_run_continues_to_the_same_numbers(ships, driven, after):
    events, outcome = driven
    state = events[after - 1].state()
    again = drain(load("ghost").run(ships, QUICK, state=state)).result
    for name, values in outcome.result.data_vars.items():
        if values.dtype.kind in "fi":
            np.testing.assert_array_equal(again[name].values, values.values, err_msg=str(name))


@pytest.mark.long
def test_a_run_gives_its_network_back_and_a_file_with_its_integers(ships, driven, tmp_path):
    from workbench.execution import execute
    from workbench.methods.ghost import exportable

    execute("ghost", ships, SMOKE, tmp_path / "run")
    trained = load_network(tmp_path / "run")
    assert trained.bits == dict(
        zip(driven[1].result["layer"].values.tolist(), driven[1].result["bits"].values.tolist(), strict=True)
    )
    made = exportable(tmp_path / "run")
    image = made.inputs["image"]
    with torch.no_grad():
        box, score = made.network(image)
    assert box.shape[:2] == score.shape[:2] == (4, 64 + 16 + 4)
    assert made.facts["bits"] == trained.bits
    wanted = {"task": "boxes", "side": 64, "strides": [8, 16, 32], "margin": 48, "threshold": trained.operating, "most": 300}
    assert wanted.items() <= made.facts.items()
    with pytest.raises(InputError, match="no network of sarnet"):
        load("sarnet").load_network(tmp_path / "run")


def test_a_single_class_keeps_its_name_when_the_scene_comes_from_a_file(ships, tmp_path):
    import xarray as xr

    ships.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as again:
        assert again["box_label"].attrs["names"] == "ship"  # a list of one name comes back as text
        assert images_of(again, QUICK).names == images_of(ships, QUICK).names == ["ship"]


# --- the authors' code, found by reading it ---------------------------------------------------------------------------


def test_their_flag_switches_distillation_off():
    """`--distillation 6` with type=list gives ['6'], and the code asks `6 in opt.distillation`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--distillation", type=list, default=[6])
    assert 6 in parser.parse_args([]).distillation
    assert 6 not in parser.parse_args(["--distillation", "6"]).distillation


def test_an_optimiser_made_before_the_switches_never_moves_them():
    network, switches = nn.Linear(3, 3), Switches([3], 4)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)  # as theirs: built from the model alone
    before = [p.detach().clone() for p in switches.parameters()]
    student, wanted = features(1, 1), features(2, 1)
    student[0] = network(student[0].movedim(1, -1)).movedim(-1, 1)
    with Seeded(0):
        switches(student, wanted, "switch", "gumbel1", "sum").loss.backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, switches.parameters(), strict=True))


def test_their_count_bills_inputs_in_the_order_of_the_list():
    """A branch reads the map before the layer that precedes it in the list: 8-bit data is billed with 2 bits."""
    rows = [("stem", 100, 9, False), ("left", 100, 9, False), ("right", 100, 9, False)]
    bits = {"stem": 8, "left": 2, "right": 8}  # left and right both read the stem
    theirs = {r.name: r.input_bits for r in bill(rows, bits, "list-order").rows}
    assert theirs == {"stem": 32, "left": 8, "right": 2}
    ours = {r.name: r.input_bits for r in bill(rows, bits, "input-act", {"stem": 32, "left": 8, "right": 8}).rows}
    assert ours["right"] == 8


# --- several bands ----------------------------------------------------------------------------------------------------


def coloured():
    """The small ships with a second band, which alone shows them: the first is noise."""
    ships = small(seed=0).compute()
    noise = ships["image"].copy(data=np.random.default_rng(0).uniform(0, 1, ships["image"].shape).astype(np.float32))
    two = xr.concat([noise, ships["image"]], "band").transpose("sample", "band", "y", "x")
    return ships.drop_vars(["image", "band"], errors="ignore").assign(image=two.assign_coords(band=["noise", "radar"]))


def test_a_network_of_every_band_sees_them_apart_and_is_built_again(tmp_path):
    scene, config = coloured(), {**SMOKE, "bands": "all", "rivals": [], "uniform_bits": []}
    images = images_of(scene, override(Config(), config), who="ghost", every=True)
    np.testing.assert_allclose(images.amplitude(3), scene["image"].values[3])
    assert images_of(scene, QUICK, who="ghost").bands == 1
    result = execute("ghost", scene, config, tmp_path / "run").result
    assert result["chip"].sizes["band"] == 2
    network = load_network(tmp_path / "run").network
    assert network.inputs == 2
    assert network.stem[0].weight.shape[1] == 2
    own = result["macs"].sel(layer="stem.0")
    assert int(own) == 2 * 9 * network.stem[0].weight.shape[0] * (64 // 2) ** 2


# --- SAR-Net's detector ------------------------------------------------------------------------------------------------


def test_the_convolutions_of_sarnet_are_quantised_and_its_blocks_teach(ships, images):
    config = override(QUICK, {"network": "sarnet", "width": 4})
    with Seeded(3):
        network = detector("sarnet", 1, 1, 4).eval()
    start = calibration(images, config)
    plans = Plans(network, images, config, start)
    modules = dict(network.named_modules())
    assert all(isinstance(modules[n], nn.Conv2d) for n in plans.weights)
    assert {n for n, m in modules.items() if isinstance(m, nn.Conv2d)} - set(plans.weights) == {
        f"net.head.{n}.1" for n in range(3)
    }
    copied = quantised(network, plans.ours()[0], "lsq", start)
    assert copied.net.backbone.stem[0].input_quantizer.bits == 8
    with torch.no_grad():
        out = copied(start[:2])
    assert [f.shape[1] for f in out.features] == network.channels
    assert len(out.features) == len(network.blocks) == 7
    signs = [float(m.input_quantizer.limits[0]) for m in modules_of(copied) if hasattr(m, "input_quantizer")]
    assert min(signs) < 0  # SiLU
    assert plans.cost(plans.ours()[0]) <= plans.cost(plans.uniform(config.mean_bits))
    student = Student("ghost", network, plans.ours()[0], images, config, start)
    assert np.isfinite(student.step()["loss"])


def modules_of(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.long
def test_a_run_on_sarnets_detector_gives_its_network_back_and_integers(ships, tmp_path):
    changes = {"network": "sarnet", "width": 4, "rivals": [], "uniform_bits": [], "steps": 2, "student_steps": 1}
    result = execute("ghost", ships, {**SMOKE, **changes}, tmp_path / "run").result
    assert result.sizes["block"] == 7
    assert "linear layers" in result.attrs["convention"]
    trained = load_network(tmp_path / "run")
    made = exportable(tmp_path / "run")
    image = made.inputs["image"]
    with torch.no_grad():
        ours, theirs = made.network(image), decoded(trained.network, trained.config)(image)
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).abs().mean()) <= 1e-3 * float(b.abs().max())
