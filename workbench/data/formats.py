"""Formats: one ordered table that recognises a path and names the function that opens it.

    scene = open_path("flight.hdr", Request(truth="targets.png"))     # any format
    scene = open_file("flight.hdr", truth="targets.png")            # hyperspectral cubes only

The first row of `FORMATS` whose `sees` recognises a path opens it. All rows share one `Look` at the path: its file is
opened once, and the reader reuses the header, the handle and the list of arrays that the rows have read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import boxes, chips, coresets, fusion_sets, pairs
from workbench.data.comparable import on_grid
from workbench.data.pair_sets import sets_in
from workbench.data.readers import (
    dlr,
    emit,
    envi,
    envi_header,
    geotiff,
    hdf5,
    matlab,
    neon,
    netcdf,
    npy,
    npz,
    prisma,
    sar,
    sentinel1,
    tiff,
    zarr,
)
from workbench.data.readers.cube import Cube, as_scene
from workbench.data.readers.files import FORMATS as CUBES
from workbench.data.readers.files import Look
from workbench.data.readers.mask_files import read_class_map, read_truth
from workbench.data.readers.missing import nodata_of
from workbench.data.readers.raster import grid_of
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

ROLES = ("cube", "truth", "wavelength", "axes", "nodata", "alpha", "classes")
NO_TRUTH = "none"  # keys={"truth": "none"}: use no array of the file as truth


@dataclass(frozen=True)
class Request:
    """How to open a path; the fields are the arguments of `workbench.data.catalog.open_scene`.

    by_name: the function that opens the scene that a coreset file names.
    """

    truth: str | Path | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    chunks: Mapping[str, int] | str | None = "auto"
    ortho: bool = False
    by_name: coresets.Opener | None = None


Read = Callable[[Look, dict[str, str], "str | None"], Cube]


@dataclass(frozen=True)
class Format:
    """A row of the table: name, `sees` (whether it recognises a path, given the keys), and `open`.

    read: the reader of a hyperspectral cube; such rows need no `open`. hashed: whether the scene gets the SHA-256 of its
    file; else the reader sets one. only_here: whether xarray has no other engine for a path that `sees` recognises.
    """

    name: str
    sees: Callable[[Look, Mapping[str, str]], bool]
    open: Callable[[Look, Request], xr.Dataset] | None = None
    read: Read | None = None
    hashed: bool = True
    only_here: Callable[[Look], bool] = lambda look: False


# --- recognising ------------------------------------------------------------------------------------------------------


def _matlab(look: Look) -> bool:
    return look.is_file and ((look.suffix == ".mat" and look.kind in ("", "HDF5")) or look.begins(b"MATLAB"))


def _product(sees: Callable[[Mapping[str, hdf5.Array]], bool]) -> Callable[[Look, Any], bool]:
    """A `sees` for HDF5 files with the arrays of a product."""
    return lambda look, _: hdf5.is_hdf5(look) and sees(hdf5.arrays(look, _kind(look)))


def _kind(look: Look) -> str:
    return "NetCDF" if look.suffix == ".nc" else "an HDF5 file"


def _called_zip(look: Look) -> bool:
    return look.is_file and look.suffix == ".zip"  # a damaged one gets its own error


def _envi_data(look: Look) -> bool:
    return look.is_file and envi_header.header_of(look.path) is not None


def _envi(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of an ENVI header or data file; a header may also describe a TIFF."""
    data = look.once(envi_header.pair).data
    with Look(data) as behind:
        if behind.kind == "TIFF":
            return geotiff.read(behind, keys, truth)
    return envi.read(look, keys, truth)


# --- opening ----------------------------------------------------------------------------------------------------------


def _safe(look: Look, request: Request) -> xr.Dataset:
    return sentinel1.open_keys(look.path, request.keys, request.chunks, request.truth)


def _sar(look: Look, request: Request) -> xr.Dataset:
    return sar.read(look, truth=request.truth, keys=request.keys, chunks=request.chunks)


def _boxes(look: Look, request: Request) -> xr.Dataset:
    return boxes.open_folder(look.path, truth=request.truth, keys=request.keys, chunks=request.chunks)


def _own_labels(look: Look, request: Request) -> None:
    if request.truth is not None or request.keys:
        raise InputError(f"{look.path.name} holds samples with their own labels; leave truth and key out.")


def _pairs(look: Look, request: Request) -> xr.Dataset:
    _own_labels(look, request)
    return pairs.open_pairs(look.path)


def _coreset(look: Look, request: Request) -> xr.Dataset:
    _own_labels(look, request)
    if request.by_name is None:
        raise InputError(f"{look.path} names another scene; open it with workbench.open_scene.")
    return coresets.open_coreset(look.path, request.by_name)


def _fusion_set(look: Look, request: Request) -> xr.Dataset:
    _own_labels(look, request)
    return fusion_sets.open_fusion_set(look.path, request.chunks)


def _chips(look: Look, request: Request) -> xr.Dataset:
    _own_labels(look, request)
    return chips.open_chips(look.path)


# --- the table --------------------------------------------------------------------------------------------------------

FORMATS = (
    Format(
        "Sentinel-1 SAFE", lambda look, _: sentinel1.is_safe(look.path), _safe, hashed=False, only_here=lambda look: True
    ),
    Format("Zarr", lambda look, _: zarr.sees(look), read=zarr.read),
    Format(
        "EnMAP or DESIS product",
        lambda look, _: look.once(dlr.parts) is not None,
        read=dlr.read,
        only_here=lambda look: True,
    ),
    Format("chips with boxes", lambda look, _: boxes.sees(look.path), _boxes, hashed=False),
    Format("set of pairs", lambda look, _: bool(sets_in(look.path)), _pairs, hashed=False),
    Format("set of several sensors", lambda look, _: bool(fusion_sets.parts_of(look.path)), _fusion_set, hashed=False),
    Format("coreset", lambda look, _: look.is_file and look.suffix in (".yml", ".yaml"), _coreset, hashed=False),
    Format("NPZ", lambda look, _: npz.sees(look), read=npz.read),
    Format("chips by class", lambda look, _: look.is_dir or look.kind == "ZIP" or _called_zip(look), _chips, hashed=False),
    Format("SAR GeoTIFF", sar.sees, _sar),
    Format("MATLAB 7.3", lambda look, _: _matlab(look) and hdf5.is_hdf5(look), read=matlab.read_v73),
    Format("NEON", _product(neon.sees), read=neon.read),
    Format("PRISMA", _product(prisma.sees), read=prisma.read),
    Format("EMIT", _product(emit.sees), read=emit.read),
    Format("NetCDF 4 or HDF5", lambda look, _: hdf5.is_hdf5(look), read=netcdf.read),
    Format(
        "ENVI header",
        lambda look, _: envi_header.is_header(look),
        read=_envi,
        only_here=lambda look: envi_header.says_envi(look.head),
    ),
    Format(
        "MATLAB 5",
        lambda look, _: _matlab(look),
        read=matlab.read_v5,
        only_here=lambda look: look.begins(b"MATLAB 5"),
    ),
    Format("NetCDF 3", lambda look, _: look.begins(netcdf.CLASSIC), read=netcdf.read),
    Format("GeoTIFF", lambda look, _: tiff.is_tiff(look), read=geotiff.read),
    Format("NPY", lambda look, _: look.begins(npy.MAGIC), read=npy.read),
    Format(
        "ENVI data",
        lambda look, _: _envi_data(look),
        read=_envi,
        only_here=lambda look: look.suffix in envi_header.SUFFIXES,
    ),
)
_READERS = tuple(row for row in FORMATS if row.read is not None)


def recognise(look: Look, keys: Mapping[str, str] | None = None, rows: tuple[Format, ...] = FORMATS) -> Format:
    """The first row that recognises the path; InputError where there is no file, or no row recognises it."""
    match = next((row for row in rows if row.sees(look, keys or {})), None)
    if match is None:
        look.begin(1)  # raises InputError for a path that is absent, empty, a folder or not readable
        found = f"It is {look.kind}" if look.kind else f"It begins with {look.head[:12]!r}"
        raise InputError(
            f"{look.path} is in no format that can be read: {CUBES}. {found}, and no header {look.path.name}.hdr or "
            f"{look.path.stem}.hdr is "
            "beside it, which an ENVI data file needs."
        )
    return match


def open_path(look: Look, request: Request) -> tuple[Format, xr.Dataset]:
    """The row that recognises a path, and the opened scene. Raises InputError for everything that cannot be opened."""
    try:
        row = recognise(look, request.keys)
        return row, row.open(look, request) if row.open is not None else _cube(look, row, request)
    except OSError as error:
        raise InputError(f"{look.path} cannot be opened ({error}).") from None


def open_file(
    path: str | Path,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    chunks: Mapping[str, int] | str | None = "auto",
    ortho: bool = False,
) -> xr.Dataset:
    """The hyperspectral scene in a file: `hsi (band, y, x)` float32, lazy, NaN where missing, and `truth (y, x)` where known.

    path: a MATLAB, ENVI (header or data file), GeoTIFF, NetCDF, HDF5, NPY (rows, columns, bands), EMIT, PRISMA or NEON file, a
        Zarr folder, or the folder (image, METADATA.XML) of an EnMAP or DESIS product; the format is recognised from its content.
    truth: a mask of the same rows and columns in a separate file (any of these formats, BMP, PNG or NPY).
    keys: names of the arrays where they cannot be guessed: "cube", "truth", "wavelength". `{"truth": "none"}` reads no
        truth. With `truth=FILE`, "truth" is a name in that file. "nodata" is the stored value that means "no data", "axes" the order of the
        axes of an array (`y,x,band`), "alpha" the number of the alpha band of a TIFF or "none". "classes" says that the truth
        is a map of classes, and names them: `grass;road;water` for 1, 2, 3, or `numbered`; without it, all above 0 is one class.
    chunks: "auto" gives dask blocks of all bands that follow the file's own layout, `{"y": 100}` dask blocks of that size,
        None no dask. In each case `scene.hsi[45, ::20, ::5].values` reads only that window.
    ortho: map EMIT's swath with the lookup table of the file. InputError for other formats.

    Coordinates: `wavelength(band)` in nm, `fwhm(band)` in nm and `good(band)` where the file gives them; `x`, `y` count
    pixels from 0, or are map coordinates with `spatial_ref`. Pixels of MATLAB 5 files are read at once (the format has
    no windows); all others when their values are computed, which raises InputError if the file is damaged. Every guess
    (which array is the cube, which the truth, the unit of the wavelengths) is a line in `attrs["notes"]`.

    Raises InputError that says what is wrong and what to do, for anything that cannot be read as a scene.
    """
    request = Request(truth, keys or {}, chunks, ortho)
    with Look(path) as look:
        _check_roles(request)
        try:
            return _cube(look, recognise(look, request.keys, _READERS), request)
        except OSError as error:
            raise InputError(f"{look.path} cannot be opened ({error}).") from None


def _check_roles(request: Request) -> None:
    for role in request.keys:
        if role not in ROLES:
            raise InputError(f"There is no key role {role!r}; use {', '.join(ROLES)}.{did_you_mean(role, ROLES)}")
    if request.truth is not None and request.keys.get("truth") == NO_TRUTH:
        raise InputError(f"The truth file {request.truth} was given together with the key truth=none; give one of the two.")


def _cube(look: Look, row: Format, request: Request) -> xr.Dataset:
    """The scene of a hyperspectral cube, with the truth of a separate file."""
    _check_roles(request)
    keys = dict(request.keys)
    truth_name = keys.pop("truth", None)
    nodata = nodata_of(keys.pop("nodata", None))
    classes = keys.pop("classes", None)
    mask_file = request.truth
    if classes is not None and mask_file is None:
        if truth_name in (None, NO_TRUTH):
            raise InputError(
                f"The key classes={classes} says that the truth is a map of classes; give its file with --truth (in Python truth=), or the "
                "name of the array in the scene's file with the key truth=NAME."
            )
        mask_file = look.path
    cube_truth = NO_TRUTH if mask_file is not None else truth_name  # name of the truth array in the cube's file
    if row.read is zarr.read and request == Request(chunks=request.chunks, by_name=request.by_name):
        scene = zarr.saved(look.path, request.chunks)
        if scene is not None:
            return scene
    read = row.read
    assert read is not None
    if request.ortho:
        if read is not emit.read:
            raise InputError(f"{look.path.name} is not an EMIT file; ortho works only with these. Leave ortho out.")
        read = partial(emit.read, ortho=True)
    cube = read(look, keys, cube_truth)
    if nodata is not None:
        cube = replace(
            cube, missing=nodata, notes=(*cube.notes, f"stored values of {nodata:g} are missing, as the key nodata says")
        )
    names: list[str] = []
    if mask_file is not None:
        place = Path(mask_file).expanduser()
        if classes is None:
            mask, note = read_truth(place, truth_name, cube.shape[1:])
        else:
            mask, names, note = read_class_map(place, truth_name, cube.shape[1:], classes)
        if place != look.path and cube.crs is not None and cube.x is not None and cube.y is not None:
            on_grid(place, grid_of(cube.x, cube.y, cube.crs), look.path.name)
        cube = replace(cube, truth=mask, notes=(*cube.notes, note))
    scene = as_scene(cube, name=look.path.name, chunks=request.chunks)
    if names:
        scene["truth"].attrs["names"] = names
        del scene.attrs["anomalous_pixels"]
    return scene


def cube_file(path: str | Path) -> Path:
    """The file that holds the pixels: `path` itself, the data file of an ENVI header, or the image of a product folder."""
    with Look(path) as look:
        return pixels(look)


def pixels(look: Look) -> Path:
    """`cube_file` of an existing `Look`."""
    if envi_header.is_header(look):
        return look.once(envi_header.pair).data
    product = look.once(dlr.parts)
    return look.path if product is None else product[0]


def only_here(look: Look) -> bool:
    """Whether xarray has no other engine for this path, so that it may choose this one by itself."""
    if look.begins(*tiff.MAGIC, netcdf.CLASSIC) or hdf5.is_hdf5(look):
        return False
    row = next((row for row in FORMATS if row.sees(look, {})), None)
    return row is not None and row.only_here(look)
