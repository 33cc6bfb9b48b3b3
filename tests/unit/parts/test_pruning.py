"""Groups, MACs by hand, the choice under a budget, and cut networks that equal the masked ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.parts.cifar_networks import CIFARResNet, InvertedResidual
from workbench.parts.networks import VGG, ResNet18, classifier
from workbench.parts.pruning import Plan, choose, counts_of, group_scores, masked, sizes, sliced

pytest.importorskip("torch_pruning")


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 10, 3, padding=1)
        self.c, self.d = nn.Conv2d(16, 8, 3), nn.Linear(8 * 36, 4)

    def forward(self, x):
        return self.d(F.relu(self.c(torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1))).flatten(1))


class Chunked(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        a, b = self.enter(x).chunk(2, 1)
        return self.head(torch.cat([self.left(a).mean((2, 3)), self.right(b).mean((2, 3))], 1))


def depthwise():
    stem = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6()]
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)]
    return nn.Sequential(*stem, InvertedResidual(8, 12, 1, 3), InvertedResidual(12, 12, 1, 3), *ends)


NETWORKS = {
    "plain": lambda: VGG(3, 4, 6, side=8),
    "residual": lambda: CIFARResNet(3, 4, 14, 4),
    "projection": lambda: CIFARResNet(3, 4, 14, 4, projection=True),
    "depthwise": depthwise,
    "concat": Concat,
}


def shaken(network):
    """With norms that change what they read, so that a silent filter is not zero by itself."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cut_network_is_the_masked_network(name):
    torch.manual_seed(0)
    network, x = shaken(NETWORKS[name]()), torch.randn(3, 3, 8, 8)
    plan, random = Plan.of(network, x), np.random.default_rng(0)
    kept = choose(plan, [random.random(g.count) for g in plan.groups], 0.6 * plan.cost())
    assert min(len(k) / g.count for k, g in zip(kept, plan.groups, strict=True)) < 1
    small = sliced(network, plan, kept, x).eval()
    with torch.no_grad():
        cut = small(x)
        with masked(network, plan, kept):
            silent = network(x)
        whole = network(x)
    assert float((cut - silent).abs().max()) < 1e-5
    assert float((whole - silent).abs().max()) > 1e-3
    counted = sum(s.unit * s.ins * s.outs for s in sizes(small, x).values())
    assert counted == plan.cost(counts_of(kept)) <= 0.6 * plan.cost()


def test_groups_and_macs_by_hand():
    """Two convolutions on 8 x 8 and a linear layer: 3*4*9*64 + 4*6*9*64 + 6*2 MACs."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    plan = Plan.of(network, torch.zeros(1, 3, 8, 8))
    assert plan.macs().tolist() == [6912, 13824, 12]
    assert {g.root: (g.members, g.count) for g in plan.groups} == {"0": (("0",), 4), "2": (("2",), 6)}
    order = [g.root for g in plan.groups]
    counts = np.array([{"0": 2, "2": 3}[r] for r in order])
    assert plan.macs(counts).tolist() == [6912 // 2, 13824 // 4, 6]
    assert plan.shares(counts).tolist() == [0.5, 0.5, 1.0]


def test_sums_share_their_filters_and_padded_ones_stay():
    x = torch.zeros(1, 3, 8, 8)
    projected = Plan.of(CIFARResNet(3, 4, 8, 4, projection=True), x)
    assert sorted(len(g.members) for g in projected.groups) == [1, 1, 1, 2, 2, 2]
    padded = Plan.of(CIFARResNet(3, 4, 8, 4), x)
    assert {g.root for g in padded.groups} == {"3.first", "4.first", "5.first"}
    assert (
        len(Plan.of(ResNet18(3, 4), x, keep=["features.0"]).groups) == 11
    )  # one group of twelve holds the first convolution


def test_the_lowest_scores_go_first_and_no_further_than_needed():
    network, x = VGG(3, 4, 8, side=8), torch.zeros(1, 3, 8, 8)
    plan = Plan.of(network, x)
    scores = [np.random.default_rng(n).random(g.count) for n, g in enumerate(plan.groups)]
    target = 0.5 * plan.cost()
    kept = choose(plan, scores, target)
    counts = counts_of(kept)
    assert plan.cost(counts) <= target
    more = [np.eye(len(counts), dtype=int)[n] + counts for n in range(len(counts)) if counts[n] < plan.groups[n].count]
    assert max(plan.cost(m) for m in more) > target
    free = [n for n, g in enumerate(plan.groups) if counts[n] > 2]
    highest_gone = max(np.delete(scores[n], kept[n]).max(initial=-1) for n in free)
    assert highest_gone < min(scores[n][kept[n]].min() for n in free)
    rounded = counts_of(choose(plan, scores, target, round_to=4))
    assert (rounded % 4 == 0).all()
    assert plan.cost(rounded) <= target


def test_scores_of_members_are_averaged_or_added():
    plan = Plan.of(CIFARResNet(3, 4, 8, 4, projection=True), torch.zeros(1, 3, 8, 8))
    scores = {n.name: np.full(n.outs, 2.0) for n in plan.layers}
    number = next(n for n, g in enumerate(plan.groups) if len(g.members) == 2)
    assert group_scores(plan, scores)[number].tolist() == [2.0] * plan.groups[number].count
    assert group_scores(plan, scores, "sum")[number].tolist() == [4.0] * plan.groups[number].count


def test_a_target_below_the_floor_is_refused():
    network, x = VGG(3, 4, 8, side=8), torch.zeros(1, 3, 8, 8)
    plan = Plan.of(network, x)
    with pytest.raises(InputError, match=r"target is 0\.1%.*at least .*% remain.*Raise the target, or lower safeguard"):
        choose(plan, [np.arange(g.count) for g in plan.groups], 0.001 * plan.cost())


def test_a_network_that_cannot_be_followed_names_the_layer_and_the_way_out():
    network, x = Chunked(), torch.zeros(2, 3, 8, 8)
    with pytest.raises(InputError, match=r"layer 'enter'.*(chunk|split).*keep"):
        Plan.of(network, x)
    assert "enter" not in {g.root for g in Plan.of(network, x, keep=["enter"]).groups}
    with pytest.raises(InputError, match="keep names nothing; the network has no such layer"):
        Plan.of(network, x, keep=["nothing"])


def test_the_traced_network_is_left_as_it_was():
    network, x = classifier("resnet20", (3, 8, 8), 4, width=4), torch.randn(2, 3, 8, 8)
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    Plan.of(network, x)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(m.training for m in network.modules())
    assert all(p.grad is None for p in network.parameters())
