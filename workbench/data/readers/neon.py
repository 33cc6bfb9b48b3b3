"""NEON airborne reflectance (DP3.30006, DP1.30006): one HDF5 file per tile, the cube as rows, columns, bands.

Layout: NEON, "Imaging Spectrometer Data Products" (HDF5 format of the airborne observation platform): `SITE/Reflectance/
Reflectance_Data` with `Scale_Factor` and `Data_Ignore_Value`, spectra in `Metadata/Spectral_Data`, map in
`Metadata/Coordinate_System`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workbench.data.readers import hdf5
from workbench.data.readers.cube import Cube, nanometres, require_cube
from workbench.data.readers.files import Look
from workbench.data.readers.hdf5 import Array, Hdf5Pixels, no_keys, number, shared, text, values
from workbench.errors import InputError

_DATA = "/Reflectance/Reflectance_Data"


def sees(arrays: Mapping[str, Array]) -> bool:
    """Whether these arrays are those of a NEON reflectance file."""
    return any(n.endswith(_DATA) and n.count("/") == 2 for n in arrays)


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The reflectance cube of a NEON file: 0 to about 1, map coordinates, water-vapour windows marked as not good."""
    path = look.path
    no_keys(keys, truth, "a NEON file")
    notes: list[str] = []
    with shared(look, "a NEON file") as file:
        arrays = hdf5.arrays(look)
        name = next(n for n in arrays if n.endswith(_DATA) and n.count("/") == 2)
        require_cube(arrays[name].shape, arrays[name].dtype, path.name)
        pixels = Hdf5Pixels(path.resolve(), name, arrays[name], (2, 0, 1))
        data = file[name]
        scale = number(data.attrs, "Scale_Factor", path, 1.0)
        if scale <= 0:
            raise InputError(f"{path.name}: Scale_Factor = {scale:g} must be above 0.")
        missing = number(data.attrs, "Data_Ignore_Value", path, -9999.0)
        about = f"{name.removesuffix('_Data').rsplit('/', 1)[0]}/Metadata/"
        spectral, system = about + "Spectral_Data/", about + "Coordinate_System/"
        wave = fwhm = good = None
        bands = pixels.shape[0]
        if spectral + "Wavelength" in arrays:
            wave = nanometres(np.ravel(values(file[spectral + "Wavelength"])).astype(float), "nm", bands, notes)
        else:
            notes.append(f"wavelengths not known: {spectral}Wavelength is not in the file")
        if wave is not None and arrays.get(spectral + "FWHM") is not None and np.size(file[spectral + "FWHM"]) == bands:
            fwhm = np.ravel(values(file[spectral + "FWHM"])).astype(float)
        if wave is not None:
            good = _outside_windows(wave, file[name.rsplit("/", 1)[0]].attrs, notes)
        info = text(file[system + "Map_Info"][()]) if system + "Map_Info" in arrays else ""
        code = text(file[system + "EPSG Code"][()]) if system + "EPSG Code" in arrays else ""
        x, y, crs = _map(info, code, pixels.shape[1], pixels.shape[2], notes)
    if scale != 1:
        notes.append(f"values divided by the file's Scale_Factor {scale:g}")
    return Cube(pixels, missing, 1 / scale, 0.0, wave, fwhm, good, x, y, crs, native=pixels.native, notes=tuple(notes))


def _outside_windows(wave: np.ndarray, attrs: Mapping[str, object], notes: list[str]) -> np.ndarray | None:
    """(band) False within the wavelength windows that the file marks as water vapour; None where it names none."""
    good = np.ones(wave.size, bool)
    for name in ("Band_Window_1_Nanometers", "Band_Window_2_Nanometers"):
        edges = np.ravel(np.asarray(attrs.get(name, ())))
        if edges.size == 2 and edges.dtype.kind in "iuf":
            good &= ~((wave >= edges[0]) & (wave <= edges[1]))
    if good.all():
        return None
    notes.append(f"{int((~good).sum())} of {wave.size} bands lie in the water-vapour windows that the file names")
    return good


def _map(
    info: str, code: str, rows: int, columns: int, notes: list[str]
) -> tuple[np.ndarray | None, np.ndarray | None, str | None]:
    """x, y and CRS from `Map_Info` (as in an ENVI header) and the EPSG code; three None where they are not usable."""
    parts = [p.strip() for p in info.split(",")]
    if not code.strip().isdecimal() or len(code) > 20 or len(parts) < 7:
        notes.append("the file names no map, so x and y count pixels")
        return None, None, None
    try:
        column, row, east, north, dx, dy = map(float, parts[1:7])
    except ValueError:
        column = row = east = north = dx = dy = np.nan
    if not (np.isfinite([column, row, east, north]).all() and 0 < dx < np.inf and 0 < dy < np.inf):
        notes.append("Map_Info ignored: not all of its numbers can be read, so x and y count pixels")
        return None, None, None
    # the reference pixel (1, 1) is the upper left corner of the first pixel
    return (
        east + (np.arange(columns) + 1.5 - column) * dx,
        north - (np.arange(rows) + 1.5 - row) * dy,
        f"EPSG:{int(code)}",
    )
