"""An anomaly detector by reconstruction, of the kind of Auto-AD: what a network trained on the scene alone reproduces badly.

A fully convolutional autoencoder turns fixed uniform noise into the cube. It learns the background first, because that is most of
the scene; every `reweight` steps the pixels that it reproduces badly get a smaller weight in the loss, so that it does not learn them
later. The score of a pixel is the length of its residual.

S. Wang, X. Wang, L. Zhang, Y. Zhong, "Auto-AD: Autonomous hyperspectral anomaly detection network based on fully convolutional
autoencoder", IEEE Trans. Geosci. Remote Sens. 60, 2022, doi 10.1109/TGRS.2021.3057721. Written from the description: noise in, cube out,
skip connections, adaptive weights. The sizes of the layers and the fixed number of steps (the article stops when the loss is flat) are
ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.baselines import moments as m
from workbench.errors import InputError
from workbench.parts.device import device
from workbench.parts.seeding import Seeded

if TYPE_CHECKING:
    import xarray as xr

NOISE = 0.1  # the input is uniform in [0, NOISE)
SKIPPED = 8  # channels of a skip connection


def _unit(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution (reflected edges), batch statistics, leaky ReLU."""
    convolution = nn.Conv2d(channels, width, 3, stride, 1, padding_mode="reflect")
    return nn.Sequential(convolution, nn.BatchNorm2d(width, track_running_stats=False), nn.LeakyReLU(0.2))


class Autoencoder(nn.Module):
    """Noise (1, bands, y, x) to a cube (1, bands, y, x) in [0, 1]: `levels` halvings of the image, and as many doublings with skips."""

    def __init__(self, bands: int, width: int, levels: int) -> None:
        super().__init__()
        inputs = [bands, *[width] * (levels - 1)]
        self.down = nn.ModuleList(_unit(n, width, 2) for n in inputs)
        self.skip = nn.ModuleList(nn.Conv2d(n, SKIPPED, 1) for n in inputs)
        self.up = nn.ModuleList(_unit(width + SKIPPED, width) for _ in inputs)
        self.out = nn.Conv2d(width, bands, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The cube made of `x`."""
        skips = []
        for down, skip in zip(self.down, self.skip, strict=True):
            skips.append(skip(x))
            x = down(x)
        for up, kept in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([F.interpolate(x, size=kept.shape[-2:], mode="nearest"), kept], 1))
        return torch.sigmoid(self.out(x))


class Reconstruction:
    """The training on one cube, step by step.

    Raises InputError for an image smaller than 2^levels + 1 pixels along a side, and as `workbench.baselines.moments.background` does.
    """

    def __init__(
        self, cube: xr.DataArray, width: int = 64, levels: int = 3, lr: float = 0.01, reweight: int = 100, seed: int = 0
    ) -> None:
        self.stats = m.background(cube, "auto-ad")
        side = 2**levels + 1
        if min(cube.shape[1:]) < side:
            raise InputError(
                f"auto-ad with {levels} levels needs at least {side} x {side} pixels; this image has {cube.shape[1]} x {cube.shape[2]}. "
                "Set fewer levels."
            )
        values = np.asarray(cube.data)[self.stats.bands].astype(np.float64)
        self.valid = np.isfinite(values).all(0)
        low, high = values[:, self.valid].min(), values[:, self.valid].max()
        values = np.where(self.valid, (values - low) / (high - low), 0.0)
        self.random, self.reweight, self.done = Seeded(seed), reweight, 0
        with self.random:
            network = Autoencoder(len(values), width, levels)
            noise = NOISE * torch.rand(1, *values.shape)
        here = device()
        self.network, self.noise = network.to(here), noise.to(here)
        self.wanted = torch.from_numpy(values.astype(np.float32))[None].to(here)
        self.known = torch.from_numpy(self.valid).to(here)
        self.weight = self.known.float()
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=lr)

    def step(self) -> float:
        """One step of Adam on the whole image; returns the loss before it: mean over valid pixels and bands of the weighted squared
        residual. The weights follow the residuals of this step when it is a multiple of `reweight`."""
        residual = self.network(self.noise) - self.wanted
        self.done += 1
        loss = ((self.weight * residual) ** 2).sum() / (self.known.sum() * residual.shape[1])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"auto-ad diverged: the loss of step {self.done} is {float(loss.detach())}. Lower lr.")
        if self.done % self.reweight == 0:
            self.weight = self.weights(residual.detach())
        return float(loss.detach())

    def weights(self, residual: Tensor) -> Tensor:
        """(y, x): 1 for the valid pixel that is reproduced best, 0 for the worst and for missing pixels, linear in the squared residual."""
        error = (residual**2).sum((0, 1))
        low, high = error[self.known].min(), error[self.known].max()
        return torch.where(self.known, (high - error) / (high - low).clamp_min(torch.finfo(error.dtype).tiny), 0.0)

    @torch.no_grad()
    def score(self) -> np.ndarray:
        """Length of the residual (y, x) float64, in units of the range of the cube; NaN where the pixel is missing."""
        residual = (self.network(self.noise) - self.wanted)[0].double().cpu().numpy()
        return np.where(self.valid, np.sqrt((residual**2).sum(0)), np.nan)

    def map(self, cube: xr.DataArray) -> xr.DataArray:
        """The score as a labelled map."""
        about = {"bands_used": len(self.stats.bands), "pixels_used": self.stats.n, "rank": self.stats.rank}
        return m.score_map(cube, self.score(), f"autoencoder score (after {self.done} steps)", [], **about)


def autoencoder(
    cube: xr.DataArray,
    steps: int = 500,
    width: int = 64,
    levels: int = 3,
    lr: float = 0.01,
    reweight: int = 100,
    seed: int = 0,
) -> xr.DataArray:
    """Residual of every pixel after `steps` steps, `(y, x)` float64; NaN where the pixel is missing. The cube has to fit into memory."""
    training = Reconstruction(cube, width, levels, lr, reweight, seed)
    for _ in range(steps):
        training.step()
    return training.map(cube)
