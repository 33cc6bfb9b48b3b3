"""EMIT level 1B and 2A (NetCDF 4): a cube of the swath, and the lookup table for the map grid.

Layout: NASA LP DAAC, "EMIT L2A Surface Reflectance User Guide": the cube (downtrack, crosstrack, bands) in the root, group
`sensor_band_parameters` with `wavelengths`, `fwhm`, `good_wavelengths`, group `location` with `lat`, `lon`, `elev` of each
swath pixel and `glt_x`, `glt_y` (ortho_y, ortho_x), which count swath pixels from 1, 0 where there is no data; the map of
that grid in the attributes `geotransform` and `spatial_ref`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import hdf5
from workbench.data.readers.cube import Cube, nanometres, require_cube, size
from workbench.data.readers.files import Look
from workbench.data.readers.hdf5 import Array, Hdf5Pixels, Hdf5Plane, number, shared, text, values
from workbench.errors import InputError

_CUBES = ("reflectance", "radiance", "reflectance_uncertainty")
_BANDS, _PLACE = "sensor_band_parameters/", "location/"
_TILE = 128  # side of the ortho tiles that are read at once: a rotated swath needs a window about 1.5 times as wide


def sees(arrays: Mapping[str, Array]) -> bool:
    """Whether these arrays are those of an EMIT file."""
    return _BANDS + "wavelengths" in arrays and any(n in arrays and len(arrays[n].shape) == 3 for n in _CUBES)


@dataclass(frozen=True)
class OrthoPixels:
    """The swath on its map, nearest pixel by the lookup table; NaN where there is no data. Computed tile by tile."""

    swath: Hdf5Pixels
    glt_x: Hdf5Plane
    glt_y: Hdf5Plane

    ndim = 3
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return (self.swath.shape[0], *self.glt_x.shape)

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        _, rows, columns = self.swath.shape
        along, across = (table[window[1], window[2]] for table in (self.glt_y, self.glt_x))
        seen = (along > 0) & (across > 0)
        if (along[seen] > rows).any() or (across[seen] > columns).any():
            raise OSError(f"its lookup table points outside the {rows} x {columns} pixels of the swath")
        out = np.full((len(range(*window[0].indices(self.shape[0]))), *seen.shape), np.nan, np.float32)
        for y in range(0, seen.shape[0], _TILE):
            for x in range(0, seen.shape[1], _TILE):
                tile = np.s_[y : y + _TILE, x : x + _TILE]
                here = seen[tile]
                if not here.any():
                    continue
                j, i = along[tile][here] - 1, across[tile][here] - 1
                block = self.swath[window[0], slice(j.min(), j.max() + 1), slice(i.min(), i.max() + 1)]
                out[:, *tile][:, here] = block[:, j - j.min(), i - i.min()]
        return out


def read(look: Look, keys: Mapping[str, str], truth: str | None, ortho: bool = False) -> Cube:
    """The cube of an EMIT file; in swath geometry, with `latitude` and `longitude (y, x)`, or with `ortho` on its map."""
    path = look.path
    if truth not in (None, "none") or set(keys) - {"cube"}:
        raise InputError(f"{path.name} is an EMIT product without truth; only the key cube= can be given.")
    notes: list[str] = []
    with shared(look, "an EMIT file") as file:
        arrays = hdf5.arrays(look)
        cubes = [n for n in _CUBES if n in arrays and len(arrays[n].shape) == 3]
        name = keys.get("cube", cubes[0])
        if name not in cubes:
            raise InputError(f"{path.name} has no cube {name!r}; it has {', '.join(cubes)}.")
        require_cube(arrays[name].shape, arrays[name].dtype, path.name)
        swath = Hdf5Pixels(path.resolve(), name, arrays[name], (2, 0, 1))
        bands, rows, columns = swath.shape
        missing = number(file[name].attrs, "_FillValue", path, -9999.0)
        wave = nanometres(_row(file, arrays, _BANDS + "wavelengths"), "nm", bands, notes)
        fwhm, flags = _row(file, arrays, _BANDS + "fwhm"), _row(file, arrays, _BANDS + "good_wavelengths")
        good = flags != 0 if flags.size == bands else None
        title = text(file.attrs["title"]) if "title" in file.attrs else path.name
        coords: dict[str, Any] = {}
        x = y = crs = None
        pixels: Hdf5Pixels | OrthoPixels = swath
        if ortho:
            tables = [_plane(path, arrays, _PLACE + n, None) for n in ("glt_x", "glt_y")]
            if tables[0].shape != tables[1].shape or any(t.dtype.kind not in "iu" for t in tables):
                raise InputError(f"{path.name}: glt_x and glt_y are not a lookup table; open it without ortho.")
            pixels = OrthoPixels(swath, *tables)
            x, y, crs = _grid(file, path, pixels.shape[1], pixels.shape[2])
            notes.append(f"put on its map by the lookup table of the file, nearest pixel ({rows} x {columns} swath pixels)")
        else:
            for short, word, unit in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
                if _PLACE + short in arrays:
                    plane = _plane(path, arrays, _PLACE + short, (rows, columns))
                    coords[word] = (("y", "x"), plane.lazy(), {"units": unit, "standard_name": word})
            notes.append("in the geometry of the swath; open it with ortho=True (--ortho) to put it on its map")
    if good is not None and not good.all():
        notes.append(f"{int((~good).sum())} of {bands} bands are marked bad in the file (good_wavelengths)")
    return Cube(
        pixels,
        missing,
        wavelength=wave,
        fwhm=fwhm if wave is not None and fwhm.size == bands else None,
        good=good,
        x=x,
        y=y,
        crs=crs,
        native=swath.native if not ortho else (bands, _TILE, _TILE),
        coords=coords,
        notes=tuple(notes),
        attrs={"title": title},
    )


def _row(file: Any, arrays: Mapping[str, Array], name: str) -> np.ndarray:
    """The numbers of a 1-D array, empty where it is absent."""
    if name not in arrays or arrays[name].dtype.kind not in "iufb" or len(arrays[name].shape) != 1:
        return np.empty(0)
    return values(file[name]).astype(float)


def _plane(path: Path, arrays: Mapping[str, Array], name: str, shape: tuple[int, int] | None) -> Hdf5Plane:
    array = arrays.get(name)
    if array is None or len(array.shape) != 2 or array.dtype.kind not in "iuf" or shape not in (None, array.shape):
        state = "nothing" if array is None else size(array.shape)
        raise InputError(
            f"{path.name}: {name} should be an array of {size(shape) if shape else 'rows and columns'}; found {state}."
        )
    return Hdf5Plane(path.resolve(), name, array)


def _grid(file: Any, path: Path, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, str]:
    values = np.ravel(np.asarray(file.attrs.get("geotransform", ())))
    if (
        values.size != 6
        or values.dtype.kind not in "iuf"
        or not np.isfinite(values).all()
        or values[1] <= 0
        or values[5] >= 0
    ):
        raise InputError(f"{path.name} has no usable geotransform, so it cannot be put on a map; open it without ortho.")
    if values[2] or values[4]:
        raise InputError(f"{path.name}: the map of its lookup table is rotated; open it without ortho.")
    west, right, _, north, _, down = map(float, values)
    wkt = text(file.attrs["spatial_ref"]) if "spatial_ref" in file.attrs else ""
    return west + (np.arange(columns) + 0.5) * right, north + (np.arange(rows) + 0.5) * down, wkt or "EPSG:4326"
