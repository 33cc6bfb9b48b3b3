"""Split of samples into training and test: by class, by image or polygon, by list, by halves, or by block with a guard band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from workbench.errors import InputError


def own_split(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions from the split names (N,) of a data set; val counts as test where no sample is test."""
    return np.flatnonzero(part == "train"), np.flatnonzero(part == ("test" if (part == "test").any() else "val"))


def by_class(
    label: np.ndarray, share: float, seed: int, draw: Literal["test", "train"] = "test"
) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions, sorted: round(share n) of the n samples of every class are drawn for `draw`, but never all.

    draw="train": at least one is drawn, so that both sides have every class of two or more samples.
    """
    random, drawn = np.random.default_rng(seed), []
    for c in np.unique(label):
        mine = np.flatnonzero(label == c)
        count = round(share * len(mine)) if draw == "test" else max(1, round(share * len(mine)))
        drawn.append(random.permutation(mine)[: min(count, len(mine) - 1)])
    one = np.sort(np.concatenate(drawn))
    other = np.setdiff1d(np.arange(len(label)), one)
    return (other, one) if draw == "test" else (one, other)


def by_image(image: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions: the samples of round(share n) of the n images are for testing: at least one image, never all.

    Raises InputError if all samples are of one image.
    """
    images = np.unique(image)
    if len(images) < 2:
        raise InputError("A split by image needs samples of two images or more; these are of one. Split by 'block'.")
    count = min(max(1, round(share * len(images))), len(images) - 1)
    held_out = np.isin(image, np.random.default_rng(seed).permutation(images)[:count])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def by_polygon(polygon: np.ndarray, label: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions: of every class, the pixels of whole polygons are for testing, about `share` of its polygons, never all.

    polygon (N,): the number of each pixel's polygon; 0 is none, and these pixels are in neither part.
    """
    random, tested = np.random.default_rng(seed), np.zeros(len(label), bool)
    for c in np.unique(label):
        mine = np.unique(polygon[(label == c) & (polygon > 0)])
        count = min(max(1, round(share * len(mine))), len(mine) - 1)
        tested |= (label == c) & np.isin(polygon, random.permutation(mine)[: max(count, 0)])
    return np.flatnonzero(~tested & (polygon > 0)), np.flatnonzero(tested)


def by_halves(column: np.ndarray, wide: int, seed: int) -> np.ndarray:
    """Positions of the test pixels: the right half of the image, with an odd seed the left half. column (N,): of the pixels."""
    return np.flatnonzero((column >= wide / 2) != bool(seed % 2))


def listed(ids: np.ndarray, test: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions: the samples in the list are for testing, all others for training.

    Raises InputError for an identifier that no sample has.
    """
    unknown = np.setdiff1d(np.asarray(test, str), ids)
    if len(unknown):
        raise InputError(
            f"{len(unknown)} of the {len(test)} listed test samples are not in this scene ({', '.join(unknown[:3])}); its "
            f"identifiers look like {ids[0]}."
        )
    held_out = np.isin(ids, np.asarray(test, str))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def by_block(place: np.ndarray, label: np.ndarray, shape: Sequence[int], block: int, share: float, seed: int) -> np.ndarray:
    """Positions of the test pixels: square blocks are drawn until they contain `share` of all pixels.

    place (N, 3): image, row, column. shape: number, height and width of the images. A block is skipped if the test set
    would then have more than half of a class.
    """
    random = np.random.default_rng(seed)
    down, across = (math.ceil(n / block) for n in shape[1:])
    blocks = (place // [1, block, block]) @ np.array([down * across, across, 1])
    total = np.bincount(label)
    taken = np.zeros_like(total)
    chosen: list[int] = []
    for one in random.permutation(np.unique(blocks)):
        inside = np.bincount(label[blocks == one], minlength=len(total))
        if taken.sum() < share * len(label) and (taken + inside <= total / 2).all():
            taken, chosen = taken + inside, [*chosen, one]
    return np.flatnonzero(np.isin(blocks, chosen))


def apart(place: np.ndarray, train: np.ndarray, test: np.ndarray, shape: Sequence[int], guard: int) -> np.ndarray:
    """The positions of train that are at least `guard` rows or columns away from every test pixel of the same image."""
    from scipy.ndimage import maximum_filter

    tested = np.zeros(tuple(shape), bool)
    tested[tuple(place[test].T)] = True
    side = max(2 * guard - 1, 1)
    near = maximum_filter(tested, size=(1, side, side))
    return train[~near[tuple(place[train].T)]]
