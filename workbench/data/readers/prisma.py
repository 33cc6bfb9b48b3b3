"""PRISMA level 2D (HDF-EOS 5): VNIR and SWIR cubes on one UTM grid, joined in the order of their wavelengths.

Layout: ASI, "PRISMA Products Specification Document": `HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube` and `SWIR_Cube`
(northing, band, easting) uint16; in the attributes of the file `List_Cw_Vnir` and so on (0 for an absent band) and
`L2ScaleVnirMin`, `L2ScaleVnirMax` (reflectance = min + DN (max - min) / 65535), corners as centres of the outermost pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import hdf5
from workbench.data.readers.cube import Cube, require_cube, size
from workbench.data.readers.files import Look
from workbench.data.readers.hdf5 import Array, Hdf5Pixels, Hdf5Plane, no_keys, number, shared
from workbench.errors import InputError

_SWATH = "HDFEOS/SWATHS/PRS_L2D_HCO/"
_FIELDS = _SWATH + "Data Fields/"
_SUN = _SWATH + "Geometric Fields/Solar_Zenith_Angle"
_WORDS = ("Vnir", "Swir")


def sees(arrays: Mapping[str, Array]) -> bool:
    """Whether these arrays are those of a PRISMA L2D file."""
    return any(f"{_FIELDS}{w.upper()}_Cube" in arrays for w in _WORDS)


@dataclass(frozen=True)
class JoinedPixels:
    """Bands of several cubes as one (band, y, x) float32 cube of DN; NaN where there is no data.

    place: (band) pairs (cube, band in it). outside: a solar angle that is 0 where the grid is outside the swath.
    """

    cubes: tuple[Hdf5Pixels, ...]
    place: tuple[tuple[int, int], ...]
    outside: Hdf5Plane | None

    ndim = 3
    dtype = np.dtype(np.float32)
    sampled = False  # the specification of the product says what is missing

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (band, y, x)."""
        return (len(self.place), *self.cubes[0].shape[1:])

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        wanted = self.place[window[0]]
        sizes = [len(range(*part.indices(n))) for part, n in zip(window, self.shape, strict=True)]
        out = np.empty(sizes, np.float32)
        for which, cube in enumerate(self.cubes):
            mine = [(at, band) for at, (cube_of, band) in enumerate(wanted) if cube_of == which]
            if mine:
                first, last = min(b for _, b in mine), max(b for _, b in mine)
                block = cube[slice(first, last + 1), window[1], window[2]]
                for at, band in mine:
                    out[at] = block[band - first]
        if self.outside is not None:
            out[:, self.outside[window[1], window[2]] == 0] = np.nan
        return out


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The reflectance cube of a PRISMA L2D file, bands ascending, on its UTM grid."""
    path = look.path
    no_keys(keys, truth, "a PRISMA file")
    notes: list[str] = []
    with shared(look, "a PRISMA file") as file:
        arrays, attrs = hdf5.arrays(look), dict(file.attrs)
        cubes: list[Hdf5Pixels] = []
        bands: list[tuple[float, float, int, int, float, float]] = []  # wavelength, fwhm, cube, band in it, factor, offset
        for word in _WORDS:
            name = f"{_FIELDS}{word.upper()}_Cube"
            if name not in arrays:
                notes.append(f"the file has no {word.upper()} cube")
                continue
            require_cube(arrays[name].shape, arrays[name].dtype, f"{path.name} ({word.upper()}_Cube)")
            cube = Hdf5Pixels(path.resolve(), name, arrays[name], (1, 0, 2))
            low, high = (number(attrs, f"L2Scale{word}{end}", path) for end in ("Min", "Max"))
            wave, fwhm = (_list(attrs, f"List_{kind}_{word}", cube.shape[0], path) for kind in ("Cw", "Fwhm"))
            flags = _list(attrs, f"List_Cw_{word}_Flags", cube.shape[0], path, default=1.0)
            present = [b for b in range(cube.shape[0]) if wave[b] > 0 and flags[b] != 0]
            bands += [(wave[b], fwhm[b], len(cubes), b, (high - low) / 65535, low) for b in present]
            if len(present) < cube.shape[0]:
                notes.append(f"{cube.shape[0] - len(present)} bands of the {word.upper()} cube are empty and left out")
            cubes.append(cube)
        if len({c.shape[1:] for c in cubes}) > 1:
            raise InputError(f"{path.name}: its cubes differ in size ({', '.join(size(c.shape[1:]) for c in cubes)}).")
        if len(bands) < 2:
            raise InputError(f"{path.name} has no two bands with a wavelength (List_Cw_Vnir, List_Cw_Swir).")
        bands.sort()
        sun = arrays.get(_SUN)
        outside = Hdf5Plane(path.resolve(), _SUN, sun) if sun is not None and sun.shape == cubes[0].shape[1:] else None
        x, y, crs = _grid(attrs, path, *cubes[0].shape[1:])
    ends = [[b[0] for b in bands if b[2] == which] for which in range(len(cubes))]
    if len(ends) == 2 and min(ends[1], default=np.inf) < max(ends[0], default=0):
        notes.append(f"VNIR and SWIR bands overlap from {min(ends[1]):.0f} to {max(ends[0]):.0f} nm; both are kept")
    if outside is None:
        notes.append("DN 0 is taken as missing, because the file has no angles that tell where the swath ends")
    wave, fwhm, _, _, factor, offset = (np.array(column, float) for column in zip(*bands, strict=True))
    pixels = JoinedPixels(tuple(cubes), tuple((b[2], b[3]) for b in bands), outside)
    native = cubes[0].native
    return Cube(
        pixels,
        0.0 if outside is None else None,
        factor,
        offset,
        wave,
        fwhm if (fwhm > 0).all() else None,
        None,
        x,
        y,
        crs,
        native=None if native is None else (len(bands), *native[1:]),
        notes=tuple(notes),
    )


def _list(attrs: Mapping[str, Any], name: str, bands: int, path: Path, default: float | None = None) -> np.ndarray:
    if name not in attrs and default is not None:
        return np.full(bands, default)
    values = np.ravel(np.asarray(attrs.get(name, ())))
    if values.size != bands or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(
            f"{path.name}: {name} should hold {bands} numbers, one for each band; found {values.size} of {values.dtype}."
        )
    return values.astype(float)


def _grid(attrs: Mapping[str, Any], path: Path, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, str]:
    west, east = (number(attrs, f"Product_{c}corner_easting", path) for c in ("UL", "LR"))
    north, south = (number(attrs, f"Product_{c}corner_northing", path) for c in ("UL", "LR"))
    code = int(number(attrs, "Epsg_Code", path))
    if not (west < east and south < north):
        raise InputError(f"{path.name}: its corners ({west:g}, {north:g}) and ({east:g}, {south:g}) enclose no map.")
    return np.linspace(west, east, columns), np.linspace(north, south, rows), f"EPSG:{code}"
