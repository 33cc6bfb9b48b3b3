"""A scene as patches of each sensor: the split, principal components of the cube, scaling to [-1, 1].

patches = patches_of(scene, config, who="my method")
patches.take(patches.place[patches.train], "lidar")       # (n, channels, 8, 8), scaled with training pixels
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.patch_settings import NEEDS, SENSORS, PatchSettings
from workbench.data.readers.truth import MERGED
from workbench.data.samples import Sampling, take_samples, told
from workbench.data.splits import apart
from workbench.errors import InputError
from workbench.scene import require

SIDE, CENTRE = 8, 4  # a patch has rows y - 4 ... y + 3: nine by nine pixels without the last row and column
GUARD = SIDE + 1
LIMIT = 3.0  # scaled values beyond are cut


@dataclass(frozen=True)
class Scaler:
    """How the values of one sensor become channels: principal components if any, then the 1st and 99th percentile to -1 and 1.

    mean (bands,), axes (bands, channels) or None, low and high (channels,); of training pixels only. decibel: take 10 log10 first.
    good (bands,): the bands that are used.
    """

    good: np.ndarray
    mean: np.ndarray
    axes: np.ndarray | None
    low: np.ndarray
    high: np.ndarray
    decibel: bool

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(bands, ...) -> (channels, ...) float32; missing values become the mean."""
        x = _entered(values[self.good], self.decibel) - self.mean.reshape(-1, *(1,) * (values.ndim - 1))
        x = np.where(np.isfinite(x), x, 0.0)
        if self.axes is not None:
            x = np.tensordot(self.axes, x, (0, 0))
        shape = (-1, *(1,) * (values.ndim - 1))
        low, high = self.low.reshape(shape), self.high.reshape(shape)
        return np.clip(2 * (x - low) / (high - low) - 1, -LIMIT, LIMIT).astype(np.float32)

    def back(self, channels: np.ndarray) -> np.ndarray:
        """(channels, ...) -> (good bands, ...): the values of scaled channels, of a radar in dB. What was cut, and components that were
        left out, stay lost."""
        shape = (-1, *(1,) * (channels.ndim - 1))
        x = (np.asarray(channels, np.float64) + 1) / 2 * (self.high - self.low).reshape(shape) + self.low.reshape(shape)
        if self.axes is not None:
            x = np.tensordot(self.axes, x, (1, 0))
        return x + self.mean.reshape(shape)


@dataclass(frozen=True)
class Patches:
    """Channels of each sensor, and the places of training and test pixels.

    cubes: sensor -> (images, channels, y + 7, x + 7), reflected at the border. place (N, 3): image, row, column of the labelled pixels;
    label (N,); train, test: positions in them. free (M, 3): places of the patches that the diffusion networks learn from.
    usable (images, y, x): pixels with values in all sensors. spectra (N, bands): the labelled pixels before scaling.
    first: image, row, column of the place (0, 0, 0), for a block of an image.
    """

    cubes: dict[str, np.ndarray]
    scalers: dict[str, Scaler]
    place: np.ndarray
    label: np.ndarray
    names: list[str]
    train: np.ndarray
    test: np.ndarray
    free: np.ndarray
    usable: np.ndarray
    fingerprint: str
    split: str
    warning: str
    spectra: np.ndarray
    first: tuple[int, int, int] = (0, 0, 0)

    @property
    def sensors(self) -> list[str]:
        """Their names; the first has a path of its own in the classifier."""
        return list(self.cubes)

    def moved(self, cubes: dict[str, np.ndarray], first: tuple[int, int], size: tuple[int, int]) -> Patches:
        """The patches of a block of one large image, without labels. first: its first row and column; size: of the image."""
        return replace(self, cubes=cubes, usable=np.zeros((1, *size), bool), first=(0, *first))

    def take(self, place: np.ndarray, sensor: str) -> Tensor:
        """(n, channels, 8, 8) float32: the patches of one sensor around pixels (n, 3)."""
        windows = np.lib.stride_tricks.sliding_window_view(self.cubes[sensor], (SIDE, SIDE), (2, 3))
        image, rows, columns = place.T
        return torch.from_numpy(np.ascontiguousarray(windows[image, :, rows, columns]))

    def pixel(self, place: np.ndarray) -> np.ndarray:
        """(n,) whole numbers that identify the pixels of this scene."""
        return np.ravel_multi_index(tuple((place + self.first).T), self.usable.shape).astype(np.int64)


def patches_of(scene: xr.Dataset, config: PatchSettings, who: str = "this method") -> Patches:
    """The patches of a scene under the split of the settings. who: the subject of error messages.

    Raises InputError for a sensor that the scene lacks or that has another size, for labels that are not whole numbers, for a class
    with one pixel, for a class that the split leaves without training or test pixels (it is named), and as `take_samples` does.
    """
    require(scene, *NEEDS, who=who)
    sensors: list[str] = [*config.sensors] or [s for s in SENSORS if s in scene]
    _check_labels(scene, who)
    split = config.split
    if split == "own" and "split" not in scene.coords:
        split = "image" if "sample" in scene["truth"].dims else "block"
    how = Sampling(
        tuple(sensors),
        split=split,
        test=config.test or None,
        share=config.test_share,
        seed=config.seed,
        block=config.block,
        guard=GUARD,
        classes="present",
        scaling="none",
    )
    samples = take_samples(scene, how, who=who)
    label = samples.label.numpy()
    _check_classes(label, samples.names, samples.train, samples.test, split, who)
    draw = np.random.default_rng(config.seed)
    mine = [draw.permutation(samples.train[label[samples.train] == c])[: config.per_class] for c in range(samples.classes)]
    train = np.sort(np.concatenate(mine))
    image = samples.image if samples.image is not None else np.zeros(len(label), int)
    assert samples.position is not None
    place = np.column_stack([image, samples.position])
    raw = {s: _images(scene[s]) for s in sensors}
    usable = np.logical_and.reduce([np.isfinite(v).any(1) for v in raw.values()])
    scalers, cubes = {}, {}
    for sensor, values in raw.items():
        known = values[place[train, 0], :, place[train, 1], place[train, 2]].T
        scalers[sensor] = _fitted(scene[sensor], known, config.components if sensor == "hsi" else None)
        scaled = np.stack([scalers[sensor](v) for v in values])
        mode: Literal["reflect", "edge"] = "reflect" if min(scaled.shape[-2:]) > CENTRE else "edge"
        cubes[sensor] = np.pad(scaled, ((0, 0), (0, 0), (CENTRE, CENTRE - 1), (CENTRE, CENTRE - 1)), mode=mode)
    spectra = np.nan_to_num(np.concatenate([samples.values[s].flatten(1).numpy() for s in sensors], 1))
    free = place[train]
    if split not in ("class", "polygon"):  # the patches of other pixels, as long as they share no pixel with a test patch
        every = np.argwhere(usable)
        flat = np.ravel_multi_index(tuple(every.T), usable.shape)
        tested = np.flatnonzero(np.isin(flat, np.ravel_multi_index(tuple(place[samples.test].T), usable.shape)))
        free = every[apart(every, np.setdiff1d(np.arange(len(every)), tested), tested, usable.shape, GUARD)]
        if split == "image":
            free = free[~np.isin(free[:, 0], place[samples.test, 0])]
    words, warning = told(how)
    return Patches(
        cubes,
        scalers,
        place,
        label,
        samples.names,
        train,
        samples.test,
        free,
        usable,
        samples.fingerprint,
        words,
        warning,
        spectra,
    )


def _check_labels(scene: xr.Dataset, who: str) -> None:
    truth = scene["truth"]
    if truth.dtype.kind not in "iub":
        raise InputError(
            f"{who} needs labels that are whole numbers; truth is {truth.dtype}. Round them, and use -1 for no label."
        )
    if MERGED in str(scene.attrs.get("notes", "")):
        raise InputError(
            f"The truth of this scene was read as a mask of one class, although it holds several, so {who} could learn one class only. Say "
            "that it is a map of classes: --key classes=numbered, or --key 'classes=grass;road;water' with their names (in Python keys=)."
        )


def _check_classes(label: np.ndarray, names: list[str], train: np.ndarray, test: np.ndarray, split: str, who: str) -> None:
    """Raise InputError, naming the classes, where one has fewer than two pixels or is missing in a part of the split."""
    count = np.bincount(label, minlength=len(names))
    few = [f"{names[c]} ({count[c]})" for c in np.flatnonzero(count < 2)]
    if few:
        raise InputError(
            f"{who} needs at least two pixels of each class, one to train on and one to test; {', '.join(few)} have fewer."
        )
    for part, rows in (("training", train), ("testing", test)):
        lost = [names[c] for c in np.flatnonzero(np.bincount(label[rows], minlength=len(names)) == 0)]
        if lost:
            raise InputError(
                f"The split by {split!r} leaves no pixel for {part} of {', '.join(lost)}. Take another seed, share, block or split, or "
                "mark the class as not labelled (-1)."
            )


def _images(array: xr.DataArray) -> np.ndarray:
    values = np.asarray(array.values, np.float32)
    return values if "sample" in array.dims else values[None]


def _entered(values: np.ndarray, decibel: bool) -> np.ndarray:
    return 10 * np.log10(np.maximum(values, 1e-6)) if decibel else values


def _fitted(array: xr.DataArray, known: np.ndarray, components: int | None) -> Scaler:
    """known (bands, n): the values of the training pixels."""
    band = array.dims[-3]
    good = np.asarray(array["good"].values, bool) if "good" in array.coords else np.ones(array.sizes[band], bool)
    decibel = array.name == "sar"
    x = _entered(known[good], decibel).astype(np.float64)
    mean = np.nanmean(np.where(np.isfinite(x), x, np.nan), 1)
    mean = np.where(np.isfinite(mean), mean, 0.0)
    x = np.where(np.isfinite(x), x - mean[:, None], 0.0)
    axes = None
    if components is not None and components < len(x):
        _, vectors = np.linalg.eigh(x @ x.T)
        axes = vectors[:, ::-1][:, :components]
        axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
        x = axes.T @ x
    low, high = np.percentile(x, [1, 99], axis=1)
    flat = high - low <= 0
    return Scaler(good, mean, axes, np.where(flat, low - 1, low), np.where(flat, low + 1, high), decibel)
