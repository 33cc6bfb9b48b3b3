"""A trained network together with what is needed to make it smaller, whatever it does: its data, its loss and its quality.

A room whose network can be compressed offers `compressible(folder, scene)`, which gives a `Compressible` of a finished run;
`workbench.methods.picpq.compress` takes it, and one of a network of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import descend

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Compressible:
    """network: trained. example (N, ...): inputs of training data; ranks of feature maps, and first steps of quantisers, come from them.

    train: (network, steps, seed), trains a network of the same form in place, on training data. judge: its loss on validation data, the
    lower the better; it decides between candidates. quality: on test data, the higher the better; it decides nothing. measure: the
    name of the quality, such as `ap50`. epoch: steps of one pass through the training data. split: in words.

    answer, keep: see `workbench.parts.pruning.Plan.of`. ends: further layers with the bits that the first and the last layer
    get, such as the last layers of a detector's heads.
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


def trainer(
    draw: Callable[[], Batch],
    loss_of: Callable[[nn.Module, Batch], Tensor],
    rate: float,
    weight_decay: float,
    clip: float | None = None,
) -> Callable[[nn.Module, int, int], None]:
    """`train` of a `Compressible`: AdamW on the batches of `draw`, the rate along half a cosine to 0. clip: see `descend`."""

    def train(network: nn.Module, steps: int, seed: int) -> None:
        random = Seeded(seed)
        optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=weight_decay)
        for n in range(steps):
            with random:
                batch = draw()
            descend(optimiser, loss_of(network.train(), batch), cosine(n, steps, rate), clip)

    return train


def mean_loss(batches: Sequence[Batch], loss_of: Callable[[nn.Module, Batch], Tensor]) -> Callable[[nn.Module], float]:
    """`judge` of a `Compressible`: the mean loss of these batches."""

    @torch.no_grad()
    def judge(network: nn.Module) -> float:
        return float(torch.stack([loss_of(network, batch) for batch in batches]).mean())

    return judge
