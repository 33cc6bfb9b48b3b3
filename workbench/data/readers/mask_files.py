"""Masks in separate files: MATLAB, ENVI, GeoTIFF, NetCDF, HDF5, NPY, PNG, BMP or JPEG, for cubes, SAR and pairs.

The format is recognised by the first bytes. Pixels that the file calls missing are NaN, so that they count as not labelled; in a
picture, pixels that are not painted (transparent) are background, unless black is painted too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.data.readers import envi_header, matlab, netcdf, npz
from workbench.data.readers.files import Look
from workbench.data.readers.raster import PICTURES, Raster, open_raster
from workbench.data.readers.truth import as_truth, grey, label_rule
from workbench.errors import InputError

_NAMED = ("HDF5", "MATLAB", "NetCDF 3", "ZIP")  # kinds that hold several arrays by name
NUMBERED = "numbered"  # names of classes that are their numbers
LARGEST_CLASS = 1000
_RASTERS = ("TIFF", "PNG", "BMP", "JPEG")


def read_truth(path: Path, key: str | None, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """(y, x) truth from a separate file, and a note that names it."""
    values, name, notes = stored(path, key, shape)
    truth, note = as_truth(values, name, shape)
    return truth, "; ".join([f"truth: {name}, {note}", *notes])


def read_classes(path: Path, shape: tuple[int, int], classes: int) -> np.ndarray:
    """(y, x) class numbers of a separate file, 1 to `classes`, and -1 (not labelled) where it holds 0.

    Raises InputError for another size, and for values other than 0 to `classes`.
    """
    values, name, _ = stored(path, None, shape)
    as_truth(values, name, shape)
    values = np.squeeze(np.asarray(values))
    if not np.isin(values, range(classes + 1)).all():
        raise InputError(f"The truth {name} should hold the numbers 0 to {classes}; it holds {np.unique(values)[:20]}.")
    labels = values.astype(np.int16)
    return np.where(labels == 0, np.int16(-1), labels)


def class_numbers(values: np.ndarray, name: str, shape: tuple[int, int]) -> np.ndarray:
    """(y, x) int16 class numbers of a map of classes, from 1; -1 where it is not labelled: 0, negative, NaN, and 255 beside classes that
    are counted without a gap.

    Raises InputError for another size, for colours, and for values that are not whole numbers.
    """
    values = np.squeeze(np.asarray(values))
    if values.ndim == 3:
        shades, coloured = grey(values.astype(np.float64))
        if coloured:
            raise InputError(
                f"The map of classes {name} has colours; give the numbers of the classes, 1, 2, ..., in one band, 0 where there is none."
            )
        values = shades
    as_truth(values, name, shape)
    numbers = np.maximum(np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0), 0).reshape(shape)
    if (numbers != np.round(numbers)).any():
        some = float(numbers[numbers != np.round(numbers)][0])
        raise InputError(
            f"The map of classes {name} holds fractions, such as {some:g}; classes are whole numbers. Round them, or threshold them first."
        )
    if label_rule([numbers]) == "255 unlabelled":
        numbers = np.where(numbers == 255, 0, numbers)
    if numbers.max(initial=0) > LARGEST_CLASS:
        raise InputError(
            f"The map of classes {name} holds numbers up to {numbers.max():g}; with more than {LARGEST_CLASS} classes it is hardly a map "
            "of classes. Number them from 1."
        )
    return np.where(numbers > 0, numbers, -1).astype(np.int16)


def read_class_map(path: Path, key: str | None, shape: tuple[int, int], names: str) -> tuple[np.ndarray, list[str], str]:
    """(y, x) class numbers of a file, the names of the numbers 0, 1, ..., and a note.

    names: those of the classes 1, 2, ..., with semicolons between them; or `numbered`. Raises InputError as `class_numbers`, and for
    fewer names than classes.
    """
    values, name, notes = stored(path, key, shape)
    numbers = class_numbers(values, name, shape)
    count = max(int(numbers.max(initial=0)), 0)
    given = [n.strip() for n in names.split(";")]
    if names.strip() == NUMBERED:
        given = _class_names(path, count) or [f"class {n}" for n in range(1, count + 1)]
    elif len(given) < count or not all(given):
        raise InputError(
            f"The key classes names {len(given)} classes, {'; '.join(given)}; {name} holds numbers up to {count}. Name them all, with "
            f"semicolons between them, or say classes={NUMBERED}."
        )
    found = int((numbers > 0).sum())
    note = (
        f"truth: {name}, a map of {len(np.unique(numbers[numbers > 0]))} classes, {found} of {numbers.size} pixels labelled"
    )
    held = np.squeeze(np.asarray(values))
    zeros = int((held == 0).sum()) if held.ndim == 2 else 0
    if zeros and (((held < 0).any() and count) or len(given) > count):
        note += f"; {zeros} pixels with 0 are not labelled: if 0 is the first class, add 1 to all numbers"
    return numbers, ["not labelled", *given], "; ".join([note, *notes])


def _class_names(path: Path, count: int) -> list[str]:
    """The names of the classes from 1 in an ENVI header of a classification; empty where there is none, or for another number."""
    with Look(path) as look:
        if not envi_header.is_header(look) and envi_header.header_of(path) is None:
            return []
        fields = look.once(envi_header.pair).fields
    named = [n.strip() for n in fields.get("class names", "").replace("\n", " ").split(",")][1:]
    return named if len(named) >= count and all(named) else []


def stored(
    path: str | Path, key: str | None = None, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, str, list[str]]:
    """([band,] y, x) values of a mask as the file stores them, NaN where it calls them missing; its name; and notes.

    shape: (rows, columns) of the scene: it helps to choose among several arrays, and a picture of another size is not decoded
    (the caller raises the error). Raises InputError for a file that is absent, damaged, or in another format.
    """
    path = Path(path).expanduser()
    with Look(path) as look:
        look.begin(1)
        kind, header = look.kind, envi_header.is_header(look)
    if key is not None and kind not in _NAMED and path.suffix.lower() != ".mat":
        raise InputError(f"The key truth={key} was given, but {path.name} holds one unnamed mask; leave the key out.")
    if kind == "MATLAB" or path.suffix.lower() == ".mat":
        return *matlab.read_mask(path, key, shape), []
    if kind in ("HDF5", "NetCDF 3"):
        return *netcdf.read_mask(path, key, shape), []
    if kind == "ZIP":
        return *npz.read_mask(path, key, shape), []
    if kind == "NPY":
        return _npy(path), path.name, []
    if kind in _RASTERS or header or envi_header.header_of(path) is not None:
        return _raster(path, shape)
    found = f"it is {kind}" if kind else "its first bytes fit none of them"
    raise InputError(
        f"The truth file {path} is in no format that can be read: MATLAB, NetCDF, HDF5, NPY, GeoTIFF, BMP, PNG, JPEG, or ENVI with its "
        f"header beside it (.mat, .nc, .npy, .tif, .bmp, .png, .hdr); {found}."
    )


def _npy(path: Path) -> np.ndarray:
    try:
        return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))  # a memory map cannot be larger than its file
    except Exception as error:  # np.load raises many exception types on a damaged file
        raise InputError(f"The truth file {path} cannot be read as NPY ({error}).") from None


def _raster(path: Path, shape: tuple[int, int] | None) -> tuple[np.ndarray, str, list[str]]:
    raster = open_raster(path)
    if shape is not None and raster.shape[1:] != shape:
        return np.broadcast_to(np.zeros((), np.int16), raster.shape[1:]), path.name, []
    told = [n.partition(": ")[2] for n in raster.notes if " pages, " in n]
    values, known = raster.raw()
    if raster.palette is not None and len(values) > 1:
        values, note = _numbers_of_palette(raster, values, known)
        told += note
    if known.all():
        return values, path.name, told
    zero = np.asarray((values == 0).all(0))
    shown = np.asarray(known.any(0))
    if raster.driver in PICTURES:
        return (
            _painted(values, zero, shown),
            path.name,
            [
                *told,
                "transparent pixels are not labelled, because black is painted too"
                if (shown & zero).any() and (shown & ~zero).any()
                else "pixels that are not painted (transparent) are background",
            ],
        )
    if _nodata_is_zero(raster):
        return values, path.name, [*told, "0 is background, although the file declares it as nodata"]
    return np.where(known, values.astype(np.float64), np.nan), path.name, told


def _numbers_of_palette(raster: Raster, values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The numbers behind the colours of a palette, as label maps use them, and a note; the colours where black is used, but is not
    number 0: then a program sorted the palette.
    """
    palette = raster.palette or ()
    zero = palette[0] if palette else ()
    black = bool(((values == 0).all(0) & known.all(0)).any())
    if black and any(zero):
        return values, []
    numbers, _ = replace(raster, palette=None).raw()
    return np.broadcast_to(numbers[:1], (1, *numbers.shape[1:])), ["the numbers of its palette were taken, not the colours"]


def _painted(values: np.ndarray, zero: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Values of a picture with transparent pixels (where `shown` is False): background, or NaN where black is painted too."""
    out = values.astype(np.float64)
    if (shown & zero).any() and (shown & ~zero).any():
        out[:, ~shown] = np.nan
        return out
    out[:, ~shown] = 0
    out[:, shown & zero] = 255
    return out


def _nodata_is_zero(raster: Raster) -> bool:
    return raster.stated.everywhere and set(raster.stated.nodata) == {0.0} and raster.missing is None
