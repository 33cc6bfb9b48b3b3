"""The network: a private encoder for each sensor; two cross modules and a head that all clients share.

A window of 7 x 7 pixels becomes 64 maps of 4 x 4 (`Encoder`), which travel; 128 maps of 3 x 3 (cross modules A and B); then logits.
With A and B for every sensor m, and the same head h:

    joint  h([sum of A(f_m) ; sum of B(f_m)])         alone_m  h([A(f_m) ; B(f_m)])

The sizes are those of the published code; at 144 and 21 bands and 15 classes it has 121,983 weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW, CHANNELS, PLACES = 7, 64, 4


class SharedNorm(nn.Module):
    """Batch norm with one weight and bias, and running statistics of its own for each source of values.

    With one set for all (`own` False, as published), two sensors mix in it: a network then fails at test time although it has
    learnt.
    """

    def __init__(self, channels: int, sources: int, own: bool = True) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.statistics = nn.ModuleList([nn.BatchNorm2d(channels, affine=False) for _ in range(sources if own else 1)])

    def forward(self, x: Tensor, source: int) -> Tensor:
        """(n, channels, y, x) of a source, counted from 0."""
        return self.statistics[source % len(self.statistics)](x) * self.weight[:, None, None] + self.bias[:, None, None]


class Encoder(nn.Sequential):
    """(n, bands, 7, 7) -> (n, 64, 4, 4), at least 0. Private to the owner of a sensor."""

    def __init__(self, bands: int) -> None:
        super().__init__(
            *(nn.Conv2d(bands, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2, 2, 1)),
            *(nn.Conv2d(32, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU()),
        )
        prepare(self)


class Shared(nn.Module):
    """The shared layers: feature maps of every sensor -> logits of the joint head and of each sensor alone."""

    def __init__(
        self, sensors: int, classes: int, own: bool = True, fusion: Literal["additive", "concatenated"] = "additive"
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.cross = nn.ModuleList([nn.Conv2d(CHANNELS, 128, 1) for _ in range(2)])
        self.cross_norm = nn.ModuleList([SharedNorm(128, sensors, own) for _ in range(2)])
        self.head = nn.ModuleList([nn.Conv2d(256, 128, 1), nn.Conv2d(128, 64, 1)])
        self.head_norm = nn.ModuleList([SharedNorm(n, sensors + 1, own) for n in (128, 64)])
        self.last = nn.Conv2d(64, classes, 1)
        prepare(self)

    def crossed(self, f: Tensor, sensor: int, module: int) -> Tensor:
        """(n, 64, 4, 4) -> (n, 128, 3, 3) through cross module A (0) or B (1)."""
        return F.max_pool2d(F.relu(self.cross_norm[module](self.cross[module](f), sensor)), 2, 2, 1)

    def judged(self, x: Tensor, source: int) -> Tensor:
        """(n, 256, 3, 3) -> logits (n, classes). source: 0 joint, 1 + m of sensor m alone."""
        for layer, norm in zip(self.head, self.head_norm, strict=True):
            x = F.relu(norm(layer(x), source))
        return self.last(x.mean((2, 3), keepdim=True)).flatten(1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Logits (n, classes): joint, then of each sensor alone. One sensor: its own only, which is the joint one."""
        a, b = ([self.crossed(f, m, module) for m, f in enumerate(features)] for module in (0, 1))
        alone = [self.judged(torch.cat([u, v], 1), 1 + m) for m, (u, v) in enumerate(zip(a, b, strict=True))]
        if len(features) == 1:
            return alone
        joined = torch.cat([a[0], b[1]] if self.fusion == "concatenated" else [sum(a[1:], a[0]), sum(b[1:], b[0])], 1)
        return [self.judged(joined, 0), *alone]


def prepare(network: nn.Module) -> None:
    """Kaiming normal (fan out) for the weights of convolutions, zero for their biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def loss_of(logits: Sequence[Tensor], label: Tensor) -> Tensor:
    """Cross entropy of the joint head, plus the mean squared distance of the logits of each sensor from the joint ones."""
    joint, *alone = logits
    return F.cross_entropy(joint, label) + sum((F.mse_loss(o, joint) for o in alone), torch.zeros(()))


def norms(*networks: nn.Module) -> Tensor:
    """The sum of the Euclidean norms of the weights of all convolutions."""
    layers = [m for network in networks for m in network.modules() if isinstance(m, nn.Conv2d)]
    return torch.stack([layer.weight.norm() for layer in layers]).sum()
