"""What a diffusion network makes: patches without their noise, new patches from noise, its error at each noise level; pictures of them.

cleaned(denoiser, "hsi", place, t).error                   # mean absolute error of the predicted noise
for t, x in generated(denoiser, "hsi", 200, steps=50): ... # from noise to new patches
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.sensor_patches import LIMIT, SIDE, Patches
from workbench.parts.bank_training import Denoiser, stacked
from workbench.parts.diffusion import posterior_step
from workbench.parts.features import BATCH, noise_of, noised_patches

TIME = 100  # of the noisy patches
SHOWN = 4  # rows and columns of patches on a sheet


def shown_places(patches: Patches) -> np.ndarray:
    """(n, 3): the test pixels whose patches are shown, spread over all of them."""
    place = patches.place[patches.test]
    return place[np.linspace(0, len(place) - 1, min(SHOWN * SHOWN, len(place))).astype(int)]


class Cleaned(NamedTuple):
    """Patches (n, channels, 8, 8): clean; at a noise level; without the noise that the network predicts. error (n,): mean absolute error
    of the prediction; zero (n,): that of a network that predicts 0."""

    clean: Tensor
    noisy: Tensor
    denoised: Tensor
    error: Tensor
    zero: Tensor


@torch.no_grad()
def cleaned(learner: Denoiser, name: str, place: np.ndarray, t: int, seed: int = 0) -> Cleaned:
    """The patches of the network `name` at the pixels `place` (n, 3), noised to t and denoised in one step."""
    network, a = learner.networks[name].eval(), float(learner.products[t])
    x, pixel = stacked(learner.patches, place, learner.groups[name]), learner.patches.pixel(place)
    eps = noise_of(pixel, t, seed, x.shape[1:])
    noisy = noised_patches(x, pixel, t, learner.products, seed)
    where = next(network.parameters()).device
    parts = noisy.split(BATCH)
    predicted = torch.cat([network(p.to(where), torch.full((len(p),), t, device=where)).cpu() for p in parts])
    denoised = (noisy - (1 - a) ** 0.5 * predicted) / a**0.5
    return Cleaned(x, noisy, denoised, (predicted - eps).abs().mean((1, 2, 3)), eps.abs().mean((1, 2, 3)))


@torch.no_grad()
def generated(learner: Denoiser, name: str, count: int, steps: int, seed: int = 0) -> Iterator[tuple[int, Tensor]]:
    """(t, patches (count, channels, 8, 8)) from the last noise level, pure noise, down to t = -1, new patches.

    Steps back by the posterior of the schedule of the `steps` times that are used (A. Nichol, P. Dhariwal, "Improved Denoising Diffusion
    Probabilistic Models", 2021, arXiv 2102.09672, section 4); estimates of the clean patch are cut at the limit of scaled values.
    """
    network = learner.networks[name].eval()
    where = next(network.parameters()).device
    times = np.unique(np.linspace(0, len(learner.products) - 1, steps).round().astype(int))
    products = learner.products[times]
    betas = 1 - products / torch.cat([products.new_ones(1), products[:-1]])
    bands = sum(learner.patches.cubes[s].shape[1] for s in learner.groups[name])
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn((count, bands, SIDE, SIDE), generator=draw).to(where)
    for i in range(len(times) - 1, -1, -1):
        yield int(times[i]), x.cpu()
        a = float(products[i])
        eps = torch.cat([network(p, torch.full((len(p),), int(times[i]), device=where)) for p in x.split(BATCH)])
        x0 = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-LIMIT, LIMIT)
        noise = torch.randn(x.shape, generator=draw).to(where)
        x = posterior_step(x, x0, betas, i + 1, noise if i else None)
    yield -1, x.cpu()


def film(learner: Denoiser, patches: Patches) -> dict[str, xr.DataArray]:
    """Test patches of the first network side by side, three channels: `clean`, `noisy` at `TIME`, and `denoised`; each (band, y, x)."""
    made = cleaned(learner, next(iter(learner.networks)), shown_places(patches), TIME)
    text = {"clean": "clean", "noisy": f"at t = {TIME}", "denoised": "without the predicted noise"}
    return {n: xr.DataArray(sheet(getattr(made, n)), dims=("band", "y", "x"), attrs={"long_name": text[n]}) for n in text}


def sheet(patches: Tensor) -> np.ndarray:
    """(3, rows, columns): patches (n, channels, 8, 8) on a sheet, scaled to [0, 1]; with fewer than three channels the first."""
    n, channels = patches.shape[:2]
    across = min(SHOWN, n)
    down = n // across
    chosen = patches[: down * across, list(range(3)) if channels >= 3 else [0, 0, 0]]
    return (tiled(chosen, down, across).clamp(-1, 1) / 2 + 0.5).numpy()


def tiled(patches: Tensor, down: int, across: int) -> Tensor:
    """(channels, 8 down, 8 across): patches (down * across, channels, 8, 8) side by side, row after row."""
    return patches.unflatten(0, (down, across)).permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)
