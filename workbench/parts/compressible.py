"""A trained network together with what is needed to make it smaller, whatever it does: its data, its loss and its quality.

A room whose network can be compressed offers `compressible(folder, scene)`, which gives a `Compressible` of a finished run;
`workbench.methods.picpq.compress` takes it, and one of a network of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Compressible:
    """network: trained. example (N, ...): inputs of training data; ranks of feature maps, and first steps of quantisers, come from them.

    train: (network, steps, seed), trains a network of the same form in place, on training data. judge: its loss on validation data, the
    lower the better; it decides between candidates. quality: on test data, the higher the better; it decides nothing. measure: the
    name of the quality, such as `ap50`. epoch: steps of one pass through the training data. split: in words.

    answer, keep: see `workbench.parts.pruning.Plan.of`. ends: layers that keep the bits of the ends, such as the last layers of a
    detector's heads; without names, the first and the last layer.
    """

    network: nn.Module
    example: Tensor
    train: Callable[[nn.Module, int, int], None]
    judge: Callable[[nn.Module], float]
    quality: Callable[[nn.Module], float]
    measure: str
    epoch: int
    split: str
    answer: Callable[[Any], Any] = lambda out: out
    keep: Sequence[str] = ()
    ends: Sequence[str] = ()
