"""A small U-Net that predicts the noise in patches, with a frequency parser after each stage of the encoder.

    network = UNet(bands=23, side=8)
    eps = network(x_t, t)                     # (N, bands, 8, 8); a new network predicts 0
    middle = network.encode(x_t, t)[0]        # (N, 64, 4, 4): the features of MDFL and FedDiff

After J. Ho et al., 2020 (arXiv 2006.11239) and P. Dhariwal, A. Nichol, 2021 (arXiv 2105.05233), with the sizes of the code of FedDiff:
the widths 1 and 2, attention in the middle only, skips taken before the parser.
docs/design/0016-diffusion-features.md has our choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.parts.frequency import Parser, frequency_parser


class UNet(nn.Module):
    """Noise prediction for patches of `side` x `side` pixels, `side` divisible by 2 for each level but the first.

    width: channels of the first level. multipliers: of the width, one for each level. blocks: residual blocks of a level.
    groups: of the group normalisation, at most; 32 groups at width 32 would normalise every channel by itself.
    """

    def __init__(
        self,
        bands: int,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        side: int = 8,
        parser: Parser = "complex_mask",
        groups: int = 8,
    ) -> None:
        super().__init__()
        self.width, self.features = width, width * multipliers[-1]
        told = 4 * width
        self.time = nn.Sequential(nn.Linear(width, told), nn.SiLU(), nn.Linear(told, told))
        self.stem = nn.Conv2d(bands, width, 3, padding=1)
        self.encoder, self.parsers, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        now, skips = width, [width]
        for level, times in enumerate(multipliers):
            for _ in range(blocks):
                self.encoder.append(Residual(now, width * times, told, groups))
                self.parsers.append(frequency_parser(parser, width * times, side))
                now = width * times
                skips.append(now)
            if level < len(multipliers) - 1:
                side //= 2
                self.encoder.append(Smaller(now))
                self.parsers.append(frequency_parser(parser, now, side))
                skips.append(now)
        self.middle = nn.ModuleList(
            [Residual(now, now, told, groups), Attention(now, groups), Residual(now, now, told, groups)]
        )
        for level, times in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                self.decoder.append(Residual(now + skips.pop(), width * times, told, groups))
                now = width * times
            if level > 0:
                self.decoder.append(Larger(now))
        self.last = nn.Sequential(nn.GroupNorm(min(groups, now), now), nn.SiLU(), _zero(nn.Conv2d(now, bands, 3, padding=1)))

    def encode(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Noisy patches (N, bands, side, side) and times (N,) -> the middle's output, the skips, the embedding of the times."""
        told = self.time(time_embedding(t, self.width))
        h = self.stem(x)
        skips = [h]
        for stage, parser in zip(self.encoder, self.parsers, strict=True):
            h = stage(h, told)
            skips.append(h)
            h = parser(h)
        for stage in self.middle:
            h = stage(h, told)
        return h, skips, told

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise in `x` (N, bands, side, side) at times `t` (N,)."""
        h, skips, told = self.encode(x, t)
        for stage in self.decoder:
            h = stage(torch.cat([h, skips.pop()], 1) if isinstance(stage, Residual) else h, told)
        return self.last(h)


class Residual(nn.Module):
    """Two normalised convolutions; the time is added between them; the second starts as 0."""

    def __init__(self, i: int, o: int, told: int, groups: int) -> None:
        super().__init__()
        self.norm_1, self.first = nn.GroupNorm(_groups(groups, i), i), nn.Conv2d(i, o, 3, padding=1)
        self.shift = nn.Linear(told, o)
        self.norm_2, self.second = nn.GroupNorm(_groups(groups, o), o), _zero(nn.Conv2d(o, o, 3, padding=1))
        self.short = nn.Identity() if i == o else nn.Conv2d(i, o, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(N, i, y, x) -> (N, o, y, x)."""
        h = self.first(F.silu(self.norm_1(x))) + self.shift(F.silu(told))[:, :, None, None]
        return self.short(x) + self.second(F.silu(self.norm_2(h)))


class Attention(nn.Module):
    """Self-attention over all places, four heads; starts as the identity."""

    def __init__(self, channels: int, groups: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(_groups(groups, channels), channels)
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.last = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(N, channels, y, x) -> the same shape; the time is not used."""
        h = self.norm(x)
        split = [f(h).unflatten(1, (self.heads, -1)).flatten(3).transpose(2, 3) for f in (self.query, self.key, self.value)]
        seen = F.scaled_dot_product_attention(*split)
        return x + self.last(seen.transpose(2, 3).flatten(1, 2).unflatten(2, tuple(x.shape[-2:])))


class Smaller(nn.Conv2d):
    """Half the size, by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """(N, channels, y, x) -> (N, channels, y/2, x/2)."""
        return super().forward(x)


class Larger(nn.Conv2d):
    """Twice the size: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """(N, channels, y, x) -> (N, channels, 2y, 2x)."""
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def time_embedding(t: Tensor, width: int) -> Tensor:
    """(N,) times -> (N, width): sines and cosines of frequencies from 1 to 1/10000."""
    rate = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angle = t.float()[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


def _groups(most: int, channels: int) -> int:
    return math.gcd(most, channels)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
