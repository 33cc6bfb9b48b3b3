"""Quantisers against numbers by hand, their gradients, and networks with quantised layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.errors import InputError
from workbench.parts.networks import classifier
from workbench.parts.quantize import (
    EvenWeight,
    LearnedStep,
    PublishedActivation,
    PublishedWeight,
    fit,
    grids,
    in_float,
    quantize,
)


def test_published_quantisers_give_the_worked_numbers():
    weights = torch.tensor([-1, -0.5, 0, 0.25, 1])
    torch.testing.assert_close(PublishedWeight(4)(weights), torch.tensor([-1, -4 / 7, 0, 2 / 7, 1]))
    torch.testing.assert_close(PublishedWeight(2)(weights), torch.tensor([-1.0, -1, 0, 1, 1]))
    activations = torch.tensor([-0.2, 0.1, 0.5, 0.97, 1.3])
    torch.testing.assert_close(PublishedActivation(4)(activations), torch.tensor([0, 2 / 15, 8 / 15, 1, 1]))


def test_dorefas_own_grid_gives_the_worked_numbers_and_has_no_zero():
    weights = torch.tensor([-1, -0.5, 0, 0.25, 1], requires_grad=True)
    four, two = EvenWeight(4), EvenWeight(2)
    torch.testing.assert_close(four(weights), torch.tensor([-1, -9 / 15, 1 / 15, 5 / 15, 1]))
    torch.testing.assert_close(two(weights), torch.tensor([-1, -1 / 3, 1 / 3, 1 / 3, 1]))
    many = torch.linspace(-3, 3, 1001)
    for bits in (2, 3, 4):
        codes = EvenWeight(bits).codes(many)
        assert sorted(codes.unique().tolist()) == list(range(1 - 2**bits, 2**bits, 2))
        torch.testing.assert_close(EvenWeight(bits)(many), codes * EvenWeight(bits).scale())
    four(weights).sum().backward()
    slope = (1 - torch.tanh(weights.detach()).square()) / torch.tanh(
        torch.tensor(1.0)
    )  # of 2 t - 1, the maximum being a constant
    torch.testing.assert_close(weights.grad, slope)


def test_a_learned_step_rounds_and_clamps():
    grid = LearnedStep(3, batched=False)
    nn.init.constant_(grid.step, 0.5)
    x = torch.tensor([-9.0, -0.8, -0.2, 0.3, 0.8, 9])
    assert grid.codes(x).tolist() == [-4, -2, 0, 1, 2, 3]
    assert grid(x).tolist() == [-2, -1, 0, 0.5, 1, 1.5]


def test_gradients_are_those_of_lsq():
    """Of x: 1 inside, 0 outside. Of the step, before its factor: round(x/s) - x/s inside, low or high outside."""
    grid = LearnedStep(3, batched=False)
    nn.init.constant_(grid.step, 0.5)
    x = torch.tensor([-9.0, -0.8, 0.3, 9], requires_grad=True)
    grid(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    expected = (-4 + (-2 + 1.6) + (1 - 0.6) + 3) / (4 * 3) ** 0.5
    assert grid.step.grad.item() == pytest.approx(expected, rel=1e-5)


def test_the_first_step_fits_the_data():
    grid, x = LearnedStep(4, batched=True), torch.randn(4000, generator=torch.Generator().manual_seed(0))
    grid.fit(x)
    errors = {}
    for step in (0.5, 1, 2):
        s = grid.step.item() * step
        errors[step] = float(((x / s).round().clamp(-8, 7) * s - x).square().mean())
    assert min(errors, key=errors.get) == 1
    grid.fit(x.abs(), signed=False)
    assert grid.limits.tolist() == [0, 15]


@pytest.mark.parametrize("quantizer", ["lsq", "published", "dorefa"])
def test_a_quantised_network_has_few_levels_and_learns(quantizer):
    torch.manual_seed(0)
    network, x = classifier("resnet20", (3, 8, 8), 4, width=4), torch.rand(16, 3, 8, 8)
    quantize(network, {"0": 32, "3.first": 2, "3.second": 4, "14": 8}, quantizer)
    fit(network, x)
    second = dict(network.named_modules())["3.second"]
    assert len(torch.unique(second.weight)) <= 16
    seen = []
    second.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    network.train()(x).square().sum().backward()
    assert len(torch.unique(seen[0])) <= 16
    assert second.parametrizations.weight.original.grad.abs().sum() > 0
    if quantizer == "lsq":
        assert second.input_quantizer.limits.tolist() == [0, 15]  # it reads what a ReLU gives
        assert all(grid.step.grad is not None for grid in grids(network))


def test_a_shared_layer_is_fitted_to_all_that_it_reads():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.head(x - 5) + self.head(x)

    network = quantize(Shared(), {"head": 8})
    fit(network, torch.rand(4, 1, 4, 4))
    grid = network.head.input_quantizer
    assert grid.limits.tolist() == [-128, 127]  # the second call alone has no number below 0
    assert grid.scale().item() * 128 > 3


def test_in_float_the_network_is_the_one_before():
    network, x = classifier("resnet20", (3, 8, 8), 4, width=4).eval(), torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        before = network(x)
        fit(quantize(network, {"3.first": 2, "3.second": 2}), x)
        assert not torch.equal(network(x), before)
        with in_float(network):
            assert torch.equal(network(x), before)


def test_the_state_of_a_quantised_network_gives_the_same_network():
    def fresh():
        return quantize(classifier("resnet20", (3, 8, 8), 4, width=4), {"3.first": 3, "3.second": 3}).eval()

    one, other, x = fresh(), fresh(), torch.rand(4, 3, 8, 8)
    fit(one, x)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("bits", [1, 0, -13, 9, 16])
def test_bits_that_no_layer_can_have_are_refused_before_anything_is_changed(bits):
    network = classifier("resnet20", (3, 8, 8), 4, width=4)
    with pytest.raises(InputError, match=f"'3.second' is to have {bits} bits; a layer can have 2 to 8, or 32"):
        quantize(network, {"0": 4, "3.second": bits})
    assert not grids(network)
    with pytest.raises(InputError, match="Bits are given for layer 'x'"):
        quantize(network, {"x": 4})
