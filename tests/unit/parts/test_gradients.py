"""RS-DGC with two real gloo ranks: the exact numbers and the invariants (a) to (i) of the method.

The model: convolutions 2 -> 6 -> 5 (108 and 270 weights, channels last), a frozen 1 x 1 convolution, a transposed weight
of 80 x 4 = 320; 698 entries in compressed layers, 6 + 12 + 5 + 4 = 27 in vectors. All scenarios run in one pair of
processes, because starting them is what takes the time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from workbench.engines.processes import ranks
from workbench.errors import InputError
from workbench.event import drain
from workbench.parts.gradients import RSDGC, exchange, warmup_densities
from workbench.parts.wire import Layout, index_bytes

sys.path.insert(0, str(Path(__file__).parent))
import crew_gradients as crew

pytestmark = [pytest.mark.timeout(400)]  # two real gloo processes a test
COMPRESSED = {"a.weight": 108, "b.weight": 270, "w": 320}


@pytest.fixture(scope="module")
def two_ranks():
    return drain(ranks(crew.scenarios, list(crew.SCENARIOS), world=2, timeout=60))


def summed(run, steps=None):
    """Sum over the steps of what every rank got as its gradient."""
    found = run["gradients"] if isinstance(run, dict) else run
    return {n: sum(g[n].astype(np.float64) for g in found[:steps]) for n in found[0]}


# --- (a) to (i) ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["whole", "whole sparse"])
def test_a_density_1_is_plain_ddp_bit_for_bit(two_ranks, how):
    for ours, theirs in zip(two_ranks[how]["gradients"], two_ranks["plain"], strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    dense = sum(r["dense"] for r in two_ranks[how]["reports"])
    assert (dense > 0) == (how == "whole")


@pytest.mark.parametrize(
    "how",
    ["some", "some f16", "one bucket", "int32", "varint", "bitmap", "tile", "random", "sampled", "warm-up", "whole sparse"],
)
def test_b_what_was_sent_and_what_is_left_is_the_dense_sum(two_ranks, how):
    """The sum over steps of the averaged sent gradient, and the mean over ranks of v, are the sum of the dense gradients."""
    run, dense = two_ranks[how], summed(two_ranks["plain"])
    for name, total in summed(run).items():
        left = np.mean(run["left"][name], axis=0, dtype=np.float64) if name in COMPRESSED else 0.0
        np.testing.assert_allclose(total + left, dense[name], atol=1e-6, err_msg=name)
    if how not in ("whole sparse",):
        assert max(np.abs(v).max() for n in COMPRESSED for v in run["left"][n]) > 1e-4  # something was held back


def test_c_parameters_are_identical_on_all_ranks(two_ranks):
    for name, (first, second) in two_ranks["training"]["parameters"].items():
        np.testing.assert_array_equal(first, second, err_msg=name)
    moved = (
        two_ranks["training"]["parameters"]["a.weight"][0] - dict(crew.net().named_parameters())["a.weight"].detach().numpy()
    )
    assert np.abs(moved).max() > 1e-3


def test_d_counted_bytes_are_the_formula(two_ranks):
    """One bucket, density 0.05: k = round(34.9) = 35 of 698. f32 values and Elias-Fano positions.

    4 (status) + 3 * 4 (signals) + 27 * 4 (vectors) + 35 * 4 (values) = 264; positions: l = 4 low bits, 35 * 4 = 140 bits
    = 18 bytes, 35 + 698 // 16 + 1 = 79 bits = 10 bytes, 28 in all. 292 bytes a rank; W (W - 1) = 2 of them are sent.
    """
    for report in two_ranks["one bucket"]["reports"]:
        assert sum(report["k"].values()) == 35
        assert report["sent"] == 292
        assert report["counted"] == 584
    for how, positions in (("int32", 140), ("bitmap", 88), ("varint", 40)):
        # bitmap: 698 bits; varint: 35 + (663 >> 7) = 40, all smaller here by bucket; so only the sum is looked at
        report = two_ranks[how]["reports"][0]  # step 0 has one bucket still
        assert report["sent"] == 264 + positions


def test_d_every_rank_sends_what_the_layout_says():
    layout = Layout(layers=3, dense=27, sent=35, k=35, n=698)
    assert index_bytes(698, 35, "elias-fano") == 28
    assert layout.size == 292
    assert Layout(3, 27, 35, 35, 698, values="f16").size == 4 * 31 + 4 * -(-(70 + 28) // 4)  # rounded up to four bytes


def test_e_regrouped_buckets_change_nothing(two_ranks):
    """Step 0 has one bucket, the later ones several; the same gradients as with one bucket throughout."""
    some, one = two_ranks["some"], two_ranks["one bucket"]
    assert some["reports"][0]["buckets"] == 1
    assert some["reports"][1]["buckets"] > 1
    if any(r["dense"] for r in some["reports"]):
        pytest.fail("a dense bucket would hide what this test is about")
    for ours, theirs in zip(some["gradients"], one["gradients"], strict=True):
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)


def test_f_shares_sum_to_the_budget(two_ranks):
    for report in two_ranks["training"]["reports"]:
        assert report["k"].keys() == COMPRESSED.keys()  # neither the frozen layer nor vectors
        assert sum(report["k"].values()) == 35
    signals = [tuple(r["signal"].values()) for r in two_ranks["training"]["reports"]]
    assert signals[0] == (1.0, 1.0, 1.0)
    assert signals[-1] != signals[0]


def test_g_a_checkpoint_continues_the_same_numbers(two_ranks):
    run = two_ranks["resumed"]
    assert run["step"] == 6
    for name in run["whole"]:
        np.testing.assert_array_equal(run["whole"][name][0], run["parts"][name][0], err_msg=name)


def test_h_ranks_agree_on_every_share(two_ranks):
    for report in two_ranks["training"]["reports"]:
        np.testing.assert_array_equal(report["ks"][0], report["ks"][1])


def test_i_the_sign_of_all_gradients_carries_through(two_ranks):
    for ours, theirs in zip(two_ranks["some"]["gradients"], two_ranks["flipped"]["gradients"], strict=True):
        for name in ours:
            np.testing.assert_array_equal(ours[name], -theirs[name], err_msg=name)


# --- ways of training ------------------------------------------------------------------------------------------------


def test_warm_up_densities_are_used_in_turn(two_ranks):
    reports = two_ranks["warm-up"]["reports"]
    assert [r["density"] for r in reports] == [1.0, 0.3, 0.1, 0.01]
    assert [sum(r["k"].values()) for r in reports] == [698, 209, 70, 7]
    assert reports[0]["dense"] == 1  # at density 1 all-reduce costs less


def test_sent_entries_are_few(two_ranks):
    """At most k entries of each rank: 2 * 35 differ from zero at density 0.05; all 698 in plain DDP, nearly."""
    first = two_ranks["one bucket"]["gradients"][0]
    assert 35 <= sum((first[n] != 0).sum() for n in COMPRESSED) <= 70
    assert sum((two_ranks["plain"][0][n] != 0).sum() for n in COMPRESSED) > 600


def test_random_choice_is_the_same_on_all_ranks_and_needs_no_positions(two_ranks):
    run = two_ranks["random"]
    assert sum((run["gradients"][0][n] != 0).sum() for n in COMPRESSED) <= 35
    assert run["reports"][0]["sent"] == 264


def test_no_feedback_forgets_what_is_not_sent(two_ranks):
    run = two_ranks["no feedback"]
    assert all(not v.any() for n in COMPRESSED for v in run["left"][n])


@pytest.mark.parametrize("how", ["not finite", "not finite, scaled"])
def test_a_gradient_that_is_not_finite_is_skipped_on_all(two_ranks, how):
    """An infinity in one layer of rank 1: parameters and residuals of both ranks as if that batch had never been."""
    run = two_ranks[how]
    assert run["with skipped"] == [False, False, True, False, False]
    assert run["with steps"] == run["without steps"] == 4
    for what in ("", " left"):
        for name, both in run["with" + what].items():
            for ours, theirs in zip(both, run["without" + what][name], strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_a_changing_loss_scale_changes_nothing(two_ranks):
    run = two_ranks["scaled"]
    assert run["scaled scale"] == 32.0  # 4, doubled every 2 of 6 steps
    for name in run["plain"]:
        np.testing.assert_array_equal(run["plain"][name][0], run["scaled"][name][0], err_msg=name)


def test_half_precision_models_keep_float32_residuals(two_ranks):
    run = two_ranks["half"]
    assert run["dtype"] == "torch.bfloat16"
    assert run["kept"] == "torch.float32"
    for name, (first, second) in run["gradients"].items():
        np.testing.assert_array_equal(first, second, err_msg=name)


def test_gradient_accumulation_sends_once(two_ranks):
    run = two_ranks["accumulated"]
    assert run["before"] == 0
    assert run["after"] == 1
    for name, both in run["own"].items():
        left = np.mean(run["left"][name], axis=0) if name in COMPRESSED else 0
        np.testing.assert_allclose(run["sent"][name] + left, np.mean(both, axis=0), atol=1e-6, err_msg=name)


def test_the_simulator_is_the_hook(two_ranks):
    run = two_ranks["simulated"]
    states = [RSDGC(crew.net(), density=0.05) for _ in range(2)]
    for hook, local in zip(run["gradients"], run["local"], strict=True):
        gradients = [{n: torch.from_numpy(g[r]) for n, g in local.items()} for r in range(2)]
        for name, g in exchange(states, gradients).items():
            np.testing.assert_allclose(g.numpy(), hook[name], atol=1e-6, err_msg=name)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_ranks_that_disagree_are_refused_at_the_first_step(two_ranks):
    said = two_ranks["refused"]
    assert "disagree on density: rank 0 has 0.01, rank 1 has 0.02" in said["density"]
    assert "disagree on indicator: rank 0 has mix, rank 1 has energy" in said["indicator"]


def test_a_second_momentum_is_refused_with_the_reason(two_ranks):
    said = two_ranks["refused"]
    assert "The hook has momentum 0.9 and SGD has 0.9: applied twice" in said["SGD"]
    assert "Adam has 0.9" in said["Adam"]
    assert "does not know" in said["stranger"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"density": 0.0}, "above 0"),
        ({"density": 1.5}, "above 0"),
        ({"warmup": (0.5, 2.0)}, "above 0"),
        ({"momentum": 1.0}, "below 1"),
        ({"p": 2}, "odd"),
        ({"dynamic": -1}, "between 0 and 1"),
        ({"feedback": False}, "momentum=0"),
        ({"values": "f8"}, "f32, f16"),
        ({"index": "huffman"}, "elias-fano"),
        ({"indicator": "mixx"}, "Did you mean 'mix'"),
        ({"warmup_steps": 0}, "at least 1"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(InputError, match=words):
        RSDGC(crew.net(), **settings)


def test_a_model_without_trainable_parameters():
    model = nn.Linear(3, 2)
    model.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to compress"):
        RSDGC(model)


def test_a_state_of_another_model():
    state = RSDGC(crew.net())
    with pytest.raises(InputError, match="another model"):
        state.load_state_dict(RSDGC(nn.Linear(3, 2)).state_dict())
    saved = state.state_dict()
    saved["layers"]["a.weight"]["residual"] = torch.zeros(5)
    with pytest.raises(InputError, match=r"a\.weight had 5 entries, now 108"):
        state.load_state_dict(saved)


# --- by hand ---------------------------------------------------------------------------------------------------------


def one(weight, **settings):
    """A state with one worker over a single matrix."""
    model = nn.Linear(*reversed(weight), bias=False)
    return RSDGC(model, **{"fallback": False, **settings})  # four numbers are always cheaper dense


def test_momentum_and_masking_by_hand():
    """m = 0.9, g = 1, 1: entry 0 is large, and sent; the others hold v = 1 + 1.9 = 2.9, u = 1.9; entry 0 has u = v = 0."""
    state = one((2, 2), density=0.25, indicator="magnitude")
    g = torch.tensor([[100.0, 1.0], [1.0, 1.0]])
    for _ in range(2):
        sent = exchange([state], [{"weight": g}])["weight"]
    state.settle()
    layer = state.layers["weight"]
    torch.testing.assert_close(layer.v, torch.tensor([0.0, 2.9, 2.9, 2.9]))
    torch.testing.assert_close(layer.u, torch.tensor([0.0, 1.9, 1.9, 1.9]))
    torch.testing.assert_close(sent, torch.tensor([[100.0, 0.0], [0.0, 0.0]]))


def test_without_masking_momentum_goes_on():
    """Entry 0: sent 100 at step 1, u stays 100; at step 2 u = v = 190, which is sent."""
    state = one((2, 2), density=0.25, indicator="magnitude", masking=False)
    g = torch.tensor([[100.0, 1.0], [1.0, 1.0]])
    for _ in range(2):
        sent = exchange([state], [{"weight": g}])["weight"]
    assert sent[0, 0] == pytest.approx(190.0)


def test_what_float16_cannot_hold_stays_behind():
    """1.0001 is 1 in float16; 1e-4 remains. 1e6 is cut to 65504; the rest remains."""
    state = one((2, 2), density=0.5, momentum=0.0, values="f16", indicator="magnitude", fallback=False)
    sent = exchange([state], [{"weight": torch.tensor([[1.0001, 1e6], [0.0, 0.0]])}])["weight"]
    state.settle()
    torch.testing.assert_close(sent, torch.tensor([[1.0, 65504.0], [0.0, 0.0]]))
    torch.testing.assert_close(state.layers["weight"].v, torch.tensor([1.0001 - 1, 1e6 - 65504, 0.0, 0.0]))


def test_a_function_may_be_the_indicator():
    """The last column first."""
    state = one((2, 4), density=0.25, momentum=0.0, indicator=lambda A, p: torch.arange(4.0).expand_as(A))
    sent = exchange([state], [{"weight": torch.ones(2, 4)}])["weight"]
    assert sent.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1]]


def test_watched_layers_are_kept_as_matrices():
    state = one((2, 2), density=0.25, indicator="magnitude")
    state.watch = {"weight"}
    g = torch.tensor([[100.0, 1.0], [1.0, 1.0]])
    exchange([state], [{"weight": g}])
    matrix, kept = state.seen["weight"]
    torch.testing.assert_close(matrix, g)  # before anything was sent
    assert kept.tolist() == [[True, False], [False, False]]
    assert state.residual_norms()["weight"] == pytest.approx(3**0.5)


def test_overlap_of_two_workers_by_hand():
    """Rank 0 sends entries 0, 1, rank 1 entries 1, 2: one of three in common."""
    states = [one((2, 2), density=0.5, indicator="magnitude", fallback=False) for _ in range(2)]
    for state in states:
        state.watch = {"weight"}
    exchange(
        states, [{"weight": torch.tensor([[3.0, 2.0], [1.0, 0.0]])}, {"weight": torch.tensor([[0.0, 3.0], [2.0, 1.0]])}]
    )
    assert states[0].report.overlap == [pytest.approx(1 / 3)]


def test_warm_up_densities_of_the_published_code():
    assert warmup_densities(0.001, 5) == pytest.approx([0.316, 0.1, 0.0316, 0.01, 0.00316], rel=0.01)
    assert warmup_densities(0.01, 0) == []


def test_a_state_that_is_gone_watches_no_optimiser():
    """The guard lives as long as the state: a second momentum is nobody's business afterwards."""
    model = nn.Linear(2, 2)
    state = RSDGC(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(InputError, match="applied twice"):
        optimiser.step()
    del state
    optimiser.step()
