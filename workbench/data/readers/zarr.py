"""Zarr, version 3 and 2: scenes that `workbench convert` wrote, or any group with one 3-D array.

The metadata are read and checked as text first: sizes, blocks and codecs. A codec that is not on the list of safe ones
(version 2 has one that unpickles) is refused before the store is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.readers.cube import Cube, pixels_of
from workbench.data.readers.files import Look
from workbench.data.readers.lazy import Guarded, indexed
from workbench.data.readers.netcdf import VariablePixels, decoded, from_dataset
from workbench.errors import InputError
from workbench.runs.loader import json_of, read_bytes
from workbench.scene import VOCABULARY

if TYPE_CHECKING:
    import xarray as xr

_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
_CODECS = {
    *("bytes", "endian", "transpose", "blosc", "gzip", "zlib", "zstd", "lz4", "lzma", "bz2", "crc32c", "crc32", "adler32"),
    *("fletcher32", "shuffle", "bitround", "delta", "fixedscaleoffset", "quantize", "packbits", "astype"),
    *("sharding_indexed", "vlen-utf8", "vlen-bytes"),
}
_ARRAYS = 2000
_DOCUMENT = 64 * 2**20  # bytes of one metadata document
_BLOCK = 2**30  # bytes of one chunk
_LINE = 10_000_000  # values of a 1-D array: it is a coordinate, which is read as a whole


def sees(look: Look) -> bool:
    """Whether it is a Zarr folder."""
    return look.is_dir and any((look.path / name).is_file() for name in _DOCUMENTS)


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a Zarr group: `hsi`, or its only 3-D array."""
    path = look.path
    _check(path)
    file, filled = _open(path)
    cube = from_dataset(path, file, keys, truth)
    notes = [
        f"stored values of {v:g} of {n!r} are missing: it is the fill value with which the array was made"
        for n, v in filled.items()
    ]
    return replace(cube, notes=(*cube.notes, *notes))


def saved(path: Path, chunks: Mapping[str, int] | str | None) -> xr.Dataset | None:
    """The scene in a group that was written from one, by `workbench convert` or `to_zarr`, with all its variables; None for
    a group with any variable that a scene does not have.

    chunks: as in `open_file`.
    """
    _check(path)
    file, _ = _open(path)
    known = [n for n, v in file.data_vars.items() if str(n) in VOCABULARY and _fits(str(n), v)]
    if not known or len(known) < len(file.data_vars):
        file.close()
        return None
    if "spatial_ref" in file.coords:
        import rioxarray  # noqa: F401  (gives scene.rio)
    for name in map(str, file.variables):
        variable = file[name].variable
        if " since " in str(variable.attrs.get("units", "")) and variable.ndim < 2:
            file[name] = _times(path, name, variable)
            continue
        if variable.ndim == 3 and "sample" not in variable.dims and variable.dtype == np.float32:
            cube = Cube(VariablePixels(variable), native=variable.encoding.get("chunks"))
            lazy = pixels_of(cube, path.name, chunks, tuple(map(str, variable.dims)))
            file[name] = lazy.dims, lazy.data, variable.attrs, lazy.encoding
        elif variable.ndim > 1:
            guarded = indexed(Guarded(VariablePixels(variable), f"{path.name} ({name})"))
            file[name] = variable.dims, guarded, variable.attrs, variable.encoding
    return file


def _fits(name: str, variable: xr.DataArray) -> bool:
    """Whether a variable has the type that its name has in a scene: numbers, or for `box_sample` identifiers."""
    dims = VOCABULARY[name]
    return variable.dims in (dims, ("sample", *dims)) and variable.dtype.kind in ("OTU" if name == "box_sample" else "iufbc")


def _times(path: Path, name: str, variable: Any) -> Any:
    """A 1-D variable of numbers "since" a date, as times."""
    import xarray as xr

    try:
        return xr.conventions.decode_cf_variable(name, variable).load()
    except Exception as error:
        raise InputError(f"{path}: the times {name!r} cannot be read ({error}).") from None


def _open(path: Path) -> tuple[Any, dict[str, float]]:
    """The group as a Dataset, and the fill values that are taken as missing in images: as in HDF5 not 0, which in version 2 is what
    arrays are made with if nothing is said.
    """
    import xarray as xr

    from workbench.data.readers.zarr_store import CheckedStore

    filled: dict[str, float] = {}
    try:
        store: Any = CheckedStore(path, read_only=True)  # xarray takes stores, but its types do not say so
        stored = xr.open_dataset(store, engine="zarr", consolidated=False, chunks=None, cache=False, decode_cf=False)
        for name, variable in stored.variables.items():
            if variable.dtype.kind not in "iuf" or variable.ndim < 3 or "_FillValue" in _attributes(path / str(name)):
                continue
            value = variable.attrs.pop("_FillValue", variable.encoding.get("fill_value"))  # xarray states it for version 2
            if value is not None and value != 0 and np.isfinite(value) and variable.dtype.itemsize > 1:
                variable.attrs["_FillValue"] = value
                filled[str(name)] = float(value)
        file = decoded(stored)
        for variable in file.variables.values():
            if variable.ndim < 2:
                variable.load()
    except Exception as error:  # damaged stores raise many exception types
        raise InputError(
            f"{path} cannot be read as Zarr ({type(error).__name__}: {error}); it is incomplete, damaged, or not a group of named "
            "arrays."
        ) from None
    return file, filled


def _attributes(folder: Path) -> dict[str, Any]:
    """The attributes of an array, as its own documents state them."""
    if (folder / ".zattrs").is_file():
        return _document(folder / ".zattrs")
    attributes = _document(folder / "zarr.json").get("attributes") if (folder / "zarr.json").is_file() else None
    return attributes if isinstance(attributes, dict) else {}


def _check(path: Path) -> None:
    """Raise InputError for metadata that should not be opened."""
    if path.name.endswith(".partial"):
        raise InputError(f"{path} is an unfinished conversion; run the same `workbench convert` again to continue it.")
    folders = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    if len(folders) > _ARRAYS:
        raise InputError(f"{path} holds {len(folders)} arrays; a scene has some dozens.")
    for folder in folders:
        for name in ("zarr.json", ".zarray", ".zattrs"):
            if (folder / name).is_file():
                _check_document(folder / name, _document(folder / name))


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _DOCUMENT:
            raise ValueError(f"it is larger than {_DOCUMENT // 2**20} MB")
        document = json_of(read_bytes(path), path.name)
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not metadata of Zarr ({error}); the store is damaged.") from None
    return document


def _check_document(path: Path, metadata: dict[str, Any]) -> None:
    if "shape" not in metadata:
        return
    grid = metadata.get("chunk_grid")
    inner = grid.get("configuration") if isinstance(grid, dict) else None
    shape, chunks = (
        _sizes(metadata["shape"]),
        _sizes(metadata.get("chunks", inner.get("chunk_shape") if isinstance(inner, dict) else None)),
    )
    if shape is None or chunks is None or len(shape) != len(chunks) or 0 in chunks:
        raise InputError(
            f"{path}: shape {str(metadata['shape'])[:60]} and its blocks are not valid sizes of an array; the store is damaged."
        )
    if math.prod(chunks) * 8 > 2 * _BLOCK:
        raise InputError(f"{path}: blocks of {chunks} are too large to be read; write the array in smaller ones.")
    if len(shape) < 2 and math.prod(shape) > _LINE:
        raise InputError(f"{path}: a 1-D array of {shape[0]} values is too long for a coordinate of a scene.")
    codecs = [*_names(metadata.get("codecs")), *_names(metadata.get("filters")), *_names(metadata.get("compressor"))]
    for codec in codecs:
        if codec.removeprefix("numcodecs.") not in _CODECS:
            raise InputError(f"{path}: the codec {codec!r} is not opened; safe ones are {', '.join(sorted(_CODECS))}.")
    if "object" in json.dumps(metadata.get("dtype", metadata.get("data_type", ""))) or "|O" in str(
        metadata.get("dtype", "")
    ):
        raise InputError(f"{path}: arrays of Python objects are not opened.")


def _sizes(value: Any) -> list[int] | None:
    """A list of sizes; None for anything else."""
    return value if isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value) else None


def _names(metadata: Any) -> list[str]:
    """Names of codecs anywhere in a piece of metadata."""
    if isinstance(metadata, list):
        return [n for one in metadata for n in _names(one)]
    if isinstance(metadata, dict):
        own = [str(metadata[k]) for k in ("name", "id") if isinstance(metadata.get(k), str)]
        inner = metadata.get("configuration")
        return own + [
            n for v in (inner.values() if isinstance(inner, dict) else ()) if isinstance(v, list) for n in _names(v)
        ]
    return []
