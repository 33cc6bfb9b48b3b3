"""TDDS: train once, see how much every sample moves the training, keep those that matter.

X. Zhang, J. Du, Y. Li, W. Xie, J. T. Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, pp. 26223-26232, arXiv 2311.13613. What you get: a score for every training sample, the coreset
of any budget without scoring again, the rivals' choice from the same run, and how well each coreset trains.

The symbols are the card's: p_t(n) the softmax of sample n in epoch t; d depth one, what an epoch changed; R depth two, how
much d varies in a window of J snapshots; S the moving average of R. The formula is that of the authors' code, which differs
from the paper's text; what we chose, and why: docs/methods/tdds.md.

A data set travels through this room as `Samples`: chips, patches or pixels (N, bands, side, side), with labels.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.baselines.coresets import jaccard, scorers, select, selectors
from workbench.config import Settings
from workbench.data.coresets import class_names
from workbench.errors import InputError, did_you_mean
from workbench.event import Event, Outcome, Trace
from workbench.parts.device import device
from workbench.parts.dynamics import Batch, Memory, Recorder, identity
from workbench.parts.seeding import Seeded
from workbench.scene import PROVENANCE, fingerprint, require

NEEDS = (("image", "hsi", "sar"), ("label", "truth"))
EPS = 1e-8  # of the authors' code; vanishes in half precision, so everything here is float64
SPREAD_BLOCK = 4096  # samples whose windows are handled at once
RIVALS = ("random", "random_balanced", "el2n", "grand", "forgetting", "aum", "ccs", "dyn_unc", "dual", "entropy", "margin")

# What the authors train with; give it as overrides, and time: it is 200 epochs of a ResNet-18.
PAPER: dict[str, Any] = {
    "network": "resnet18",
    "epochs": 200,
    "batch": 100,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "augment": "crop-flip",
    "J": 10,
}


class Config(Settings):
    """Defaults suit a laptop and its 30 epochs; `PAPER` has the authors' training, whose score reads windows of J=10."""

    network: Literal["auto", "cnn", "resnet18", "mlp"] = Field(
        "auto", description="classifier; auto: mlp for pixels, else cnn"
    )
    epochs: int = Field(30, ge=3, le=10_000, description="epochs of the scoring run")
    batch: int = Field(32, ge=1, description="samples of an optimiser step")
    lr: float = Field(0.02, gt=0, le=10, description="first learning rate of SGD; a cosine takes it to 0, step by step")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty")
    augment: Literal["crop-flip"] | None = Field(
        None, description="crop-flip: crop after padding by 4 and flip left-right, as the paper; none: neither"
    )
    difference: Literal["abs", "kl", "loss"] = Field(
        "abs", description="depth one: class-wise absolute sum, KL, or loss of the label"
    )
    J: int = Field(5, ge=3, description="window of depth two in epochs; it holds J - 1 changes")
    T: int | None = Field(
        None, ge=3, description="epochs the score reads; none: by keep, earlier for smaller coresets (our rule)"
    )
    beta: float = Field(0.9, gt=0, le=1, description="weight of the newest window in the moving average")
    clean_pass: bool = Field(
        False, description="record an extra pass in evaluation mode each epoch, not the training passes"
    )
    keep: float = Field(0.3, gt=0, le=1, description="share of training samples kept; 1 - keep is pruned")
    balance: Literal["class"] | None = Field(None, description="class: every class keeps its share, and none is lost")
    loss_scale: Literal["official"] | None = Field(
        None, description="official: coreset losses times the batch mean of the scores, as the authors' script does unsaid"
    )
    compare: tuple[str, ...] = Field(
        ("tdds", "random"), description="whose coresets to train on: tdds and rivals; [] for none"
    )
    budgets: tuple[float, ...] = Field(
        (), description="further shares kept at which to train on the coresets of compare, from the same scores"
    )
    iterations: int | None = Field(
        None, ge=1, description="steps of every coreset's training; none: as many as the scoring run"
    )
    label_noise: float = Field(
        0.0, ge=0, lt=1, description="share of training labels made wrong on purpose, to see who is fooled"
    )
    test_share: float = Field(
        0.25, gt=0, lt=1, description="share held out for testing, where the scene has no split of its own"
    )
    size: int = Field(64, ge=4, le=1024, description="chips larger than this are reduced to it by area averaging")
    patch: int = Field(
        1, ge=1, le=65, description="side of the patch around each labelled pixel of a scene, odd; 1: the spectrum"
    )
    block: int = Field(16, ge=2, description="side of the tiles by which labelled pixels are split, so that test lies apart")
    trajectories: bool = Field(
        True, description="keep p_label and d of every epoch in the result: 8 bytes a sample and epoch"
    )
    log: str | None = Field(None, description="folder for a Zarr log of all logits")
    show_every: int = Field(1, ge=1, description="epochs between two events with scores")

    @field_validator("J")
    @classmethod
    def _window_fits(cls, J: int, info: Any) -> int:
        if info.data.get("epochs", J) < J:
            raise ValueError(f"must be at most epochs={info.data['epochs']}")
        return J

    @field_validator("T")
    @classmethod
    def _trajectory_fits(cls, T: int | None, info: Any) -> int | None:
        J, epochs = info.data.get("J", 3), info.data.get("epochs", T)
        if T is not None and not J <= T <= epochs:
            raise ValueError(f"must lie between J={J} and epochs={epochs}")
        return T

    @field_validator("compare")
    @classmethod
    def _known(cls, compare: tuple[str, ...]) -> tuple[str, ...]:
        known = ("tdds", *RIVALS)
        for name in compare:
            if name not in known:
                raise ValueError(f"there is no selector {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
        return compare

    @field_validator("budgets")
    @classmethod
    def _shares(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        for keep in budgets:
            if not 0 < keep <= 1:
                raise ValueError(f"are shares kept, above 0 and at most 1; {keep:g} is none")
        if len({f"{keep:g}" for keep in budgets}) < len(budgets):
            raise ValueError("must differ")
        return budgets

    @field_validator("patch")
    @classmethod
    def _odd(cls, patch: int) -> int:
        if patch % 2 == 0:
            raise ValueError("must be odd, so that the pixel is in the middle")
        return patch


# --- the score --------------------------------------------------------------------------------------------------------


def change(p: Tensor, previous: Tensor, difference: str = "abs", label: Tensor | None = None) -> Tensor:
    """Depth one, what one epoch changed: (B, C), (B, C) -> (B,).

        abs     d = sum_c | p_c (log(p_c + eps) - log(q_c + eps)) |        q: p one epoch earlier
        kl      the same without the bars: classes cancel
        loss    d = log(q_y + eps) - log(p_y + eps), the change of the label's cross-entropy

    From (0.5, 0.5) to (0.8, 0.2), abs: 0.8 ln 1.6 + 0.2 |ln 0.4| = 0.559261; kl: 0.192745.
    """
    if difference == "loss":
        if label is None:
            raise InputError('difference="loss" needs labels; give them to the recorder, or use "abs" or "kl".')
        p, previous = p.gather(1, label[:, None]), previous.gather(1, label[:, None])
        return (torch.log(previous + EPS) - torch.log(p + EPS))[:, 0]
    terms = p * (torch.log(p + EPS) - torch.log(previous + EPS))
    return terms.abs().sum(1) if difference == "abs" else terms.sum(1)


def spread(window: Tensor) -> Tensor:
    """Depth two, the spread of d in a window: (J - 1, N) -> (N,), the root of the sum of squares about the mean.

    Not divided by J - 1. Of 0.559261, 0.449868: 0.0773525. Exactly 0 where all are equal.
    """
    moved = window - window[:1]
    return (moved - moved.mean(0)).square().sum(0).sqrt()


def ema_weights(T: int, J: int, beta: float = 0.9) -> np.ndarray:
    """Weight of each window k = 0..T-J in S: beta (1 - beta)^(T-J-k); the newest, last, weighs most: (..., 0.09, 0.9)."""
    if T < J:
        raise InputError(f"A window of J={J} epochs does not fit in a trajectory of T={T}; choose J <= T.")
    return beta * (1 - beta) ** np.arange(T - J, -1, -1.0)


@dataclass(frozen=True)
class TDDS:
    """The score as a `Scorer`: works in any training loop through `Recorder`, and on a log through `score`.

    J: window in epochs. T: epochs 0..T-1 are read, later ones ignored; None reads on, and the score after each epoch is the
    one for a trajectory that ends there. difference: see `change`.

    Remembers the J - 1 newest changes, `ring (J-1, n)` with change t (from 0) in row t mod J-1, their `spread (n)`, and S
    itself, `score (n)`.
    Raises InputError for J < 3 (one change has no spread), J > T, and fewer epochs than T or J.
    """

    J: int = 10
    T: int | None = None
    beta: float = 0.9
    difference: Literal["abs", "kl", "loss"] = "abs"

    def __post_init__(self) -> None:
        if self.J < 3:
            raise InputError(f"A window of TDDS needs at least 3 epochs, which are two changes; J={self.J}.")
        if self.T is not None and self.T < self.J:
            raise InputError(f"A window of J={self.J} epochs does not fit in a trajectory of T={self.T}; choose J <= T.")
        if not 0 < self.beta <= 1:
            raise InputError(f"beta weighs the newest window, above 0 and at most 1; {self.beta} was given.")
        if self.difference not in ("abs", "kl", "loss"):
            raise InputError(f"difference is abs, kl or loss, not {self.difference!r}.")

    def start(self, n: int) -> Memory:
        one = torch.zeros(n, dtype=torch.float64)
        return {"ring": torch.zeros(self.J - 1, n, dtype=torch.float64), "spread": one.clone(), "score": one}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        if batch.previous is not None and not self._past(batch.epoch):
            d = change(batch.p, batch.previous, self.difference, batch.label)
            memory["ring"][(batch.epoch - 1) % (self.J - 1), rows] = d

    def end(self, memory: Memory, epoch: int) -> None:
        if epoch + 1 >= self.J and not self._past(epoch):
            for ring, out in zip(memory["ring"].split(SPREAD_BLOCK, 1), memory["spread"].split(SPREAD_BLOCK), strict=True):
                out.copy_(spread(ring))
            memory["score"].mul_(1 - self.beta).add_(memory["spread"], alpha=self.beta)

    def score(self, memory: Memory, epochs: int) -> Tensor:
        needed = self.J if self.T is None else self.T
        if epochs < needed:
            raise InputError(
                f"TDDS with J={self.J}, T={self.T} needs {needed} epochs; {epochs} were recorded. Train longer, or "
                "choose a smaller window."
            )
        return memory["score"]

    def _past(self, epoch: int) -> bool:
        return self.T is not None and epoch >= self.T


def window_of(memory: Memory, epochs: int) -> Tensor:
    """The changes in the newest window, oldest first: (J - 1 or fewer, n), from TDDS' memory after `epochs` epochs."""
    ring = memory["ring"]
    held, changes = len(ring), epochs - 1
    return ring[[t % held for t in range(max(0, changes - held), changes)]]


def trajectory_length(keep: float, epochs: int, J: int) -> int:
    """T for a budget, our rule: .45, .35, .3, .1, .05 of the run at keep .7, .5, .3, .2, .1, the nearest; at least 2 J.

    Heavy pruning wants an early window, but not the very first epochs, in which every sample moves. Of 200 epochs with
    J = 5: 90, 70, 60, 20, 10.
    """
    shares = {0.7: 0.45, 0.5: 0.35, 0.3: 0.3, 0.2: 0.1, 0.1: 0.05}
    nearest = min(shares, key=lambda k: abs(k - keep))
    return min(max(round(shares[nearest] * epochs), 2 * J), epochs)


# --- the data ---------------------------------------------------------------------------------------------------------


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
        blocks.append(F.interpolate(x, size=_reduced(x.shape[-2:], config.size), mode="area"))
    return ids, torch.cat(blocks), label, names, train, test, None


def _reduced(shape: Sequence[int], size: int) -> tuple[int, int]:
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


# --- the networks -----------------------------------------------------------------------------------------------------


class Classifier(nn.Module):
    """(N, bands, h, w) -> logits (N, classes); `features` gives what the last layer, `head`, sees."""

    features: nn.Module
    head: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class MLP(Classifier):
    """For spectra: two hidden layers of 128 and 64."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.head = nn.Linear(64, classes)


class CNN(Classifier):
    """For chips: 3 x 3 convolutions of 12, 24, 48, 96, 96... channels, halved in between down to 4 x 4; 48 hidden.

    From three convolutions on (sides above 8) each is batch-normalised, else they hardly learn. For 8 x 8 digits: 12 and 24
    channels, 48 hidden, 21,706 parameters.
    """

    def __init__(self, bands: int, classes: int, side: int) -> None:
        super().__init__()
        halvings = max(0, math.ceil(math.log2(side / 4)))
        widths = [min(12 * 2**i, 96) for i in range(max(halvings + 1, 2))]
        deep = len(widths) > 2
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            layers.append(nn.Conv2d(bands, width, 3, padding=1, bias=not deep))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if deep else [nn.ReLU()]
            if i < halvings:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            bands = width
        layers += [nn.AdaptiveAvgPool2d(min(side, 4)), nn.Flatten(), nn.Linear(bands * min(side, 4) ** 2, 48), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(48, classes)


class ResNet18(Classifier):
    """The ResNet-18 of the CIFAR experiments: no first pooling, stages of 64, 128, 256, 512; K. He et al., CVPR 2016.

    11,173,962 parameters with 3 bands and 10 classes.
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(bands, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        for i, o, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
            layers += [Residual(i, o, stride), Residual(o, o, 1)]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a shortcut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm_1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.second, self.norm_2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        short = (nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Identity() if i == o and stride == 1 else nn.Sequential(*short)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm_2(self.second(F.relu(self.norm_1(self.first(x)))))
        return F.relu(h + self.short(x))


def classifier(config: Config, shape: Sequence[int], classes: int) -> Classifier:
    """The network of `config.network` for samples of shape (bands, h, w)."""
    bands, height, width = shape
    kind = config.network
    if kind == "auto":
        kind = "mlp" if max(height, width) < 4 else "cnn"
    if kind == "mlp":
        return MLP(bands * height * width, classes)
    return ResNet18(bands, classes) if kind == "resnet18" else CNN(bands, classes, max(height, width))


# --- training ---------------------------------------------------------------------------------------------------------


class Training:
    """A network on its way over some of the samples: everything a step changes.

    rows: positions in `samples` trained on. iterations: optimiser steps in all, over which the cosine falls. weight: (N,) of
    all samples, for loss_scale="official". The seed gives initial weights, order and augmentation.
    """

    def __init__(
        self, samples: Samples, rows: np.ndarray, config: Config, iterations: int, seed: int, weight: Tensor | None = None
    ) -> None:
        self.samples, self.config, self.iterations = samples, config, iterations
        here = device()
        self.rows = torch.from_numpy(rows).to(here)
        self.values, self.label = samples.values.to(here), samples.label.to(here)
        self.weight = None if weight is None else weight.float().to(here)
        self.random = Seeded(seed)
        with self.random:
            self.network = classifier(config, samples.values.shape[1:], samples.classes).to(here)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
        )
        self.done = 0
        self.queue = torch.empty(0, dtype=torch.int64)  # what is left of this pass over the rows
        self.factor = math.nan

    @property
    def passes(self) -> int:
        """Steps of one pass over the rows."""
        return math.ceil(len(self.rows) / self.config.batch)

    def advance(self, steps: int, recorder: Recorder | None = None) -> dict[str, float]:
        """So many steps more; gives mean loss and accuracy over them and the learning rate after them.

        recorder: is told the logits of every batch in training mode, before its step; positions are those in `rows`.
        """
        with self.random:
            return self._advance(steps, recorder)

    def _advance(self, steps: int, recorder: Recorder | None) -> dict[str, float]:
        c, here = self.config, self.values.device
        losses, right, seen = torch.zeros((), device=here), torch.zeros((), device=here), 0
        factors = torch.zeros((), device=here)
        self.network.train()
        for _ in range(steps):
            if len(self.queue) == 0:
                self.queue = torch.randperm(len(self.rows))
            index, self.queue = self.queue[: c.batch], self.queue[c.batch :]
            rows = self.rows[index.to(here)]
            x, y = self.values[rows], self.label[rows]
            if c.augment == "crop-flip":
                x = crop_flip(x)
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.done, self.iterations, c.lr)
            h = self.network.features(x)
            logits = self.network.head(h)
            loss = F.cross_entropy(logits, y)
            if recorder is not None:
                recorder(index, logits, features=h)
            scaled = loss
            if self.weight is not None:
                factor = self.weight[rows].mean()
                scaled = loss * factor
                factors += factor
            self.optimiser.zero_grad()
            scaled.backward()
            self.optimiser.step()
            losses += loss.detach() * len(y)
            right += (logits.argmax(1) == y).sum()
            seen += len(y)
            self.done += 1
        self.factor = float(factors) / steps if self.weight is not None else math.nan
        mean = float(losses) / seen
        if not math.isfinite(mean):
            raise InputError(f"The training diverged: the mean loss up to step {self.done} is {mean}. Lower lr={c.lr:g}.")
        return {"loss": mean, "accuracy": float(right) / seen, "lr": learning_rate(self.done, self.iterations, c.lr)}

    def record_clean(self, recorder: Recorder) -> None:
        """Tell the recorder every training sample's logits in evaluation mode."""
        with torch.no_grad():
            self.network.eval()
            for index in torch.arange(len(self.rows)).split(512):
                h = self.network.features(self.values[self.rows[index.to(self.rows.device)]])
                recorder(index, self.network.head(h), features=h)

    def test_accuracy(self) -> float:
        """Share of test samples classified right; NaN without test samples."""
        if len(self.samples.test) == 0:
            return math.nan
        with torch.no_grad():
            self.network.eval()
            rows = torch.from_numpy(self.samples.test).to(self.values.device)
            right = sum((self.network(self.values[r]).argmax(1) == self.label[r]).sum() for r in rows.split(512))
        return float(right) / len(rows)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the network's state on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `load` continues from it to the same numbers as without the interruption."""
        return {
            "done": self.done,
            "queue": self.queue.clone(),
            "network": self.weights(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "random": self.random.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.done, self.queue = state["done"], state["queue"].clone()
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.load(state["random"])


def learning_rate(done: int, iterations: int, lr: float) -> float:
    """Cosine from lr to 0, step by step; halfway lr / 2. The authors' has a fractional length and turns up at its end."""
    return lr * (1 + math.cos(math.pi * min(done / iterations, 1.0))) / 2


def crop_flip(x: Tensor, pad: int = 4) -> Tensor:
    """Every image shifted by up to `pad` pixels, zeros moving in, and half of them mirrored: (B, C, h, w) -> same."""
    b, _, height, width = x.shape
    dy, dx = torch.randint(0, 2 * pad + 1, (2, b))
    mirrored = torch.rand(b) < 0.5
    rows = dy[:, None] + torch.arange(height)
    columns = dx[:, None] + torch.where(mirrored[:, None], torch.arange(width - 1, -1, -1), torch.arange(width))
    padded = F.pad(x, (pad, pad, pad, pad))
    which = torch.arange(b)[:, None, None].to(x.device)
    return padded[which, :, rows[:, :, None].to(x.device), columns[:, None].to(x.device)].permute(0, 3, 1, 2)


def _phases(total: int, count: int) -> list[int]:
    """`total` steps in at most `count` phases of nearly equal length."""
    edges = np.linspace(0, total, min(count, total) + 1).round().astype(int)
    return np.diff(edges).tolist()


def train_on(
    scene: xr.Dataset,
    kept: xr.DataArray | None,
    config: Config | None = None,
    scores: xr.DataArray | None = None,
    name: str = "coreset",
) -> Trace:
    """Train anew on the kept samples of a scene, for `config.iterations` steps whatever their number; a trace.

    kept: bool `(sample)` by identifier, as `select` gives it; None: all training samples. scores: needed for
    loss_scale="official". Default of iterations: as many as `config.epochs` over all training samples of the scene.
    The outcome has `accuracy` of the last and `accuracy_best` of the best phase on the test samples, and the weights.

    Raises InputError when `kept` names samples that are not training samples of this scene, or keeps none.
    """
    config = config or Config()
    samples = samples_of(scene, config)
    ids = samples.ids[samples.train]
    if kept is None:
        kept = xr.DataArray(np.ones(len(ids), bool), {"sample": ids}, "sample")
    rows = samples.train[_positions(kept["sample"].values[kept.values.astype(bool)], ids)]
    weight = None
    if config.loss_scale == "official":
        if scores is None:
            raise InputError(
                'loss_scale="official" multiplies losses by scores; give scores (sample), or leave loss_scale out.'
            )
        weight = official_weight(scores.reindex(sample=ids), samples)
    training = Training(samples, rows, config, _iterations(samples, config), config.seed + 1, weight)
    accuracies: list[float] = []
    phases = _phases(training.iterations, config.epochs)
    for i, steps in enumerate(phases):
        told = {f"{k}_{name}": v for k, v in _phase(training, steps, accuracies).items()}
        yield Event(i + 1, told, of=len(phases))
    result = xr.Dataset({"kept": kept.rename("kept")}, attrs=provenance(scene, config, samples))
    result = result.assign(_accuracy(name, accuracies))
    return Outcome(result, {name: training.weights()})


def _phase(training: Training, steps: int, accuracies: list[float]) -> dict[str, float]:
    told = training.advance(steps)
    accuracies.append(training.test_accuracy())
    return _finite({**told, "test_accuracy": accuracies[-1], "loss_factor": training.factor})


def _iterations(samples: Samples, config: Config) -> int:
    return config.iterations or config.epochs * math.ceil(len(samples.train) / config.batch)


def _positions(names: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each name is among ids; raises InputError for one that is not there, or for none at all."""
    names = names.astype(str)
    if len(names) == 0:
        raise InputError("This selection keeps no sample; choose a larger keep.")
    order = np.argsort(ids)
    found = order[np.searchsorted(ids, names, sorter=order).clip(max=len(ids) - 1)]
    lost = names[ids[found] != names]
    if len(lost):
        raise InputError(
            f"{len(lost)} of the kept samples are not among the training samples of this scene ({', '.join(lost[:3])}): the "
            "selection was made on other data, with another seed, or the data changed. Select anew."
        )
    return np.sort(found)


def official_weight(scores: xr.DataArray, samples: Samples) -> Tensor:
    """(N,) scores min-max-normalised over the training samples: the hidden factor of the authors' coreset script."""
    values = scores.values.astype(np.float64)
    span = values.max() - values.min()
    weight = torch.zeros(len(samples.ids))
    weight[torch.from_numpy(samples.train)] = torch.from_numpy((values - values.min()) / (span or 1.0)).float()
    return weight


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PLabel:
    """The label's probability: of the last epoch, and as a score its mean over epochs, how easy a sample is."""

    def start(self, n: int) -> Memory:
        return {"last": torch.zeros(n, dtype=torch.float64), "sum": torch.zeros(n, dtype=torch.float64)}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        memory["last"][rows] = batch.p_label
        memory["sum"][rows] += batch.p_label

    def end(self, memory: Memory, epoch: int) -> None: ...

    def score(self, memory: Memory, epochs: int) -> Tensor:
        return memory["sum"] / max(epochs, 1)


class Scoring:
    """The one training on everything, its recorder, and what is written down of it."""

    def __init__(self, samples: Samples, config: Config) -> None:
        self.samples, self.config = samples, config
        self.ids = samples.ids[samples.train]
        rivals = scorers(config.J, min(10, config.epochs))
        tdds = TDDS(config.J, None, config.beta, config.difference)
        self.recorder = Recorder(
            samples.label[torch.from_numpy(samples.train)],
            samples.classes,
            {"tdds": tdds, "easy": PLabel(), **rivals},
            log=config.log,
            sample=self.ids,
            fingerprint=samples.fingerprint,
        )
        self.per_epoch = math.ceil(len(samples.train) / config.batch)
        self.training = Training(samples, samples.train, config, config.epochs * self.per_epoch, config.seed)
        self.accuracy: list[float] = []
        self.by_T: list[Tensor] = []  # S after every epoch from J on, float32
        self.p_label: list[Tensor] = []
        self.changes: list[Tensor] = []

    def epoch(self) -> dict[str, float]:
        """Train, record and test one epoch; gives its numbers."""
        told = self.training.advance(self.per_epoch, None if self.config.clean_pass else self.recorder)
        if self.config.clean_pass:
            self.training.record_clean(self.recorder)
        self.recorder.end_epoch()
        self.accuracy.append(self.training.test_accuracy())
        epochs, memory = self.recorder.epochs, self.recorder.memory("tdds")
        if epochs >= self.config.J:
            self.by_T.append(memory["score"].float().cpu())
        if self.config.trajectories:
            self.p_label.append(self.recorder.memory("easy")["last"].float().cpu())
            if epochs > 1:
                self.changes.append(window_of(memory, epochs)[-1].float().cpu())
        return _finite({**told, "test_accuracy": self.accuracy[-1]})

    def arrays(self, scene: xr.Dataset) -> dict[str, xr.DataArray]:
        """What an event shows of the epoch just recorded, on `sample`."""
        epochs, memory = self.recorder.epochs, self.recorder.memory("tdds")
        coords: dict[str, Any] = {"sample": self.ids}
        if self.samples.position is not None:
            place = self.samples.position[self.samples.train]
            coords |= {"sample_y": ("sample", place[:, 0]), "sample_x": ("sample", place[:, 1])}
        last = self.recorder.memory("easy")["last"]
        shown = {"p_label": _on_samples(last, coords, "probability of the label")}
        if epochs > 1:
            window = window_of(memory, epochs)
            when = np.arange(epochs - len(window), epochs) + 1  # the epochs that made the changes
            shown["contribution"] = xr.DataArray(
                window.T.float().cpu().numpy().copy(),
                {**coords, "window": when},
                ("sample", "window"),
                attrs={"long_name": "change d"},
            )
        if epochs >= self.config.J:
            shown["score"] = _on_samples(memory["score"], coords, f"TDDS score, T = {epochs}")
            if self.samples.position is not None:
                shown["score_map"] = painted(scene, self.samples, shown["score"])
        return shown

    def scores(self, T: int) -> xr.Dataset:
        """`tdds` for a trajectory of T epochs, and every rival's score, on `sample`."""
        found = self.recorder.scores()
        return found.assign(tdds=("sample", self.by_T[T - self.config.J].double().numpy().copy()))

    def state(self) -> dict[str, Any]:
        written: dict[str, list[Any]] = {
            "accuracy": self.accuracy,
            "by_T": self.by_T,
            "p_label": self.p_label,
            "changes": self.changes,
        }
        return {
            **{k: list(v) for k, v in written.items()},
            "recorder": self.recorder.state(),
            "training": self.training.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.recorder.load(state["recorder"])
        self.training.load(state["training"])
        self.accuracy, self.by_T, self.p_label, self.changes = (
            list(state[k]) for k in ("accuracy", "by_T", "p_label", "changes")
        )


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train once and score every sample; choose with TDDS and its rivals; train on the coresets of `config.compare`, at the
    budget `config.keep` and at each of `config.budgets`.

    Events 1..epochs are the scoring run's: `loss`, `accuracy`, `test_accuracy`, `lr`; arrays `p_label (sample)`, from the
    second epoch `contribution (sample, window)`, the changes d in the newest window, from epoch J on `score (sample)`, S for
    a trajectory that ends here, and for pixels of a scene `score_map (y, x)`. After them at most `epochs` events for each
    coreset: `loss_NAME`, `accuracy_NAME`, `test_accuracy_NAME`; NAME ends in `_at_0.1` for a further budget of 0.1. The
    result is described in docs/methods/tdds.md.
    """
    samples = samples_of(scene, config)
    about = json.dumps(
        {"data": samples.fingerprint, **config.model_dump(mode="json", exclude={"show_every"})}, sort_keys=True
    )
    scoring, going = Scoring(samples, config), None
    finished: dict[str, dict[str, Any]] = {}  # coreset -> accuracies, factor, weights
    if state is not None:
        _same_run(state["about"], about)
        scoring.load(state["scoring"])
        finished, going = dict(state["finished"]), state["going"]
    phases = _phases(_iterations(samples, config), config.epochs)
    keeps = budgets_of(config)
    total = config.epochs + len(keeps) * len(config.compare) * len(phases)

    # 1. one training on everything
    def saved() -> dict[str, Any]:
        return {
            "about": about,
            "scoring": scoring.state(),
            "finished": dict(finished),
            "going": None,
        }

    for step in range(scoring.recorder.epochs + 1, config.epochs + 1):
        numbers = scoring.epoch()
        shown = step % config.show_every == 0 or step == config.epochs
        yield Event(step, numbers, scoring.arrays(scene) if shown else {}, total, saved)

    # 2. choose; 3. train on what was chosen, each from the same initial weights and for the same number of steps
    scores = {keep: scoring.scores(length_of(keep, config)) for keep in keeps}
    kept = {keep: chosen(scores[keep], samples, config, keep) for keep in keeps}
    step = config.epochs + sum(len(v["accuracies"]) for v in finished.values())
    for keep, selector in itertools.product(keeps, config.compare):
        name = coreset_name(selector, keep, config)
        if name in finished:
            continue
        weight = official_weight(scores[keep]["tdds"], samples) if config.loss_scale == "official" else None
        rows = samples.train[kept[keep][selector].values]
        training = Training(samples, rows, config, sum(phases), config.seed + 1, weight)
        accuracies: list[float] = []
        if going is not None:
            training.load(going["training"])
            accuracies, going = list(going["accuracies"]), None
            step += len(accuracies)

        def saved_here(training: Training = training, accuracies: list[float] = accuracies) -> dict[str, Any]:
            return {**saved(), "going": {"training": training.state(), "accuracies": list(accuracies)}}

        for steps in phases[len(accuracies) :]:
            told = _phase(training, steps, accuracies)
            step += 1
            last = len(accuracies) == len(phases)
            if last:
                weights = training.weights() if keep == config.keep else {}
                finished[name] = {"accuracies": accuracies, "factor": training.factor, "weights": weights}
            yield Event(step, {f"{k}_{name}": v for k, v in told.items()}, {}, total, saved if last else saved_here)
    outcome = {"full": scoring.training.weights()} | {name: f["weights"] for name, f in finished.items() if f["weights"]}
    return Outcome(_result(scene, samples, config, scoring, scores[config.keep], kept, finished), outcome)


def budgets_of(config: Config) -> list[float]:
    """Every share kept at which coresets are trained on: `keep` first, then the further ones."""
    return [config.keep, *(keep for keep in config.budgets if keep != config.keep)]


def length_of(keep: float, config: Config) -> int:
    """T at a budget: the one given, else our rule."""
    return config.T or trajectory_length(keep, config.epochs, config.J)


def coreset_name(selector: str, keep: float, config: Config) -> str:
    """What a coreset is called in events and metrics: `tdds`, and `tdds_at_0.1` for a further budget."""
    return selector if keep == config.keep else f"{selector}_at_{keep:g}"


def chosen(scores: xr.Dataset, samples: Samples, config: Config, keep: float) -> xr.Dataset:
    """`NAME (sample)` bool for tdds and every rival at the budget `keep`."""
    labels = samples.label.numpy()[samples.train]
    kept = {"tdds": select(scores["tdds"], keep, labels, balance=config.balance)}
    for name, selector in selectors(RIVALS).items():
        kept[name] = selector(scores, keep, labels, config.seed)
    return xr.Dataset(kept)


def painted(scene: xr.Dataset, samples: Samples, values: xr.DataArray) -> xr.DataArray:
    """`(y, x)` float32 on the scene: a number of every training pixel, NaN elsewhere."""
    assert samples.position is not None
    truth = scene["truth"]
    grid = np.full(truth.shape, np.nan, np.float32)
    grid[tuple(samples.position[samples.train].T)] = values.values
    coords = {n: c.variable for n, c in truth.coords.items() if set(c.dims) <= {"y", "x"} and n != "split"}
    return xr.DataArray(grid, coords, ("y", "x"), attrs=dict(values.attrs))


def _result(
    scene: xr.Dataset,
    samples: Samples,
    config: Config,
    scoring: Scoring,
    scores: xr.Dataset,
    kept_at: Mapping[float, xr.Dataset],
    finished: Mapping[str, Mapping[str, Any]],
) -> xr.Dataset:
    train, label = samples.train, samples.label.numpy()[samples.train]
    kept, T = kept_at[config.keep], length_of(config.keep, config)
    epochs, names = scoring.recorder.epochs, list(map(str, kept.data_vars))
    result = xr.Dataset(
        {
            "score": scores["tdds"].assign_attrs(long_name=f"TDDS score, T = {T}, J = {config.J}"),
            "kept": kept["tdds"].assign_attrs(long_name=f"kept at {config.keep:g}"),
            "label": ("sample", label, {"names": samples.names, "long_name": "class trained with"}),
            "easy": scores["easy"].assign_attrs(long_name="mean probability of the label over the run"),
            "score_by_T": (("T", "sample"), torch.stack(scoring.by_T).numpy(), {"long_name": "TDDS score of every T"}),
            "per_class": (
                ("selector", "class"),
                np.stack([np.bincount(label[kept[n].values], minlength=samples.classes) for n in names]),
                {"long_name": "samples kept"},
            ),
            "overlap": jaccard(kept),
            "test_sample": ("test", samples.ids[samples.test], {"long_name": "identifiers of the test samples"}),
        },
        coords={
            "T": np.arange(config.J, epochs + 1),
            "selector": names,
            "class": samples.names,
            "label_total": ("class", np.bincount(label, minlength=samples.classes), {"long_name": "training samples"}),
        },
        attrs=provenance(scene, config, samples),
    )
    for name in names[1:]:
        result[f"kept_{name}"] = kept[name].assign_attrs(long_name=f"kept by {name}")
        if name in scores:
            result[f"score_{name}"] = scores[name].assign_attrs(long_name=f"{name} score")
    if samples.flipped.any():
        result["flipped"] = ("sample", samples.flipped[train], {"long_name": "label made wrong on purpose"})
    if config.trajectories:
        result["p_label"] = (
            ("epoch", "sample"),
            torch.stack(scoring.p_label).numpy(),
            {"long_name": "probability of the label"},
        )
        result["contribution"] = (("change", "sample"), torch.stack(scoring.changes).numpy(), {"long_name": "change d"})
        result = result.assign_coords(epoch=np.arange(1, epochs + 1), change=np.arange(2, epochs + 1))
    if samples.position is not None:
        place = samples.position[train]
        result = result.assign_coords(sample_y=("sample", place[:, 0]), sample_x=("sample", place[:, 1]))
        result["score_map"] = painted(scene, samples, result["score"])
        result["kept_map"] = painted(scene, samples, result["kept"]).assign_attrs(long_name="1 kept, 0 dropped")
    result = result.assign(_accuracy("full", scoring.accuracy))
    for name, ended in finished.items():
        result = result.assign(_accuracy(name, ended["accuracies"]))
    result = result.assign(_by_budget(samples, config, kept_at, finished))
    numbers = {
        "keep": (config.keep, "share of training samples kept"),
        "pruned": (1 - config.keep, "share of training samples pruned"),
    }
    numbers["T"] = (T, "trajectory length used")
    if samples.flipped.any():
        flipped = samples.flipped[train]
        for name in names:
            share = float(flipped[kept[name].values].mean())
            text = f"share of wrong labels in the coreset of {name}; {flipped.mean():.3g} by chance"
            numbers[f"noise_share_{name}"] = (share, text)
    for name, ended in finished.items():
        if math.isfinite(ended["factor"]):
            text = f"mean factor on the loss in the last phase of {name}: scales the learning rate"
            numbers[f"loss_factor_{name}"] = (ended["factor"], text)
    for name, (value, text) in numbers.items():
        result["trajectory_length" if name == "T" else name] = ((), float(value), {"long_name": text})
    return result


def provenance(scene: xr.Dataset, config: Config, samples: Samples) -> dict[str, Any]:
    """Where the data come from and what the selection was made with: needed to use it elsewhere."""
    about = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    return {
        **about,
        "scene_fingerprint": fingerprint(scene),
        "samples": samples.fingerprint,
        "kind": samples.kind,
        "config": json.dumps(config.model_dump(mode="json"), sort_keys=True),
    }


def _accuracy(name: str, values: Sequence[float]) -> dict[str, xr.Variable]:
    """0-d `accuracy_NAME` (last) and `accuracy_best_NAME`; nothing without a test set."""
    if not values or not math.isfinite(values[-1]):
        return {}
    return {
        f"accuracy_{name}": xr.Variable(
            (), values[-1], {"long_name": f"test accuracy after training on {name}, last epoch"}
        ),
        f"accuracy_best_{name}": xr.Variable(
            (), max(values), {"long_name": f"the same, best epoch on the test set: flatters ({name})"}
        ),
    }


def _by_budget(
    samples: Samples, config: Config, kept_at: Mapping[float, xr.Dataset], finished: Mapping[str, Mapping[str, Any]]
) -> xr.Dataset:
    """`budget_T (budget)`; `accuracy (budget, trained)` of coresets and, with wrong labels, `noise_share (budget, selector)`."""
    keeps = sorted(kept_at)
    found = xr.Dataset(
        {
            "budget_T": (
                "budget",
                [length_of(k, config) for k in keeps],
                {"long_name": "trajectory length used at the budget"},
            )
        },
        coords={"budget": keeps},
    )
    if config.compare and len(samples.test):
        last = [[finished[coreset_name(n, k, config)]["accuracies"][-1] for n in config.compare] for k in keeps]
        text = {"long_name": "test accuracy after training on the coreset, last epoch"}
        found["accuracy"] = xr.DataArray(last, {"budget": keeps, "trained": list(config.compare)}, ("budget", "trained"))
        found["accuracy"].attrs = text
    if samples.flipped.any():
        flipped = samples.flipped[samples.train]
        share = xr.concat([kept_at[k].to_array("selector") for k in keeps], "budget").transpose("budget", "selector", ...)
        found["noise_share"] = (
            ("budget", "selector"),
            (share.values & flipped).sum(-1) / share.values.sum(-1),
            {"long_name": "share of wrong labels in the coreset"},
        )
    return found


def _same_run(theirs: str, ours: str) -> None:
    then, now = json.loads(theirs), json.loads(ours)
    other = [n for n in now if then.get(n) != now[n]]
    if "data" in other:
        raise InputError(
            "This checkpoint of tdds belongs to other data: pixels or labels changed between the runs (hash "
            f"{now['data'][:12]}, then {then['data'][:12]}). Put the old data back, or start anew."
        )
    if other:
        told = ", ".join(f"{n}={then.get(n)} there and {now[n]} here" for n in other)
        raise InputError(f"This checkpoint of tdds belongs to other settings: {told}. Continue with its own.")


def _on_samples(values: Tensor, coords: Mapping[str, Any], text: str) -> xr.DataArray:
    return xr.DataArray(values.double().cpu().numpy().copy(), coords, "sample", attrs={"long_name": text})


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in numbers.items() if math.isfinite(v)}
