"""Valid pixels: the one place that decides which pixels of a file have a value.

    stated = Stated.of(file)                        # a raster that is open in rasterio: alpha, masks, nodata
    stated.known(file, values, bands, window)       # (band, y, x) bool
    equals(block, missing)                          # where stored values are the "no data" value
    undeclared(pixels, ...)                         # notes on values that fill whole pixels without being declared

A pixel is missing where the file says so: its nodata or ignore value, an alpha band that is 0, a mask inside or beside
the file, a transparent colour, NaN. What only looks like "no data" keeps its value and is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import InputError

BUDGET = 48 * 2**20  # bytes that are unpacked at most to look for undeclared fill
ROWS = 24  # rows that are looked at
FEW = 3  # pixels of one repeated value that are told
MANY = 20  # pixels from which a band of one value is told
USUAL = (-9999, -99999, -999, -32768)  # values that many programs write where there are no data
LARGE = 1e15  # numbers beyond it are no measurements
ROUNDED = 1e30  # "no data" values beyond it are often written with few digits: -3.40282e+38


def comparable(missing: float | None, dtype: np.dtype) -> Any:
    """The "no data" value in the dtype of the file; None where that dtype cannot hold it (-9999 in unsigned integers).

    >>> float(comparable(-3.4e38, np.dtype("f4"))) == float(np.float32(-3.4e38))
    True
    """
    if missing is None or np.isnan(missing):
        return None
    if dtype.kind in "iub":
        bounds = np.iinfo(dtype) if dtype.kind != "b" else None
        fits = (
            bounds is not None and np.isfinite(missing) and missing == int(missing) and bounds.min <= missing <= bounds.max
        )
        return int(missing) if fits else None
    with np.errstate(over="ignore"):
        return dtype.newbyteorder("=").type(missing)


def equals(block: np.ndarray, missing: float | None) -> np.ndarray | None:
    """Where the stored values are the "no data" value, as bool of their shape; None where there is no such value.

    A value beyond 1e30 is met by all that are as large, because headers round it.
    """
    value = comparable(missing, block.dtype)
    if value is None or missing is None:
        return None
    if block.dtype.kind == "f" and ROUNDED < abs(missing) < np.inf:
        near = block.dtype.newbyteorder("=").type(missing * (1 - 1e-5))
        return (block <= near) & (block > -np.inf) if missing < 0 else (block >= near) & (block < np.inf)
    return block == value


def impossible(missing: float | None, dtype: np.dtype) -> list[str]:
    """A note where the type of the file cannot hold its own "no data" value, such as -9999 in unsigned integers.

    >>> impossible(-9999, np.dtype("u2"))
    ['the value -9999 for missing pixels cannot occur in uint16; if they hold 55537, say so: key nodata=55537']
    """
    if missing is None or np.isnan(missing) or dtype.kind not in "iu" or comparable(missing, dtype) is not None:
        return []
    wrapped = int(missing) % 2 ** (8 * dtype.itemsize) if np.isfinite(missing) and missing == int(missing) else None
    fits = wrapped is not None and missing < 0 and dtype.kind == "u"
    more = f"; if they hold {wrapped}, say so: key nodata={wrapped}" if fits else ""
    return [f"the value {missing:g} for missing pixels cannot occur in {dtype}{more}"]


def nodata_of(given: str | None) -> float | None:
    """The number of the key `nodata`; None without one. InputError for text that is no number."""
    if given is None:
        return None
    try:
        return float(given)
    except ValueError:
        raise InputError(
            f'nodata={given} is not a number; give the value that means "no data", such as nodata=-9999.'
        ) from None


@dataclass(frozen=True)
class Stated:
    """What a raster that GDAL reads says about missing pixels.

    bands: numbers of the bands with data, from 1. alpha: number of the alpha band. nodata: of each band with data. masked: whether a
    mask inside or beside the file, or a transparent colour, covers all bands. guessed: whether the alpha band is not declared, but
    looks like one.
    """

    bands: tuple[int, ...]
    alpha: int | None = None
    nodata: tuple[float | None, ...] = ()
    masked: bool = False
    guessed: bool = False

    @classmethod
    def of(cls, file: Any, alpha_is: str | None = None) -> Stated:
        """Of a file that is open in rasterio. alpha_is: what the user says: the number of the alpha band, or "none"."""
        from rasterio.enums import ColorInterp, MaskFlags

        colours = list(file.colorinterp)
        alpha = [i for i, c in zip(file.indexes, colours, strict=True) if c == ColorInterp.alpha]
        guessed = False
        if alpha_is is not None:
            if alpha_is != "none" and alpha_is not in map(str, file.indexes):
                raise InputError(f"alpha={alpha_is} must be none or the number of a band, 1 to {file.count}.")
            alpha = [] if alpha_is == "none" else [int(alpha_is)]
        elif not alpha and (found := _alpha_by_values(file)) is not None:
            alpha, guessed = [found], True
        bands = tuple(i for i in file.indexes if i not in alpha)
        if not bands:  # a mask that calls its only band alpha
            bands, alpha = tuple(file.indexes), []
        flags = set(file.mask_flag_enums[bands[0] - 1])
        nodata = tuple(file.nodatavals[b - 1] for b in bands)
        masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        return cls(bands, alpha[0] if alpha else None, nodata, masked, guessed)

    @property
    def notes(self) -> list[str]:
        """One line for an alpha band and one for a mask."""
        lines = []
        if self.alpha is not None and self.guessed:
            lines.append(
                f"band {self.alpha} was taken as an alpha band: it holds only 0 and its largest value, and 0 where all other bands are 0; "
                "key alpha=none keeps it as a band"
            )
        elif self.alpha is not None:
            lines.append(
                f"band {self.alpha} is an alpha band: pixels are missing where it is 0; key alpha=none keeps it as a band"
            )
        return lines + (["pixels are missing where the mask of the file says so"] if self.masked else [])

    @property
    def everywhere(self) -> bool:
        """Whether only nodata values can be missing: there is neither alpha nor mask."""
        return self.alpha is None and not self.masked

    def covered(self, file: Any, window: Any) -> np.ndarray | None:
        """(y, x) bool: where alpha and mask show the pixel; None where the file has neither."""
        seen = None
        if self.alpha is not None:
            seen = file.read(self.alpha, window=window) > 0
        if self.masked:
            mask = file.read_masks(self.bands[0], window=window) > 0
            seen = mask if seen is None else seen & mask
        return seen

    def known(self, file: Any, values: np.ndarray, bands: Sequence[int], window: Any) -> np.ndarray:
        """(band, y, x) bool: which of these stored values of `bands` (numbers in the file) are known; NaN is not."""
        known = np.isfinite(values) | np.isinf(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        for i, b in enumerate(bands):
            gone = equals(values[i], self.nodata[self.bands.index(b)])
            if gone is not None:
                known[i] &= ~gone
        seen = self.covered(file, window)
        return known if seen is None else known & seen


NOTHING = Stated(())  # of a file that is not looked at


def stretches(rows: Sequence[int]) -> list[tuple[int, int]]:
    """(first, number) of each stretch of neighbouring rows, so that a file is asked once for each.

    >>> stretches([0, 1, 2, 7, 8])
    [(0, 3), (7, 2)]
    """
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(int(part[0]), len(part)) for part in np.split(np.asarray(rows), edges)]


def _alpha_by_values(file: Any) -> int | None:
    """The number of the last of at least four bands of whole numbers, where it looks like an alpha band (see `_like_alpha`) in
    a sample of the rows; else None. Nothing is read of files with a nodata value, a palette, or very large blocks.
    """
    from rasterio.windows import Window

    kinds = {np.dtype(k) for k in file.dtypes if not k.startswith("complex")}
    if file.count < 4 or len(kinds) != 1 or file.nodata is not None or next(iter(kinds)).kind not in "iu":
        return None
    high, _ = file.block_shapes[-1]
    cost = file.count * file.width * high * next(iter(kinds)).itemsize
    if cost > BUDGET:
        return None
    rows = sorted({int(r) for r in np.linspace(0, file.height - 1, max(1, min(ROWS, BUDGET // cost)))})
    try:
        last = np.concatenate([file.read(file.count, window=Window(0, r, file.width, n)) for r, n in stretches(rows)])
        if last.max() == last.min() or not np.isin(last, (0, last.max())).all() or last.max() not in (1, 255, 65535):
            return None
        block = np.concatenate([file.read(window=Window(0, r, file.width, n)) for r, n in stretches(rows)], axis=1)
        block = block.reshape(len(block), -1)
    except Exception:  # a damaged file: reading its pixels raises the error
        return None
    return file.count if _like_alpha(block) else None


def undeclared(
    pixels: Any, shape: Sequence[int], native: Sequence[int] | None, missing: float | None, good: np.ndarray | None = None
) -> list[str]:
    """Notes on values that fill whole pixels (band, y, x) in all bands, in a sample of the rows, without being declared missing.

    pixels: sliceable, in stored values. native: size of the blocks of the file; None where any row can be read. good: (band) the bands
    to look at. No rows are read where they would need more than `BUDGET` bytes. A file that cannot be read gives no notes:
    reading its pixels raises the error.
    """
    bands, rows, columns = shape
    _, high, wide = (1, 1, columns) if native is None else native
    width = np.dtype(pixels.dtype).itemsize
    of_row, of_block = bands * columns * high * width, bands * high * wide * width
    if of_block > BUDGET:
        return []
    across = slice(0, columns) if of_row <= BUDGET else slice(0, min(wide, columns))
    many = max(1, min(ROWS, rows, BUDGET // min(of_row, of_block if of_row > BUDGET else of_row)))
    chosen = sorted({int(r) for r in np.linspace(0, rows - 1, many)})
    try:
        block = pixels.lines(chosen, across) if hasattr(pixels, "lines") else _evenly(pixels, bands, rows, many, across)
    except Exception:  # each library has its own exceptions for a damaged file
        return []
    block = np.asarray(block).reshape(bands, -1)  # (band, pixel)
    gone = equals(block, missing)
    keep = np.ones(block.shape[1], bool) if gone is None else ~gone.any(0)
    if block.dtype.kind == "f":
        keep &= np.isfinite(block).all(0)
    block = block[:, keep] if good is None or good.sum() < 2 else block[good][:, keep]
    if not block.size:
        return []
    filled = _filled(block, int(np.size(keep)))
    return [*filled, *_in_some_bands(block, filled), *_like_alpha(block)]


def _evenly(pixels: Any, bands: int, rows: int, many: int, across: slice) -> np.ndarray:
    """Every so many rows, in one window."""
    step = max(1, rows // many)
    return np.asarray(pixels[slice(0, bands), slice((rows - 1) % step, rows, step) if step > 1 else slice(0, rows), across])


def _filled(block: np.ndarray, looked: int) -> list[str]:
    """Notes on values that whole pixels (band, pixel) hold in all bands."""
    same = (block == block[:1]).all(0)
    values, counts = np.unique(block[0, same], return_counts=True)
    notes = []
    for value, many in sorted(zip(values.tolist(), counts.tolist(), strict=True), key=lambda v: -v[1])[:2]:
        likely = value < 0 or abs(value) > LARGE or (value == 0 and many > 0.005 * looked)
        if many >= FEW and (
            likely or (len(block) >= 4 and value == _extreme(block.dtype)) or (len(block) >= 8 and many > 0.005 * looked)
        ):
            notes.append(
                f"{many} of {looked} sampled pixels hold {value:g} in all bands, which the file does not declare as missing; they "
                f"count as values. If they are no data, say so: key nodata={value:g}"
            )
    return notes


def _in_some_bands(block: np.ndarray, told: list[str]) -> list[str]:
    """Notes on bands (band, pixel) of one value only, and on usual "no data" values that stand in some bands only."""
    if len(block) < 4 or block.shape[1] < MANY:
        return []
    flat = np.flatnonzero((block == block[:, :1]).all(1))
    if len(flat) == len(block):
        return []
    notes = []
    if len(flat):
        some = ", ".join(f"{b} ({block[b, 0]:g})" for b in flat[:4].tolist()) + (" and more" if len(flat) > 4 else "")
        notes.append(
            f"bands that hold one value only in the sampled rows (counted from 0): {some}; mark them bad if they are empty (bbl = 0)"
        )
    rest = np.delete(block, flat, axis=0)
    for value in USUAL:
        many = int((rest == value).any(0).sum())
        if many >= FEW and not any(f"hold {value:g} " in note for note in told):
            notes.append(
                f"{many} sampled pixels hold {value:g} in some bands; if it means no data, say so: key nodata={value:g}"
            )
    return notes


def _extreme(dtype: np.dtype) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else np.inf


def _like_alpha(block: np.ndarray) -> list[str]:
    """A note where the last band looks like an alpha band that is not declared: only 0 and full, and 0 where all others are 0."""
    if len(block) < 4 or block.dtype.kind not in "iu":
        return []
    last, others = block[-1], block[:-1]
    empty = (others == 0).all(0)
    full = last.max()
    if (
        not empty.any()
        or empty.all()
        or full not in (1, 255, 65535)
        or ((last == 0) != empty).any()
        or (last[~empty] != full).any()
    ):
        return []
    return [
        f"the last band holds only 0 and {full}, and 0 where all others are 0: it looks like an alpha band that the file does not "
        "declare; it was kept as a band"
    ]
