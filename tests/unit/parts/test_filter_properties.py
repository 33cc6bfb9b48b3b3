"""Ranks of feature maps against known maps; planted redundancy goes first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.parts.filter_properties import feature_ranks, weight_norms
from workbench.parts.networks import classifier
from workbench.parts.pruning import Plan, choose, counts_of, group_scores, masked, sliced

FOUR = (8, 8, 16, 16)


def four_convolutions():
    torch.manual_seed(0)
    made, channels = [], 3
    for n, wide in enumerate(FOUR):
        made += [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        made += [nn.MaxPool2d(2)] if n == 1 else []
        channels = wide
    return nn.Sequential(*made, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)).eval()


def test_ranks_of_known_maps():
    """A filter that sees columns alone gives maps of rank 1; one that is silent, rank 0; a copy of noise, full rank."""
    network = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.ReLU())
    network[0].weight.data = torch.tensor([[1.0, 0], [0, 1], [0, 0]])[:, :, None, None]
    images = torch.rand(5, 2, 6, 6)
    images[:, 0] = torch.rand(5, 1, 6).expand(5, 6, 6)
    assert feature_ranks(network, images, ["0"], batch=2)["0"].tolist() == [1, 6, 0]
    assert feature_ranks(network, images, ["0"], "convolution")["0"].tolist() == [1, 6, 0]


def test_the_activation_is_behind_the_layers_own_norm():
    network = classifier("resnet20", (3, 8, 8), 4, width=4).eval()
    network[3].norm_2.bias.data[1] = -1e3  # silent after ReLU
    images = torch.rand(4, 3, 8, 8)
    assert feature_ranks(network, images, ["3.second"])["3.second"][1] == 0
    assert feature_ranks(network, images, ["3.second"], "convolution")["3.second"][1] > 4


def test_planted_redundancy_is_removed_first():
    """A third of each layer's filters is silenced; by rank they are the first to go, and until the last one is gone nothing changes."""
    network = four_convolutions()
    random, planted = np.random.default_rng(0), {}
    norms = [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    convolutions = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    for norm, name, wide in zip(norms, convolutions, FOUR, strict=True):
        planted[name] = set(random.choice(wide, wide // 3, replace=False).tolist())
        for i in planted[name]:
            network.get_submodule(norm).weight.data[i] = network.get_submodule(norm).bias.data[i] = 0
    images = torch.randn(16, 3, 16, 16)
    with torch.no_grad():
        for _ in range(30):  # else the running moments are not those of the maps, and other filters are silent too
            network.train()(images)
    network.eval()
    plan = Plan.of(network, images)
    scores = group_scores(plan, feature_ranks(network, images, convolutions))
    without = [g.count - len(planted[g.root]) for g in plan.groups]
    kept = choose(plan, scores, plan.cost(np.array(without)))
    assert counts_of(kept).tolist() == without
    assert all(not set(k.tolist()) & planted[g.root] for k, g in zip(kept, plan.groups, strict=True))
    with torch.no_grad():
        assert float((sliced(network, plan, kept, images)(images) - network(images)).abs().max()) < 1e-5
        with masked(network, plan, kept):
            assert torch.equal(network(images), network(images))


def test_norms_of_weights_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 2, 2))
    network[0].weight.data = torch.tensor([[[[1.0, -2], [3, 0]]], [[[0, 0], [0, -0.5]]]])
    assert weight_norms(network, ["0"])["0"].tolist() == [6, 0.5]


@pytest.mark.parametrize("batch", [3, 64])
def test_the_batch_does_not_matter(batch):
    network, images = four_convolutions(), torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    one = feature_ranks(network, images, ["0", "7"], batch=batch)
    assert np.array_equal(one["7"], feature_ranks(network, images, ["0", "7"], batch=7)["7"])
