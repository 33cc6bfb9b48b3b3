"""Pixels as xarray's own lazily indexed arrays: no dask, and only the window that is asked for is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing


class Windows(BackendArray):
    """An array that takes slices, behind xarray's indexing; indexing by lists of positions is broken down to slices."""

    def __init__(self, pixels: Any):
        self.pixels, self.shape, self.dtype = pixels, tuple(pixels.shape), np.dtype(pixels.dtype)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.pixels.__getitem__)


def indexed(pixels: Any) -> Any:
    """The data of an `xr.Variable` over anything that has shape, dtype and slicing."""
    return indexing.LazilyIndexedArray(Windows(pixels))
