"""The denoiser of BSDM: a multilayer perceptron on spectra whose offset adapts to the statistics of its input."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.methods.bsdm.settings import Config


class _Tanh(torch.autograd.Function):
    """tanh x = 2 / (1 + exp(-2x)) - 1, with torch's own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.mul(x, 2).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(g, y)


def tanh(x: Tensor) -> Tensor:
    """tanh; on CPUs from the sigmoid, which torch computes several times faster (1e-7 apart in float32).

    This network computes 2600 of them per pixel and step; with torch.tanh that was a sixth of a training step.
    """
    return torch.tanh(x) if x.is_cuda else _Tanh.apply(x)


class Denoiser(nn.Module):
    """Predicts the noise of each spectrum: (P, C), time t, moments (P, 2) -> (P, C).

    The network works on each pixel by itself. No skip connection bypasses the bottleneck of `code` numbers. Because a tanh precedes
    the last layer, the output is bounded for any input: |e_c| <= |b_c| + sum_j |W_cj|.
    1,137,261 parameters at C = 189 and default widths, 1281 per band.
    """

    def __init__(self, bands: int, config: Config) -> None:
        super().__init__()
        c = config
        self.time = TimeEmbedding(c.embed, c.time_width)
        self.offset = Offset(bands, c.time_width, c.embed) if c.offset != "off" else None
        self.embed = nn.Linear(bands, c.embed)
        self.blocks = nn.ModuleList(
            Block(i, hidden, o, c.time_width)
            for i, hidden, o in (
                (c.embed, c.inner, c.width),  # down
                (c.width, c.inner, c.code),
                (c.code, c.width, c.code),  # middle
                (c.code, c.width, c.code),
                (c.code, c.inner, c.width),  # up
                (c.width, c.inner, c.embed),
            )
        )
        self.out = nn.Linear(c.embed, bands)

    def forward(self, x: Tensor, t: Tensor, moments: Tensor) -> Tensor:
        """Spectra `(P, C)`, time `(1,)`, moments `(P, 2)` -> predicted noise `(P, C)`."""
        when = tanh(self.time(t))  # (1, time_width)
        h = self.embed(x)
        if self.offset is not None:
            h = h + self.offset(moments)
        for block in self.blocks:
            h = block(h, when)
        return self.out(tanh(h))  # (P, C)


class TimeEmbedding(nn.Module):
    """Sinusoids of t (base 10000, sines first), then two linear layers: (B,) -> (B, width)."""

    frequencies: Tensor

    def __init__(self, sinusoids: int, width: int) -> None:
        super().__init__()
        half = sinusoids // 2
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * torch.arange(half) / half), persistent=False)
        self.first, self.second = nn.Linear(sinusoids, width), nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Times `(B,)` -> embeddings `(B, width)`."""
        angles = t[:, None] * self.frequencies
        return self.second(tanh(self.first(torch.cat([angles.sin(), angles.cos()], -1))))


class Offset(nn.Module):
    """The statistical offset: a pixel's mean m and spread s shift its embedding, (P, 2) -> (P, embed).

    As published, m and s are each repeated C times and passed through Linear(2C, width). Equal inputs are multiplied by the
    sum of their columns, so we keep these 2C columns as parameters and sum them first: the same function and gradient for
    1/C of the work, which was over a third of a training step.

    The result is a smooth function of two numbers. On CPUs and in float32 it is evaluated on a lattice of (m, s) and
    interpolated, when the interpolation error is below float32 rounding and this is less work than evaluating every pixel.
    """

    def __init__(self, bands: int, width: int, embed: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(2 * bands, width), nn.Linear(width, embed)

    def forward(self, moments: Tensor) -> Tensor:
        """Moments `(P, 2)` -> offsets `(P, embed)`."""
        columns = self.wide.weight.unflatten(1, (2, -1)).sum(-1)  # (width, 2)
        columns = torch.cat([columns, self.wide.bias[:, None]], 1)  # the bias as a third input that is always 1
        grid = lattice(moments, columns[:, :2].detach())
        points, shares = (moments, None) if grid is None else grid
        values = self.narrow(tanh(F.pad(points, (0, 1), value=1.0) @ columns.T))
        return values if shares is None else shares @ values


def lattice(moments: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor] | None:
    """Points (n, 2) and shares (P, n), so that f(moments) = shares @ f(points) for all f = tanh(slope . moments + bias).

    Chebyshev points, as many as keep the error below 2^-25 for any bias: tanh(a z + b) on -1 <= z <= 1 is analytic except
    for poles pi / (2 a) off the axis, and with r the sum of the half-axes of an ellipse within nine tenths of that
    distance, the error of n points is at most 4 M / (r - 1) / r^n, where |tanh| <= M = 6.4 inside (L. N. Trefethen,
    Approximation Theory and Approximation Practice, theorem 8.2). slopes: (width, 2). None if it would not save work.
    """
    if moments.dtype != torch.float32 or moments.is_cuda or len(moments) < 1000:
        return None
    low, high = moments.double().aminmax(dim=0)
    half = ((high - low) / 2).clamp(min=1e-12)
    sharpest = (slopes.abs().amax(0) * half).clamp(min=1e-3)
    axis = 0.9 * math.pi / 2 / sharpest
    r = axis + (axis.square() + 1).sqrt()
    counts = [math.ceil(n) for n in (torch.log(4 * 6.4 / (r - 1) * 2**25) / torch.log(r)).tolist()]
    if math.prod(counts) > len(slopes) // 2:
        return None
    along, shares = [], []
    for count, x, a, h in zip(counts, moments.double().T, low, half, strict=True):
        k = torch.arange(count, dtype=torch.float64)
        angles = math.pi * (k + 0.5) / count
        along.append(a + h * (1 + angles.cos()))
        back = torch.cos(k[:, None] * angles) * torch.where(k > 0, 2, 1)[:, None] / count  # values -> coefficients
        polynomials = torch.cos(((x - a) / h - 1).clamp(-1, 1).arccos()[:, None] * k)
        shares.append((polynomials @ back).float())
    points = torch.cartesian_prod(*along).float()
    return points, (shares[0][:, :, None] * shares[1][:, None, :]).flatten(1)


class Block(nn.Module):
    """norm, tanh, hidden layer, plus the time, norm, tanh, layer, plus the skip: (P, i) -> (P, o)."""

    def __init__(self, i: int, hidden: int, o: int, time_width: int) -> None:
        super().__init__()
        self.norm_in, self.first, self.second = nn.LayerNorm(i), nn.Linear(i, hidden), nn.Linear(hidden, o)
        self.time = nn.Linear(time_width, o)
        self.norm_out, self.last = nn.LayerNorm(o), nn.Linear(o, o)
        self.skip = nn.Identity() if i == o else nn.Linear(i, o)

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        """Features `(P, i)` and the time embedding `(1, time_width)` -> `(P, o)`."""
        h = tanh(self.first(tanh(self.norm_in(x))))
        h = F.linear(
            h, self.second.weight, self.second.bias + self.time(when)[0]
        )  # the time is equal for all pixels, so it is a bias
        return self.last(tanh(self.norm_out(h))) + self.skip(x)


def moments(x: Tensor, kind: str = "pixel") -> Tensor:
    """(mean, standard deviation) over bands of each pixel, or of the whole image repeated for each: (P, C) -> (P, 2)."""
    if kind == "image":
        return torch.stack([x.mean(), x.std()]).expand(len(x), 2)
    m = x.mean(1, keepdim=True)
    return torch.cat([m, ((x - m).square().sum(1, keepdim=True) / (x.shape[1] - 1)).sqrt()], 1)
