"""A scene from a file: MATLAB 5 and 7.3, ENVI, GeoTIFF, NetCDF, HDF5, Zarr, NPY, and the products of EMIT, PRISMA, EnMAP, DESIS and NEON.

    scene = open_file("HYDICE_urban.mat")
    scene = open_file("flight.hdr", truth="targets.png")
    validate(scene)                       # reads the pixels; call it before heavy work

One module per format turns a file into a `Cube` (`cube.py`), which becomes the scene. Whatever a reader had to guess
(which array is the cube, which the truth, the unit of the wavelengths) is a line in `attrs["notes"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
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


def open_file(
    path: str | Path,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    chunks: Mapping[str, int] | str | None = "auto",
    ortho: bool = False,
) -> xr.Dataset:
    """The scene in a file: `hsi (band, y, x)` float32, lazy, NaN where missing, and `truth (y, x)` where known.

    path: a MATLAB, ENVI (header or data file), GeoTIFF, NetCDF, HDF5, NPY (rows, columns, bands), EMIT, PRISMA or NEON file, a
        Zarr folder, or the folder (image, METADATA.XML) of an EnMAP or DESIS product; the format is told from the content.
    truth: a mask of the same rows and columns in a file of its own (any of these formats, BMP, PNG or NPY).
    keys: names of the arrays where they cannot be guessed: "cube", "truth", "wavelength". `{"truth": "none"}` takes no
        truth. With `truth=FILE`, "truth" is a name in that file.
    chunks: "auto" gives dask blocks of all bands that follow the file's own layout, `{"y": 100}` dask blocks of that size,
        None no dask: `scene.hsi[45, ::20, ::5].values` then reads just that window. (Of a dask array it does as well.)
    ortho: put EMIT's swath on its map by the lookup table of the file. Other formats refuse it.

    Coordinates: `wavelength(band)` in nm, `fwhm(band)` in nm and `good(band)` where the file gives them; `x`, `y` count
    pixels from 0, or are map coordinates with `spatial_ref`. Pixels of MATLAB 5 files are read at once (the format has
    no windows); all others when they are asked for, and then raise InputError if the file turns out to be damaged.

    Raises InputError, saying what was found and what to do, for anything that cannot be read as a scene.
    """
    path = Path(path).expanduser()
    keys = dict(keys or {})
    for role in keys:
        if role not in ROLES:
            raise InputError(f"There is no key role {role!r}; use {', '.join(ROLES)}.{did_you_mean(role, ROLES)}")
    wanted = keys.pop("truth", None)
    own = NO_TRUTH if truth is not None else wanted  # name of the truth array within the cube's own file
    if truth is not None and wanted == NO_TRUTH:
        raise InputError(f"The truth file {truth} was given together with the key truth=none; give one of the two.")
    try:
        if truth is None and wanted is None and not keys and not ortho and (scene := _saved(path, chunks)) is not None:
            return scene
        cube = _reader(path, ortho)(path, keys, own)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error}).") from None
    if truth is not None:
        mask, note = read_truth(Path(truth).expanduser(), wanted, cube.shape[1:])
        cube = replace(cube, truth=mask, notes=(*cube.notes, note))
    return as_scene(cube, name=path.name, chunks=chunks)


def _saved(path: Path, chunks: Mapping[str, int] | str | None) -> xr.Dataset | None:
    """The scene that was saved as a Zarr folder, with everything in it; None for any other path."""
    from workbench.data.readers import zarr

    return zarr.saved(path, chunks) if zarr.sees(path) else None


def cube_file(path: str | Path) -> Path:
    """The file that holds the pixels: `path` itself, the data file of an ENVI header, or the image of a product folder."""
    from workbench.data.readers import dlr, envi

    path = Path(path).expanduser()
    if path.suffix.lower() == ".hdr":
        return envi.pair(path)[1]
    product = dlr.parts(path) if path.exists() else None
    return path if product is None else product[0]


def is_folder_scene(path: Path) -> bool:
    """Whether a folder is a scene by itself: a Zarr group, an EnMAP or a DESIS product."""
    from workbench.data.readers import dlr, zarr

    return path.is_dir() and (zarr.sees(path) or dlr.parts(path) is not None)


Read = Callable[[Path, dict[str, str], "str | None"], Cube]


def _reader(path: Path, ortho: bool) -> Read:
    """The reader of a file or folder, chosen by how it begins, by what lies beside it, and for HDF5 by what is in it."""
    from workbench.data.readers import emit

    found = _of_folder(path) or _of_hdf5(path) or _of_flat(path)
    if not ortho:
        return found
    if found is not emit.read:
        raise InputError(f"{path.name} is not an EMIT file; only these are put on a map by a lookup table. Leave ortho out.")
    return partial(emit.read, ortho=True)


def _of_folder(path: Path) -> Read | None:
    """The reader of a Zarr folder or a product folder (or a file in it); None for any other path."""
    from workbench.data.readers import dlr, zarr

    if not path.exists():
        return None
    if zarr.sees(path):
        return zarr.read
    product = dlr.parts(path)
    return None if product is None else _of_product(*product)


def _of_product(image: Path, meta: Path) -> Read:
    from workbench.data.readers import dlr

    return lambda _, keys, truth: dlr.read(image, meta, keys, truth)


def _of_hdf5(path: Path) -> Read | None:
    """The reader of the product whose arrays are in an HDF5 file, NetCDF where it is no known product; None for another file."""
    from workbench.data.readers import emit, hdf5, matlab, neon, netcdf, prisma

    head = first_bytes(path)
    if not any(head[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048)):
        return None
    if head.startswith(b"MATLAB") or path.suffix.lower() == ".mat":
        return matlab.read_v73
    with hdf5.opened(path, "NetCDF" if path.suffix.lower() == ".nc" else "an HDF5 file") as file:
        arrays = hdf5.inspect(file, path)
    return next((product.read for product in (neon, prisma, emit) if product.sees(arrays)), netcdf.read)


def _of_flat(path: Path) -> Read:
    from workbench.data.readers import envi, geotiff, matlab, netcdf, npy

    head = first_bytes(path)
    if path.suffix.lower() == ".hdr":
        return envi.read
    if head.startswith(b"MATLAB") or path.suffix.lower() == ".mat":
        return matlab.read_v73 if head.startswith(b"MATLAB 7.3") else matlab.read_v5
    if head.startswith(b"CDF"):
        return netcdf.read
    if head.startswith(_TIFF):
        return geotiff.read
    if head.startswith(npy.MAGIC):
        return npy.read
    if head.startswith(b"ENVI") or envi.header_of(path) is not None:
        return envi.read
    raise InputError(
        f"{path} is in no format that can be read: {FORMATS}. An ENVI data file needs its header ({path.name}.hdr) beside it."
    )


def validate(scene: xr.Dataset) -> None:
    """Read the pixels of `hsi` once, block by block, and raise InputError if no method could work on them.

    Refused: a band without a single value (unless its `good` is False, as headers mark unusable bands), a cube without
    a good band, infinite values, and a cube that holds one and the same value everywhere. Scattered NaN are fine.
    """
    hsi = scene["hsi"].transpose(..., "band", "y", "x")
    good = scene["good"].values.astype(bool) if "good" in scene.coords else np.ones(hsi.sizes["band"], bool)
    if not good.any():
        raise InputError("Every band of this scene is marked bad; check the bad-band list (bbl) of the file.")
    try:
        low, high, infinite = _extremes(hsi)
    except OSError as error:
        raise InputError(f"The pixels cannot be read ({error}); the file is damaged or has gone.") from None
    refuse_bands(np.flatnonzero((low > high) & good), np.flatnonzero(infinite & good))
    if low[good].min() == high[good].max():
        raise InputError(
            f"The cube is constant: every value is {low[good].min():g}. There is nothing to detect; check that "
            "the right array was taken (--key cube=NAME)."
        )


def refuse_bands(empty: np.ndarray, infinite: np.ndarray) -> None:
    """Raise InputError, naming them, where there are bands without a value or with infinite ones."""
    if len(infinite):
        raise InputError(f"Infinite values in {_bands(infinite)}; mark them as missing (data ignore value, nodata or NaN).")
    if len(empty):
        raise InputError(
            f"No valid value in {_bands(empty)}: all pixels are missing. Remove such bands, or mark them bad in the "
            "header (bbl = 0) so that they are left out."
        )


def _extremes(hsi: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest and largest finite value `(band)`, inf and -inf where there is none, and whether any is infinite."""
    import dask.array as da

    data = hsi.data if hsi.chunks is not None else da.from_array(hsi.values, chunks=_few(hsi.shape), name=False)
    n = data.ndim
    each = data.map_blocks(
        _block_extremes,
        chunks=((3,), *((1,) * k for k in data.numblocks[:-3]), data.chunks[-3], *((1,) * k for k in data.numblocks[-2:])),
        new_axis=0,
        dtype=np.float64,
        meta=np.empty((0,) * (n + 1)),
    ).compute()
    others = tuple(range(each.ndim - 1))
    axes = tuple(a for a in others if a != n - 3)
    return each[0].min(axes), each[1].max(axes), each[2].max(axes) > 0


def _few(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks of an array in memory: some rows at a time."""
    *others, rows, columns = shape
    return (*others, max(1, min(rows, 2**22 // max(1, int(np.prod(others)) * columns))), columns)


def _block_extremes(block: np.ndarray) -> np.ndarray:
    """(3, ..., band, 1, 1): smallest, largest finite value, whether there are infinite ones; 1 on all axes but the bands'."""
    axes = tuple(a for a in range(block.ndim) if a != block.ndim - 3)
    low, high = (f(block, axis=axes, keepdims=True).astype(float) for f in (np.min, np.max))
    infinite = np.zeros(low.shape)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        finite = np.isfinite(block)
        infinite = np.isinf(block).any(axis=axes, keepdims=True)
        low = np.min(block, axis=axes, keepdims=True, where=finite, initial=np.inf)
        high = np.max(block, axis=axes, keepdims=True, where=finite, initial=-np.inf)
    return np.stack([low, high, infinite]).astype(float)


def _bands(found: np.ndarray) -> str:
    """`band 3`, or `bands 3, 4, 5, 6, 7 and 2 more`; counted from 0."""
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"band{'s' if len(found) > 1 else ''} {', '.join(map(str, found[:5]))}{more} (counted from 0)"
