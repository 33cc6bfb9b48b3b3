"""A trained network with few bits as a network of integers: what `workbench.parts.export` writes as QuantizeLinear and DequantizeLinear.

Each layer becomes `Integers`: int8 codes of its weights, one scale for each filter, the bias in float, and the quantiser of its input. The
batch normalisation behind a layer is folded into the scales and the bias; a negative factor turns the sign of the codes. So the codes in
the file are the trained ones, whatever their bits, and the normalisation costs nothing. Below 8 bits inputs are clipped in float before
they are rounded to 8-bit integers; that is exact, but no runtime makes it faster than 8 bits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from workbench.errors import InputError
from workbench.parts.pruning import tensors
from workbench.parts.quantize import Grid, grids, layers

FOLDED = 0.02  # largest mean difference after folding, as a share of the largest output: numbers on the edge of two codes go either way


class Integers(nn.Module):
    """A convolution or linear layer of integers. codes (filters, ...) int8; scale, bias (filters,).

    low, high: codes of the input; step: their scale, or None for an input in float. apart: the bias is a sum of its own in the file; see
    `integers`. In torch it computes what the file computes.
    """

    codes: Tensor
    scale: Tensor
    bias: Tensor
    zero: Tensor
    input_zero: Tensor

    def __init__(self, layer: Any, weight: Grid, reader: Grid | None, norm: nn.BatchNorm2d | nn.BatchNorm1d | None) -> None:
        super().__init__()
        latent = layer.parametrizations.weight.original
        codes, scale = weight.codes(latent), weight.scale().expand(len(latent)).clone()
        bias = torch.zeros(len(latent)) if layer.bias is None else layer.bias.detach().clone()
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
            bias = (bias - norm.running_mean) * factor + norm.bias
            codes = codes * torch.where(factor < 0, -1.0, 1.0).reshape(-1, *[1] * (codes.ndim - 1))
            scale = (scale * factor.abs()).clamp(min=1e-20)
        if codes.abs().max() > 128:
            raise InputError(
                "Weights of 8 bits on DoReFa's own grid have codes from -255 to 255, which 8-bit integers cannot hold. Export with "
                "fewer bits, or train with another quantiser."
            )
        if codes.abs().max() > 127:  # -128 of a filter whose sign was turned
            codes = codes.clamp(-128, 127)
        self.register_buffer("codes", codes.to(torch.int8))
        self.register_buffer("scale", scale.detach())
        self.register_buffer("bias", bias.detach())
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int8))
        self.convolution = isinstance(layer, nn.Conv2d)
        self.how: dict[str, Any] = {}
        if self.convolution:
            self.how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
        self.bits, self.symbolic, self.apart = weight.bits, False, False
        self.step: float | None = None
        self.low, self.high, self.signed = 0, 0, True
        if reader is not None:
            self.low, self.high = (int(v) for v in reader.limits)
            self.signed, self.step = self.low < 0, float(reader.scale().detach())
        self.register_buffer("input_zero", torch.tensor(0, dtype=torch.int8 if self.signed else torch.uint8))

    def input_codes(self, x: Tensor) -> Tensor:
        """The integers of an input, as floats."""
        assert self.step is not None
        return (x / self.step).round().clamp(self.low, self.high)

    def forward(self, x: Tensor) -> Tensor:
        """As the layer and its normalisation."""
        if self.step is not None:
            x = self._in_file(x) if self.symbolic else self.input_codes(x) * self.step
        if self.symbolic:
            op = torch.onnx.ops.symbolic
            weight = op(
                "DequantizeLinear", (self.codes, self.scale, self.zero), {"axis": 0}, dtype=1, shape=self.codes.shape
            )
        else:
            weight = self.codes.float() * self.scale.reshape(-1, *[1] * (self.codes.ndim - 1))
        bias = None if self.apart else self.bias
        y = F.conv2d(x, weight, bias, **self.how) if self.convolution else F.linear(x, weight, bias)
        return y if bias is not None else y + self.bias.reshape(-1, *[1] * (y.ndim - 2))

    def _in_file(self, x: Tensor) -> Tensor:
        op, step = torch.onnx.ops.symbolic, torch.tensor(self.step)
        if self.high - self.low < 255:
            x = x.clamp(self.low * float(step), self.high * float(step))
        codes = op("QuantizeLinear", (x, step, self.input_zero), dtype=3 if self.signed else 2, shape=x.shape)
        return op("DequantizeLinear", (codes, step, self.input_zero), dtype=1, shape=x.shape)


def integers(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a quantised network on the CPU whose layers are `Integers`, in evaluation mode.

    Layers that stay in float keep their type; a batch normalisation whose layer is in float stays. Raises InputError for a network without
    quantised weights, for one whose layer has quantised inputs and float weights, for codes beyond 8 bits, and where folding changes the
    numbers.

    onnxruntime rounds the bias of a convolution to multiples of step x scale, so that it can compute with integers; with few bits that is
    coarse. It does so too where the next inputs have fewer than 8 bits and nothing is computed with integers. So, unless all inputs
    have 8 bits, the bias of each layer of few bits is a sum of its own, which stays in float.
    """
    network, example = copy.deepcopy(network).cpu().eval(), example.cpu()
    if not grids(network):
        raise InputError("This network has no quantised layer; quantise it first, or export it in float.")
    with torch.no_grad():
        wanted = tensors(network(example))
    norms = _behind(network, example)
    inputs: list[Grid | None] = [getattr(layer, "input_quantizer", None) for layer in layers(network).values()]
    few = any(reader is not None and reader.bits < 8 for reader in inputs)
    for name, layer in layers(network).items():
        reader: Grid | None = getattr(layer, "input_quantizer", None)
        if not parametrize.is_parametrized(layer, "weight"):
            if reader is not None:
                raise InputError(
                    f"Layer {name!r} has a quantised input and weights in float; that cannot be exported as integers."
                )
            continue
        weight: Grid = layer.parametrizations["weight"][0]  # type: ignore[index, union-attr, operator, assignment]
        norm = norms.get(name)
        whole = Integers(layer, weight, reader, network.get_submodule(norm) if norm else None)  # type: ignore[arg-type]
        whole.apart = few and reader is not None and min(weight.bits, reader.bits) < 8
        _put(network, name, whole)
        if norm:
            _put(network, norm, nn.Identity())
    with torch.no_grad():
        found = tensors(network.eval()(example))
    for ours, theirs in zip(found, wanted, strict=True):
        if not float((ours - theirs).abs().mean()) <= FOLDED * max(float(theirs.abs().max()), 1e-12):
            raise InputError(
                "This network gives other numbers after its batch normalisation was folded: a layer is read by a normalisation "
                "and by something else, or one layer has several normalisations. Give each its own layer."
            )
    return network


def _behind(network: nn.Module, example: Tensor) -> dict[str, str]:
    """layer -> the batch normalisation that reads its output, found by running the network once."""
    made: dict[int, tuple[str, Tensor]] = {}
    found: dict[str, str] = {}

    def keep(name: str) -> Any:
        return lambda module, given, out: made.update({id(out): (name, out)})

    def read(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            if id(given[0]) in made:
                found[made[id(given[0])][0]] = name

        return hook

    norms = {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)}
    hooks = [m.register_forward_hook(keep(n)) for n, m in layers(network).items()]
    hooks += [m.register_forward_hook(read(n)) for n, m in norms.items()]
    with torch.no_grad():
        network(example[:2])
    for hook in hooks:
        hook.remove()
    return found


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    setattr(network.get_submodule(above), last, module)


@contextmanager
def for_file(network: nn.Module) -> Iterator[None]:
    """Within it `Integers` are traced as the operators of the file; outside they compute in torch."""
    own = [m for m in network.modules() if isinstance(m, Integers)]
    for module in own:
        module.symbolic = True
    try:
        yield
    finally:
        for module in own:
            module.symbolic = False


def integer_weights(network: nn.Module) -> int:
    """Number of weights and biases in the layers of integers."""
    return sum(m.codes.numel() + m.bias.numel() for m in network.modules() if isinstance(m, Integers))


def packed_bytes(network: nn.Module) -> int:
    """Bytes of a network of integers whose codes were packed to their bits; scales, biases and other parameters in float32."""
    own = [m for m in network.modules() if isinstance(m, Integers)]
    bits = sum(m.codes.numel() * m.bits for m in own)
    numbers = sum(m.scale.numel() + m.bias.numel() + 1 for m in own) + sum(p.numel() for p in network.parameters())
    return -(-bits // 8) + 4 * numbers
