"""NumPy files (.npy): one cube of rows, columns and bands; its pixels stay in the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from workbench.data.readers.cube import Cube, require_cube
from workbench.data.readers.files import Look
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

    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size (band, y, x)."""
        rows, columns, bands = self.stored
        return bands, rows, columns

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        values = np.memmap(
            self.path, self.dtype, "r", self.offset, self.stored, self.order
        )  # np.memmap raises for a file that is too short
        return np.array(values.transpose(2, 0, 1)[window])


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of an NPY file, whose axes are rows, columns and bands."""
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        raise InputError(f"The key {role}={name} was given, but an NPY file holds one unnamed array; leave the key out.")
    path = look.path
    try:
        stored, order, dtype, offset = _header(look.file)
    except Exception as error:  # NumPy raises many exception types on a damaged header
        raise InputError(f"{path} cannot be read as NPY ({error}); it is truncated or damaged. Get it again.") from None
    if len(stored) != 3:
        raise InputError(f"{path.name} holds an array of {len(stored)} axes; a cube has three (rows, columns, bands).")
    pixels = NpyPixels(path.resolve(), stored, dtype, order, offset)
    require_cube(pixels.shape, dtype, path.name)
    actual, promised = path.stat().st_size, offset + math.prod(stored) * dtype.itemsize
    if actual < promised:
        raise InputError(f"{path} holds {actual} bytes, but promises {promised}; it is truncated or damaged. Get it again.")
    return Cube(pixels, notes=(f"axes taken as rows, columns, bands: {' x '.join(map(str, stored))}",))


def _header(file: BinaryIO) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype, int]:
    """Size, order, dtype and offset of the values; Python objects are refused."""
    from numpy.lib import format as npy

    file.seek(0)
    versions = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in versions:
        raise ValueError(f"version {version} of the format is not known")
    shape, fortran, dtype = versions[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return tuple(map(int, shape)), "F" if fortran else "C", dtype, file.tell()
