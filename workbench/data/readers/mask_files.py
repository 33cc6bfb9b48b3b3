"""Truth masks in separate files: MATLAB, ENVI, GeoTIFF, NetCDF, BMP, PNG or NPY."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workbench.data.readers import envi, geotiff, matlab, netcdf
from workbench.data.readers.files import first_bytes
from workbench.data.readers.truth import as_truth
from workbench.errors import InputError


def read_truth(path: Path, key: str | None, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """(y, x) truth from a separate file, and a note that names it: MATLAB, ENVI, GeoTIFF, NetCDF, BMP, PNG or NPY."""
    values, name = _read(path, key, shape)
    truth, note = as_truth(values, name, shape)
    return truth, f"truth: {name}, {note}"


def read_classes(path: Path, shape: tuple[int, int], classes: int) -> np.ndarray:
    """(y, x) int16 class numbers 1 to `classes` from a separate file, -1 (not labelled) where it holds 0.

    Raises InputError for another size, and for values other than 0 to `classes`.
    """
    values, name = _read(path, None, shape)
    as_truth(values, name, shape)
    values = np.squeeze(np.asarray(values))
    if not np.isin(values, range(classes + 1)).all():
        raise InputError(f"The truth {name} should hold the numbers 0 to {classes}; it holds {np.unique(values)[:20]}.")
    labels = values.astype(np.int16)
    return np.where(labels == 0, np.int16(-1), labels)


def _read(path: Path, key: str | None, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    head = first_bytes(path)
    suffix = path.suffix.lower()
    if key is not None and suffix not in (".mat", ".nc"):
        raise InputError(f"The key truth={key} was given, but {path.name} holds one unnamed mask; leave the key out.")
    if suffix == ".mat":
        values, name = matlab.read_mask(path, key, shape)
    elif suffix == ".nc":
        values, name = netcdf.read_mask(path, key, shape)
    elif suffix == ".npy":
        values, name = _npy(path), path.name
    elif suffix in (".tif", ".tiff"):
        values, name = geotiff.read_mask(path), path.name
    elif head.startswith((b"BM", b"\x89PNG")):
        values, name = _picture(path, shape), path.name
    else:
        if suffix != ".hdr" and envi.header_of(path) is None:
            raise InputError(
                f"The truth file {path} is in no format that can be read: .mat, .nc, .npy, .tif, .bmp, .png, or ENVI "
                "with its header beside it."
            )
        values, name = envi.read_mask(path), path.name
    return values, name


def _npy(path: Path) -> np.ndarray:
    try:
        return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))  # a memory map cannot be larger than its file
    except Exception as error:  # np.load raises many exception types on a damaged file
        raise InputError(f"The truth file {path} cannot be read as NPY ({error}).") from None


def _picture(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(y, x): 0 where the picture is black, else a number per colour; transparency is ignored."""
    from PIL import Image

    try:
        with Image.open(path, formats=("BMP", "PNG")) as picture:
            if picture.size != shape[::-1]:  # do not decode it; the caller raises the error
                return np.broadcast_to(np.zeros((), np.int64), picture.size[::-1])
            mode = "I" if picture.mode.startswith("I") else "L" if picture.mode in ("1", "L", "LA") else "RGB"
            values = np.asarray(picture.convert(mode)).astype(np.int64)
    except Exception as error:  # Pillow raises many exception types on a damaged file
        raise InputError(f"The truth file {path} cannot be read as a picture ({error}).") from None
    return values if values.ndim == 2 else values @ np.array([1 << 16, 1 << 8, 1])
