"""A scene as images with boxes: checks, the split into training, validation and test images, and the crops."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.data.boxed_settings import NEEDS, BoxedSettings
from workbench.data.splits import listed, own_split
from workbench.errors import InputError
from workbench.scene import fingerprint, names_of, require

CACHE = 2**30  # bytes of decoded images that are kept
LOG = math.log(256.0)


@dataclass
class Images:
    """The images of a scene with their boxes.

    ids (N,). Of each image: size (height, width), box (M, 4) float32, label (M,) int64, ignored (M,) bool, which boxes are
    difficult. train, val, test: positions. names: of the classes. every: whether a network sees every band, or their mean.
    """

    scene: xr.Dataset
    ids: np.ndarray
    size: list[tuple[int, int]]
    box: list[np.ndarray]
    label: list[np.ndarray]
    ignored: list[np.ndarray]
    names: list[str]
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    fingerprint: str
    who: str
    every: bool = False

    @property
    def bands(self) -> int:
        """Bands that a network sees."""
        return int(self.scene.sizes["band"]) if self.every else 1

    def __post_init__(self) -> None:
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self._bytes = 0
        self._missing: dict[int, np.ndarray] = {}

    def amplitude(self, n: int) -> Tensor:
        """(bands, h, w) float32 in [0, 1]: image n, without padding; missing pixels are 0. Reads the image once."""
        if n in self._kept:
            self._kept.move_to_end(n)
            return self._kept[n]
        high, wide = self.size[n]
        image = self.scene["image"].isel(sample=n, y=slice(high), x=slice(wide))
        values = torch.from_numpy(np.ascontiguousarray(image.transpose("band", "y", "x").values, np.float32))
        self._kept[n] = (known if self.every else grey)(values, str(self.ids[n]), self.who)
        if self._kept[n].data_ptr() != values.data_ptr() and not bool(torch.isfinite(values).all()):
            self._missing[n] = ~torch.isfinite(values).all(0).numpy()
        self._bytes += self._kept[n].nbytes
        while self._bytes > CACHE and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return self._kept[n]

    def holed(self, n: int) -> np.ndarray:
        """(h, w) float32: the first band of image n as of `amplitude`, NaN where a band is missing."""
        amplitude = self.amplitude(n)[0].numpy()
        return np.where(self._missing[n], np.float32(np.nan), amplitude) if n in self._missing else amplitude


def grey(values: Tensor, name: str, who: str = "this method") -> Tensor:
    """The mean of the bands (band, h, w) -> (1, h, w); see `known`."""
    seen = known(values, name, who)
    return seen if len(seen) == 1 else seen.mean(0, keepdim=True)


def known(values: Tensor, name: str, who: str = "this method") -> Tensor:
    """Bands (band, h, w) with missing values as 0; InputError for values outside [0, 1]."""
    if not values.numel():
        return values
    seen, (low, high) = values, (float(v) for v in torch.aminmax(values))
    if not (math.isfinite(low) and math.isfinite(high)):  # a single NaN makes both NaN
        seen = torch.where(torch.isfinite(values), values, 0.0)
        low, high = (float(v) for v in torch.aminmax(seen))
    if low < -1e-6 or high > 1 + 1e-6:
        raise InputError(
            f"{who} needs amplitudes in [0, 1]; the image {name} has {low:.4g} to {high:.4g}. Divide by the largest value of "
            "the format, such as 255."
        )
    return seen


def entered(amplitude: Tensor, config: BoxedSettings) -> Tensor:
    """The network's input of amplitudes in [0, 1]: log(1 + a) / log 256 with a = 255 amplitude, or the amplitude itself."""
    return torch.log1p(255 * amplitude.clamp(0, 1)) / LOG if config.transform == "log" else amplitude


def images_of(
    scene: xr.Dataset, config: BoxedSettings, whole: bool = False, who: str = "this method", every: bool = False
) -> Images:
    """The images and the split; whole: all images are for testing, and watched. every: see `Images`.

    Raises InputError for boxes or images that cannot be used, and if a part of the split is empty.
    """
    require(scene, *NEEDS, who=who)
    if scene["image"].dims[0] != "sample":
        raise InputError(
            f"{who} learns from many images, image (sample, band, y, x); this scene has one image without samples."
        )
    ids = scene["sample"].values.astype(str)
    names, counts = np.unique(ids, return_counts=True)
    if counts.max() > 1:
        raise InputError(
            f"Two images of this scene are called {str(names[counts.argmax()])!r}; boxes cannot be assigned to one."
        )
    high, wide = scene.sizes["y"], scene.sizes["x"]
    if "height" in scene.coords:
        size = [(int(h), int(w)) for h, w in zip(scene["height"].values, scene["width"].values, strict=True)]
    else:
        size = [(high, wide)] * len(ids)
    box, owner = scene["box"].values.astype(np.float32), scene["box_sample"].values.astype(str)
    label, classes = scene["box_label"].values, names_of(scene["box_label"]) or ["object"]
    _check(box, owner, label, ids, size, len(classes))
    ignored = scene["box_difficult"].values if "box_difficult" in scene else np.zeros(len(box), bool)
    of = [np.flatnonzero(owner == name) for name in ids]
    all_of = np.arange(len(ids))
    train, val, test = (all_of, all_of, all_of) if whole else _split(scene, ids, np.array([len(o) for o in of]), config, who)
    return Images(
        scene,
        ids,
        size,
        [box[o] for o in of],
        [label[o].astype(np.int64) for o in of],
        [ignored[o].astype(bool) for o in of],
        classes,
        train,
        val,
        test,
        fingerprint(scene),
        who,
        every,
    )


def _check(
    box: np.ndarray, owner: np.ndarray, label: np.ndarray, ids: np.ndarray, size: Sequence[tuple[int, int]], classes: int
) -> None:
    """Raise InputError, naming the first, for boxes of no image, without area, beyond their image, or of an unknown class."""
    place = {name: n for n, name in enumerate(ids)}
    lost = [str(o) for o in owner if o not in place]
    if lost:
        raise InputError(f"{len(lost)} boxes belong to images that this scene does not have, such as {lost[0]!r}.")
    if len(label) and not 0 <= label.min() <= label.max() < classes:
        raise InputError(f"Boxes have labels from {label.min()} to {label.max()}, but {classes} classes have names.")
    limit = np.array([(*size[place[o]][::-1], *size[place[o]][::-1]) for o in owner], np.float32).reshape(-1, 4)
    inside = np.isfinite(box).all(1) & (box >= 0).all(1) & (box <= limit).all(1) if len(box) else np.zeros(0, bool)
    for wrong, what in ((~inside, "reaches beyond its image"), ((box[:, 2:] <= box[:, :2]).any(1), "has no area")):
        if wrong.any():
            n = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"The box {box[n].tolist()} of {owner[n]} {what}; {int(wrong.sum())} boxes do. Cut or remove them."
            )


def _split(
    scene: xr.Dataset, ids: np.ndarray, count: np.ndarray, config: BoxedSettings, who: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(train, val, test) positions of images. Without a split the images are dealt into `folds` parts with about as many boxes each."""
    if config.test:
        train, test = listed(ids, config.test)
    elif "split" in scene.coords:
        train, test = own_split(scene["split"].values)
    else:
        if config.fold >= config.folds:
            raise InputError(f"fold={config.fold} of folds={config.folds} does not exist; the last is {config.folds - 1}.")
        part = np.empty(len(ids), int)
        part[np.lexsort((ids, -count))] = np.arange(len(ids)) % config.folds
        train, test = np.flatnonzero(part != config.fold), np.flatnonzero(part == config.fold)
    if len(train) < 2 or len(test) < 1:
        raise InputError(
            f"{who} needs two images for training and validation and one for testing; the split gives {len(train)} and {len(test)}."
        )
    if config.val:
        _, val = listed(ids, config.val)
        both = ids[np.intersect1d(val, test)]
        if len(both):
            raise InputError(f"The image {str(both[0])!r} is in val and for testing; leave it out of one.")
    else:
        order = np.random.default_rng(config.seed).permutation(train)
        some = min(max(1, round(config.val_share * len(train))), len(train) - 1)
        full = sorted(order, key=lambda n: count[n] == 0)  # an image without ships cannot show what is learnt
        val = np.sort(np.array(full[:some]))
    rest = np.setdiff1d(train, val)
    if count[rest].sum() == 0 or count[test].sum() == 0:
        raise InputError(
            f"The split leaves {count[rest].sum()} boxes for training and {count[test].sum()} for testing; both need some."
        )
    return rest, val, test


# --- crops ------------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """x (B, bands, h, w), the network's input; boxes (M, 4) and labels (M,) of each crop."""

    x: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]


class Crops:
    """Random crops of the training images, half of them around a box. Draws from torch's random state."""

    def __init__(self, images: Images, config: BoxedSettings) -> None:
        self.images, self.config = images, config
        self.owner = np.repeat(images.train, [len(images.box[n]) for n in images.train])
        self.number = np.concatenate([np.arange(len(images.box[n])) for n in images.train])

    def draw(self) -> Batch:
        """A batch of `config.batch` crops."""
        crops = [self._one() for _ in range(self.config.batch)]
        return Batch(torch.stack([c[0] for c in crops]), [c[1] for c in crops], [c[2] for c in crops])

    def _one(self) -> tuple[Tensor, Tensor, Tensor]:
        c, images = self.config, self.images
        if len(self.owner) and float(torch.rand(())) < 0.5:
            pick = int(torch.randint(len(self.owner), ()))
            n = int(self.owner[pick])
            x0, y0, x1, y1 = images.box[n][self.number[pick]]
            centre = ((y0 + y1) / 2, (x0 + x1) / 2)
        else:
            n = int(images.train[int(torch.randint(len(images.train), ()))])
            high, wide = images.size[n]
            centre = (float(torch.rand(())) * high, float(torch.rand(())) * wide)
        start = []
        for at, length in zip(centre, images.size[n], strict=True):
            shift = float(torch.rand(())) * c.crop
            start.append(int(min(max(at - shift, 0), max(length - c.crop, 0))))
        amplitude = images.amplitude(n)[:, start[0] : start[0] + c.crop, start[1] : start[1] + c.crop]
        box = torch.from_numpy(images.box[n]) - torch.tensor([start[1], start[0]] * 2)
        middle = (box[:, :2] + box[:, 2:]) / 2
        edge = torch.tensor([amplitude.shape[2], amplitude.shape[1]])
        here = ((middle >= 0) & (middle < edge)).all(1)
        box = torch.minimum(box[here].clamp_min(0), edge.repeat(2).to(box.dtype))
        box, which = mirrored(box.float(), (amplitude.shape[1], amplitude.shape[2]), c.crop)
        amplitude, box = self._changed(padded(amplitude, c.crop), box)
        return entered(amplitude, c), box, torch.from_numpy(images.label[n])[here][which]

    def _changed(self, amplitude: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Flips, transposition, another gain, more speckle."""
        c = self.config
        chance = torch.rand(5).tolist()
        side = float(c.crop)
        if "flip" in c.augment and chance[0] < 0.5:
            amplitude, box = amplitude.flip(2), torch.stack([side - box[:, 2], box[:, 1], side - box[:, 0], box[:, 3]], 1)
        if "flip" in c.augment and chance[1] < 0.5:
            amplitude, box = amplitude.flip(1), torch.stack([box[:, 0], side - box[:, 3], box[:, 2], side - box[:, 1]], 1)
        if "transpose" in c.augment and chance[2] < 0.5:
            amplitude, box = amplitude.transpose(1, 2), box[:, [1, 0, 3, 2]]
        if "gain" in c.augment:
            amplitude = amplitude * math.exp(0.6 * (chance[3] - 0.5))
        if "speckle" in c.augment and chance[4] < 0.5:  # ten more looks: intensity times a gamma variable of mean 1
            looks = 10
            amplitude = amplitude * (torch.empty(looks, *amplitude.shape).exponential_().mean(0)).sqrt()
        return amplitude, box


def padded(amplitude: Tensor, side: int) -> Tensor:
    """(bands, h, w) enlarged to at least side x side by reflection, as often as needed: zeros would be a dark border."""
    for (high, wide), down, right in _reflections((amplitude.shape[1], amplitude.shape[2]), side):
        mode = "replicate" if min(high, wide) == 1 else "reflect"  # one pixel cannot be reflected
        amplitude = F.pad(amplitude[None], (0, right, 0, down), mode=mode)[0]
    return amplitude


def mirrored(box: Tensor, size: tuple[int, int], side: int) -> tuple[Tensor, Tensor]:
    """The boxes (M, 4) of an image of this (height, width) and their images in what `padded` adds; and which box each is of, (N,).

    What is reflected shows the objects again, and would be learnt as background.

    >>> mirrored(torch.tensor([[2.0, 1, 6, 4]]), (8, 8), 12)[0].tolist()
    [[2.0, 1.0, 6.0, 4.0], [9.0, 1.0, 12.0, 4.0]]
    """
    which = torch.arange(len(box))
    for (high, wide), down, right in _reflections(size, side):
        for axis, length, more in ((0, wide, right), (1, high, down)):
            if more == 0 or min(high, wide) == 1:
                continue
            other = box.clone()
            other[:, [axis, axis + 2]] = 2 * length - 1 - box[:, [axis + 2, axis]]
            seen = (other[:, axis] + other[:, axis + 2]) / 2 < length + more
            other[:, axis + 2] = other[:, axis + 2].clamp_max(length + more)
            box, which = torch.cat([box, other[seen]]), torch.cat([which, which[seen]])
    return box, which


def _reflections(size: tuple[int, int], side: int) -> Iterator[tuple[tuple[int, int], int, int]]:
    """(height, width) before each enlargement, and rows and columns that are added: an image of n pixels can be reflected by n - 1."""
    high, wide = size
    while high < side or wide < side:
        if min(high, wide) == 1:
            down, right = max(side - high, 0), max(side - wide, 0)
        else:
            down, right = (min(max(side - n, 0), n - 1) for n in (high, wide))
        yield (high, wide), down, right
        high, wide = high + down, wide + right
