"""Rivals and controls of detectors: constant false alarm rate (CFAR) by cell averaging and by ordered statistic; random boxes.

    level = ring_mean(amplitude, guard=12, train=24)       # CA-CFAR: clutter around each pixel
    box, score = components(amplitude / level, factor=2.0)

CFAR compares each pixel with the clutter in a ring around it: the square of half width `train` without the inner square of half width
`guard`. CA-CFAR takes the mean of the ring (H. M. Finn, R. S. Johnson, RCA Review 29, 414-464, 1968), OS-CFAR one of its ordered values
(H. Rohling, IEEE Trans. AES 19(4), 608-621, 1983, doi 10.1109/TAES.1983.309350). Pixels above a multiple of it are joined to ships.
Missing pixels (NaN) and pixels beyond the border are in no ring. CA-CFAR takes the same time for every window, OS-CFAR one that grows with
its side and not with its area.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage, stats

from workbench.errors import InputError
from workbench.parts.compiled import compiled

LEVELS = 256  # grey levels of OS-CFAR; 8-bit amplitude is exact
LEAST = 8  # pixels of the smallest detection
QUANTILE = 0.75  # of the ring, for OS-CFAR (Rohling)

HalfWidth = int | tuple[int, int]  # of a square window, or of its rows and columns


def half_widths(metres: float, spacing: tuple[float, float]) -> tuple[int, int]:
    """Half width of a window in rows and columns, at least 1 pixel. metres: half width; spacing: metres a row and a column.

    >>> half_widths(120, (10.0, 20.0))
    (12, 6)
    """
    if not (metres > 0 and min(spacing) > 0):
        raise InputError(f"A window of {metres} m on pixels of {spacing} m is not possible; both must be above 0.")
    return max(1, round(metres / spacing[0])), max(1, round(metres / spacing[1]))


def factor_of(rate: float, looks: float, cells: int) -> float:
    """The factor on the mean of `cells` intensities that gives this rate of false alarms per pixel.

    Holds for homogeneous gamma-distributed speckle of `looks` looks in independent cells.

    >>> round(factor_of(1e-3, 1, 16), 4)  # one look: cells (rate^(-1 / cells) - 1)
    8.6388
    """
    return float(stats.f.isf(rate, 2 * looks, 2 * looks * cells))


def ring_mean(image: np.ndarray, guard: HalfWidth, train: HalfWidth) -> np.ndarray:
    """Mean (y, x) float64 of the valid pixels in the ring around each pixel; NaN where there are none."""
    inner, outer = _windows(image, guard, train)
    return _mean(np.ascontiguousarray(image, np.float64), *inner, *outer)


def ring_quantile(image: np.ndarray, guard: HalfWidth, train: HalfWidth, quantile: float = QUANTILE) -> np.ndarray:
    """The value of rank ceil(quantile n) of the n valid pixels in the ring around each pixel (y, x) float64; NaN where there are none.

    Values are rounded to LEVELS equal steps between the smallest and the largest of the image.
    """
    if not 0 < quantile <= 1:
        raise InputError(f"quantile={quantile} is not possible; give a number above 0, at most 1.")
    inner, outer = _windows(image, guard, train)
    valid = np.isfinite(image)
    if not valid.any():
        return np.full(image.shape, np.nan)
    low, high = float(image[valid].min()), float(image[valid].max())
    step = (high - low) / (LEVELS - 1) or 1.0
    level = np.where(valid, np.rint((np.where(valid, image, low) - low) / step), -1).astype(np.int64)
    ranked = _ordered(level, *inner, *outer, quantile, LEVELS)
    return np.where(ranked >= 0, low + step * ranked, np.nan)


def components(ratio: np.ndarray, factor: float, least: int = LEAST) -> tuple[np.ndarray, np.ndarray]:
    """(box (N, 4) float32, score (N,)): the groups of at least `least` adjacent pixels (y, x) whose ratio to the clutter is above `factor`.

    Boxes are x0 y0 x1 y1, half-open; score is the largest ratio of the group.
    """
    groups, count = ndimage.label(np.nan_to_num(ratio) > factor, structure=np.ones((3, 3)))
    size = np.bincount(groups.ravel(), minlength=count + 1)
    best = ndimage.maximum(np.nan_to_num(ratio), groups, np.arange(1, count + 1)) if count else np.zeros(0)
    rows = [
        (columns.start, lines.start, columns.stop, lines.stop, best[n])
        for n, (lines, columns) in enumerate(ndimage.find_objects(groups))
        if size[n + 1] >= least
    ]
    table = np.array(rows, np.float64).reshape(-1, 5)
    return table[:, :4].astype(np.float32), table[:, 4]


CFARS = {"ca_cfar": ring_mean, "os_cfar": ring_quantile}


def cfar(
    name: str, amplitude: np.ndarray, guard: HalfWidth, train: HalfWidth, factor: float, least: int = LEAST
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of "ca_cfar" or "os_cfar" on an amplitude image (y, x); see `components`."""
    return components(ratio(name, amplitude, guard, train), factor, least)


def ratio(name: str, amplitude: np.ndarray, guard: HalfWidth, train: HalfWidth) -> np.ndarray:
    """Each pixel divided by the clutter around it (y, x). NaN where the pixel is missing or its ring has no valid pixel; the
    largest float32 where only the clutter is 0."""
    if name not in CFARS:
        raise InputError(f"There is no CFAR {name!r}; there are {', '.join(CFARS)}.")
    level = CFARS[name](amplitude, guard, train)
    with np.errstate(divide="ignore", invalid="ignore"):
        dark = np.where(amplitude > 0, np.finfo(np.float32).max, 0.0)
        return np.where(np.isnan(level) | np.isnan(amplitude), np.nan, np.where(level > 0, amplitude / level, dark))


def random_boxes(
    sizes: np.ndarray, images: Mapping[str, tuple[int, int]], per_image: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(box, image, score) of boxes with widths and heights drawn from sizes (N, 2), anywhere in each image (height, width): a control."""
    rng = np.random.default_rng(seed)
    boxes, names = [], []
    for name, (high, wide) in images.items():
        size = np.minimum(sizes[rng.integers(len(sizes), size=per_image)], (wide, high))
        corner = rng.random((per_image, 2)) * (np.array([wide, high]) - size)
        boxes.append(np.hstack([corner, corner + size]))
        names += [name] * per_image
    return np.concatenate(boxes).astype(np.float32), np.array(names), rng.random(len(names))


# --- windows ----------------------------------------------------------------------------------------------------------


def _windows(image: np.ndarray, guard: HalfWidth, train: HalfWidth) -> tuple[tuple[int, int], tuple[int, int]]:
    inner, outer = (w if isinstance(w, tuple) else (w, w) for w in (guard, train))
    if image.ndim != 2:
        raise InputError(f"CFAR needs one image (y, x); this array has {image.ndim} dims.")
    if not all(0 <= g < t for g, t in zip(inner, outer, strict=True)):
        raise InputError(f"CFAR needs a guard from 0 to below the training window; asked for guard={guard}, train={train}.")
    return inner, outer


@compiled
def _mean(image: np.ndarray, guard_y: int, guard_x: int, train_y: int, train_x: int) -> np.ndarray:
    """Mean (y, x) of each ring, NaN without pixels: sums of columns that slide down, and sums of these that slide along each row."""
    high, wide = image.shape
    out = np.full((high, wide), np.nan)
    outer, inner = np.zeros(wide), np.zeros(wide)
    outer_count, inner_count = np.zeros(wide, np.int64), np.zeros(wide, np.int64)
    for y in range(-train_y, high):
        for part in range(4):  # rows that enter and leave the outer and the inner window
            if part == 0:
                row, sign = y + train_y, 1
            elif part == 1:
                row, sign = y - train_y - 1, -1
            elif part == 2:
                row, sign = y + guard_y, 1
            else:
                row, sign = y - guard_y - 1, -1
            if row < 0 or row >= high:
                continue
            for x in range(wide):
                value = image[row, x]
                if np.isfinite(value):
                    if part < 2:
                        outer[x] += sign * value
                        outer_count[x] += sign
                    else:
                        inner[x] += sign * value
                        inner_count[x] += sign
        if y < 0:
            continue
        total, count = 0.0, 0
        for x in range(-train_x, wide):
            if x + train_x < wide:
                total += outer[x + train_x]
                count += outer_count[x + train_x]
            if x - train_x - 1 >= 0:
                total -= outer[x - train_x - 1]
                count -= outer_count[x - train_x - 1]
            if 0 <= x + guard_x < wide:
                total -= inner[x + guard_x]
                count -= inner_count[x + guard_x]
            if x - guard_x - 1 >= 0:
                total += inner[x - guard_x - 1]
                count += inner_count[x - guard_x - 1]
            if x >= 0 and count > 0:
                out[y, x] = total / count
    return out


@compiled
def _ordered(
    level: np.ndarray, guard_y: int, guard_x: int, train_y: int, train_x: int, quantile: float, levels: int
) -> np.ndarray:
    """Level (y, x) of rank ceil(quantile n) in each ring, -1 without pixels: a histogram that slides along each row."""
    high, wide = level.shape
    out = np.full((high, wide), -1)
    for y in range(high):
        counts = np.zeros(levels, np.int64)
        total, at, below = 0, 0, 0  # pixels in the ring; the current level, and how many pixels are below it
        for x in range(-train_x, wide):
            for part in range(4):  # columns that enter and leave the outer and the inner window
                if part == 0:
                    column, half, sign = x + train_x, train_y, 1
                elif part == 1:
                    column, half, sign = x - train_x - 1, train_y, -1
                elif part == 2:
                    column, half, sign = x + guard_x, guard_y, -1
                else:
                    column, half, sign = x - guard_x - 1, guard_y, 1
                if column < 0 or column >= wide:
                    continue
                for v in range(max(0, y - half), min(high, y + half + 1)):
                    k = level[v, column]
                    if k >= 0:
                        counts[k] += sign
                        total += sign
                        if k < at:
                            below += sign
            if x < 0 or total == 0:
                continue
            rank = int(np.ceil(quantile * total - 1e-9))
            while below >= rank:
                at -= 1
                below -= counts[at]
            while below + counts[at] < rank:
                below += counts[at]
                at += 1
            out[y, x] = at
    return out
