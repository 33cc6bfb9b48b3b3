"""The classifier of MDFL and FedDiff: raw features are used again beside the bank, fused by gated cells, and judged by three heads.

The inner design is that of the published half of FedDiff, at a tenth of its width. Let r be the raw path of a branch and g its joined path:

    j1 = R1(r_1 + g_2, r_2 + g_1)     j2 = R2(r_1, g_1)     j3 = R3(g_2, r_2)

each to a head; the loss is the sum of the three cross entropies, the prediction the mean of the three softmaxes. A scene of one sensor has
one branch and the head of j2 only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _unit(i: int, o: int, kernel: int, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(i, o, kernel, padding=kernel // 2),
        nn.BatchNorm2d(o),
    ]  # momentum 0.1; the code has 0.9
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []), nn.ReLU())


class FusionCell(nn.Module):
    """R(low, high) of two maps (N, channels, y, x): both go through one pair of 1 x 1 convolutions; then low is kept twice, and high is
    added through two gates that low opens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(channels, channels // 2, 1), nn.Conv2d(channels // 2, channels, 1))
        self.column, self.row = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """(low + gate_c * high) + (low + gate_r * high)."""
        low, high = self.before(low), self.before(high)
        return 2 * low + (torch.sigmoid(self.column(low)) + torch.sigmoid(self.row(low))) * high


class Branch(nn.Module):
    """Raw patches (N, bands, 8, 8) and bank (N, deep, 4, 4) -> r and g, both (N, wide, 2, 2). deep = 0: no bank."""

    def __init__(self, bands: int, deep: int, wide: int) -> None:
        super().__init__()
        self.wide = wide
        self.raw = nn.Sequential(
            _unit(bands, wide // 4, 3), _unit(wide // 4, wide // 2, 1, pool=True), _unit(wide // 2, wide, 3)
        )
        self.deep = nn.Sequential(_unit(deep, 2 * wide, 1), _unit(2 * wide, wide, 1)) if deep else None
        self.small = _unit(wide, wide, 1, pool=True)
        self.joined = _unit(2 * wide if deep else wide, wide, 1, pool=True)

    def forward(self, x: Tensor, bank: Tensor | None) -> tuple[Tensor, Tensor]:
        """(r, g)."""
        return self.pooled(self.split(x, bank))

    def split(self, x: Tensor, bank: Tensor | None) -> Tensor:
        """(N, wide or 2 wide, 4, 4): raw and deep maps, one after the other; in FedDiff what an owner sends."""
        raw = self.raw(x)
        return raw if self.deep is None or bank is None else torch.cat([raw, self.deep(bank)], 1)

    def pooled(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """(r, g) of a result of `split`."""
        return self.small(both[:, : self.wide]), self.joined(both)


class Reuse(nn.Module):
    """Branches, fusion cells and heads. bands, deep: channels of the patches and of the bank of each branch, one or two of them."""

    def __init__(self, bands: Sequence[int], deep: Sequence[int], classes: int, wide: int = 64) -> None:
        super().__init__()
        self.branches = nn.ModuleList([Branch(b, d, wide) for b, d in zip(bands, deep, strict=True)])
        heads = 3 if len(bands) > 1 else 1
        self.cells = nn.ModuleList([FusionCell(wide) for _ in range(heads)])
        self.heads = nn.ModuleList(
            [
                nn.Sequential(
                    _unit(wide, wide, 1),
                    nn.Conv2d(wide, wide // 2, 1),
                    nn.BatchNorm2d(wide // 2),
                    nn.AvgPool2d(2),
                    nn.ReLU(),
                    nn.Conv2d(wide // 2, classes, 1),
                    nn.Flatten(),
                )
                for _ in range(heads)
            ]
        )

    def forward(self, x: Sequence[Tensor], bank: Sequence[Tensor | None]) -> list[Tensor]:
        """Logits (N, classes) of each head."""
        return self.judged([branch(a, b) for branch, a, b in zip(self.branches, x, bank, strict=True)])

    def judged(self, seen: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Logits (N, classes) of each head, from r and g of each branch."""
        r1, g1 = seen[0]
        pairs = [(r1, g1)]
        if len(seen) > 1:
            r2, g2 = seen[1]
            pairs = [(r1 + g2, r2 + g1), (r1, g1), (g2, r2)]
        return [self.head(i, *pair) for i, pair in enumerate(pairs)]

    def head(self, number: int, low: Tensor, high: Tensor) -> Tensor:
        """Logits (N, classes) of one head."""
        return self.heads[number](self.cells[number](low, high))

    def probability(self, x: Sequence[Tensor], bank: Sequence[Tensor | None]) -> Tensor:
        """(N, classes): the mean of the softmaxes of the heads."""
        return torch.stack([logits.softmax(1) for logits in self(x, bank)]).mean(0)
