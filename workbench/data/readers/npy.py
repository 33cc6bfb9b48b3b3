"""NumPy files (.npy): one cube of rows, columns and bands; its pixels stay in the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal

import numpy as np

from workbench.data.readers.cube import Cube, axes_of, require_cube
from workbench.data.readers.files import Look
from workbench.data.readers.matlab import squeezed
from workbench.errors import InputError

MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class NpyPixels:
    """Pixels of an NPY file (rows, columns, bands) as (band, y, x), mapped again for each window."""

    path: Path
    stored: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"]
    offset: int
    axes: tuple[int, int, int] = (2, 0, 1)

    ndim = 3
    flat = True  # any row can be read by itself

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size (band, y, x)."""
        band, y, x = self.axes
        return self.stored[band], self.stored[y], self.stored[x]

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        values = np.memmap(
            self.path, self.dtype, "r", self.offset, self.stored, self.order
        )  # np.memmap raises for a file that is too short
        return np.array(values.transpose(self.axes)[window])


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of an NPY file, whose axes are rows, columns and bands."""
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        if role == "axes":
            continue
        raise InputError(f"The key {role}={name} was given, but an NPY file holds one unnamed array; leave the key out.")
    path = look.path
    try:
        look.file.seek(0)
        stored, order, dtype, offset = header(look.file)
    except Exception as error:  # NumPy raises many exception types on a damaged header
        raise InputError(f"{path} cannot be read as NPY ({error}); it is truncated or damaged. Get it again.") from None
    if len(stored) > 3:
        stored = squeezed(stored)
    if len(stored) != 3:
        raise InputError(f"{path.name} holds an array of {len(stored)} axes; a cube has three (rows, columns, bands).")
    axes = axes_of(keys.get("axes", "y,x,band"))
    pixels = NpyPixels(path.resolve(), stored, dtype, order, offset, axes)
    require_cube(pixels.shape, dtype, path.name)
    actual, promised = path.stat().st_size, offset + math.prod(stored) * dtype.itemsize
    if actual < promised:
        raise InputError(f"{path} holds {actual} bytes, but promises {promised}; it is truncated or damaged. Get it again.")
    note = f"axes taken as rows, columns, bands: {' x '.join(map(str, stored))}; if the bands come first, say axes=band,y,x"
    return Cube(pixels, notes=() if "axes" in keys else (note,))


def header(file: BinaryIO | IO[bytes]) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype, int]:
    """Size, order, dtype and offset of the values of an open file, at its beginning; Python objects are refused."""
    from numpy.lib import format as npy

    versions = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in versions:
        raise ValueError(f"version {version} of the format is not known")
    shape, fortran, dtype = versions[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return tuple(map(int, shape)), "F" if fortran else "C", dtype, file.tell()
