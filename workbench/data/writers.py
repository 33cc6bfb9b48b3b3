"""A map written as it is computed: to Zarr, or to a cloud-optimised GeoTIFF, with only some rows in memory.

    for rows in write_cog(score, "score.tif", cluster.blocks):      # rows written so far
        ...

`blocks` iterates over a lazy array: it yields the slices and the values of each block, row by row, such as
`workbench.engines.cluster.blocks`. Both files are written under a temporary name and renamed when they are complete.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError
from workbench.runs.files import plain, writing
from workbench.scene import OVER

if TYPE_CHECKING:
    import xarray as xr

TILE = 512  # side of a chunk or tile in a file, in pixels
CACHE = 64  # MB of GDAL's block cache; the default is a twentieth of the machine's memory
OVERVIEW = 1024  # maximal side of an overview, in pixels

_EXISTS = "{path} exists already and is not overwritten; choose another name."
Blocks = Callable[[Any], Iterator[tuple[tuple[slice, ...], np.ndarray]]]


def strips(array: Any, blocks: Blocks) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) of a map `(y, x)`, from top to bottom: in multiples of the tile height."""
    height, width = array.shape
    if isinstance(array, np.ndarray):
        yield from ((start, array[start : start + TILE]) for start in range(0, height, TILE))
        return
    pending: list[np.ndarray] = []
    start = 0
    line = np.empty((0, width), array.dtype)
    for (y, x), block in blocks(array):
        if x.start == 0:
            line = np.empty((y.stop - y.start, width), array.dtype)
        line[:, x] = block
        if x.stop == width:
            pending.append(line)
            ready = sum(map(len, pending))
            ready -= 0 if y.stop == height else ready % TILE
            if ready:
                rows = np.concatenate(pending)
                yield start, rows[:ready]
                pending, start = [rows[ready:]], start + ready


class Overview:
    """The largest finite value of each group of pixels of a map, updated row by row; NaN where there is none."""

    def __init__(self, shape: tuple[int, int]):
        self.step = max(1, -(-max(shape) // OVERVIEW))
        self.values = np.full([-(-n // self.step) for n in shape], np.nan)

    def add(self, start: int, rows: np.ndarray) -> None:
        """Update with rows (row, x); the first is row `start` of the map."""
        across = np.fmax.reduceat(rows, np.arange(0, rows.shape[1], self.step), axis=1)
        group = (start + np.arange(len(rows))) // self.step
        firsts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
        place = slice(group[0], group[-1] + 1)
        self.values[place] = np.fmax(self.values[place], np.fmax.reduceat(across, firsts, axis=0))

    def like(self, map_: xr.DataArray) -> xr.DataArray:
        """The overview as a map, with the coordinates of each group's first pixel."""
        few = map_.isel({dim: slice(None, None, self.step) for dim in map_.dims})
        return few.copy(data=self.values).assign_attrs(step=self.step)


def write_zarr(result: xr.Dataset, folder: Path, blocks: Blocks) -> Generator[int, None, None]:
    """Write a result with lazy maps `(y, x)` as Zarr v3, yielding the number of rows written, over all maps.

    Each lazy map also gets an overview, `<name>_overview`, with its own dims.
    Raises InputError when `folder` exists.
    """
    import zarr

    partial = _partial(folder)
    lazy = [str(name) for name, v in result.data_vars.items() if v.chunks is not None]
    over = {name: Overview(result[name].shape) for name in lazy}  # type: ignore[arg-type]
    whole = result.copy()
    for name in lazy:
        whole[name + OVER] = _apart(over[name].like(result[name]))
    for variable in whole.variables.values():
        variable.attrs = plain(variable.attrs)
        variable.encoding = {}
    whole.attrs = plain(whole.attrs)
    chunks = {name: {"chunks": tuple(min(TILE, n) for n in result[name].shape)} for name in lazy}
    whole.to_zarr(partial, compute=False, consolidated=False, zarr_format=3, encoding=chunks, safe_chunks=False)
    done = 0
    for name in lazy:
        map_ = zarr.open_array(partial / name, mode="r+")
        for start, rows in strips(result[name].data, blocks):
            map_[start : start + len(rows)] = rows
            over[name].add(start, rows)
            yield done + start + len(rows)
        zarr.open_array(partial / (name + OVER), mode="r+")[:] = over[name].values
        done += result.sizes["y"]
    os.replace(partial, folder)


def _apart(map_: xr.DataArray) -> xr.DataArray:
    """The map with dims that no other variable has."""
    own = {dim: f"{dim}{OVER}" for dim in map_.dims}
    bare = map_.reset_coords(drop=True)
    return bare.drop_vars([c for c in bare.coords if c not in bare.dims]).rename(own)


def write_cog(score: xr.DataArray, path: Path, blocks: Blocks) -> Generator[int, None, None]:
    """Write a map `(y, x)` as a cloud-optimised GeoTIFF in its own dtype, yielding the number of rows written.

    With overviews (means), NaN as nodata, and the CRS and transform that rioxarray finds on the map.
    Raises InputError for a map that is not `(y, x)`, or when `path` exists.
    """
    import rasterio.shutil
    import rioxarray  # noqa: F401  (gives score.rio)

    if score.dims != ("y", "x"):
        raise InputError(f"A GeoTIFF is made of a map (y, x); {score.name or 'this'} has dims {score.dims}.")
    height, width = score.shape
    partial, flat = _partial(path), path.with_name(path.name + ".strips")
    about: dict[str, Any] = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": score.dtype.name}
    about |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "bigtiff": "if_safer"}
    if score.dtype.kind == "f":
        about["nodata"] = np.nan
    if "spatial_ref" in score.coords and score.rio.crs is not None:
        about |= {"crs": score.rio.crs, "transform": score.rio.transform()}
    try:
        with _writing(path, flat):
            _create(flat, about, str(score.attrs.get("long_name") or score.name or "score"))
            for start, rows in strips(score.data, blocks):
                _append(flat, start, rows)
                yield start + len(rows)
            predictor = "FLOATING_POINT" if score.dtype.kind == "f" else "STANDARD"
            with rasterio.Env(GDAL_CACHEMAX=CACHE):
                how = {
                    "compress": "DEFLATE",
                    "predictor": predictor,
                    "overview_resampling": "AVERAGE",
                    "bigtiff": "IF_SAFER",
                }
                rasterio.shutil.copy(flat, partial, driver="COG", **how)
            os.replace(partial, path)
    finally:
        flat.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def check_map(path: Path) -> None:
    """Raise InputError unless `path` is a new .tif, .tiff or .zarr in an existing folder."""
    if path.suffix.lower() not in (".tif", ".tiff", ".zarr"):
        raise InputError(f"A map is written as .tif (cloud-optimised GeoTIFF) or .zarr, not as {path.name}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} into; create it first.")
    if path.exists():
        raise InputError(_EXISTS.format(path=path))


def write_map(result: xr.Dataset, path: Path, blocks: Blocks) -> None:
    """Write the `score` of a result to a .tif or .zarr."""
    if "score" not in result:
        raise InputError(
            f"This method has no score map to write to {path.name}; its result has {', '.join(map(str, result.data_vars))}."
        )
    about = {k: v for k, v in result.attrs.items() if v}
    if path.suffix.lower() != ".zarr":
        steps = write_cog(result["score"], path, blocks)
    else:
        steps = _told(write_zarr(result[["score"]].assign_attrs(about), path, blocks), path)
    try:
        for _ in steps:
            pass
    except BaseException:
        with contextlib.suppress(InputError):
            _partial(path)  # removes what was written
        raise


@contextlib.contextmanager
def _writing(path: Path, flat: Path | None = None) -> Iterator[None]:
    """An error of a full disk becomes an InputError; rasterio raises it in several ways, TypeError among them.

    flat: a file of which a copy is made; GDAL removes a copy that did not fit before it raises the error.
    """
    telling = writing(path, "the map", "choose another place with --map")
    with telling:
        try:
            yield
        except Exception as error:
            need = flat.stat().st_size * 2 if flat is not None and flat.exists() else 0
            if telling.full(need) and not isinstance(error, InputError):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise


def _told(steps: Generator[int, None, None], path: Path) -> Generator[int, None, None]:
    with _writing(path):
        yield from steps


def _create(path: Path, about: Mapping[str, Any], text: str) -> None:
    with _opened(path, "w", sparse_ok=True, **about) as file:
        file.set_band_description(1, text)


def _append(path: Path, start: int, rows: np.ndarray) -> None:
    """Append rows. The file is opened again for every line of tiles, because only closing it writes GDAL's cache to disk."""
    from rasterio.windows import Window

    with _opened(path, "r+") as file:
        file.write(rows, 1, window=Window(0, start, rows.shape[1], len(rows)))


@contextlib.contextmanager
def _opened(path: Path, mode: str, **about: Any) -> Iterator[Any]:
    """The file in GDAL with a small block cache, without the warning about files that are not georeferenced: many
    scenes are not.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, mode, **about) as file:
            yield file


def _partial(path: Path) -> Path:
    """The temporary name of a file or folder while it is written; remains of an interrupted writer are removed."""
    if path.exists():
        raise InputError(_EXISTS.format(path=path))
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.unlink(missing_ok=True)
    return partial
