"""Display of a cube that is far larger than memory: reads only the pixels that are drawn (strided).

    glimpse = Glimpse(scene["hsi"])          # reads an overview: slow, so call it in a worker thread
    glimpse.bands((40, 20, 8), glimpse.part(x=(100, 300), y=(0, 150)))

A small part is read at full resolution: zooming in adds detail.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from workbench.views.image import presets

SHOWN = 640  # pixels a side that are read for a picture at most; the figure has about 430
FEW = 32  # minimum pixels a side of the sample for the mean spectrum, where the image has as many
FINEST = 2**22  # pixels of a part of a score map that are read at most; larger parts show the overview
KEPT = 48  # cached bands of parts, each at most SHOWN x SHOWN float32 each: 79 MB


class Part(NamedTuple):
    """Rows and columns of an image, every `step`-th of them."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    step: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Slices of rows and columns, with the step."""
        return slice(*self.rows, self.step), slice(*self.columns, self.step)

    @property
    def pixels(self) -> int:
        """Number of pixels of the scene that it covers."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    @property
    def place(self) -> dict[str, float]:
        """Position and size for Bokeh, in pixels of the scene."""
        high, wide = (-(-(b - a) // self.step) * self.step for a, b in (self.rows, self.columns))
        return {"x": self.columns[0] - 0.5, "y": self.rows[0] - 0.5, "dw": wide, "dh": high}


def part_of(shape: tuple[int, int], rows: tuple[float, float], columns: tuple[float, float], most: int = SHOWN) -> Part:
    """The part to read to show these rows and columns of an image (start and end in any order, also beyond its edges).

    Starts at multiples of the step, a power of two, so that a small pan reuses cached pixels.
    """
    spans = []
    for (a, b), length in zip((rows, columns), shape, strict=True):
        low, high = sorted((a, b))
        start = min(max(0, int(np.floor(low + 0.5))), length - 1)
        spans.append((start, max(start + 1, min(length, int(np.ceil(high + 0.5))))))
    step = 1
    while max(b - a for a, b in spans) > most * step:
        step *= 2
    fitted = [(a // step * step, min(length, -(-b // step) * step)) for (a, b), length in zip(spans, shape, strict=True)]
    return Part(fitted[0], fitted[1], step)


def rasterised(map_: xr.DataArray, part: Part) -> np.ndarray:
    """(row, column): the highest value of the `step` x `step` pixels of a map `(y, x)` under each pixel of a part's picture.

    Reads all pixels of the part; NaN where none of them is finite.
    """
    import datashader

    values = map_[slice(*part.rows), slice(*part.columns)].values
    values = np.pad(values, [(0, -n % part.step) for n in values.shape], constant_values=np.nan)  # pad at the end
    rows, columns = values.shape
    window = xr.DataArray(values, {"y": np.arange(rows), "x": np.arange(columns)}, ("y", "x"))
    canvas = datashader.Canvas(columns // part.step, rows // part.step, (-0.5, columns - 0.5), (-0.5, rows - 0.5))
    return canvas.raster(window, agg="max").values


class Glimpse:
    """Bands of a cube `(band, y, x)` at display resolution, and the mean of a sample of its spectra.

    `whole`: the overview. `mean`, `spread (band)`: over a regular grid of pixels; NaN for a band without finite values.
    """

    def __init__(self, hsi: xr.DataArray):
        self.hsi = hsi
        self._cache: OrderedDict[tuple[int, Part], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        rows, columns = hsi.shape[1:]
        self.whole = self.part((0, rows), (0, columns))
        self.bands(next(iter(presets(hsi).values())), self.whole)
        down, along = (2 ** max(0, (n // FEW).bit_length() - 1) for n in (rows, columns))
        self.mean, self.spread = mean_and_spread(hsi[:, ::down, ::along].values)

    def part(self, rows: tuple[float, float], columns: tuple[float, float]) -> Part:
        """The part to read to show these rows and columns; see `part_of`."""
        return part_of(self.hsi.shape[1:], rows, columns)  # type: ignore[arg-type]

    def has(self, bands: Sequence[int], part: Part) -> bool:
        """Whether these bands of the part and of the overview (for the stretch) are cached."""
        with self._lock:
            return all((b, p) in self._cache for b in bands for p in (part, self.whole))

    def bands(self, bands: Sequence[int], part: Part) -> np.ndarray:
        """(band, row, column) float32; reads what is not cached."""
        return np.stack([self._band(b, part) for b in bands])

    def _band(self, band: int, part: Part) -> np.ndarray:
        with self._lock:
            if (band, part) in self._cache:
                self._cache.move_to_end((band, part))
                return self._cache[band, part]
        values = np.asarray(self.hsi[(band, *part.window)].values, np.float32)
        with self._lock:
            self._cache[band, part] = values
            while len(self._cache) > KEPT:
                self._cache.popitem(last=False)
        return values


def mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the pixels of a cube (band, y, x); NaN where a band is empty."""
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    finite = np.isfinite(values)
    n = finite.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0).sum(1) / n
        spread = np.sqrt(np.where(finite, (values - mean[:, None]) ** 2, 0).sum(1) / n)
    return mean, spread
