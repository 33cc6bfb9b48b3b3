"""SAR-Net's modules: worked numbers, invariances, locality and globality, sizes, and parameters of the arms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from workbench.data.boxed_images import entered
from workbench.errors import InputError
from workbench.methods.sarnet import Config, Trained, inspect
from workbench.parts.sarnet_network import (
    ARMS,
    Directions,
    Embed,
    SARNet,
    gather,
    matched_neck,
    parameters,
    resize,
)


def identity(layer: nn.Sequential) -> None:
    """Make a 1 x 1 convolution with batch normalisation the identity."""
    weight = layer[0].weight
    nn.init.zeros_(weight)
    with torch.no_grad():
        weight[torch.arange(len(weight)), torch.arange(len(weight)), 0, 0] = 1
    layer[1].eps = 0.0
    layer.eval()


# --- DAM --------------------------------------------------------------------------------------------------------------


def plain_directions() -> Directions:
    """DAM of one channel with identity weights: gates are the sigmoids of the strip means."""
    dam = Directions(1, taps=1).eval()
    dam.reduce = nn.Identity()
    dam.along_rows = dam.along_columns = dam.row = dam.column = nn.Identity()
    return dam


def test_the_gates_of_the_worked_example():
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]])[None, None]
    out, gates = plain_directions()(x)
    assert torch.logit(gates.row).flatten().tolist() == pytest.approx([2, 5], abs=1e-4)
    assert torch.logit(gates.column).flatten().tolist() == pytest.approx([2.5, 3.5, 4.5], abs=1e-4)
    expected = torch.tensor([[0.8140, 1.7100, 2.6134], [3.6718, 4.8210, 5.8944]])
    torch.testing.assert_close(out[0, 0], expected, atol=5e-5, rtol=0)
    dam = plain_directions()
    dam.aggregate = "mean"
    torch.testing.assert_close(dam(x)[0], x * (gates.row + gates.column) / 2)


def test_transposition_with_tied_weights_only():
    torch.manual_seed(0)
    dam, x = Directions(16).eval(), torch.randn(2, 16, 9, 12)
    assert (dam(x.mT)[0] - dam(x)[0].mT).abs().max() > 1e-3
    with torch.no_grad():
        dam.along_columns.weight.copy_(dam.along_rows.weight.mT)
        dam.along_columns.bias.copy_(dam.along_rows.bias)
        dam.column.weight.copy_(dam.row.weight)
        dam.column.bias.copy_(dam.row.bias)
    torch.testing.assert_close(dam(x.mT)[0], dam(x)[0].mT, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("taps", "reach"), [(1, 0), (7, 3)])
def test_a_change_moves_the_gates_of_near_rows_and_columns_only(taps, reach):
    torch.manual_seed(0)
    dam, x = Directions(16, taps=taps).eval(), torch.randn(1, 16, 20, 24)
    changed = x.clone()
    changed[0, :, 8, 11] += 5
    before, after = dam.gates(x), dam.gates(changed)
    rows = (before.row - after.row).abs().amax((0, 1, 3)) > 0
    columns = (before.column - after.column).abs().amax((0, 1, 2)) > 0
    assert torch.nonzero(rows).flatten().tolist() == list(range(8 - reach, 8 + reach + 1))
    assert torch.nonzero(columns).flatten().tolist() == list(range(11 - reach, 11 + reach + 1))


def test_shuffled_gates_are_those_of_another_image():
    torch.manual_seed(0)
    dam, x = Directions(16).eval(), torch.randn(3, 16, 8, 8)
    own, gates = dam(x)
    other, shuffled = dam(x, shuffled=True)
    torch.testing.assert_close(shuffled.row[1], gates.row[0])
    torch.testing.assert_close(other[1], x[1] * gates.row[0] * gates.column[0])
    assert (own - other).abs().max() > 1e-3


# --- UCM --------------------------------------------------------------------------------------------------------------


def test_embedding_of_the_worked_numbers():
    embed = Embed(1)
    for part in (embed.local, embed.gate, embed.add):
        identity(part)
    local = torch.full((1, 1, 4, 4), 2.0)
    for wide, expected in (
        (0.0, 1.0),
        (3.0, 5.0),
        (-3.0, -3.0),
    ):  # at -3 the gate is closed, and only the global map is left
        for size in (2, 4, 8):
            out = embed(local, torch.full((1, 1, size, size), wide))
            torch.testing.assert_close(out, torch.full_like(out, expected))


def test_the_gate_works_where_the_local_map_is_smaller():
    embed = Embed(1)
    for part in (embed.local, embed.gate, embed.add):
        identity(part)
    out = embed(torch.ones(1, 1, 2, 2), torch.full((1, 1, 4, 4), 30.0))
    torch.testing.assert_close(out, torch.full_like(out, 1 * 1 + 30.0))  # a raw embedding would give 1 * 30 + 30


def test_alignment_keeps_means_and_channels():
    maps = [torch.full((1, c, s, s), float(c)) for c, s in ((16, 64), (32, 32), (64, 16), (128, 8))]
    low = gather(maps, (16, 16))
    assert low.shape == (1, 240, 16, 16)
    assert [float(v) for v in low[0, [0, 16, 48, 112], 3, 3]] == [16, 32, 64, 128]
    assert low[0].flatten(1).std(1).max() == 0
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(resize(x, (4, 4)).mean((2, 3)), x.mean((2, 3)))


def test_maps_have_their_sizes_for_an_input_of_256():
    net = SARNet(1, 16).eval()
    seen = {}
    net.neck.low.register_forward_pre_hook(lambda _, x: seen.update(low=x[0].shape))
    net.neck.high.register_forward_pre_hook(lambda _, x: seen.update(high=x[0].shape))
    with torch.no_grad():
        out = net(torch.randn(2, 1, 256, 256))
    assert seen == {"low": (2, 240, 16, 16), "high": (2, 192, 8, 8)}
    assert [tuple(x.shape) for x in out.levels] == [(2, 5, 32, 32), (2, 5, 16, 16), (2, 5, 8, 8)]
    assert [tuple(g.row.shape) for g in out.gates] == [(2, 64, 32, 1), (2, 64, 16, 1), (2, 64, 8, 1)]
    assert [tuple(g.column.shape) for g in out.gates] == [(2, 64, 1, 32), (2, 64, 1, 16), (2, 64, 1, 8)]


@pytest.mark.parametrize(("attend", "low", "high"), [(True, 1e-4, 10.0), (False, 0.0, 1e-6)])
def test_only_attention_reaches_the_far_corner(attend, low, high):
    torch.manual_seed(0)
    net = SARNet(1, 4).eval()
    net.neck.high.attend = attend
    x = torch.rand(1, 1, 512, 512)
    changed = x.clone()
    changed[..., -64:, -64:] += 2
    with torch.no_grad():
        h4, moved = net(x).wide[2][0, :, 0, 0], net(changed).wide[2][0, :, 0, 0]
    relative = float((h4 - moved).norm() / h4.norm())
    assert low <= relative <= high


class Calls(TorchFunctionMode):
    """Names of all functions of torch that are called."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.add(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


def test_divided_maps_come_from_two_convolutions():
    """Tools that prune channels fail on a map that is cut: no part of the network may slice or split one."""
    net = SARNet(1, 4).eval()
    with Calls() as calls:
        net(torch.zeros(1, 1, 64, 64))
    assert {"conv2d", "cat"} <= calls.names
    assert not calls.names & {"chunk", "split", "tensor_split", "unbind", "narrow", "__getitem__"}


# --- the whole --------------------------------------------------------------------------------------------------------


def test_parameters_of_the_card_and_equal_ones_of_the_wide_rival():
    assert parameters(SARNet(1, 16)) == 1_269_879
    assert parameters(SARNet(2, 16)) == 1_269_879 + 3 * 65  # a head of six channels
    for width in (4, 8, 16):
        full, wide = (parameters(SARNet(1, width, arm)) for arm in ("sarnet", "wide"))
        assert wide == pytest.approx(full, rel=0.03)
        assert matched_neck(1, width) > 4 * width


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_learns_and_takes_any_size(arm):
    net = SARNet(3, 2, arm)
    out = net(torch.randn(2, 1, 64, 96))
    assert [tuple(x.shape) for x in out.levels] == [(2, 7, 8, 12), (2, 7, 4, 6), (2, 7, 2, 3)]
    sum(x.square().mean() for x in out.levels).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert bool(out.gates) == (ARMS[arm].attention in ("dam", "coordinate"))
    assert torch.sigmoid(out.levels[0][:, 4:]).mean() < 0.1  # most places are taken as empty at the start


# --- inside ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    return Trained(SARNet(1, 4).eval(), Config(width=4, crop=64), ["ship"], 0.001)


def test_gates_of_a_tile_are_those_of_the_network(trained):
    tile = np.random.default_rng(0).random((64, 64), np.float32)
    made = inspect(trained, tile)
    with torch.inference_mode():
        out = trained.network(entered(torch.from_numpy(tile)[None, None], trained.config))
    assert made["row_gate"].dims == ("level", "channel", "y")
    for level, gates in zip((8, 16, 32), out.gates, strict=True):
        row = made["row_gate"].sel(level=level).values
        np.testing.assert_allclose(row[:, ::level], gates.row[0, :, :, 0], rtol=1e-5)
        np.testing.assert_array_equal(row[:, 0], row[:, level - 1])  # one cell is `level` pixels long
        np.testing.assert_allclose(made["column_gate"].sel(level=level).values[:, ::level], gates.column[0, :, 0], rtol=1e-5)
    strength = made["flow"].sel(map="C3").values[::8, ::8]
    np.testing.assert_allclose(strength, out.maps[1][0].square().mean(0).sqrt(), rtol=1e-5)
    assert list(made["map"].values) == ["C2", "C3", "C4", "C5", "g3", "g4", "h4", "h5", "P3", "N4", "N5"]


def test_flat_gates_keep_their_mean_and_a_scale_that_is_off_changes_only_what_follows(trained):
    tile = np.random.default_rng(0).random((64, 64), np.float32)
    whole, flat, without = (
        inspect(trained, tile),
        inspect(trained, tile, gates=False),
        inspect(trained, tile, without=["C2"]),
    )
    for name, dim in (("row_gate", "y"), ("column_gate", "x")):
        np.testing.assert_allclose(flat[name].std(dim), 0, atol=1e-6)
        np.testing.assert_allclose(flat[name].mean(dim), whole[name].mean(dim), rtol=1e-5)
        assert float(whole[name].std(dim).max()) > 1e-6
    for name in ("C2", "C3", "C4", "C5"):
        np.testing.assert_array_equal(without["flow"].sel(map=name), whole["flow"].sel(map=name))
    for name in ("g3", "g4", "P3", "N5"):
        assert not np.allclose(without["flow"].sel(map=name), whole["flow"].sel(map=name), rtol=1e-6)
    np.testing.assert_array_equal(flat["flow"].sel(map="h5"), whole["flow"].sel(map="h5"))  # gates come after the fusion


def test_a_smaller_tile_is_reflected_and_a_larger_one_refused(trained):
    made = inspect(trained, np.random.default_rng(0).random((40, 50), np.float32))
    assert made["flow"].shape[1:] == (40, 50)
    assert (made["box"].values[:, [2, 3]] <= [50, 40]).all()
    with pytest.raises(InputError, match="tiles of 64 x 64 pixels; this image has 65 x 64"):
        inspect(trained, np.zeros((65, 64), np.float32))
    with pytest.raises(InputError, match="no scale 'C9'"):
        inspect(trained, np.zeros((64, 64), np.float32), without=["C9"])
