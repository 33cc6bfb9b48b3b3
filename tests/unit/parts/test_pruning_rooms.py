"""Networks of other rooms can be cut: SAR-Net's detector and AR-CDNet's pair of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.config import override
from workbench.methods.arcdnet import SMOKE, Config
from workbench.methods.arcdnet.network import ARCDNet
from workbench.parts.pruning import Plan, choose, counts_of, masked, sliced
from workbench.parts.quantize import fit, layers, quantize
from workbench.parts.sarnet_network import SARNet

pytest.importorskip("torch_pruning")


def assert_cut_equals_masked(network, plan, x, answer, target=0.6):
    random = np.random.default_rng(0)
    kept = choose(plan, [random.random(g.count) for g in plan.groups], target * plan.cost())
    small = sliced(network, plan, kept, x).eval()
    with torch.no_grad():
        cut = answer(small(x))
        with masked(network, plan, kept):
            silent = answer(network(x))
        whole = answer(network(x))
    for a, b, c in zip(cut, silent, whole, strict=True):
        assert float((a - b).abs().max()) < 1e-5 < float((a - c).abs().max())
    assert plan.cost(counts_of(kept)) <= target * plan.cost()
    return small


@pytest.mark.long
@pytest.mark.parametrize("arm", ["plain", "sarnet"])
def test_a_detector_is_cut_and_quantised(arm):
    torch.manual_seed(0)
    network, x = SARNet(1, 4, arm).eval(), torch.rand(2, 1, 64, 64)
    for head in network.head:
        nn.init.normal_(head[1].weight, std=0.3)
    plan = Plan.of(network, x, answer=lambda out: out.levels)
    assert not any(name.startswith("head") and name.endswith(".1") for g in plan.groups for name in g.members)
    small = assert_cut_equals_masked(network, plan, x, lambda out: out.levels)
    with torch.no_grad():
        before = small(x).levels
        fit(quantize(small, dict.fromkeys(layers(small), 8)), x)
        after = small(x).levels
    for a, b in zip(before, after, strict=True):
        assert 0 < float((a - b).abs().mean()) < 0.1 * float(a.abs().max())


class Pair(nn.Module):
    """AR-CDNet as a network of one input, both images on top of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ARCDNet(3, override(Config(), SMOKE))

    def forward(self, x):
        out = self.network(x[:, :3], x[:, 3:])
        return [out.change, out.uncertainty]


def test_a_change_detector_is_cut_where_its_channels_can_be_followed():
    """Its cuts and comparisons of channels are behind four layers, which the messages name one after another."""
    torch.manual_seed(0)
    network, x = Pair().eval(), torch.rand(2, 6, 64, 64)
    keep = [
        f"network.{n}"
        for n in ("pyramid.down.0.out.0", "pyramid.down.1.out.0", "pyramid.context.out.0", "difference.0.back.0")
    ]
    plan = Plan.of(network, x, keep=keep)
    assert len(plan.groups) > 30
    assert_cut_equals_masked(network, plan, x, lambda out: out, target=0.75)
