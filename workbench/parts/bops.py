"""Bit operations (BOPs) of a network, by four conventions that papers use. Numbers of two conventions must not share an axis.

    input-act    sum of MACs x bits of the weights x bits of the layer's input; the usual one, and ours
    own-act      MACs x (bits of the layer) squared, the last linear layers in float; the code of PIC-PQ
    list-order   as input-act, but the input has the bits of the layer before it in the list; wrong at sums and branches; the code of GHOST
    uniq         MACs x (b_w b_a + b_w + b_a + log2(inputs of a number)), with the accumulator; C. Baskin et al., UNIQ

A multiply-accumulate (MAC) counts once. Float has 32 bits. Normalisation, biases, pooling and sums cost nothing in all four.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from workbench.errors import InputError, did_you_mean
from workbench.parts.pruning import sizes

FLOAT = 32
Convention = Literal["input-act", "own-act", "list-order", "uniq"]


@dataclass(frozen=True)
class Row:
    """One layer. weight_bits, input_bits: as billed. bops: bit operations."""

    name: str
    macs: int
    weight_bits: int
    input_bits: int
    bops: float


@dataclass(frozen=True)
class Count:
    """Bit operations of a network by one convention."""

    convention: Convention
    rows: tuple[Row, ...]

    @property
    def macs(self) -> int:
        """MACs of all layers."""
        return sum(row.macs for row in self.rows)

    @property
    def bops(self) -> float:
        """Bit operations of all layers."""
        return sum(row.bops for row in self.rows)

    def __str__(self) -> str:
        return f"{self.bops / 1e9:.3f} GBOPs ({self.convention})"


def count_bops(
    network: nn.Module,
    example: Tensor,
    bits: Mapping[str, int] | None = None,
    convention: Convention = "input-act",
    input_bits: Mapping[str, int] | None = None,
) -> Count:
    """Run the network on the first sample of `example`, and bill each convolution and linear layer.

    bits: of the weights, by layer; 32 where a layer is not named. input_bits: of the quantiser at each layer's input, for input-act
    and uniq; by default as the weights.
    """
    seen = {name: (size.unit * size.ins * size.outs, size.fan_in) for name, size in sizes(network, example).items()}
    kinds = {name: isinstance(module, nn.Linear) for name, module in network.named_modules() if name in seen}
    return bill([(name, macs, fan, kinds[name]) for name, (macs, fan) in seen.items()], bits, convention, input_bits)


def bill(
    layers: Sequence[tuple[str, int, int, bool]],
    bits: Mapping[str, int] | None = None,
    convention: Convention = "input-act",
    input_bits: Mapping[str, int] | None = None,
) -> Count:
    """As `count_bops`, from (name, MACs, products summed for one number, whether it is linear) of each layer, in their order."""
    if convention not in get_args(Convention):
        known = get_args(Convention)
        raise InputError(
            f"There is no convention {convention!r}; there are {', '.join(known)}.{did_you_mean(convention, known)}"
        )
    weights, rows, before = bits or {}, [], FLOAT
    inputs = weights if input_bits is None else input_bits
    for name, macs, fan_in, linear in layers:
        b = weights.get(name, FLOAT)
        a = inputs.get(name, FLOAT)
        if convention == "own-act":
            b = a = FLOAT if linear else b
        elif convention == "list-order":
            a = before
        before = b
        each = float(b * a)
        if convention == "uniq":
            each += b + a + math.log2(fan_in)
        rows.append(Row(name, macs, b, a, macs * each))
    return Count(convention, tuple(rows))
