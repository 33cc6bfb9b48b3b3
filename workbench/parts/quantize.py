"""Weights and activations with few bits, trained with the straight-through gradient.

    quantize(network, {"0": 8, "3": 4, ...})      # in place: weights by a parametrisation, activations at the input of each layer
    fit(network, images)                          # first steps from data
    ...                                           # train as usual

Three quantisers. `lsq`, the default: learned step size, S. K. Esser et al., ICLR 2020, arXiv 1902.08153; x -> s clamp(round(x / s)).
`published`: DoReFa with a fixed clip as in the code of PIC-PQ (S. Zhou et al., arXiv 1606.06160): activations clamped to [0, 1], weights
tanh(w) / max|tanh(w)|, no scale. `dorefa`: the same with DoReFa's own grid of weights, as in the code of GHOST: 2^bits levels without 0.
In short trainings the fixed clip costs most of the accuracy; both are for comparison with the papers.

The quantiser of an activation belongs to the layer that reads it, behind sums and concatenations: a sum of two k-bit codes has k + 1 bits.
The gradient of rounding is that of the identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from workbench.errors import InputError
from workbench.parts.pruning import still

FLOAT = 32  # bits of a layer that is left as it is
Quantizer = Literal["lsq", "published", "dorefa"]


def straight(x: Tensor, rounded: Tensor) -> Tensor:
    """`rounded` forward, the gradient of `x` backward."""
    return x + (rounded - x).detach()


class Grid(nn.Module):
    """A quantiser. Its integers lie between `limits`; while `active` is False it lets all numbers pass."""

    limits: Tensor

    def __init__(self, bits: int, low: int, high: int) -> None:
        super().__init__()
        self.bits, self.active = bits, True
        self.register_buffer("limits", torch.tensor([low, high]))

    def scale(self) -> Tensor:
        """The value of one code, a positive 0-d tensor."""
        raise NotImplementedError

    def codes(self, x: Tensor) -> Tensor:
        """Integers as floats."""
        raise NotImplementedError

    def on_grid(self, x: Tensor) -> Tensor:
        """x on the grid, with a gradient."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x on the grid; any shape -> same."""
        return self.on_grid(x) if self.active else x


class LearnedStep(Grid):
    """LSQ: x -> s clamp(round(x / s), low, high) with a learned step s.

    bits: 2 to 8. Codes of weights have a sign, -2^(bits - 1) to 2^(bits - 1) - 1; `fit` decides it for activations. batched: the first
    dim is that of samples, as of activations.
    """

    def __init__(self, bits: int, batched: bool) -> None:
        super().__init__(bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        self.batched = batched
        self.step = nn.Parameter(torch.ones(()))

    def scale(self) -> Tensor:
        """The step."""
        return self.step.abs().clamp(min=1e-8)

    def codes(self, x: Tensor) -> Tensor:
        """Integers as floats, clamped."""
        return (x / self.scale()).round().clamp(*self.limits)

    @torch.no_grad()
    def fit(self, x: Tensor, signed: bool = True) -> None:
        """Set the step to that with the least squared error on x, of 40 between the largest value and a fiftieth of it."""
        half = 2 ** (self.bits - 1)
        self.limits.copy_(torch.tensor([-half, half - 1] if signed else [0, 2 * half - 1]))
        low, high = self.limits.tolist()
        largest = float(x.abs().max()) / high
        if largest == 0:
            return
        errors = []
        for share in torch.logspace(-1.7, 0, 40).tolist():
            s = share * largest
            errors.append((float(((x / s).round().clamp(low, high) * s - x).square().mean()), s))
        self.step.fill_(min(errors)[1])

    def on_grid(self, x: Tensor) -> Tensor:
        """x on the grid. The gradient of the step is divided by sqrt(numbers of a sample x high), as in the paper."""
        scale = self.scale()
        count = x[0].numel() if self.batched else x.numel()
        scale = scale.detach() + (scale - scale.detach()) * (count * self.limits[1]) ** -0.5
        y = (x / scale).clamp(*self.limits)
        return straight(y, y.round()) * scale


class PublishedWeight(Grid):
    """DoReFa weights: t = tanh(w) / max|tanh(w)| on the grid of n = 2^(bits - 1) - 1 positive levels; for 2 bits sign(t)."""

    def __init__(self, bits: int) -> None:
        self.high = 2 ** (bits - 1) - 1
        super().__init__(bits, -self.high, self.high)

    def scale(self) -> Tensor:
        """1 / n."""
        return torch.tensor(1.0 / self.high)

    def codes(self, x: Tensor) -> Tensor:
        """Integers as floats, -n to n."""
        t = torch.tanh(x)
        t = t / t.abs().max().clamp(min=1e-12)
        return t.sign() if self.high == 1 else (t * self.high).round()

    def on_grid(self, x: Tensor) -> Tensor:
        """x on the grid."""
        t = torch.tanh(x)
        t = t / t.abs().max().clamp(min=1e-12)
        return straight(t, self.codes(x) / self.high)


class EvenWeight(Grid):
    """DoReFa weights on its own grid: t = tanh(w) / (2 max|tanh(w)|) + 1/2, then 2 round(t n) / n - 1 with n = 2^bits - 1.

    The 2^bits levels are at equal distances from -1 to 1, and 0 is not among them; the codes are odd integers, -n to n.
    """

    def __init__(self, bits: int) -> None:
        self.high = 2**bits - 1
        super().__init__(bits, -self.high, self.high)

    def scale(self) -> Tensor:
        """1 / n; two neighbouring levels are two codes apart."""
        return torch.tensor(1.0 / self.high)

    def _share(self, x: Tensor) -> Tensor:
        t = torch.tanh(x)
        return t / (2 * t.abs().max().detach().clamp(min=1e-12)) + 0.5

    def codes(self, x: Tensor) -> Tensor:
        """Odd integers as floats, -n to n."""
        return 2 * (self._share(x) * self.high).round() - self.high

    def on_grid(self, x: Tensor) -> Tensor:
        """x on the grid."""
        return straight(2 * self._share(x) - 1, self.codes(x) / self.high)


class PublishedActivation(Grid):
    """DoReFa activations: clamped to [0, 1], 2^bits - 1 levels above 0."""

    def __init__(self, bits: int) -> None:
        self.high = 2**bits - 1
        super().__init__(bits, 0, self.high)

    def scale(self) -> Tensor:
        """1 / (2^bits - 1)."""
        return torch.tensor(1.0 / self.high)

    def codes(self, x: Tensor) -> Tensor:
        """Integers as floats."""
        return (x.clamp(0, 1) * self.high).round()

    def on_grid(self, x: Tensor) -> Tensor:
        """x on the grid."""
        y = x.clamp(0, 1)
        return straight(y, (y * self.high).round() / self.high)


PUBLISHED: dict[str, type[PublishedWeight | EvenWeight]] = {"published": PublishedWeight, "dorefa": EvenWeight}


def layers(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that can be quantised, by name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def quantize(
    network: nn.Module,
    bits: Mapping[str, int],
    quantizer: Quantizer = "lsq",
    activation_bits: Mapping[str, int] | None = None,
) -> nn.Module:
    """Give layers weights of `bits` and inputs of `activation_bits` (default: as the weights); changes the network and returns it.

    bits: layer -> 2 to 8, or 32 for a layer that stays in float; layers that are not named stay in float.

    Raises InputError for other bits, and for a layer that the network does not have.
    """
    there = layers(network)
    inputs = bits if activation_bits is None else activation_bits
    for name, b in [*bits.items(), *inputs.items()]:
        if name not in there:
            raise InputError(f"Bits are given for layer {name!r}; the network has {', '.join(there)}.")
        if not (2 <= b <= 8 or b == FLOAT):
            raise InputError(
                f"Layer {name!r} is to have {b} bits; a layer can have 2 to 8, or {FLOAT} to stay in float. "
                "One bit needs another kind of quantiser."
            )
    for name, b in bits.items():
        module = there[name]
        if b != FLOAT:
            weight: Grid = LearnedStep(b, batched=False) if quantizer == "lsq" else PUBLISHED[quantizer](b)
            parametrize.register_parametrization(module, "weight", weight.to(module.weight.device))
            if isinstance(weight, LearnedStep):
                weight.fit(module.parametrizations.weight.original)  # type: ignore[union-attr, arg-type]
    for name, b in inputs.items():
        module = there[name]
        if b != FLOAT:
            reader: Grid = LearnedStep(b, batched=True) if quantizer == "lsq" else PublishedActivation(b)
            module.add_module("input_quantizer", reader.to(next(module.parameters()).device))
            module.register_forward_pre_hook(_quantise_input)
    return network


def _quantise_input(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.input_quantizer(given[0]), *given[1:])


def grids(network: nn.Module) -> list[Grid]:
    """All quantisers of a network, of weights and of inputs."""
    return [m for m in network.modules() if isinstance(m, Grid)]


@contextmanager
def in_float(network: nn.Module) -> Iterator[None]:
    """The network without its quantisers."""
    for grid in grids(network):
        grid.active = False
    try:
        yield
    finally:
        for grid in grids(network):
            grid.active = True


@torch.no_grad()
def fit(network: nn.Module, x: Tensor, most: int = 8192) -> None:
    """Set the first step of each input's quantiser from the images x, in one pass of the network in float; inputs that are never below 0
    get codes without a sign. most: numbers of an input that are looked at in each call of the layer.
    """
    seen: dict[nn.Module, list[Tensor]] = {}

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        flat = given[0].detach().flatten()
        seen.setdefault(module, []).append(flat[:: max(1, flat.numel() // most)])  # a shared head reads several maps

    own: dict[nn.Module, Any] = {m: getattr(m, "input_quantizer", None) for m in network.modules()}
    readers: dict[nn.Module, LearnedStep] = {m: reader for m, reader in own.items() if isinstance(reader, LearnedStep)}
    hooks = [module.register_forward_pre_hook(look, prepend=True) for module in readers]
    with still(network), in_float(network):
        network(x)
    for hook in hooks:
        hook.remove()
    for module, reader in readers.items():
        read = torch.cat(seen[module])
        reader.fit(read, signed=bool((read < 0).any()))


@torch.no_grad()
def refresh_norms(network: nn.Module, x: Tensor) -> None:
    """Take the running moments of batch normalisation anew, from x in one batch."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(x)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
