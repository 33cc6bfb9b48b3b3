"""A scene from a file: MATLAB 5 and 7.3, ENVI, GeoTIFF, NetCDF.

    scene = open_file("HYDICE_urban.mat")
    scene = open_file("flight.hdr", truth="targets.png")
    validate(scene)                       # reads the pixels; call it before heavy work

One module per format turns a file into a `Cube` (`cube.py`), which becomes the scene. Whatever a reader had to guess
(which array is the cube, which the truth, the unit of the wavelengths) is a line in `attrs["notes"]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.data.readers.cube import Cube, as_scene
from workbench.data.readers.files import FORMATS, first_bytes
from workbench.data.readers.truth import read_truth
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

ROLES = ("cube", "truth", "wavelength")
NO_TRUTH = "none"  # keys={"truth": "none"}: the file has no truth, whatever it looks like

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_file(path: str | Path, *, truth: str | Path | None = None, keys: Mapping[str, str] | None = None) -> xr.Dataset:
    """The scene in a file: `hsi (band, y, x)` float32, dask-backed, NaN where missing, and `truth (y, x)` where known.

    path: a MATLAB, ENVI (header or data file), GeoTIFF or NetCDF file; the format is told from the content.
    truth: a mask of the same rows and columns in a file of its own (any of these formats, BMP, PNG or NPY).
    keys: names of the arrays where they cannot be guessed: "cube", "truth", "wavelength". `{"truth": "none"}` takes no
        truth. With `truth=FILE`, "truth" is a name in that file.

    Coordinates: `wavelength(band)` in nm, `fwhm(band)` in nm and `good(band)` where the file gives them; `x`, `y` count
    pixels from 0, or are map coordinates with `spatial_ref`. Pixels of MATLAB 5 files are read at once (the format has
    no windows); all others when they are asked for.

    Raises InputError, saying what was found and what to do, for anything that cannot be read as a scene.
    """
    path = Path(path).expanduser()
    keys = dict(keys or {})
    for role in keys:
        if role not in ROLES:
            raise InputError(f"There is no key role {role!r}; use {', '.join(ROLES)}.{did_you_mean(role, ROLES)}")
    wanted = keys.pop("truth", None)
    own = NO_TRUTH if truth is not None else wanted  # name of the truth array within the cube's own file
    cube = _read(path, keys, own)
    if truth is not None:
        if wanted == NO_TRUTH:
            raise InputError(f"The truth file {truth} was given together with the key truth=none; give one of the two.")
        mask, note = read_truth(Path(truth).expanduser(), wanted, cube.shape[1:])
        cube = replace(cube, truth=mask, notes=(*cube.notes, note))
    return as_scene(cube, name=path.name)


def cube_file(path: str | Path) -> Path:
    """The file that holds the pixels: `path` itself, or the data file of an ENVI header."""
    from workbench.data.readers import envi

    path = Path(path).expanduser()
    return envi.pair(path)[1] if path.suffix.lower() == ".hdr" else path


def _read(path: Path, keys: dict[str, str], truth: str | None) -> Cube:
    """Choose the reader by the first bytes of the file, and let nothing but InputError out of it."""
    head = first_bytes(path)
    hdf5 = any(head[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048))
    if path.suffix.lower() == ".hdr":
        from workbench.data.readers.envi import read
    elif head.startswith(b"MATLAB") or path.suffix.lower() == ".mat":
        if hdf5 or head.startswith(b"MATLAB 7.3"):
            from workbench.data.readers.matlab import read_v73 as read
        else:
            from workbench.data.readers.matlab import read_v5 as read
    elif hdf5 or head.startswith(b"CDF"):
        from workbench.data.readers.netcdf import read
    elif head.startswith(_TIFF):
        from workbench.data.readers.geotiff import read
    elif head.startswith(b"ENVI") or _has_header(path):
        from workbench.data.readers.envi import read
    else:
        raise InputError(
            f"{path} is in no format that can be read: {FORMATS}. An ENVI data file needs its header "
            f"({path.name}.hdr) beside it."
        )
    return read(path, keys, truth)


def _has_header(path: Path) -> bool:
    from workbench.data.readers import envi

    return envi.header_of(path) is not None


def validate(scene: xr.Dataset) -> None:
    """Read the pixels of `hsi` once and raise InputError if no method could work on them.

    Refused: a band without a single value (unless its `good` is False, as headers mark unusable bands), a cube without
    a good band, infinite values, and a cube that holds one and the same value everywhere. Scattered NaN are fine.
    """
    import dask

    hsi = scene["hsi"]
    pixels = [d for d in hsi.dims if d != "band"]
    strength = abs(hsi)
    finite = strength < np.inf  # neither NaN nor infinite
    try:
        low, high, known, infinite = dask.compute(
            hsi.where(finite, np.inf).min(pixels),
            hsi.where(finite, -np.inf).max(pixels),
            finite.any(pixels),
            (strength == np.inf).any(pixels),
        )
    except OSError as error:
        raise InputError(f"The pixels cannot be read ({error}); the file is damaged or has gone.") from None
    good = scene["good"].values.astype(bool) if "good" in scene.coords else np.ones(hsi.sizes["band"], bool)
    if not good.any():
        raise InputError("Every band of this scene is marked bad; check the bad-band list (bbl) of the file.")
    if (infinite.values & good).any():
        raise InputError(
            f"Infinite values in {_bands(infinite.values & good)}; mark them as missing (data ignore value, nodata or NaN)."
        )
    empty = ~known.values & good
    if empty.any():
        raise InputError(
            f"No valid value in {_bands(empty)}: all pixels are missing. Remove such bands, or mark them bad in the "
            "header (bbl = 0) so that they are left out."
        )
    if low.values[good].min() == high.values[good].max():
        raise InputError(
            f"The cube is constant: every value is {low.values[good].min():g}. There is nothing to detect; check that "
            "the right array was taken (--key cube=NAME)."
        )


def _bands(flags: np.ndarray) -> str:
    """`band 3`, or `bands 3, 4, 5, 6, 7 and 2 more`; counted from 0."""
    found = np.flatnonzero(flags)
    more = f" and {found.size - 5} more" if found.size > 5 else ""
    return f"band{'s' if found.size > 1 else ''} {', '.join(map(str, found[:5]))}{more} (counted from 0)"
