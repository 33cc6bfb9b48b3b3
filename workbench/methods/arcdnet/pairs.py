"""Scenes as pairs for training: the split of the pixels into training, validation and test, and crops of them.

A scene is a set of pairs with a leading `sample` dim, split by pair, or one large pair, split by squares of `block` pixels.
In the second case crops may contain pixels of other parts, as in any inference, but never their truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.methods.arcdnet.settings import Config
from workbench.scene import require

TRAIN, VAL, TEST, UNUSED = 0, 1, 2, -1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Pairs:
    """before, after (N, bands, H, W) float32, NaN where missing; truth (N, H, W) 1, 0, -1; part (N, H, W) of TRAIN, ....

    ids (N,): identifiers. single: one pair without a `sample` dim. log: offset added before the logarithm; None: no logarithm.
    """

    before: Tensor
    after: Tensor
    truth: np.ndarray
    part: np.ndarray
    ids: np.ndarray
    single: bool
    log: float | None

    @property
    def bands(self) -> int:
        """Number of bands of each date."""
        return self.before.shape[1]

    def of(self, part: int) -> np.ndarray:
        """Positions of the pairs with at least one pixel in a part."""
        return np.flatnonzero((self.part == part).any((1, 2)))

    def moments(self, config: Config) -> tuple[Tensor, Tensor]:
        """Mean and spread of every band (bands,) over the valid training pixels of both dates, or ImageNet's."""
        if config.scaling == "imagenet":
            if self.bands != 3:
                raise InputError(f"scaling='imagenet' is for 3 bands; this scene has {self.bands}. Use scaling='data'.")
            return torch.tensor(IMAGENET[0]), torch.tensor(IMAGENET[1])
        chosen = torch.from_numpy(self.part == TRAIN)
        values = torch.cat([x.movedim(1, -1)[chosen] for x in (self.before, self.after)]).double()  # (pixels, bands)
        std = values.std(0, correction=0)
        return values.mean(0).float(), torch.where(std > 0, std, 1.0).float()


def pairs_of(scene: xr.Dataset, config: Config) -> Pairs:
    """The pairs of a scene with truth, split into training, validation and test.

    Raises InputError for a truth with one class only, for too few pairs to split, and for no valid pixel.
    """
    require(scene, "before", "after", "truth", who="arcdnet")
    single = "sample" not in scene["before"].dims
    if single:
        scene = scene.expand_dims(sample=[str(scene.attrs.get("id", "pair"))])
    log = log_offset(scene["before"], config)
    before, after = (as_tensor(scene[name], log) for name in ("before", "after"))
    valid = (torch.isfinite(before).all(1) & torch.isfinite(after).all(1)).numpy()
    given = scene["truth"].transpose("sample", "y", "x").values
    truth = np.where(given < 0, -1, given > 0).astype(np.int8)
    usable = valid & (truth >= 0)
    changed = int((truth[usable] == 1).sum())
    if not 0 < changed < usable.sum():
        raise InputError(
            f"arcdnet learns from pixels that changed and pixels that did not; of {int(usable.sum())} labelled, valid pixels "
            f"{changed} changed. Check that truth is above 0 for change, and -1 where it is not labelled."
        )
    ids = scene["sample"].values.astype(str) if "sample" in scene.coords else np.arange(len(truth)).astype(str)
    given_split = (
        scene["split"].values.astype(str) if "split" in scene.coords and scene["split"].dims == ("sample",) else None
    )
    part = _by_blocks(usable, truth, config) if single else _by_pair(usable, truth, given_split, config)
    pairs = Pairs(before, after, truth, np.where(usable, part, UNUSED).astype(np.int8), ids, single, log)
    for name, p in (("training", TRAIN), ("validation", VAL), ("test", TEST)):
        if not (pairs.part == p).any():
            raise InputError(
                f"No labelled pixel is left for {name}: {len(ids)} pair(s), test_share={config.test_share:g}, "
                f"val_share={config.val_share:g}, block={config.block}. Give more pairs, other shares or smaller blocks."
            )
    if not (truth[pairs.part == TRAIN] == 1).any():
        raise InputError("No pixel of the training part changed; choose another seed, or another split.")
    return pairs


def as_tensor(images: xr.DataArray, log: float | None) -> Tensor:
    """(..., band, y, x) float32 in memory; with `log` the logarithm of value + `log`, NaN for negative values."""
    array = images.transpose(..., "band", "y", "x")
    x = torch.from_numpy(np.array(array.values, dtype=np.float32))
    return x if log is None else torch.where(x >= 0, torch.log(x + log), torch.nan)


def log_offset(images: xr.DataArray, config: Config) -> float | None:
    """Offset added before the logarithm: the quantisation step of the values if known, else 0.001; None: no logarithm."""
    wanted = config.transform == "log" or (config.transform == "auto" and images.attrs.get("kind") == "sar")
    return float(images.attrs.get("step", 1e-3)) if wanted else None


def _by_pair(usable: np.ndarray, truth: np.ndarray, given: np.ndarray | None, config: Config) -> np.ndarray:
    """(N, 1, 1): the scene's own split if it has one, else from the seed, stratified by the amount of change."""
    n = len(usable)
    random = np.random.default_rng(config.seed)
    part = np.full(n, TRAIN)
    if given is not None:
        part = np.select([given == "train", given == "val", given == "test"], [TRAIN, VAL, TEST], UNUSED)
    wanted = [p for p in (TEST, VAL) if not (part == p).any()]
    shares = {TEST: config.test_share, VAL: config.val_share}
    rest = np.flatnonzero(part == TRAIN)
    amount = ((truth == 1) & usable).sum((1, 2))
    for p in wanted:
        count = max(1, round(shares[p] * n))
        if count >= len(rest):
            break
        order = rest[np.argsort(-amount[rest], kind="stable")]
        groups = np.array_split(order, count)  # one from each group with similar change
        drawn = np.array([random.choice(g) for g in groups])
        part[drawn] = p
        rest = np.setdiff1d(rest, drawn)
    return part[:, None, None]


def _by_blocks(usable: np.ndarray, truth: np.ndarray, config: Config) -> np.ndarray:
    """(1, H, W): squares of `block` pixels; those with change and those without are split separately."""
    height, width = usable.shape[1:]
    rows, columns = math.ceil(height / config.block), math.ceil(width / config.block)
    number = (np.arange(height)[:, None] // config.block) * columns + np.arange(width)[None] // config.block
    random = np.random.default_rng(config.seed)
    labelled = np.bincount(number[usable[0]], minlength=rows * columns)
    changed = np.bincount(number[usable[0] & (truth[0] == 1)], minlength=rows * columns)
    part = np.full(rows * columns, TRAIN)
    for group in (np.flatnonzero(changed), np.flatnonzero((changed == 0) & (labelled > 0))):
        order = random.permutation(group)
        if len(order) < 3:
            continue
        tests = max(1, round(config.test_share * len(order)))
        vals = max(1, round(config.val_share * len(order)))
        part[order[:tests]], part[order[tests : tests + vals]] = TEST, VAL
    return part[number][None]


# --- crops ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """before, after (B, bands, h, w), y (B, 1, h, w) in {0, 1}, valid (B, 1, h, w) in {0, 1}."""

    before: Tensor
    after: Tensor
    y: Tensor
    valid: Tensor


class Crops:
    """Random crops around pixels of the training part. Draws from torch's random state."""

    def __init__(self, pairs: Pairs, config: Config) -> None:
        self.pairs, self.config = pairs, config
        self.at = torch.from_numpy(np.flatnonzero(pairs.part == TRAIN))  # flat positions of training pixels
        self.shape = pairs.truth.shape
        self.side = tuple(min(config.crop, n) for n in self.shape[1:])

    def draw(self) -> Batch:
        """A batch; each crop contains at least one training pixel."""
        c = self.config
        chosen = self.at[torch.randint(len(self.at), (c.batch,))]
        parts = [self._one(int(flat)) for flat in chosen]
        return padded(Batch(*(torch.stack([getattr(p, n) for p in parts]) for n in ("before", "after", "y", "valid"))))

    def _one(self, flat: int) -> Batch:
        c, pairs = self.config, self.pairs
        n, row, column = (int(at) for at in np.unravel_index(flat, self.shape))
        place = [
            min(max(int(at) - int(torch.randint(side, ())), 0), size - side)
            for at, side, size in zip((row, column), self.side, self.shape[1:], strict=True)
        ]
        rows, columns = (slice(a, a + side) for a, side in zip(place, self.side, strict=True))
        a, b = pairs.before[n, :, rows, columns], pairs.after[n, :, rows, columns]
        y = torch.from_numpy((pairs.truth[n, rows, columns] == 1).astype(np.float32))[None]
        valid = torch.from_numpy((pairs.part[n, rows, columns] == TRAIN).astype(np.float32))[None]
        chance = torch.rand(4).tolist()
        if "crop" in c.augment and chance[0] < 0.5:
            most = max(1, round(60 / 512 * min(self.side)))  # up to 60 of 512 pixels, as in the code
            a, b, y, valid = enlarged(a, b, y, valid, int(torch.randint(1, most + 1, ())))
        if "flip" in c.augment:
            dims = [d for d, u in ((-1, chance[1]), (-2, chance[2])) if u < 0.5]
            a, b, y, valid = (torch.flip(x, dims) for x in (a, b, y, valid))
        if "exchange" in c.augment and chance[3] < 0.5:
            a, b = b, a
        return Batch(a, b, y, valid)


def enlarged(a: Tensor, b: Tensor, y: Tensor, valid: Tensor, border: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cut `border` pixels on each side and resize to the old size; images bilinear, labels nearest."""
    inner = (..., slice(border, -border), slice(border, -border))
    size = tuple(y.shape[-2:])
    grown = [F.interpolate(x[inner][None], size=size, mode="bilinear", align_corners=False)[0] for x in (a, b)]
    labels = [F.interpolate(x[inner][None], size=size, mode="nearest")[0] for x in (y, valid)]
    finite = torch.isfinite(grown[0]).all(0) & torch.isfinite(grown[1]).all(0)  # interpolation spreads a missing pixel
    return grown[0], grown[1], labels[0], labels[1] * finite


def padded(batch: Batch, stride: int = 32) -> Batch:
    """Pad the sides to multiples of `stride`; added pixels are missing and not valid."""
    down, right = (-n % stride for n in batch.y.shape[-2:])
    if not down and not right:
        return batch
    amounts = (0, right, 0, down)
    images = (F.pad(x, amounts, value=torch.nan) for x in (batch.before, batch.after))
    return Batch(*images, *(F.pad(x, amounts) for x in (batch.y, batch.valid)))
