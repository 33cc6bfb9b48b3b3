"""The feature bank of MDFL and FedDiff: what a diffusion network sees in patches that were noised to several times.

    bank = features(network, x, pixel, times=(5, 50, 100, 200), products=products, seed=0)   # (N, d * times, h, w)
    bank = cached(folder, network, x, pixel, ...)                                            # the same, kept in Zarr

The noise of a patch depends on its pixel, the time and the seed only, so that features repeat and can be cached. No gradient reaches the
network. Group normalisation keeps the samples of a batch apart: features do not depend on the other rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.parts.diffusion import abar, linear_betas
from workbench.parts.unet import UNet

STEPS = 500
BATCH = 512


def schedule(steps: int = STEPS) -> Tensor:
    """(steps,) float64: abar at the card's times t = 0..steps-1, of betas from 1e-4 to 2e-2 in equal steps. Entry t has had t + 1
    noising steps.

    >>> [round(float(schedule()[t]), 5) for t in (0, 49, 99, 499)]
    [0.9999, 0.94754, 0.81246, 0.00635]
    """
    scale = steps / 1000  # undoes the scaling of linear_betas: the range of the betas is that of the paper's code at T = 500
    return abar(linear_betas(steps, 1e-4 * scale, 2e-2 * scale))[1:]


def noise_of(pixel: np.ndarray, t: int, seed: int, shape: Sequence[int]) -> Tensor:
    """Standard normal noise (N, *shape), float32: the same numbers for the same (pixel, t, seed), whatever else is asked.

    pixel (N,): whole numbers that identify the pixels. Counters are hashed (SplitMix64) and turned to normals by Box and Muller.
    """
    size = int(np.prod(shape))
    half = (size + 1) // 2
    key = _mixed(_mixed(np.asarray(pixel).astype(np.uint64) ^ _mixed(np.uint64(t + 1))) + np.uint64(seed))
    counter = np.arange(2 * half, dtype=np.uint64)
    with np.errstate(over="ignore"):
        drawn = _mixed(key[:, None] + counter * np.uint64(0x9E3779B97F4A7C15))
    uniform = ((drawn >> np.uint64(40)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-24)
    radius, angle = np.sqrt(-2 * np.log(uniform[:, :half])), 2 * np.pi * uniform[:, half:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :size]
    return torch.from_numpy(np.ascontiguousarray(normal, np.float32).reshape(len(key), *shape))


def _mixed(x: np.ndarray | np.uint64) -> np.ndarray:
    """SplitMix64's finaliser."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))


def noised_patches(x: Tensor, pixel: np.ndarray, t: int, products: Tensor, seed: int) -> Tensor:
    """The patches (N, bands, h, w) at time t, on the device of `x`."""
    a = float(products[t])
    return a**0.5 * x + (1 - a) ** 0.5 * noise_of(pixel, t, seed, x.shape[1:]).to(x.device)


@torch.no_grad()
def features_at(network: UNet, x: Tensor, pixel: np.ndarray, t: int, products: Tensor, seed: int) -> Tensor:
    """(N, d, h, w) on the CPU: the middle of the network at one time."""
    network.eval()
    where = next(network.parameters()).device
    parts = []
    for begin in range(0, len(x), BATCH):
        rows = slice(begin, begin + BATCH)
        noisy = noised_patches(x[rows].to(where), pixel[rows], t, products, seed)
        parts.append(network.encode(noisy, torch.full((len(noisy),), t, device=where))[0].cpu())
    return torch.cat(parts)


def features(network: UNet, x: Tensor, pixel: np.ndarray, times: Sequence[int], products: Tensor, seed: int = 0) -> Tensor:
    """(N, d * times, h, w): the features of all times, one after the other along the channels.

    x (N, bands, side, side); pixel (N,) whole numbers; products: `schedule()`.
    """
    return torch.cat([features_at(network, x, pixel, t, products, seed) for t in times], 1)


def checkpoint_hash(network: UNet) -> str:
    """16 hexadecimal digits of the weights."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]


def cached(
    folder: str | Path, network: UNet, x: Tensor, pixel: np.ndarray, times: Sequence[int], products: Tensor, seed: int = 0
) -> Tensor:
    """`features`, kept in a Zarr folder by checkpoint, seed, time and pixel: what is there is read, the rest is computed and added.

    The cache trusts `pixel`: the numbers must be those of the same patches, so use one folder for one scene and one scaling.
    """
    import zarr

    root = zarr.open_group(str(folder), mode="a")
    parts = []
    for t in times:
        group = root.require_group(f"{checkpoint_hash(network)}/seed{seed}/t{t}")
        known = np.asarray(group["pixel"]) if "pixel" in group else np.zeros(0, np.int64)
        _, first = np.unique(pixel, return_index=True)
        new = first[~np.isin(pixel[first], known)]
        if len(new):
            made = features_at(network, x[torch.from_numpy(new)], pixel[new], t, products, seed).numpy()
            for name, values in (("feature", made), ("pixel", pixel[new].astype(np.int64))):  # features first
                held = group.get(name)
                if isinstance(held, zarr.Array):
                    held.append(values)
                else:
                    group.create_array(name, data=values, chunks=(BATCH, *values.shape[1:]))
            known = np.concatenate([known, pixel[new]])
        order = np.argsort(known, kind="stable")
        at = order[np.searchsorted(known[order], pixel)]
        parts.append(torch.from_numpy(np.asarray(group["feature"])[at]))
    return torch.cat(parts, 1)
