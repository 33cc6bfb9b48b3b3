"""The training and test samples of a scene."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.data.coresets import class_names
from workbench.errors import InputError
from workbench.methods.tdds.settings import NEEDS, Config
from workbench.parts.dynamics import identity
from workbench.scene import require


@dataclass(frozen=True)
class Samples:
    """Training and test samples in memory, standardised band by band with the training samples' mean and spread.

    values (N, bands, side, side) float32, label (N,) int64 as used (noise included); train, test: positions in them.
    position (N, 2): row and column, for pixels of a scene. flipped (N,): label made wrong on purpose. kind: what they are.
    fingerprint: SHA-256 of values and labels.
    """

    ids: np.ndarray
    values: Tensor
    label: Tensor
    names: list[str]
    train: np.ndarray
    test: np.ndarray
    flipped: np.ndarray
    position: np.ndarray | None
    kind: str
    fingerprint: str

    @property
    def classes(self) -> int:
        return len(self.names)


def samples_of(scene: xr.Dataset, config: Config) -> Samples:
    """The samples of a scene: chips with `label (sample)`, or every labelled pixel of `truth (y, x)` with its patch.

    A truth of one class is that class against its background, where there is any background. Split: the scene's own `split`
    where it has one (test, else val); else by the seed, chips by class at random, pixels by tiles with a gap of a patch.

    Raises InputError for one class only, for values that are not real or missing altogether, and for `label_noise` where the
    scene, a coreset, has labels made wrong on purpose already.
    """
    require(scene, *NEEDS, who="tdds")
    fitting = [n for n in NEEDS[0] if n in scene and ("sample" in scene[n].dims) == ("label" in scene)]
    if not fitting:
        raise InputError(
            "tdds needs chips, image (sample, band, y, x) with label (sample), or a scene, hsi (band, y, x) with truth; "
            "this one mixes the two."
        )
    name = fitting[0]
    array = scene[name]
    if array.dtype.kind == "c":
        raise InputError(f"tdds needs real values; this {name} is complex. Take its amplitude first.")
    band = array.dims[-3]
    if "good" in scene.coords and scene["good"].dims == (band,):
        array = array.isel({band: np.flatnonzero(scene["good"].values)})
    read = _chips if "label" in scene else _pixels
    ids, values, label, names, train, test, position = read(scene, array, config)
    if name == "sar":
        values = 10 * torch.log10(values.clamp(min=1e-6))  # dB
    present = np.unique(label[train])
    if len(names) < 2 or len(present) < 2:
        raise InputError(
            f"tdds needs at least two classes; the training samples have {', '.join(names[c] for c in present) or 'none'}."
        )
    digest = hashlib.sha256(memoryview(np.ascontiguousarray(values.numpy()).reshape(-1).view(np.uint8)))
    used, flipped = _noisy(label, train, len(names), config)
    if "wrong_label" in scene.coords:
        flipped = _known_wrong(scene, ids, position, config)
    return Samples(
        ids,
        standardised(values, train),
        torch.from_numpy(used),
        names,
        train,
        test,
        flipped,
        position,
        name if position is None else f"{name} pixels",
        identity(ids, used, digest.hexdigest()),
    )


def _chips(scene: xr.Dataset, array: xr.DataArray, config: Config) -> tuple:
    label = scene["label"].values.astype(np.int64)
    names = [str(n) for n in scene["label"].attrs.get("names", [])] or [str(c) for c in range(int(label.max()) + 1)]
    if label.min() < 0 or label.max() >= len(names):
        raise InputError(
            f"Labels must lie between 0 and {len(names) - 1}, one for each of {len(names)} names; these reach from "
            f"{label.min()} to {label.max()}."
        )
    ids = scene["sample"].values.astype(str) if "sample" in scene.coords else np.arange(len(label)).astype(str)
    if "split" in scene.coords:
        split = scene["split"].values.astype(str)
        train = np.flatnonzero(split == "train")
        test = np.flatnonzero(split == ("test" if (split == "test").any() else "val"))
    else:
        train, test = stratified(label, config.test_share, config.seed)
    if len(train) == 0:
        raise InputError("This scene has no training samples: its split names none 'train'.")
    blocks = []
    for begin in range(0, len(label), 256):
        x = torch.from_numpy(np.array(array[begin : begin + 256].values, np.float32))
        blocks.append(F.interpolate(x, size=reduced(x.shape[-2:], config.size), mode="area"))
    return ids, torch.cat(blocks), label, names, train, test, None


def reduced(shape: Sequence[int], size: int) -> tuple[int, int]:
    scale = min(1.0, size / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _pixels(scene: xr.Dataset, array: xr.DataArray, config: Config) -> tuple:
    truth = scene["truth"].values
    found = np.unique(truth[truth > 0])
    if len(found) == 1 and (truth == 0).any():
        found = np.array([0, found[0]])
    cube = np.array(array.values, np.float32)
    usable = np.isin(truth, found) & np.isfinite(cube).any(0)
    rows, columns = np.nonzero(usable)
    if len(found) < 2 or len(rows) == 0:
        raise InputError(f"tdds needs at least two classes; this truth has {len(found)} with {len(rows)} usable pixels.")
    label = np.searchsorted(found, truth[usable]).astype(np.int64)
    names = class_names(scene["truth"], found)
    position = np.stack([rows, columns], 1)
    if "split" in scene.coords and scene["split"].dims == ("y", "x"):
        part = scene["split"].values[usable]
        test = np.flatnonzero(part == 1)
        train = apart(position, np.flatnonzero(part == 0), test, truth.shape, config.patch)
    else:
        train, test = spatial(position, label, truth.shape, config)
    used = np.sort(np.concatenate([train, test]))  # pixels in the gap between the two are left out
    train, test = np.searchsorted(used, train), np.searchsorted(used, test)
    rows, columns, label, position = rows[used], columns[used], label[used], position[used]
    r = config.patch // 2
    cube = np.pad(cube, ((0, 0), (r, r), (r, r)), mode="reflect" if min(truth.shape) > r else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(
        cube, (config.patch, config.patch), (1, 2)
    )  # (band, y, x, patch, patch)
    values = torch.from_numpy(np.ascontiguousarray(windows[:, rows, columns].swapaxes(0, 1)))
    ids = np.array([f"{y},{x}" for y, x in position])
    return ids, values, label, names, train, test, position


def stratified(label: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions, sorted: of every class round(share n) drawn for testing, but never all."""
    random, test = np.random.default_rng(seed), []
    for c in np.unique(label):
        mine = np.flatnonzero(label == c)
        test.append(random.permutation(mine)[: min(round(share * len(mine)), len(mine) - 1)])
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(label)), held), held


def spatial(position: np.ndarray, label: np.ndarray, shape: Sequence[int], config: Config) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions, split by tiles of `block` pixels drawn by the seed; patches of the two do not overlap.

    A tile is drawn for testing unless that would take more than half of a class.
    """
    random = np.random.default_rng(config.seed)
    tiles = (position // config.block) @ np.array([math.ceil(shape[1] / config.block), 1])
    total = np.bincount(label)
    taken = np.zeros_like(total)
    chosen: list[int] = []
    for tile in random.permutation(np.unique(tiles)):
        inside = np.bincount(label[tiles == tile], minlength=len(total))
        if taken.sum() < config.test_share * len(label) and (taken + inside <= total / 2).all():
            taken, chosen = taken + inside, [*chosen, tile]
    test = np.flatnonzero(np.isin(tiles, chosen))
    return apart(position, np.setdiff1d(np.arange(len(label)), test), test, shape, config.patch), test


def apart(position: np.ndarray, train: np.ndarray, test: np.ndarray, shape: Sequence[int], patch: int) -> np.ndarray:
    """Those of train whose patch shares no pixel with the patch of any of test."""
    from scipy.ndimage import maximum_filter

    held = np.zeros(tuple(shape), bool)
    held[tuple(position[test].T)] = True
    near = maximum_filter(held, size=2 * patch - 1)
    return train[~near[tuple(position[train].T)]]


def standardised(values: Tensor, train: np.ndarray) -> Tensor:
    """Every band with mean 0 and spread 1 over the training samples; missing values become 0, a constant band too."""
    rows = values[torch.from_numpy(train)].double()
    finite = torch.isfinite(rows)
    if not finite.any():
        raise InputError("tdds needs values; every training sample is missing (NaN).")
    if rows[finite].min() == rows[finite].max():
        raise InputError(
            f"tdds cannot tell samples apart: every value of the training samples is {float(rows[finite].min()):g}."
        )
    count = finite.sum((0, 2, 3)).clamp(min=1)
    known = torch.where(finite, rows, 0.0)
    mean = known.sum((0, 2, 3)) / count
    variance = torch.where(finite, (rows - mean[:, None, None]).square(), 0.0).sum((0, 2, 3)) / count
    scale = torch.where(variance > 0, variance.rsqrt(), 0.0)
    moved = (values - mean[:, None, None].float()) * scale[:, None, None].float()
    return torch.where(torch.isfinite(moved), moved, 0.0)


def _noisy(label: np.ndarray, train: np.ndarray, classes: int, config: Config) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(config.seed)
    flipped = np.zeros(len(label), bool)
    flipped[random.permutation(train)[: round(config.label_noise * len(train))]] = True
    used = label.copy()
    used[flipped] = (used[flipped] + random.integers(1, classes, flipped.sum())) % classes
    return used, flipped


def _known_wrong(scene: xr.Dataset, ids: np.ndarray, position: np.ndarray | None, config: Config) -> np.ndarray:
    """Which samples of an opened coreset have a label that was made wrong on purpose when it was chosen."""
    wrong = scene["wrong_label"]
    if config.label_noise > 0:
        raise InputError(
            f"{int(wrong.sum())} labels of this coreset were made wrong on purpose when it was chosen, and are still; set "
            "label_noise to 0 to train on them as they are."
        )
    return wrong.sel(sample=ids).values if position is None else wrong.values[tuple(position.T)]
