"""GeoTIFF and COG: pixels by windows, wavelengths and bad bands from the tags of each band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data.readers.cube import STRIP, Cube, nanometres, require_cube, widths
from workbench.data.readers.files import Look
from workbench.data.readers.tiff import opened, require_whole, shared
from workbench.errors import InputError


@dataclass(frozen=True)
class TiffPixels:
    """Pixels of a TIFF as (band, y, x), opened again for each window."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype

    ndim = 3

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        from rasterio.windows import Window

        bands, rows, columns = (range(*part.indices(n)) for part, n in zip(window, self.shape, strict=True))
        wide = columns[-1] + 1 - columns[0]
        step = rows.step
        # rows with a step are read in pieces, so that a preview of a large map does not need the whole map in memory
        piece = len(rows) if step == 1 else max(1, STRIP // (step * wide * len(bands) * self.dtype.itemsize))
        parts = []
        with opened(self.path) as file:
            for at in range(0, len(rows), piece):
                some = rows[at : at + piece]
                where = Window(columns[0], some[0], wide, some[-1] + 1 - some[0])
                parts.append(file.read([b + 1 for b in bands], window=where)[:, ::step, :: columns.step])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a GeoTIFF.

    Tags read per band: `wavelength`, `wavelength_units`, `fwhm`, `bbl` (as GDAL copies them from ENVI and the EnMAP-Box
    writes them), else GDAL's IMAGERY domain in micrometres. Scale and offset of the bands are applied, nodata is missing.
    """
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        raise InputError(f"The key {role}={name} was given, but a GeoTIFF holds one unnamed cube; leave the key out.")
    notes: list[str] = []
    path = look.path
    with shared(look) as file:
        bands, missing = file.count, file.nodata
        located = file.crs is not None and file.transform.is_rectilinear
        require_cube((bands, file.height, file.width), np.dtype(file.dtypes[0]), path.name)
        tags = [_lower(file.tags(b)) for b in file.indexes]
        imagery = [_lower(file.tags(b, ns="IMAGERY")) for b in file.indexes]
        factor, offset = np.array(file.scales, float), np.array(file.offsets, float)
        crs = file.crs.to_wkt() if located else None
        pixels = TiffPixels(path.resolve(), (bands, file.height, file.width), np.dtype(file.dtypes[0]))
        native = (bands, *file.block_shapes[0])
        right, down = file.transform.a, file.transform.e
        west, north = file.transform.c, file.transform.f
        require_whole(file, path)
        if file.crs is not None and not located:
            notes.append("the image is turned against its map, so x and y count pixels")

    wave = fwhm = None
    raw = _column(tags, "wavelength")
    if raw is not None:
        units = tags[0].get("wavelength_units", tags[0].get("wavelength_unit", ""))
        wave = nanometres(raw, units, bands, notes)
        spread = _column(tags, "fwhm")
        fwhm = None if spread is None else widths(spread, wave, raw)
    elif (raw := _column(imagery, "central_wavelength_um")) is not None:
        wave = nanometres(raw, "um", bands, notes)
        spread = _column(imagery, "fwhm_um")
        fwhm = None if spread is None else widths(spread, wave, raw)
    flags = _column(tags, "bbl")
    good = None if flags is None else np.array(flags) != 0
    if good is not None and not good.all():
        notes.append(f"{int((~good).sum())} of {bands} bands are marked bad in the file (bbl)")
    if (factor != 1).any() or offset.any():
        scale = f"{factor[0]:g}" if (factor == factor[0]).all() else "one per band"
        notes.append(f"values scaled as the file's bands say (scale {scale})")
    x = west + (np.arange(pixels.shape[2]) + 0.5) * right if located else None
    y = north + (np.arange(pixels.shape[1]) + 0.5) * down if located else None
    return Cube(pixels, missing, factor, offset, wave, fwhm, good, x, y, crs, native=native, notes=tuple(notes))


def read_mask(path: Path) -> np.ndarray:
    """(y, x) values of a one-band TIFF, NaN where it has nodata other than 0."""
    with opened(path) as file:
        if file.count != 1:
            raise InputError(f"The truth file {path} has {file.count} bands; a mask has one.")
        values = file.read(1)
        nodata = file.nodata
    if nodata is None or nodata == 0 or values.dtype.kind not in "iuf":
        return values
    return np.where(values == nodata, np.nan, values)


def _lower(tags: Mapping[str, str]) -> dict[str, str]:
    return {k.lower(): v for k, v in tags.items()}


def _column(tags: list[dict[str, str]], name: str) -> list[float] | None:
    """One number per band, or None unless every band has it."""
    try:
        return [float(t[name]) for t in tags]
    except (KeyError, ValueError):
        return None
