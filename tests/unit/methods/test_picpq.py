"""PIC-PQ: the bit rule, the choice of filters, and runs on simulated chips that are compared and continued."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from tests.driving import played
from workbench.config import override
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import execute, export
from workbench.methods.picpq import SMOKE, Config, assigned, layer_bits, load_network, run
from workbench.methods.picpq.arms import Found, arm_of
from workbench.methods.picpq.bits import bops_of, caps_of, cost_of, input_bits, limit_of
from workbench.methods.picpq.chips import chips_of
from workbench.methods.picpq.training import Compression, network_of, refresh_norms
from workbench.parts.bops import count_bops
from workbench.parts.filter_properties import feature_ranks
from workbench.parts.pruning import Plan, counts_of

pytest.importorskip("torch_pruning")


def chips(count=60, side=8, classes=3):
    """Noise, with one band brighter in one half of the chip."""
    label = np.arange(count) % classes
    image = np.random.default_rng(0).random((count, 3, side, side), np.float32)
    for n, c in enumerate(label):
        image[n, c, : side // 2] += 1
    values = {"image": (("sample", "band", "y", "x"), image), "label": ("sample", label, {"names": list("abc"[:classes])})}
    return xr.Dataset(values, {"sample": [f"c_{n}" for n in range(count)]}, {"id": "halves", "simulated": "brighter halves"})


def config(**changes):
    return override(Config(), {**SMOKE, **changes})


def found(**changes):
    c = config(**changes)
    data = chips_of(chips(), c)
    torch.manual_seed(0)
    network = network_of(c, tuple(data.values.shape[1:]), data.classes)
    refresh_norms(network, data.values[data.train])
    plan = Plan.of(network, data.values[:2])
    layers = [n.name for n in plan.layers if n.group is not None]
    return Found(network, plan, feature_ranks(network, data.values[data.train], layers), data, c)


def best_of(f):
    ones, zeros = np.ones(len(f.layers)), np.zeros(len(f.layers))
    return {"picpq": (2 * ones, zeros), "legr": (ones, zeros)}


# --- bits -------------------------------------------------------------------------------------------------------------


def test_bits_by_the_worked_numbers():
    assert [8 - layer_bits(8, s) for s in (0.5, 0.25, 0.1, 0.05, 0.03)] == [1, 1, 2, 4, 6]
    assert layer_bits(4, 0.01) == 2  # the rule alone would give -13
    assert layer_bits(6, 1.0) == 6


def test_caps_fall_from_first_to_last_and_the_ends_have_their_own():
    f = found()
    caps = list(caps_of(f.plan, f.config).values())
    assert (caps[0], caps[-1]) == (8, 8)
    inner = caps[1:-1]
    assert inner == sorted(inner, reverse=True)
    assert set(inner) == {8, 6, 4}
    bits = assigned(f.plan, f.plan.full(), f.config)
    assert list(bits.values()) == caps
    fewer = assigned(f.plan, np.maximum(2, f.plan.full() // 2), f.config)
    assert all(fewer[n.name] == bits[n.name] - 1 for n in f.plan.layers[1:-1])


def test_the_cost_is_that_of_the_counter_on_the_cut_network():
    for own in (None, 8):
        f = found(activation_bits=own)
        arm = arm_of("random", f, best_of(f), None)
        compression = Compression(arm, f.dense, f.plan, f.chips, f.config)
        counted = count_bops(compression.network, f.chips.values[:1], arm.bits, input_bits=input_bits(arm.bits, f.config))
        assert counted.bops == bops_of(f.plan, counts_of(arm.kept), arm.bits, f.config)


# --- arms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["picpq", "hrank", "shuffled", "random", "uniform_l1", "global_l1", "legr"])
@pytest.mark.parametrize("changes", [{}, {"round_to": 2}, {"resource": "bops", "target": 0.02}, {"group": "sum"}])
def test_pruned_arms_stay_within_the_target(name, changes):
    f = found(**changes)
    arm = arm_of(name, f, best_of(f), None)
    counts = counts_of(arm.kept)
    assert cost_of(f.plan, counts, f.config) <= limit_of(f.plan, f.config)
    assert (counts < f.plan.full()).any()
    assert all(counts % f.config.round_to == 0)
    assert arm.bits == assigned(f.plan, counts, f.config)


def test_what_the_arms_remove_differs_as_it_should():
    f = found()
    arms = {n: arm_of(n, f, best_of(f), None) for n in ("picpq", "hrank", "shuffled", "uniform_l1")}
    same = [np.array_equal(a, b) for a, b in zip(arms["picpq"].kept, arms["hrank"].kept, strict=True)]
    assert all(same)  # twice the rank orders filters as the rank
    assert counts_of(arms["shuffled"].kept).tolist() == counts_of(arms["picpq"].kept).tolist()
    assert any(not np.array_equal(a, b) for a, b in zip(arms["picpq"].kept, arms["shuffled"].kept, strict=True))
    shares = counts_of(arms["uniform_l1"].kept) / f.plan.full()
    assert shares.max() - shares.min() <= 0.25  # of four filters one more or less


def test_unpruned_arms_keep_all_filters_and_their_bits():
    f = found()
    caps = caps_of(f.plan, f.config)
    ours = arm_of("picpq", f, best_of(f), None)
    for name, expected in (("lsq3", 3), ("lsq8", 8)):
        arm = arm_of(name, f, {}, ours)
        assert counts_of(arm.kept).tolist() == f.plan.full().tolist()
        assert set(list(arm.bits.values())[1:-1]) == {expected}
        assert next(iter(arm.bits.values())) == 8
    assert arm_of("caps", f, {}, ours).bits == caps
    assert [caps[n] - b for n, b in arm_of("cap-1", f, {}, ours).bits.items()] == [0, *[1] * (len(caps) - 2), 0]
    greedy = arm_of("greedy", f, {}, ours)
    assert bops_of(f.plan, f.plan.full(), greedy.bits, f.config) <= bops_of(
        f.plan, counts_of(ours.kept), ours.bits, f.config
    )
    assert len(set(greedy.bits.values())) > 1


def test_the_search_does_not_judge_the_same_filters_twice_and_repeats():
    f = found(steps=1)
    kept = arm_of("random", f, best_of(f), None).kept
    one, other = f.fitness(), f.fitness()
    assert one(kept) == one(kept) == other(kept)
    assert len(one.known) == 1


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_compares_and_the_best_candidate_is_no_worse_than_the_identity():
    outcome = drain(run(chips(), config(rivals=["hrank", "lsq4", "caps"])))
    r = outcome.result
    assert float(r["search_loss_best"]) <= float(r["search_loss_identity"])
    for name in ("picpq", "hrank", "lsq4", "caps"):
        assert 0 <= float(r[f"accuracy_{name}"]) <= 1
    assert float(r["macs_left_picpq"]) <= 0.6
    assert float(r["waterfall"][0] / r["waterfall"][2]) == pytest.approx(float(r["bops_ratio_picpq"]))
    assert r["bits"].dims == ("layer",)
    kept = r["filter_kept"].values
    for name in np.unique(r["filter_layer"].values):
        share = kept[r["filter_layer"].values == name].mean()
        assert share == pytest.approx(float(r["share"].sel(layer=name)))
    assert "accuracy_float_lsq4" not in r
    assert set(outcome.weights) == {"picpq", "dense", "settings"}


@pytest.fixture(scope="module")
def whole():
    c = config(rivals=["legr"], generations=2, recover=1, quantize_epochs=2)
    states = {}
    events, outcome = played(run(chips(), c), lambda event: states.update({len(states) + 1: event.state()}))
    return c, events, states, outcome


@pytest.mark.long
@pytest.mark.parametrize("stopped", [1, 4, 7, 8])
def test_a_stopped_run_continues_to_the_same_numbers(stopped, whole):
    """Stopped after the dense training, in the second search, in the training of an arm, and between arms."""
    c, events, states, outcome = whole
    rest, again = played(run(chips(), c, states[stopped]))
    assert [e.step for e in rest] == [e.step for e in events[stopped:]]
    assert [dict(e.scalars) for e in rest] == [dict(e.scalars) for e in events[stopped:]]
    xr.testing.assert_equal(again.result, outcome.result)
    for name, value in outcome.weights["picpq"].items():
        assert torch.equal(again.weights["picpq"][name], value)


@pytest.mark.long
def test_pixels_of_a_scene_are_compressed_too(small_scene):
    outcome = drain(run(small_scene, config(rivals=[], patch=5)))
    assert 0 < float(outcome.result["accuracy_picpq"]) <= 1


@pytest.mark.parametrize("quantizer", ["lsq", "published"])
def test_both_quantisers_run(quantizer):
    result = drain(run(chips(), config(rivals=[], quantizer=quantizer, ends=32))).result
    assert result["bits"].values[[0, -1]].tolist() == [32, 32]


@pytest.mark.long
def test_numbers_divide_the_chips_and_no_test_chip_is_used_for_a_choice():
    c = config(numbers=[39, 49])
    data = chips_of(chips(), c)
    ids = data.samples.ids
    assert [len(data.train), len(data.val), len(data.test)] == [40, 10, 10]
    assert {ids[i] for i in data.val.tolist()} == {f"c_{n}" for n in range(40, 50)}
    assert {ids[i] for i in data.test.tolist()} == {f"c_{n}" for n in range(50, 60)}
    scene = chips()
    spoiled = scene.copy(deep=True)
    spoiled["label"].values[50:] = 0
    a, b = (drain(run(s, c.model_copy(update={"rivals": ("greedy",)}))) for s in (scene, spoiled))
    assert np.array_equal(a.result["search_loss"], b.result["search_loss"])
    assert np.array_equal(a.result["arm_bits"], b.result["arm_bits"])
    accuracies = [[float(r.result[f"accuracy_{n}"]) for n in ("dense", "picpq", "greedy")] for r in (a, b)]
    assert accuracies[0] != accuracies[1]


@pytest.mark.long
def test_the_exported_file_is_the_small_network(tmp_path):
    """On the digits: accuracy of the file within 0.01, and a network that is built again from the run's weights alone."""
    onnxruntime = pytest.importorskip("onnxruntime")
    changes = {"network": "vgg", "width": 4, "epochs": 4, "quantize_epochs": 2, "rivals": ["ptq8"], "size": 8}
    outcome = execute("picpq", "digits", {**SMOKE, **changes}, tmp_path / "run")
    r = outcome.result
    assert float(r["accuracy_file_picpq"]) == pytest.approx(float(r["accuracy_picpq"]), abs=0.01)
    assert float(r["accuracy_file_dense"]) == pytest.approx(float(r["accuracy_dense"]), abs=1e-6)
    assert float(r["accuracy_ptq8"]) == pytest.approx(float(r["accuracy_dense"]), abs=0.05)
    assert float(r["kilobytes_file_picpq"]) < float(r["kilobytes_file_dense"])
    assert float(r["kilobytes_packed_picpq"]) < float(r["kilobytes_file_picpq"])
    small = load_network(tmp_path / "run")
    assert small.bits == dict(zip(r["layer"].values.tolist(), r["bits"].values.tolist(), strict=True))
    made = [p.name for p in export(tmp_path / "run", tmp_path / "small.onnx")]
    assert made == ["small.onnx", "small.json", "small_loader.py"]
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": small.chips.numpy()})[0]
    with torch.no_grad():
        wanted = small.network(small.chips * small.affine[:, 0, None, None] + small.affine[:, 1, None, None])
    assert (found.argmax(1) == wanted.argmax(1).numpy()).all()
    about = json.loads((tmp_path / "small.json").read_text())
    assert about["bits"] == small.bits
    assert about["run"]["seed"] == 0
    assert [len(k) for k in about["kept"]] == [len(k) for k in small.kept]
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    save_file({**weights, "settings/chips": torch.tensor(3.0)}, tmp_path / "run" / "weights.safetensors")
    with pytest.raises(InputError, match="cannot be made from its settings and weights"):
        export(tmp_path / "run", tmp_path / "other.onnx")


def test_weights_of_another_method_are_refused(tmp_path):
    with pytest.raises(InputError, match="the run has not finished"):
        load_network(tmp_path)
    save_file({"rx/weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="holds no network of picpq"):
        load_network(tmp_path)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"caps": [8, 1]}, "caps.*are bits from 2 to 8"),
        ({"rivals": ["hrnk"]}, "Did you mean 'hrank'"),
        ({"quantizer": "published"}, "ends=32"),
        ({"numbers": [5, 5]}, "numbers must rise"),
        ({"ends": "16"}, "ends='16': must be 8, or 32"),
        ({"activation_bits": "1"}, "activation_bits"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        override(Config(), changes)


def test_settings_can_be_given_as_text():
    """As on the command line."""
    given = {"stride": "2", "ends": "32", "activation_bits": "8", "numbers": "[130,150]", "augment": "true", "caps": "[8,4]"}
    c = override(Config(), given)
    assert (c.stride, c.ends, c.activation_bits, c.numbers, c.augment, c.caps) == (2, 32, 8, (130, 150), True, (8, 4))


def test_a_target_below_the_floor_is_refused_before_the_training():
    with pytest.raises(InputError, match=r"The target is 1\.0% of the cost.*at least"):
        next(run(chips(), config(target=0.01)))


def test_numbers_need_numbers():
    scene = chips()
    with pytest.raises(InputError, match="leaves no chip for testing"):
        next(run(scene, config(numbers=[50, 90])))
    with pytest.raises(InputError, match="has none"):
        next(run(scene.assign_coords(sample=[f"c{'x' * n}" for n in range(60)]), config(numbers=[5, 9])))


def test_another_runs_checkpoint_is_refused():
    part = list(islice(run(chips(), config(rivals=[])), 1))
    with pytest.raises(InputError, match="other settings: .*target"):
        next(run(chips(), config(rivals=[], target=0.7), part[0].state()))
