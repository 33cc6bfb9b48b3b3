"""The network of SAR-Net: backbone, unity compensation (UCM), direction-aware attention (DAM), head; after section 3 of the method's page.

The paper fixes what its modules do, not what is inside them; the interiors here are a reconstruction. UCM gathers the maps of all scales,
fuses them twice (low: convolutions, high: attention over all places) and embeds the result back into every scale, in the manner of the
gather-and-distribute neck of Gold-YOLO (C. Wang et al., NeurIPS 2023, arXiv 2309.11331). DAM is a pair of strip attentions, a relative
of coordinate attention (Q. Hou et al., CVPR 2021, arXiv 2103.02907).

Where a map is divided into two, there are two convolutions and not one that is cut: tools that prune channels cannot follow a cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
PRIOR = -4.0  # class logit at the start: else the first steps only learn that most places are empty
TAPS = 7  # length of the strip convolutions
Attention = Literal["dam", "se", "cbam", "coordinate", "none"]


class Arm(NamedTuple):
    """Which modules a network has. wide: a plain neck with about as many parameters as the full network."""

    low: bool = False
    high: bool = False
    attention: Attention = "none"
    wide: bool = False


ARMS: dict[str, Arm] = {
    "sarnet": Arm(True, True, "dam"),
    "plain": Arm(),
    "wide": Arm(wide=True),
    "ucm": Arm(True, True),
    "dam": Arm(attention="dam"),
    "ucm-low": Arm(low=True),
    "ucm-high": Arm(high=True),
    "se": Arm(True, True, "se"),
    "cbam": Arm(True, True, "cbam"),
    "coordinate": Arm(True, True, "coordinate"),
}


def conv(inputs: int, outputs: int, size: int = 1, stride: int = 1, *, act: bool = True) -> nn.Sequential:
    """Convolution, batch normalisation and, with act, SiLU."""
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.SiLU()] if act else []))


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity; (B, n, h, w) -> same."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.second = conv(n, n, 3), conv(n, n, 3, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """SiLU(x + f(x))."""
        return F.silu(x + self.second(self.first(x)))


class Backbone(nn.Module):
    """(B, inputs, H, W) -> C2, C3, C4, C5 at strides 4, 8, 16, 32 with w, 2w, 4w, 8w channels."""

    def __init__(self, width: int, inputs: int = 1) -> None:
        super().__init__()
        self.stem = conv(inputs, max(1, width // 2), 3, 2)
        widths = [max(1, width // 2), width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList(nn.Sequential(conv(a, b, 3, 2), Residual(b)) for a, b in pairwise(widths))
        self.widths = widths[1:]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The four maps, finest first."""
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Average pooling where the map is larger than `size`, bilinear interpolation where it is smaller."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if x.shape[-2] > size[0]:
        return F.avg_pool2d(x, x.shape[-2] // size[0])
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def gather(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """MAM: all maps at one size, side by side; (B, sum of channels, h, w)."""
    return torch.cat([resize(x, size) for x in maps], 1)


class FuseLow(nn.Module):
    """MFM for texture: convolutions over the maps of all scales at C4's size; gives g3 and g4."""

    def __init__(self, inputs: int, n: int, depth: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, n), *(Residual(n) for _ in range(depth)))
        self.to_g3, self.to_g4 = conv(n, n, act=False), conv(n, n, act=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gathered maps -> (g3, g4)."""
        x = self.body(x)
        return self.to_g3(x), self.to_g4(x)


class FuseHigh(nn.Module):
    """MFM for meaning: self-attention over all places at C5's size; gives h4 and h5. attend: off for tests, then nothing is global."""

    def __init__(self, inputs: int, n: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads if n % heads == 0 else 1
        self.enter = conv(inputs, n, act=False)
        self.before, self.after = nn.LayerNorm(n), nn.LayerNorm(n)
        self.query, self.key, self.value = (nn.Linear(n, n, bias=False) for _ in range(3))
        self.out = nn.Linear(n, n)
        self.mlp = nn.Sequential(nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n))
        self.to_h4, self.to_h5 = conv(n, n, act=False), conv(n, n, act=False)
        self.attend = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gathered maps -> (h4, h5)."""
        x = self.enter(x)
        b, n, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        if self.attend:
            y = self.before(tokens)
            parts = (f(y).reshape(b, h * w, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
            mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(b, h * w, n)
            tokens = tokens + self.out(mixed)
        tokens = tokens + self.mlp(self.after(tokens))
        x = tokens.transpose(1, 2).reshape(b, n, h, w)
        return self.to_h4(x), self.to_h5(x)


class Embed(nn.Module):
    """MEM: a global map gates a local one and is added to it; out = E_l(x_l) * S(sigma(E_a(x_g))) + S(E_g(x_g))."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.local, self.gate, self.add = (conv(n, n, act=False) for _ in range(3))

    def forward(self, local: Tensor, wide: Tensor) -> Tensor:
        """local (B, n, h, w), wide (B, n, H, W) -> (B, n, h, w). The gate is applied whichever of the two is larger."""
        size = (local.shape[-2], local.shape[-1])
        gate = resize(F.hardsigmoid(self.gate(wide)), size)
        return self.local(local) * gate + resize(self.add(wide), size)


class Gates(NamedTuple):
    """Gates of one level: row (B, c, h, 1) and column (B, c, 1, w), in (0, 1)."""

    row: Tensor
    column: Tensor


class Directions(nn.Module):
    """DAM: every row and every column of a map gets a weight for each channel.

    aggregate: product or mean of both weights. taps: length of the strip convolutions; 1 makes it coordinate attention without them.
    """

    def __init__(self, c: int, aggregate: str = "product", taps: int = TAPS) -> None:
        super().__init__()
        m = max(8, c // 8)
        self.aggregate = aggregate
        self.reduce = conv(c, m)
        self.along_rows = nn.Conv2d(m, m, (taps, 1), padding=(taps // 2, 0), groups=m)
        self.along_columns = nn.Conv2d(m, m, (1, taps), padding=(0, taps // 2), groups=m)
        self.row, self.column = nn.Conv2d(m, c, 1), nn.Conv2d(m, c, 1)

    def gates(self, x: Tensor) -> Gates:
        """The gates of rows and columns of x (B, c, h, w)."""
        z = self.reduce(x)
        row = torch.sigmoid(self.row(self.along_rows(z.mean(3, keepdim=True))))
        column = torch.sigmoid(self.column(self.along_columns(z.mean(2, keepdim=True))))
        return Gates(row, column)

    def forward(self, x: Tensor, shuffled: bool = False, flat: bool = False) -> tuple[Tensor, Gates]:
        """(weighted x, gates).

        shuffled: a control, each image gets the gates of its neighbour in the batch. flat: each gate is its mean over the rows, or over
        the columns, so nothing is left that tells one direction or place from another.
        """
        gates = self.gates(x)
        if shuffled:
            gates = Gates(gates.row.roll(1, 0), gates.column.roll(1, 0))
        if flat:
            gates = Gates(*(g.mean((2, 3), keepdim=True).expand_as(g) for g in gates))
        weight = gates.row * gates.column if self.aggregate == "product" else (gates.row + gates.column) / 2
        return x * weight, gates


class Squeeze(nn.Module):
    """Squeeze-and-excitation (J. Hu et al., CVPR 2018, arXiv 1709.01507), and with `place` the spatial part of CBAM (S. Woo et al.,
    ECCV 2018, arXiv 1807.06521)."""

    def __init__(self, c: int, place: bool = False) -> None:
        super().__init__()
        m = max(8, c // 8)
        self.mlp = nn.Sequential(nn.Conv2d(c, m, 1), nn.SiLU(), nn.Conv2d(m, c, 1))
        self.place = nn.Conv2d(2, 1, 7, padding=3) if place else None

    def forward(self, x: Tensor, shuffled: bool = False, flat: bool = False) -> tuple[Tensor, None]:
        """(weighted x, None); there are no gates to shuffle or to flatten."""
        pooled = self.mlp(x.mean((2, 3), keepdim=True))
        if self.place is None:
            return x * torch.sigmoid(pooled), None
        x = x * torch.sigmoid(pooled + self.mlp(x.amax((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.place(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))), None


def _attention(kind: Attention, c: int, aggregate: str) -> nn.Module:
    if kind in ("dam", "coordinate"):
        return Directions(c, aggregate, TAPS if kind == "dam" else 1)
    return Squeeze(c, place=kind == "cbam")


class Neck(nn.Module):
    """Maps of four scales -> P3, N4, N5 with n channels at strides 8, 16, 32."""

    def __init__(self, widths: Sequence[int], n: int, low: bool, high: bool) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv(c, n, act=False) for c in widths[1:])
        self.low = FuseLow(sum(widths), n) if low else None
        self.high = FuseHigh(3 * n, n) if high else None
        self.embed_p = nn.ModuleList(Embed(n) for _ in range(2)) if low else None
        self.embed_n = nn.ModuleList(Embed(n) for _ in range(2)) if high else None
        self.mix = nn.ModuleList(Residual(n) for _ in range(4))
        self.down = nn.ModuleList(conv(n, n, 3, 2) for _ in range(2))

    def forward(self, maps: Sequence[Tensor], without: Sequence[int] = ()) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """([P3, N4, N5], the global maps g3, g4, h4, h5 as far as there are any).

        without: positions of maps that are zero for the first fusion, so that it sees nothing of these scales.
        """
        sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
        l3, l4, l5 = (f(x) for f, x in zip(self.lateral, maps[1:], strict=True))
        p4 = l4 + F.interpolate(l5, size=sizes[2], mode="nearest")
        wide: tuple[Tensor, ...] = ()
        if self.low is not None and self.embed_p is not None:
            seen = [torch.zeros_like(x) if n in without else x for n, x in enumerate(maps)]
            g3, g4 = self.low(gather(seen, sizes[2]))
            wide += (g3, g4)
            p4 = self.mix[0](self.embed_p[0](p4, g4))
            p3 = l3 + F.interpolate(p4, size=sizes[1], mode="nearest")
            p3 = self.mix[1](self.embed_p[1](p3, g3))
        else:
            p4 = self.mix[0](p4)
            p3 = self.mix[1](l3 + F.interpolate(p4, size=sizes[1], mode="nearest"))
        n4 = p4 + self.down[0](p3)
        if self.high is not None and self.embed_n is not None:
            h4, h5 = self.high(gather([p3, p4, l5], sizes[3]))
            wide += (h4, h5)
            n4 = self.mix[2](self.embed_n[0](n4, h4))
            n5 = self.mix[3](self.embed_n[1](l5 + self.down[1](n4), h5))
        else:
            n4 = self.mix[2](n4)
            n5 = self.mix[3](l5 + self.down[1](n4))
        return [p3, n4, n5], wide


class Output(NamedTuple):
    """levels: (B, 4 + classes, h, w) at strides 8, 16, 32. gates: of each level with DAM, else empty. wide: g3, g4, h4, h5. maps: C2 to
    C5, then P3, N4 and N5 as the attention gives them to the head.
    """

    levels: list[Tensor]
    gates: list[Gates]
    wide: tuple[Tensor, ...]
    maps: tuple[Tensor, ...] = ()


class SARNet(nn.Module):
    """A detector of one of the `ARMS`. neck: channels of the neck; None: 4 width, or for a wide arm what gives equal parameters."""

    def __init__(
        self,
        classes: int,
        width: int,
        arm: str = "sarnet",
        aggregate: str = "product",
        neck: int | None = None,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.classes, self.arm = classes, arm
        low, high, attention, wide = ARMS[arm]
        n = neck or (matched_neck(classes, width, aggregate) if wide else 4 * width)
        self.backbone = Backbone(width, inputs)
        self.neck = Neck(self.backbone.widths, n, low, high)
        kinds = [attention] * len(STRIDES) if attention != "none" else []
        self.attention = nn.ModuleList(_attention(kind, n, aggregate) for kind in kinds)
        self.head = nn.ModuleList(nn.Sequential(conv(n, n, 3), nn.Conv2d(n, 4 + classes, 1)) for _ in STRIDES)
        for head in self.head:
            bias = head[1].bias  # type: ignore[index]
            nn.init.zeros_(bias)
            nn.init.constant_(bias[4:], PRIOR)

    def forward(self, x: Tensor, shuffled: bool = False, flat: bool = False, without: Sequence[int] = ()) -> Output:
        """x: (B, inputs, H, W), H and W multiples of 32. shuffled, flat: see `Directions`. without: see `Neck`."""
        scales = self.backbone(x)
        maps, wide = self.neck(scales, without)
        gates: list[Gates] = []
        for n, attention in enumerate(self.attention):
            maps[n], own = attention(maps[n], shuffled, flat)
            gates += [own] if own is not None else []
        return Output([head(m) for head, m in zip(self.head, maps, strict=True)], gates, wide, (*scales, *maps))


def parameters(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network.parameters())


@cache
def matched_neck(classes: int, width: int, aggregate: str = "product") -> int:
    """Channels of the plain neck whose network has the number of parameters that is nearest to the full network's."""
    with torch.device("meta"):
        wanted = parameters(SARNet(classes, width, "sarnet", aggregate))
        a, b, c = (parameters(SARNet(classes, width, "plain", neck=n)) for n in (1, 2, 3))
    square = (a - 2 * b + c) / 2  # the number is square n^2 + line n + rest
    line = b - a - 3 * square
    rest = a - square - line
    return round((-line + math.sqrt(line**2 + 4 * square * (wanted - rest))) / (2 * square))
