"""GeoTIFF and COG: pixels by windows, wavelengths and bad bands from the tags of each band, else from an ENVI header beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import envi_header, text
from workbench.data.readers.cube import STRIP, Cube, nanometres, require_cube, widths
from workbench.data.readers.files import WORLD, Look, located
from workbench.data.readers.missing import Stated, stretches
from workbench.data.readers.tiff import opened, pages, require_whole, shared
from workbench.errors import InputError


@dataclass(frozen=True)
class TiffPixels:
    """Pixels of a TIFF as (band, y, x), opened again for each window. With alpha, a mask, or more than one nodata value they are
    float32 or float64 and NaN where missing (`stated.everywhere` is False); else as stored.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    stated: Stated

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
                parts.append(self._values(file, bands, where)[:, ::step, :: columns.step])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _values(self, file: Any, bands: Sequence[int], where: Any) -> np.ndarray:
        numbers = [self.stated.bands[b] for b in bands]
        values = file.read(numbers, window=where)
        if values.dtype == self.dtype:
            return values
        known = self.stated.known(file, values, numbers, where)
        return np.where(known, values.astype(self.dtype), np.nan)

    def lines(self, rows: Sequence[int], columns: slice) -> np.ndarray:
        """Some rows (band, row, x) of all bands; the file is opened once, and rows between them are not read."""
        from rasterio.windows import Window

        wide = columns.stop - columns.start
        with opened(self.path) as file:
            some = [self._values(file, range(self.shape[0]), Window(columns.start, r, wide, n)) for r, n in stretches(rows)]
        return np.concatenate(some, axis=1)


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The cube of a GeoTIFF.

    Tags read per band: `wavelength`, `wavelength_units`, `fwhm`, `bbl` (as GDAL copies them from ENVI and the EnMAP-Box
    writes them), else GDAL's IMAGERY domain in micrometres. Scale and offset of the bands are applied, nodata is missing.
    """
    for role, name in [*keys.items(), *([("truth", truth)] if truth not in (None, "none") else [])]:
        if role not in ("alpha",):
            raise InputError(f"The key {role}={name} was given, but a GeoTIFF holds one unnamed cube; leave the key out.")
    notes: list[str] = []
    path = look.path
    with shared(look) as file:
        stated = Stated.of(file, keys.get("alpha"))
        bands = len(stated.bands)
        placed = file.crs is not None and file.transform.is_rectilinear and not file.transform.is_identity
        stored = np.dtype(file.dtypes[0])
        require_cube((bands, file.height, file.width), stored, path.name)
        tags = [_lower(file.tags(b)) for b in stated.bands]
        imagery = [_lower(file.tags(b, ns="IMAGERY")) for b in stated.bands]
        factor, offset = (np.array([v[b - 1] for b in stated.bands], float) for v in (file.scales, file.offsets))
        crs = file.crs.to_wkt() if placed else None
        notes += stated.notes
        simple = stated.everywhere and len(set(stated.nodata)) == 1
        missing = stated.nodata[0] if simple else None
        dtype = stored if simple else np.dtype(np.float64 if stored.itemsize > 2 and stored != np.float32 else np.float32)
        pixels = TiffPixels(located(path), (bands, file.height, file.width), dtype, stated)
        native = (bands, *file.block_shapes[0])
        right, down = file.transform.a, file.transform.e
        west, north = file.transform.c, file.transform.f
        require_whole(file, path)
        notes += [*unplaced(file), *pages(file)]
        described = [str(file.descriptions[b - 1] or "") for b in stated.bands]
        whole = _lower(file.tags())

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
    elif (found := _named_wavelengths(whole, described)) is not None:
        raw, unit, where = found
        wave = nanometres(raw, unit, bands, notes)
        notes += [f"wavelengths from {where}"] if wave is not None else []
    flags = _column(tags, "bbl")
    good = None if flags is None else np.array(flags) != 0
    if good is not None and not good.all():
        notes.append(f"{int((~good).sum())} of {bands} bands are marked bad in the file (bbl)")
    if (factor != 1).any() or offset.any():
        scale = f"{factor[0]:g}" if (factor == factor[0]).all() else "one per band"
        notes.append(f"values scaled as the file's bands say (scale {scale})")
    x = west + (np.arange(pixels.shape[2]) + 0.5) * right if placed else None
    y = north + (np.arange(pixels.shape[1]) + 0.5) * down if placed else None
    cube = Cube(pixels, missing, factor, offset, wave, fwhm, good, x, y, crs, native=native)
    return replace(_with_header(cube, pixels.path, notes), notes=tuple(notes))


def _with_header(cube: Cube, path: Path, notes: list[str]) -> Cube:
    """The cube with what only an ENVI header beside the TIFF says: bands, missing value, scale, map."""
    found = envi_header.beside(path, cube.shape, notes)
    if found is None:
        return cube
    header, fields = found
    own: list[str] = []
    bands = envi_header.bands_of(fields, cube.shape[0], own)
    taken: dict[str, Any] = {}
    if cube.wavelength is None:
        taken |= {name: v for name, v in (("wavelength", bands.wavelength), ("fwhm", bands.fwhm)) if v is not None}
    if cube.good is None and bands.good is not None:
        taken["good"] = bands.good
    if (np.asarray(cube.factor) == 1).all() and not np.asarray(cube.offset).any():
        factor = envi_header.scale_of(fields, header, own)
        taken |= {"factor": factor} if factor != 1 else {}
    missing = envi_header.number(fields, "data ignore value", header)
    if cube.missing is None and missing is not None:
        taken["missing"] = missing
    x, y, crs = envi_header.map_of(fields, *cube.shape[1:], [] if cube.crs is not None else own)
    if cube.crs is None:
        taken |= {"x": x, "y": y, "crs": crs} if crs is not None else {}
    elif x is not None and y is not None and cube.x is not None and cube.y is not None:
        corners = (x[0], y[0], x[-1], y[-1]), (cube.x[0], cube.y[0], cube.x[-1], cube.y[-1])
        if not np.allclose(*corners, rtol=0, atol=0.01 * abs(cube.x[-1] - cube.x[0]) / cube.x.size):
            notes.append(f"the map of {header.name} lies elsewhere than that of the TIFF, which was taken")
    if taken:
        words = {"good": "bad bands", "factor": "scale", "missing": "ignore value", "crs": "map"}
        named = [words.get(name, name) for name in taken if name not in ("x", "y")]
        notes += [f"{', '.join(named)} taken from {header.name} beside the TIFF", *own]
    return replace(cube, **taken)


def unplaced(file: Any) -> list[str]:
    """Notes on a position that an open raster states without a coordinate system, or only by points or polynomials."""
    if file.crs is not None:
        if file.transform.is_identity:
            return ["the file names a coordinate system but no position of its pixels, so x and y count pixels"]
        if not file.transform.is_rectilinear:
            return ["the image is turned against its map, so x and y count pixels"]
        return _other_world(file)
    if not file.transform.is_identity:
        t = file.transform
        return [
            f"the file gives the position of its pixels (corner {t.c:.9g}, {t.f:.9g}, step {t.a:g}, {t.e:g}) but no coordinate "
            "system, so x and "
            "y count pixels"
        ]
    points = len(file.gcps[0])
    if points or file.rpcs is not None:
        return [
            f"the position is given only by {f'{points} ground control points' if points else 'RPC'}, which are not used"
        ]
    return []


def _other_world(file: Any) -> list[str]:
    """A note where a world file beside a TIFF with its own position names another one."""
    path = Path(file.name)
    beside = [path.with_suffix(end) for end in WORLD]
    world = next((p for p in beside if p.is_file()), None)
    if world is None:
        return []
    t = file.transform
    try:
        a, _, _, e, x, y = map(float, text.read(world).split()[:6])
    except (InputError, ValueError):
        return [f"{world.name} beside the TIFF is not a world file and was not used"]
    centre = (t.c + t.a / 2, t.f + t.e / 2)
    if abs(a - t.a) + abs(e - t.e) < 1e-6 * abs(t.a) and np.hypot(x - centre[0], y - centre[1]) < 0.01 * abs(t.a):
        return []
    return [f"{world.name} names another position ({x:.9g}, {y:.9g}) than the TIFF itself, which was taken"]


_NAMED = re.compile(
    r"(\d+(?:\.\d+)?)[ _]*(nm|nanomet(?:er|re)s?|[uµμ]m|micromet(?:er|re)s?|microns?)(?![A-Za-z])", re.IGNORECASE
)
_LISTS = ("wavelength", "wavelengths", "central_wavelengths", "center_wavelengths")


def _named_wavelengths(tags: Mapping[str, str], described: Sequence[str]) -> tuple[list[float], str, str] | None:
    """Numbers, unit and source of wavelengths that stand in one tag of the whole file, or in the names of all bands; else None."""
    for name in _LISTS:
        words = tags.get(name, "").strip(" {}[]()").replace(",", " ").replace(";", " ").split()
        try:
            numbers = [float(w) for w in words]
        except ValueError:
            continue
        if len(numbers) == len(described):
            unit = tags.get(f"{name}_units", tags.get("wavelength_units", tags.get("wavelength_unit", "")))
            return numbers, unit, f"the tag {name} of the file"
    found = [_NAMED.search(d) for d in described]
    units = {m.group(2).lower()[0] for m in found if m}
    if described and all(found) and len(units) == 1:
        return [float(m.group(1)) for m in found if m], found[0].group(2) if found[0] else "", "the names of the bands"
    return None


def _lower(tags: Mapping[str, str]) -> dict[str, str]:
    return {k.lower(): v for k, v in tags.items()}


def _column(tags: list[dict[str, str]], name: str) -> list[float] | None:
    """One number per band, or None unless every band has it."""
    try:
        return [float(t[name]) for t in tags]
    except (KeyError, ValueError):
        return None
