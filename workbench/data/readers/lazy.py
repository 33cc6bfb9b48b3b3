"""Pixels as xarray's own lazily indexed arrays: no dask, and only the indexed window is read."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from workbench.errors import InputError


def forward(part: Any, n: int) -> tuple[slice, Any]:
    """A slice with positive step that contains `part` of an axis of length n, and the index into its result."""
    if not isinstance(part, slice):
        at = range(n)[operator.index(part)]  # raises IndexError outside, as NumPy does
        return slice(at, at + 1, 1), 0
    span = range(*part.indices(n))
    if span.step > 0:
        return slice(span.start, span.stop, span.step), slice(None)
    span = span[::-1]
    return slice(span.start, span.stop, span.step), slice(None, None, -1)


class Windows(BackendArray):
    """An array indexed by slices, for xarray's indexing; lists of positions are converted to slices."""

    def __init__(self, pixels: Any):
        self.pixels, self.shape, self.dtype = pixels, tuple(pixels.shape), np.dtype(pixels.dtype)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> np.ndarray:
        """The values: slices and integers directly, a list of bands band by band, other lists from the window around them."""
        if isinstance(key[0], np.ndarray) and self.ndim == 3:
            some = [self._outer((slice(int(b), int(b) + 1), *key[1:])) for b in key[0]]
            return (
                np.concatenate(some) if some else np.empty((0, *self._outer((slice(0, 0), *key[1:])).shape[1:]), self.dtype)
            )
        window: list[slice] = []
        after: list[Any] = []
        for part, n in zip(key, self.shape, strict=True):
            if isinstance(part, np.ndarray):
                first = int(part.min()) if part.size else 0
                window.append(slice(first, int(part.max()) + 1 if part.size else first, 1))
                after.append(part - first)
            else:
                around, then = forward(part, n)
                window.append(around)
                after.append(then)
        values = self.pixels[tuple(window)]
        for axis, part in reversed(list(enumerate(after))):  # from the last axis, because an integer removes its axis
            values = values[(slice(None),) * axis + (part,)]
        return values


class Guarded:
    """A sliceable object whose errors, from any library, become InputErrors that name the file."""

    def __init__(self, pixels: Any, name: str):
        self.pixels, self.name, self.shape, self.dtype = pixels, name, tuple(pixels.shape), np.dtype(pixels.dtype)

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        try:
            return self.pixels[window]
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"The values of {self.name} cannot be read ({error}); the file is damaged or was removed. Get it again."
            ) from None


def indexed(pixels: Any) -> Any:
    """The data of an `xr.Variable` over an object with shape, dtype and slicing."""
    return indexing.LazilyIndexedArray(Windows(pixels))
