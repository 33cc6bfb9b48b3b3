"""Raster: an image file with any number of bands, read by GDAL (GeoTIFF, ENVI, PNG, BMP, JPEG) in windows when it is computed.

`workbench.data.formats.open_file` reads hyperspectral cubes; this reads the images and SAR pictures of pairs. The format is
recognised from the first bytes, and only the GDAL driver of that format may open the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.data.readers import envi, envi_header
from workbench.data.readers.cube import nanometres
from workbench.data.readers.files import Look, located
from workbench.data.readers.geotiff import unplaced
from workbench.data.readers.missing import NOTHING, Stated, equals, nodata_of, undeclared
from workbench.data.readers.tiff import pages, quiet, told
from workbench.errors import InputError

FORMATS = "GeoTIFF (.tif, .tiff), ENVI (header .hdr or its data file), PNG, BMP, JPEG"
CHUNK = 512  # pixels along each side of a dask chunk
PICTURES = ("PNG", "BMP", "JPEG")  # formats without windows: they are decoded as a whole

_DRIVERS = {"TIFF": "GTiff", "PNG": "PNG", "BMP": "BMP", "JPEG": "JPEG"}  # kind of file -> GDAL's driver
_TIMES = ("acquisitiondatetime", "acquisition_time", "acquisition time", "acquisition_date", "sensing_time", "time", "date")


class Grid(NamedTuple):
    """Position of the pixels: CRS as WKT ("" where the file gives a transform only), the six numbers of the affine transform, rows
    and columns."""

    crs: str
    transform: tuple[float, ...]
    height: int
    width: int
    turns: int = 0  # how often 360 degrees were added to the longitudes of the file

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates (y, x) of the pixel centres."""
        dx, _, left, _, dy, top = self.transform
        return top + (np.arange(self.height) + 0.5) * dy, left + (np.arange(self.width) + 0.5) * dx

    def bounds(self) -> tuple[float, float, float, float]:
        """left, bottom, right, top."""
        dx, _, left, _, dy, top = self.transform
        right, end = left + dx * self.width, top + dy * self.height
        return min(left, right), min(top, end), max(left, right), max(top, end)


@dataclass(frozen=True)
class Raster:
    """An image that is not read yet, as float32 (band, y, x) with NaN for missing; slices are read when they are computed.

    Whole numbers of 8 bits are divided by 255, those of 16-bit pictures by 65535; all others keep their value, after the
    scale and offset that the file states.
    """

    path: Path
    driver: str
    bands: tuple[int, ...]
    height: int
    width: int
    stored: np.dtype
    stated: Stated = NOTHING
    palette: tuple[tuple[int, ...], ...] | None = None
    factor: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    grid: Grid | None = None
    onto: Grid | None = None
    time: str | None = None
    wavelength: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=())
    virtual: str | None = None  # XML of GDAL's virtual dataset that reads the file
    divide: float | None = None  # the number by which values are divided, instead of `full`
    block: tuple[int, int] = (1, 1)  # rows and columns of a block of the file
    source: Grid | None = None  # the grid of the file, for an image that is resampled
    missing: float | None = None  # a further "no data" value, as the user says
    unit: str = ""  # of the values of the first band
    described: tuple[str, ...] = ()  # names of the bands

    ndim, dtype = 3, np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size (band, y, x)."""
        count = max(map(len, self.palette)) if self.palette else len(self.bands)
        return count, self.height, self.width

    @property
    def full(self) -> float | None:
        """Full scale of the stored numbers, 255 or 65535; None where the values are not divided by it."""
        if self.stored == np.uint8:
            return 255.0
        return 65535.0 if self.stored == np.uint16 and self.driver in PICTURES else None

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        band, y, x = key
        rows, columns = range(self.height)[y], range(self.width)[x]
        values, known = self._read(rows, columns)
        out = values.astype(np.float32)
        if self.full is not None and self.divide is None:
            out /= self.full
        else:
            for i, (factor, offset) in enumerate(zip(self.factor, self.offset, strict=True)):
                if (factor, offset) != (1.0, 0.0):
                    out[i] = out[i] * factor + offset
            if self.divide not in (None, 1.0):
                out /= self.divide
        out[~known] = np.nan
        return out[band, :: rows.step, :: columns.step]

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        """All pixels as the file stores them (band, y, x), and which of them are known; for masks."""
        return self._read(range(self.height), range(self.width))

    def _read(self, rows: range, columns: range) -> tuple[np.ndarray, np.ndarray]:
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT
        from rasterio.windows import Window

        top, left = min(rows, default=0), min(columns, default=0)
        if not rows or not columns:
            return np.zeros((self.shape[0], len(rows), len(columns)), self.stored), np.zeros(
                (self.shape[0], len(rows), len(columns)), bool
            )
        window = Window(left, top, max(columns) - left + 1, max(rows) - top + 1)
        bands = list(self.bands)
        with _opened(self.path, self.driver, self.virtual) as file:
            if self.onto is None:
                values = file.read(bands, window=window)
                known = self.stated.known(file, values, bands, window)
            else:
                alpha = self.stated.alpha
                options: dict[str, Any] = (
                    {"src_alpha": alpha} if alpha else {"add_alpha": True} if file.nodata is None else {}
                )
                if self.missing is not None:
                    options |= {"src_nodata": self.missing, "nodata": self.missing, "add_alpha": False}
                crs, transform, height, width, _ = self.onto
                import affine

                if self.source is not None and self.source.turns:
                    options["src_transform"] = affine.Affine(*self.source.transform)

                with WarpedVRT(
                    file,
                    crs=crs or None,
                    transform=affine.Affine(*transform),
                    height=height,
                    width=width,
                    resampling=Resampling.bilinear,
                    **options,
                ) as warped:
                    values, known = warped.read(bands, window=window), warped.read_masks(bands, window=window) >= 128
                    if alpha:
                        known &= warped.read(alpha, window=window) > 0
                    if values.dtype.kind == "f":
                        known &= ~np.isnan(values)
        if self.missing is not None and self.onto is None:
            gone = equals(values, self.missing)
            known = known if gone is None else known & ~gone
        if self.stored == np.uint8:  # zero in one colour is a colour; zero in all of them is nodata
            known = np.broadcast_to(known.any(0), known.shape)
        if self.palette is not None:
            clear = np.asarray([len(c) == 0 for c in self.palette])
            known = known & ~clear[values]
            table = np.asarray([c or (0,) * self.shape[0] for c in self.palette], np.uint8)
            values = table[values[0]].transpose(2, 0, 1)
            known = np.broadcast_to(known, values.shape)
        return values, known

    def lazy(self) -> Any:
        """The image as a dask array, in square chunks of all bands."""
        import dask.array as da

        side = max(self.height, self.width) if self.driver in PICTURES else CHUNK
        chunks = (self.shape[0], min(side, self.height), min(side, self.width))
        return da.from_array(
            self, chunks=chunks, asarray=True, fancy=False, name=False, meta=np.empty((0, 0, 0), np.float32)
        )


def open_raster(path: str | Path, keys: Mapping[str, str] | None = None) -> Raster:
    """The image in a file: its bands, its grid, its acquisition time; no pixels are read.

    Alpha and masks of the file, and its nodata value, become missing pixels. Palettes become grey or colours.
    keys: `alpha` ("none", or the number of a band) and `nodata` (a number) as the user says.
    Raises InputError for a file that is absent, damaged, complex, or in another format.
    """
    given = Path(path).expanduser()
    driver, place, virtual = _format(given)
    notes: list[str] = []
    with _opened(place, driver, virtual) as file:
        from rasterio.enums import ColorInterp

        colours = list(file.colorinterp)
        stated = Stated.of(file, (keys or {}).get("alpha"))
        bands = stated.bands
        stored = np.dtype(file.dtypes[bands[0] - 1])
        if stored.kind not in "iuf" or len({file.dtypes[b - 1] for b in bands}) > 1:
            raise InputError(
                f"{given} holds {', '.join(dict.fromkeys(file.dtypes))}; an image must hold one kind of real numbers."
            )
        palette = None
        if len(bands) == 1 and colours[bands[0] - 1] == ColorInterp.palette:
            palette = _palette(file.colormap(bands[0]))
        factor = tuple(float(file.scales[b - 1]) for b in bands)
        offset = tuple(float(file.offsets[b - 1]) for b in bands)
        if set(factor) != {1.0} or set(offset) != {0.0}:
            notes.append(f"values scaled as the file's bands say (scale {factor[0]:g}, offset {offset[0]:g})")
        if stated.alpha is not None and len(bands) > 1:
            notes += [f"{place.name}: {n}" for n in stated.notes]
        notes += [n for n in file.tags(ns="workbench").get("notes", "").split("\n") if n]
        grid = None
        if file.transform.is_rectilinear and not file.transform.is_identity:
            crs = "" if file.crs is None else file.crs.to_wkt()
            grid = Grid(crs, tuple(file.transform)[:6], file.height, file.width)
        notes += [f"{place.name}: {n}" for n in (*unplaced(file), *(pages(file) if driver == "GTiff" else ()))]
        header = None if driver != "GTiff" else envi_header.beside(place, (len(bands), file.height, file.width), notes)
        time = _time(file, place, notes)
        tags = [{k.lower(): v for k, v in file.tags(b).items()} for b in bands]
        try:
            raw = [float(t["wavelength"]) for t in tags]
        except (KeyError, ValueError):
            raw = []
        wave = nanometres(raw, tags[0].get("wavelength_units", ""), len(bands), notes) if raw else None
        if wave is None and header is not None:
            wave = envi_header.bands_of(header[1], len(bands), notes).wavelength
        missing = nodata_of((keys or {}).get("nodata"))
        if missing is None and header is not None and set(stated.nodata) == {None}:
            missing = envi_header.number(header[1], "data ignore value", header[0])
        return Raster(
            place, driver, bands, file.height, file.width, stored, stated, palette, factor, offset, grid,
            time=time, wavelength=None if wave is None else tuple(wave), notes=tuple(notes), virtual=virtual, missing=missing,
            block=(int(file.block_shapes[0][0]), int(file.block_shapes[0][1])), unit=str(file.units[bands[0] - 1] or ""),
            described=tuple(str(file.descriptions[b - 1] or "") for b in bands),
        )  # fmt: skip


def undeclared_in(raster: Raster) -> list[str]:
    """Notes on values that fill whole pixels without being declared missing (`missing.undeclared`); none for pictures."""
    if raster.driver in PICTURES or raster.onto is not None or raster.palette is not None:
        return []
    return undeclared(_Stored(raster), raster.shape, (raster.shape[0], *raster.block), raster.missing)


class _Stored:
    """The stored values of an image as float64, NaN where missing."""

    dtype = np.dtype(np.float64)

    def __init__(self, raster: Raster) -> None:
        self.raster = raster

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        _, y, x = key
        values, known = self.raster._read(range(self.raster.height)[y], range(self.raster.width)[x])
        return np.where(known, values.astype(np.float64), np.nan)


def grid_of(x: np.ndarray, y: np.ndarray, crs: str) -> Grid:
    """The grid of these pixel centres."""
    dx, dy = (float(v[1] - v[0]) if len(v) > 1 else 1.0 for v in (x, y))
    return Grid(crs, (dx, 0.0, float(x[0]) - dx / 2, 0.0, dy, float(y[0]) - dy / 2), len(y), len(x))


def onto(raster: Raster, grid: Grid) -> Raster:
    """The image resampled (bilinear) onto another grid, lazily; missing outside the file."""
    return replace(raster, onto=grid, grid=grid, source=raster.grid, height=grid.height, width=grid.width)


def one_band(raster: Raster) -> Raster:
    """One band of a grey picture that is stored in several equal bands.

    Raises InputError where the bands differ.
    """
    if raster.shape[0] == 1:
        return raster
    values, _ = raster.raw()
    if (values != values[:1]).any():
        raise InputError(
            f"{raster.path} is a coloured picture of {len(values)} bands; a SAR picture is grey. Check the file."
        )
    note = f"{raster.path.name} stores the same picture in {len(values)} bands; one was taken"
    return replace(raster, bands=raster.bands[:1], factor=raster.factor[:1], offset=raster.offset[:1],
                   palette=None if raster.palette is None else tuple((c[0],) for c in raster.palette),
                   notes=(*raster.notes, note))  # fmt: skip


def _format(path: Path) -> tuple[str, Path, str | None]:
    """GDAL's driver by the first bytes of the file, the path with the pixels, and the virtual dataset of an ENVI pair."""
    with Look(path) as look:
        look.begin(1)
        if envi_header.is_header(look):
            data = look.once(envi_header.pair).data
            with Look(data) as behind:
                if behind.kind == "TIFF":
                    return "GTiff", data, None
            return "ENVI", *envi.raw_image(path)
        if look.kind in _DRIVERS:
            return _DRIVERS[look.kind], located(path), None
        if envi_header.header_of(path) is not None:
            return "ENVI", *envi.raw_image(path)
        found = f"it is {look.kind}" if look.kind else f"it begins with {look.head[:12]!r}, and no ENVI header is beside it"
    raise InputError(f"{path} is in no format that images are read from: {FORMATS}; {found}. Convert it to GeoTIFF or PNG.")


@contextmanager
def _opened(path: Path, driver: str, virtual: str | None = None) -> Iterator[Any]:
    """The open file; every GDAL error becomes one InputError, and warnings about images without a map are off."""
    import rasterio

    raw = {"GDAL_VRT_ENABLE_RAWRASTERBAND": "YES", "GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "ALL"}
    with told(path, driver):
        with rasterio.Env(**raw) if virtual else nullcontext(), quiet():
            file = rasterio.open(path, driver=driver) if virtual is None else rasterio.open(virtual, driver="VRT")
        with file:
            yield file


def _palette(colours: dict[int, tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Index -> grey, or red, green and blue, of all 256 indices; nothing for a transparent one."""
    table = [colours.get(i, (0, 0, 0, 255)) for i in range(256)]
    table = [c[:3] if len(c) < 4 or c[3] > 0 else () for c in table]
    return tuple(c[:1] for c in table) if all(len(set(c)) <= 1 for c in table) else tuple(table)


def _time(file: Any, path: Path, notes: list[str]) -> str | None:
    """The acquisition time as ISO text, from GDAL's IMAGERY domain, the ENVI header or a tag; never the file's own date."""
    for domain in ("IMAGERY", "ENVI", None):
        tags = {k.lower(): v.strip() for k, v in file.tags(**({} if domain is None else {"ns": domain})).items()}
        for name in _TIMES:
            if tags.get(name):
                try:
                    return iso(tags[name])
                except ValueError:
                    notes.append(f"the {name} {tags[name][:40]!r} of {path.name} was not understood, and is ignored")
    return None


def iso(text: str) -> str:
    """A date or a time as ISO text; ValueError for other text.

    >>> iso("2000-03-17 02:30:00Z")
    '2000-03-17T02:30:00'
    """
    when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    if len(text.strip()) <= 10:
        return when.date().isoformat()
    if when.tzinfo is not None:
        when = when.astimezone(UTC).replace(tzinfo=None)
    return when.isoformat()
