"""Samples to train on: chips, pixels or patches of a scene, of one modality or several, split and scaled.

    how = Sampling(("hsi", "lidar"), patch=7, guard=11, share=0.3)
    samples = take_samples(scene, how, who="my method")
    samples.values["hsi"][samples.train]        # (n, bands, 7, 7), row by row the same pixels as
    samples.values["lidar"][samples.train]      # (n, lidar bands, 7, 7)

A scene with `label (sample)` gives its chips. A scene with `truth (y, x)` gives its labelled pixels, each with the patch
around it; its variables may have a leading `sample` dim: labelled pixels of several images of one size.

Six ways to split, besides the scene's own `split` and a list of test samples:

    class    at random within each class. Pixels next to each other fall on both sides: for pixels the score is too optimistic
    image    whole images, such as plots
    polygon  whole polygons, the areas of the scene's coordinate `crown` or `polygon`
    halves   the right half of each image against the left, with a guard band; an odd seed exchanges them
    block    square blocks of one image, with a guard band: no training pixel within `guard` pixels of a test pixel

Values are scaled with the mean and spread of training samples only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.data.coresets import class_names
from workbench.data.splits import apart, by_block, by_class, by_halves, by_image, by_polygon, listed, own_split
from workbench.errors import InputError

READ = 256  # chips read and reduced at once


@dataclass(frozen=True)
class Sampling:
    """How samples are taken from a scene.

    modalities: variables of the scene, all on the same samples or on the same grid.
    split: "own" is the `split` of the scene (test, else val); without one it is "class" for chips and "block" for
        pixels. test: identifiers of the test samples, instead of any split.
    share: fraction of the samples drawn for `draw`; the other side gets the rest. A split by class leaves the other side at
        least one sample of every class; with draw="train", the drawn side also gets at least one. seed: of the draw, and of
        the wrong labels.
    size: chips with a longer side are averaged down to this; least: minimal length of a side of a chip made smaller.
    patch: side of the patch around a pixel, odd. block: side of the blocks. guard: a training pixel and a test pixel of one
        image are at least this many rows or columns apart; None: `patch`, so that their patches share no pixel. A split by
        class has no guard.
    label_noise: share of training labels made wrong on purpose.
    classes: "named": all classes with a name, also those without samples; every chip must have a class. "present": only
        classes with samples; chips with a label below 0 are left out.
    scaling: see `SCALINGS`.
    """

    modalities: tuple[str, ...]
    split: Literal["own", "class", "image", "polygon", "halves", "block"] = "own"
    test: tuple[str, ...] | None = None
    share: float = 0.25
    draw: Literal["test", "train"] = "test"
    seed: int = 0
    size: int = 64
    least: int = 1
    patch: int = 1
    block: int = 16
    guard: int | None = None
    label_noise: float = 0.0
    classes: Literal["named", "present"] = "named"
    scaling: Literal["float64", "float32", "none"] = "float64"

    def __post_init__(self) -> None:
        if self.patch % 2 == 0:
            raise InputError(f"patch={self.patch} must be odd, so that the pixel is in the centre.")
        if self.guard is not None and self.guard < self.patch:
            raise InputError(
                f"guard={self.guard} lets patches of {self.patch} pixels overlap; give at least {self.patch}, or leave it out."
            )

    @property
    def test_share(self) -> float:
        """Fraction of the samples for testing, for both values of `draw`."""
        return self.share if self.draw == "test" else 1 - self.share


@dataclass(frozen=True)
class Samples:
    """Training and test samples in memory, scaled with the training samples' mean and spread.

    ids (N,): identifiers; of pixels "row,column", after the image's identifier and a slash where there are several images.
    values: modality -> (N, bands, height, width) float32, all in the order of `ids`; `sar` is in dB.
    blank: modality -> (bands,) what a pixel outside an image is after scaling: a value of 0 in the file, for `sar` the mean.
    label (N,) int64 as used (noise included). names: of the classes. train, test: positions in `ids`.
    flipped (N,): label made wrong on purpose. kind: type of the samples, as text.
    position (N, 2): row and column, for pixels; image (N,): number of the image they are in.
    fingerprint: SHA-256 of identifiers, labels and values before scaling.
    scaling: modality -> (bands, 2): values are factor x + shift of the values before scaling, of `sar` in dB.
    """

    ids: np.ndarray
    values: Mapping[str, Tensor]
    blank: Mapping[str, Tensor]
    label: Tensor
    names: list[str]
    train: np.ndarray
    test: np.ndarray
    flipped: np.ndarray
    position: np.ndarray | None
    image: np.ndarray | None
    kind: str
    fingerprint: str
    scaling: Mapping[str, Tensor]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def only(self) -> Tensor:
        """The values of the single modality."""
        (values,) = self.values.values()
        return values


def take_samples(scene: xr.Dataset, how: Sampling, who: str = "this method") -> Samples:
    """The samples of a scene. `who` names the method in messages.

    A truth with one class gives two: that class and the background, where there is background. A pixel is used where every
    modality has a value in some band. Bands that the scene marks as not good are left out.

    Raises InputError for a modality that the scene lacks or that has other samples, for fewer than two classes, for values
    that are complex or missing altogether, for a list with identifiers that the scene does not have, for a split that leaves
    nothing to train on, and for `label_noise` with a coreset that already has labels made wrong on purpose.
    """
    arrays = {name: _good_bands(_real(_present(scene, name, who), who)) for name in how.modalities}
    read = _chips if "label" in scene else _pixels
    ids, values, label, names, train, test, position, image = read(scene, arrays, how, who)
    if "sar" in values:
        values["sar"] = 10 * torch.log10(values["sar"].clamp(min=1e-6))
    if len(train) == 0:
        raise InputError(f"This scene has no training samples for {who}: its split leaves none to 'train'.")
    present = np.unique(label[train])
    if len(names) < 2 or len(present) < 2:
        raise InputError(
            f"{who} needs at least two classes; the training samples have {', '.join(names[c] for c in present) or 'none'}."
        )
    digest = hashlib.sha256()
    for tensor in values.values():
        digest.update(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)
    used, flipped = with_noise(label, train, len(names), how.label_noise, how.seed)
    if "wrong_label" in scene.coords:
        flipped = _known_wrong(scene, ids, position, how)
    kind = " + ".join(how.modalities)
    scaled, blank, affine = {}, {}, {}
    for name, tensor in values.items():
        scale = SCALINGS[how.scaling](tensor, train, who)
        empty = scale(torch.zeros(1, tensor.shape[1], 1, 1)).view(-1)
        affine[name] = torch.stack([scale(torch.ones(1, tensor.shape[1], 1, 1)).view(-1) - empty, empty], 1)
        scaled[name], blank[name] = scale(tensor), torch.zeros_like(empty) if name == "sar" else empty
    return Samples(
        ids,
        scaled,
        blank,
        torch.from_numpy(used),
        names,
        train,
        test,
        flipped,
        position,
        image,
        kind if position is None else f"{kind} pixels",
        identity(ids, used, digest.hexdigest()),
        affine,
    )


def identity(sample: np.ndarray, label: Tensor | np.ndarray | None, fingerprint: str = "") -> str:
    """SHA-256 of identifiers, labels and a fingerprint of the data: equal for equal data sets."""
    digest = hashlib.sha256(fingerprint.encode())
    digest.update("\n".join(str(s) for s in np.asarray(sample).tolist()).encode())
    if label is not None:
        digest.update(np.ascontiguousarray(torch.as_tensor(label).cpu().numpy().astype("<i8")).tobytes())
    return digest.hexdigest()


# --- reading ----------------------------------------------------------------------------------------------------------


def _present(scene: xr.Dataset, name: str, who: str) -> xr.DataArray:
    if name not in scene:
        raise InputError(f"{who} trains on {name!r}; this scene has {', '.join(map(str, scene.data_vars)) or 'nothing'}.")
    return scene[name]


def _real(array: xr.DataArray, who: str) -> xr.DataArray:
    if array.dtype.kind == "c":
        raise InputError(f"{who} needs real values; this {array.name} is complex. Take its amplitude first.")
    return array


def _good_bands(array: xr.DataArray) -> xr.DataArray:
    band = array.dims[-3]
    if "good" in array.coords and array["good"].dims == (band,):
        return array.isel({band: np.flatnonzero(array["good"].values)})
    return array


def _chips(scene: xr.Dataset, arrays: Mapping[str, xr.DataArray], how: Sampling, who: str) -> tuple[Any, ...]:
    for name, array in arrays.items():
        if array.dims[0] != "sample" or array.ndim != 4:
            raise InputError(
                f"{who} needs chips, {name} with dims (sample, bands, y, x) beside label (sample); this one has "
                f"({', '.join(map(str, array.dims))})."
            )
    label = scene["label"].values.astype(np.int64)
    given = [str(n) for n in scene["label"].attrs.get("names", [])]
    used = np.arange(len(label))
    if how.classes == "present":
        used = np.flatnonzero(label >= 0)
        numbers, label = np.unique(label[used], return_inverse=True)
        names = [given[c] if c < len(given) else str(c) for c in numbers]
    else:
        names = given or [str(c) for c in range(int(label.max()) + 1)]
        if label.min() < 0 or label.max() >= len(names):
            raise InputError(
                f"Labels must lie between 0 and {len(names) - 1}, one for each of {len(names)} names; these reach from "
                f"{label.min()} to {label.max()}."
            )
    ids = scene["sample"].values.astype(str)[used] if "sample" in scene.coords else used.astype(str)
    if how.test is not None:
        train, test = listed(ids, how.test)
    elif how.split == "own" and "split" in scene.coords:
        train, test = own_split(scene["split"].values.astype(str)[used])
    elif how.split in ("own", "class"):
        train, test = by_class(label, how.share, how.seed, how.draw)
    else:
        raise InputError(f"split={how.split!r} is for labelled pixels; split chips by 'class', by list, or with their own.")
    values = {}
    for name, array in arrays.items():
        parts = []
        for begin in range(0, len(used), READ):
            x = torch.from_numpy(np.array(array[used[begin : begin + READ]].values, np.float32))
            parts.append(F.adaptive_avg_pool2d(x, reduced(x.shape[-2:], how.size, how.least)))
        values[name] = torch.cat(parts)
    return ids, values, label, names, train, test, None, None


def reduced(shape: Sequence[int], size: int, least: int = 1) -> tuple[int, int]:
    """Height and width after the longer is reduced to `size`, neither below `least`; unchanged where it is not
    longer."""
    longest = max(shape)
    if longest <= size:
        return shape[0], shape[1]
    return max(least, round(shape[0] * size / longest)), max(least, round(shape[1] * size / longest))


def _pixels(scene: xr.Dataset, arrays: Mapping[str, xr.DataArray], how: Sampling, who: str) -> tuple[Any, ...]:
    several = "sample" in scene["truth"].dims
    truth = scene["truth"].values if several else scene["truth"].values[None]
    cubes = {}
    for name, array in arrays.items():
        cube = np.array(array.values, np.float32)
        cubes[name] = cube if several else cube[None]
        if cubes[name].ndim != 4 or (len(cubes[name]), *cubes[name].shape[-2:]) != truth.shape:
            raise InputError(
                f"{who} needs {name} on the grid of truth, {' x '.join(map(str, scene['truth'].shape))}; it has "
                f"({', '.join(map(str, array.dims))}) of {' x '.join(map(str, array.shape))}."
            )
    numbers = np.unique(truth[truth > 0])
    if len(numbers) == 1 and (truth == 0).any():
        numbers = np.array([0, numbers[0]])
    usable = np.isin(truth, numbers)
    for cube in cubes.values():
        usable &= np.isfinite(cube).any(1)
    image, rows, columns = np.nonzero(usable)
    if len(numbers) < 2 or len(rows) == 0:
        raise InputError(f"{who} needs at least two classes; this truth has {len(numbers)} with {len(rows)} usable pixels.")
    label = np.searchsorted(numbers, truth[usable]).astype(np.int64)
    place = np.stack([image, rows, columns], 1)
    names = class_names(scene["truth"], numbers)
    images = (
        scene["sample"].values.astype(str) if several and "sample" in scene.coords else np.arange(len(truth)).astype(str)
    )
    train, test = _split_pixels(scene, usable, place, label, images, how)
    used = np.sort(np.concatenate([train, test]))  # pixels in the guard band are left out
    train, test = np.searchsorted(used, train), np.searchsorted(used, test)
    image, rows, columns, label = image[used], rows[used], columns[used], label[used]
    values = {name: torch.from_numpy(patches(cube, image, rows, columns, how.patch)) for name, cube in cubes.items()}
    ids = pixel_ids(place[used], images if several else None)
    return ids, values, label, names, train, test, place[used, 1:], image if several else None


def _split_pixels(
    scene: xr.Dataset, usable: np.ndarray, place: np.ndarray, label: np.ndarray, images: np.ndarray, how: Sampling
) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions in `place`, without the training pixels within the guard of a test pixel."""
    every, guarded = np.arange(len(label)), True
    if how.test is not None:
        train, test = listed(pixel_ids(place, images if len(usable) > 1 else None), how.test)
    elif how.split == "own" and "split" in scene.coords and scene["split"].dims == scene["truth"].dims:
        part = scene["split"].values.reshape(usable.shape)[usable]
        train, test = np.flatnonzero(part == 0), np.flatnonzero(part == 1)
    elif how.split == "own" and "split" in scene.coords and scene["split"].dims == ("sample",):
        train, test = own_split(scene["split"].values.astype(str)[place[:, 0]])
    elif how.split == "class":
        (train, test), guarded = by_class(label, how.share, how.seed, how.draw), False
    elif how.split == "image":
        train, test = by_image(place[:, 0], how.test_share, how.seed)
    elif how.split == "polygon":
        (train, test), guarded = by_polygon(_polygons(scene)[usable], label, how.test_share, how.seed), False
    elif how.split == "halves":
        test = by_halves(place[:, 2], usable.shape[2], how.seed)
        train = np.setdiff1d(every, test)
    else:
        test = by_block(place, label, usable.shape, how.block, how.test_share, how.seed)
        train = np.setdiff1d(every, test)
    return (apart(place, train, test, usable.shape, how.guard or how.patch) if guarded else train), test


def _polygons(scene: xr.Dataset) -> np.ndarray:
    """(images, y, x): the number of the polygon of each pixel."""
    for name in ("crown", "polygon"):
        if name in scene.variables and scene[name].dims == scene["truth"].dims:
            values = scene[name].values
            return values if values.ndim == 3 else values[None]
    raise InputError(
        f"A split by polygon needs the coordinate 'crown' or 'polygon' with dims ({', '.join(map(str, scene['truth'].dims))}), the "
        f"number of each pixel's polygon; this scene has {', '.join(map(str, scene.coords)) or 'no coordinates'}. Split by 'block'."
    )


def told(how: Sampling) -> tuple[str, str]:
    """(the split in words, a warning): every accuracy is shown with both. The warning is "" for splits that keep neighbours apart.

    >>> told(Sampling(("hsi",), split="halves", guard=9))[0]
    'halves of the image, training and test pixels at least 9 pixels apart'
    """
    band = f", training and test pixels at least {how.guard or how.patch} pixels apart"
    if how.test is not None:
        return "by a list of test samples" + band, ""
    words = {
        "own": "the split of the scene",
        "class": "random pixels",
        "image": "whole images (plots)",
        "polygon": "whole polygons",
        "halves": f"halves of the image{band}",
        "block": f"blocks of {how.block} x {how.block} pixels{band}",
    }
    warning = {
        "class": "RANDOM PIXELS: neighbours of test pixels were trained on, so accuracies are too high for new places.",
        "polygon": "Polygons of one image: patches of training and test pixels may overlap where polygons touch.",
    }
    return words[how.split], warning.get(how.split, "")


def pixel_ids(place: np.ndarray, images: np.ndarray | None) -> np.ndarray:
    """Identifiers of pixels (N, 3) of image, row, column: "row,column", after "image/" where images have names."""
    if images is None:
        return np.array([f"{y},{x}" for _, y, x in place])
    return np.array([f"{images[i]}/{y},{x}" for i, y, x in place])


def patches(cube: np.ndarray, image: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int) -> np.ndarray:
    """(N, bands, side, side): windows of images (images, bands, y, x) around pixels, mirrored at the border."""
    r = side // 2
    mode: Literal["reflect", "edge"] = "reflect" if min(cube.shape[-2:]) > r else "edge"
    cube = np.pad(cube, ((0, 0), (0, 0), (r, r), (r, r)), mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(cube, (side, side), (2, 3))  # (images, bands, y, x, side, side)
    return np.ascontiguousarray(windows[image, :, rows, columns])


# --- scaling ----------------------------------------------------------------------------------------------------------


Scaling = Callable[[Tensor], Tensor]  # (N, bands, height, width) -> same


def standardisation(values: Tensor, train: np.ndarray, who: str = "this method") -> Scaling:
    """The scaling to mean 0 and spread 1 of every band over the training samples; missing values and constant bands become 0.

    The moments are taken in float64, and the variance is divided by the number of values.
    """
    rows = values[torch.from_numpy(train)].double()
    finite = torch.isfinite(rows)
    if not finite.any():
        raise InputError(f"{who} needs values; every training sample is missing (NaN).")
    if rows[finite].min() == rows[finite].max():
        raise InputError(
            f"{who} cannot distinguish the samples: every value of the training samples is {float(rows[finite].min()):g}."
        )
    count = finite.sum((0, 2, 3)).clamp(min=1)
    known = torch.where(finite, rows, 0.0)
    mean = known.sum((0, 2, 3)) / count
    variance = torch.where(finite, (rows - mean[:, None, None]).square(), 0.0).sum((0, 2, 3)) / count
    scale = torch.where(variance > 0, variance.rsqrt(), 0.0)

    def scaled(x: Tensor) -> Tensor:
        moved = (x - mean[:, None, None].float()) * scale[:, None, None].float()
        return torch.where(torch.isfinite(moved), moved, 0.0)

    return scaled


def standardisation_float32(values: Tensor, train: np.ndarray, who: str = "this method") -> Scaling:
    """As `standardisation`, in float32 throughout, with the variance divided by the number of values less one.

    Raises InputError for missing values.
    """
    if not torch.isfinite(values).all():
        raise InputError(f"{who} needs finite values; some samples have missing ones (NaN). Fill or drop them.")
    rows = values[torch.from_numpy(train)]
    mean, deviation = rows.mean((0, 2, 3), keepdim=True), rows.std((0, 2, 3), keepdim=True).clamp(min=1e-6)
    return lambda x: (x - mean) / deviation


# The committed results of RS-DGC use "float32"; new methods use "float64", which accepts missing values.
SCALINGS: dict[str, Callable[[Tensor, np.ndarray, str], Scaling]] = {
    "float64": standardisation,
    "float32": standardisation_float32,
    "none": lambda values, train, who: lambda x: x,
}


# --- wrong labels -----------------------------------------------------------------------------------------------------


def with_noise(label: np.ndarray, train: np.ndarray, classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(labels, which of them were made wrong): round(share n) of the n training samples get another class at random."""
    random = np.random.default_rng(seed)
    flipped = np.zeros(len(label), bool)
    flipped[random.permutation(train)[: round(share * len(train))]] = True
    used = label.copy()
    used[flipped] = (used[flipped] + random.integers(1, classes, flipped.sum())) % classes
    return used, flipped


def _known_wrong(scene: xr.Dataset, ids: np.ndarray, position: np.ndarray | None, how: Sampling) -> np.ndarray:
    """Which samples of an opened coreset have a label that was made wrong on purpose for the selection."""
    wrong = scene["wrong_label"]
    if how.label_noise > 0:
        raise InputError(
            f"{int(wrong.sum())} labels of this coreset were made wrong on purpose when it was chosen, and still are; set "
            "label_noise to 0 to train on them as they are."
        )
    return wrong.sel(sample=ids).values if position is None else wrong.values[tuple(position.T)]
