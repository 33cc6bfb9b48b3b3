"""The network and losses of AR-CDNet: its published size, worked numbers, what depends on what, and how far it looks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workbench.config import override
from workbench.errors import InputError
from workbench.methods.arcdnet import PAPER, ARCDNet, Config, from_conv3d, load_encoder, reach
from workbench.methods.arcdnet.loss import (
    bce,
    change_loss,
    dice,
    entropy_floor,
    learning_rate,
    shuffled,
    uncertainty_target,
)
from workbench.methods.arcdnet.network import TDE, Aggregation, Review, disagreement, reverse_attention, shape_of

P = torch.tensor([0.9, 0.2, 0.6, 0.5])
Y = torch.tensor([1.0, 0.0, 0.0, 1.0])
ALL = torch.ones(4)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def network(seed: int = 0, bands: int = 3, **settings) -> ARCDNet:
    torch.manual_seed(seed)
    made = ARCDNet(bands, Config(**{"width": 4, **settings}))
    for module in made.modules():  # batch statistics of a network that has seen something
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    for head in (made.head, *made.sides, *([made.branch.head] if made.branch else [])):
        head[-1].weight.data *= 30  # and has opinions
    return made.eval()


def pair(size: int = 64, bands: int = 3, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.rand(batch, bands, size, size, generator=random), torch.rand(batch, bands, size, size, generator=random)


# --- the published size -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> ARCDNet:
    return ARCDNet(3, override(Config(), PAPER))


def test_the_full_network_has_the_published_number_of_parameters(full):
    assert parameters(full) == 14_342_446


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (lambda n: n.backbone, 11_195_744),
        (lambda n: n.pyramid, 1_047_744),
        (lambda n: n.pyramid.down[0], 148_032),
        (lambda n: n.difference[0], 147_840),
        (lambda n: n.branch, 352_577),
        (lambda n: n.review[0], 316_248),
        (lambda n: n.head, 37_121),
        (lambda n: n.fuse, 20_672),
    ],
    ids=["backbone", "pyramid", "aggregation", "difference", "uncertainty", "review", "head", "fusion"],
)
def test_so_has_each_of_its_parts(full, part, count):
    assert parameters(part(full)) == count


def test_options_change_what_they_say(full):
    assert parameters(ARCDNet(3, Config(network="full"))) == parameters(full)  # our repairs cost nothing
    less = parameters(full) - parameters(ARCDNet(3, Config(network="full", krm=False)))
    assert less == 3 * 316_248
    assert parameters(full) - parameters(ARCDNet(3, Config(network="full", difference="abs"))) == 4 * 147_840
    assert parameters(full) - parameters(ARCDNet(3, Config(network="full", oue=False))) == 352_577 + 64 * 64


def test_the_small_network_is_small():
    assert parameters(ARCDNet(3, Config())) == 165_141


def test_shapes_of_the_full_network(full):
    with torch.inference_mode():
        full.eval()
        maps = full.backbone(torch.rand(1, 3, 256, 256))
        assert [tuple(m.shape[1:]) for m in maps] == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8)]
        assert [tuple(p.shape[1:]) for p in full.pyramid(maps)] == [(64, n, n) for n in (64, 32, 16, 8)]
        out = full(*pair(64))
    outputs = [out.change, *out.sides, out.uncertainty]
    assert len(outputs) == 6
    for logits in outputs:
        assert logits.shape == (1, 1, 64, 64)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("bands", [1, 6])
@pytest.mark.parametrize("settings", [{}, {"compat": True}, {"krm": False}, {"difference": "abs"}, {"oue": False}])
def test_any_number_of_bands_and_every_option(bands, settings):
    out = network(bands=bands, **settings)(*pair(64, bands, 2))
    assert out.change.shape == (2, 1, 64, 64)
    assert (out.uncertainty is None) == (settings.get("oue") is False)
    assert len(out.sides) == 3


# --- the blocks -------------------------------------------------------------------------------------------------------


def test_the_difference_is_the_published_3d_convolution():
    torch.manual_seed(0)
    deep = nn.Conv3d(64, 64, (2, 3, 3), (2, 1, 1), (0, 1, 1))
    flat = nn.Conv2d(128, 64, 3, padding=1)
    flat.weight.data, flat.bias.data = from_conv3d(deep.weight), deep.bias.data
    a, b = torch.randn(2, 64, 24, 24), torch.randn(2, 64, 24, 24)
    torch.testing.assert_close(flat(torch.cat([a, b], 1)), deep(torch.stack([a, b], 2))[:, :, 0], rtol=0, atol=1e-5)


def test_disagreement_and_reverse_attention():
    m2, mk = torch.logit(torch.tensor([0.9, 0.9, 0.9])), torch.logit(torch.tensor([0.9, 0.5, 0.1]))
    torch.testing.assert_close(disagreement(m2, mk), torch.tensor([0.18, 0.5, 0.82]))
    torch.testing.assert_close(reverse_attention(mk), torch.tensor([0.1, 0.5, 0.9]))


def test_masks_are_not_detached():
    torch.manual_seed(0)
    review = Review(4, shape_of(Config(width=4)), whole_image=False).eval()
    d2, dk = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16)
    m2, mk = (torch.randn(1, 1, 16, 16, requires_grad=True) for _ in range(2))
    review(d2, dk, m2, mk).square().sum().backward()
    assert m2.grad.abs().sum() > 0
    assert mk.grad.abs().sum() > 0


def test_the_low_branch_of_aggregation_may_be_negative():
    torch.manual_seed(0)
    assert (Aggregation(4, whole_image=True).eval().low(torch.randn(1, 4, 8, 8)) < 0).any()


def tied(net: ARCDNet) -> ARCDNet:
    for module in net.modules():
        if isinstance(module, TDE):
            module.back.load_state_dict(module.forth.state_dict())
    return net


@pytest.mark.parametrize("context", ["window", "global"])
def test_with_tied_branches_the_order_of_dates_does_not_matter(context):
    net, (a, b) = tied(network(context=context)), pair()
    with torch.inference_mode():
        forth, back = net(a, b), net(b, a)
    torch.testing.assert_close(torch.sigmoid(forth.change), torch.sigmoid(back.change), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.sigmoid(forth.uncertainty), torch.sigmoid(back.uncertainty), rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{"swap_second": False}, {"compat": True}])
def test_in_the_authors_code_it_does(settings):
    net, (a, b) = tied(network(**settings)), pair()
    with torch.inference_mode():
        gap = (torch.sigmoid(net(a, b).change) - torch.sigmoid(net(b, a).change)).abs().max()
    assert gap > 1e-3


def test_compat_exchanges_the_dates():
    ours, theirs = network(swap_second=False, context="global"), network(compat=True)
    a, b = pair()
    with torch.inference_mode():
        torch.testing.assert_close(ours(b, a).change, theirs(a, b).change, rtol=0, atol=1e-5)


def test_missing_pixels_are_the_mean_of_their_band():
    net, (a, b) = network(), pair()
    net.mean.copy_(torch.tensor([0.3, 0.4, 0.5]))
    hole, filled = a.clone(), a.clone()
    hole[:, :, 20:30, 20:30] = torch.nan
    filled[:, :, 20:30, 20:30] = net.mean[None, :, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(net(hole, b).change, net(filled, b).change)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_worked_numbers_of_the_losses():
    logits = torch.logit(P)
    torch.testing.assert_close(uncertainty_target(logits, Y), torch.tensor([0.1, 0.2, 0.6, 0.5]))
    assert float(bce(logits, Y, ALL)) == pytest.approx(0.484486, abs=1e-6)
    assert float(dice(logits, Y, ALL)) == pytest.approx(0.666667, abs=2e-6)
    assert float(change_loss(logits, Y, ALL)) == pytest.approx(0.817818, abs=3e-6)


def test_the_least_uncertainty_loss_is_the_entropy_of_its_target():
    target = uncertainty_target(torch.logit(P), Y)
    floor = float(entropy_floor(target, ALL))
    assert floor == pytest.approx(0.547911, abs=1e-6)
    assert float(bce(torch.logit(target), target, ALL)) == pytest.approx(floor, abs=1e-6)
    for shift in (-0.05, 0.05):
        assert float(bce(torch.logit(target + shift), target, ALL)) > floor


def test_pixels_that_do_not_count_do_not_count():
    logits, y = torch.logit(torch.cat([P, torch.tensor([0.99, 0.01])])), torch.cat([Y, torch.tensor([0.0, 1.0])])
    valid = torch.cat([ALL, torch.zeros(2)])
    assert float(change_loss(logits, y, valid)) == pytest.approx(0.817818, abs=3e-6)
    assert float(entropy_floor(uncertainty_target(logits, y), valid)) == pytest.approx(0.547911, abs=1e-6)
    assert float(bce(logits, y, torch.zeros(6))) == 0


def test_shuffled_targets_are_the_same_values_elsewhere():
    target, valid = torch.arange(100.0).view(1, 1, 10, 10), torch.ones(1, 1, 10, 10)
    valid[..., :3] = 0
    torch.manual_seed(0)
    mixed = shuffled(target, valid)
    assert torch.equal(mixed[valid == 0], target[valid == 0])
    assert torch.equal(mixed[valid == 1].sort().values, target[valid == 1].sort().values)
    assert (mixed != target).sum() > 50


def test_what_learns_from_what():
    net, (a, b) = network().train(), pair(batch=2)
    y = (torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    valid = torch.ones_like(y)

    def moved(loss: torch.Tensor, part: nn.Module) -> float:
        net.zero_grad()
        loss.backward(retain_graph=True)
        return sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)

    out = net(a, b)
    target = uncertainty_target(out.change, y)
    assert not target.requires_grad
    of_u, of_change = bce(out.uncertainty, target, valid), change_loss(out.change, y, valid)
    assert moved(of_u, net.head) == 0  # nothing flows into P through its error
    assert moved(of_u, net.backbone) > 0  # but through d_2
    assert moved(of_change, net.branch.stem) > 0  # b enters the fusion
    assert moved(of_change, net.branch.head) == 0


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 5.225e-5), (199, 5.0e-4), (200, 4.9554e-4), (10_000, 2.7035e-4), (19_999, 7.96e-6)]
)
def test_learning_rate_of_the_authors_schedule(step, rate):
    total = math.ceil(20_000 / 222) * 222
    assert total == 20_202
    assert learning_rate(step, total, 5e-4) == pytest.approx(rate, rel=1e-4 if step != 19_999 else 1e-3)


# --- how far it looks -------------------------------------------------------------------------------------------------


def looked_at(net: ARCDNet, size: int, at: int) -> tuple[int, int]:
    """First and last row of the outputs that one missing pixel at (at, at) reaches, where missing values spread."""
    net.standardised = lambda x: x  # NaN stays NaN
    a, b = torch.rand(1, 3, size, size), torch.rand(1, 3, size, size)
    a[:, :, at, at] = torch.nan
    with torch.inference_mode():
        out = net(a, b)
    rows = torch.isnan(torch.stack([out.change, out.uncertainty])).any(0)[0, 0].any(1).nonzero()
    return int(rows.min()), int(rows.max())


def test_nothing_farther_than_its_reach_matters():
    far = reach(Config())
    assert far == 208
    found = []
    for at in (320, 327, 335):  # places within a cell of the coarsest level
        first, last = looked_at(network(width=2), 640, at)
        found += [at - first, last - at]
    assert max(found) <= far
    assert max(found) > far - 16  # and no stride less would do


def test_the_published_context_is_the_whole_image():
    assert reach(Config(context="global")) is None
    assert reach(Config(network="full")) is None
    first, last = looked_at(network(width=2, context="global"), 128, 64)
    assert (first, last) == (0, 127)


# --- weights of others ------------------------------------------------------------------------------------------------


def encoder_state(bands: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    state = {k: torch.randn_like(v.float()) for k, v in ARCDNet(bands, Config(network="full")).backbone.state_dict().items()}
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")} | {"fc.weight": torch.zeros(1000, 512)}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_weights_with_timms_names(tmp_path, suffix):
    from safetensors.torch import save_file

    state, path = encoder_state(), tmp_path / f"resnet18d{suffix}"
    for name in (
        "conv1.0.weight",
        "conv1.6.weight",
        "bn1.running_mean",
        "layer1.1.conv2.weight",
        "layer2.0.downsample.1.weight",
    ):
        assert name in state
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    net = ARCDNet(3, Config(network="full"))
    assert load_encoder(net, path) == ["fc.weight"]
    assert torch.equal(net.backbone.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_encoder_weights_for_other_bands_give_the_same_on_equal_bands(tmp_path):
    state, path = encoder_state(), tmp_path / "encoder.pth"
    torch.save(state, path)
    six = ARCDNet(6, Config(network="full"))
    load_encoder(six, path)
    grey = torch.rand(1, 1, 32, 32)
    there = F.conv2d(grey.expand(-1, 3, -1, -1), state["conv1.0.weight"], stride=2, padding=1)
    torch.testing.assert_close(six.backbone.conv1[0](grey.expand(-1, 6, -1, -1)), there, rtol=1e-4, atol=1e-4)


def test_encoder_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "encoder.pth"
    torch.save(encoder_state(), path)
    with pytest.raises(InputError, match="do not fit the encoder"):
        load_encoder(ARCDNet(3, Config()), path)
    with pytest.raises(InputError, match="There is no file"):
        load_encoder(ARCDNet(3, Config()), tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="neither"):
        load_encoder(ARCDNet(3, Config()), tmp_path / "text.pth")


def test_nothing_is_unpickled(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("ran code of a file",))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(InputError, match="neither"):
        load_encoder(ARCDNet(3, Config()), path)
