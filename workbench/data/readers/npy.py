"""NumPy files (.npy): one cube of rows, columns and bands; its pixels stay in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data.readers.cube import Cube, require_cube
from workbench.errors import InputError

MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class NpyPixels:
    """Pixels of an NPY file (rows, columns, bands) as (band, y, x), mapped anew for each window."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype

    ndim = 3

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        return np.array(mapped(self.path).transpose(2, 0, 1)[window])


def read(path: Path, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of an NPY file, whose axes are rows, columns and bands."""
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        raise InputError(f"The key {role}={name} was given, but an NPY file holds one unnamed array; leave the key out.")
    values = mapped(path)
    if values.ndim != 3:
        raise InputError(f"{path.name} holds an array of {values.ndim} axes; a cube has three (rows, columns, bands).")
    rows, columns, bands = values.shape
    require_cube((bands, rows, columns), values.dtype, path.name)
    pixels = NpyPixels(path.resolve(), (bands, rows, columns), values.dtype)
    return Cube(pixels, notes=(f"axes taken as rows, columns, bands: {rows} x {columns} x {bands}",))


def mapped(path: Path) -> np.ndarray:
    """The array of an NPY file, mapped and not read; InputError for a damaged one, or one that holds Python objects."""
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")  # a map is never larger than its file
    except Exception as error:  # np.load raises many kinds on a damaged file
        raise InputError(f"{path} cannot be read as NPY ({error}); it is truncated or damaged. Get it again.") from None
