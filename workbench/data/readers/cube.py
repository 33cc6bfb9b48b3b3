"""Cube: the common result of the format readers, and its conversion to a scene."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.readers.missing import equals, impossible, undeclared
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

STRIP = 64 * 2**20  # bytes of float32 in one dask chunk: all bands of some rows
LARGEST = 4 * STRIP  # bytes of a file's own block; larger blocks are read by rows, each block several times


@dataclass(frozen=True)
class Cube:
    """Pixels that are not read yet, in the dtype of the file, and their description in the file.

    pixels: an object with shape (band, y, x), dtype and slicing with positive steps; sliced only when the scene is computed.
    native: (band, y, x) size of the blocks in the file; None where the file has none.
    missing: value that means "no data". factor, offset: value = pixel * factor + offset, scalar or per band.
    wavelength, fwhm: (band) nm. good: (band) bool. x, y: map coordinates of pixel centres. crs: WKT or "EPSG:n".
    truth: (y, x) int16. coords: further coordinates, name -> (dims, values, attrs). attrs: provenance from the file.
    """

    pixels: Any
    missing: float | None = None
    factor: float | np.ndarray = 1.0
    offset: float | np.ndarray = 0.0
    wavelength: np.ndarray | None = None
    fwhm: np.ndarray | None = None
    good: np.ndarray | None = None
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    crs: str | None = None
    truth: np.ndarray | None = None
    native: tuple[int, int, int] | None = None
    coords: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size (band, y, x)."""
        band, y, x = self.pixels.shape
        return int(band), int(y), int(x)


class Physical:
    """The pixels of a cube as (band, y, x) float32, scaled, NaN where missing; a window is read when it is indexed.

    Indexed with integers and slices like NumPy. Pickling stores the source and the scaling, not the pixels, so another process
    can read a window. Raises InputError when the file was removed or is damaged.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(self, cube: Cube, name: str):
        self.source, self.shape, self.name = cube.pixels, cube.shape, name
        self.missing = cube.missing
        self.factor, self.offset = _per_band(cube.factor), _per_band(cube.offset)
        if not (np.isfinite(self.factor).all() and np.isfinite(self.offset).all()):
            raise InputError(f"{name} gives a scale or an offset that is not a finite number; correct it in the file.")

    def __getitem__(self, key: Any) -> np.ndarray:
        from workbench.data.readers.lazy import forward

        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (3 - len(key)))
        window, after = zip(*map(forward, key, self.shape), strict=True)
        lengths = [len(range(w.start, w.stop, w.step)) for w in window]
        if 0 in lengths:
            return np.empty(lengths, np.float32)[after]
        try:
            block = self.source[window]
        except (InputError, MemoryError):
            raise
        except Exception as error:  # each library has its own exceptions for a damaged file
            raise InputError(
                f"The pixels of {self.name} cannot be read ({error}); the file is damaged or was removed. Get it again."
            ) from None
        with np.errstate(over="ignore"):
            out = block.astype(np.float32, copy=isinstance(self.source, np.ndarray))  # other sources return a new array
        gone = equals(block, self.missing)
        if gone is not None:
            np.putmask(out, gone, np.nan)
        factor, offset = (v[window[0]] if len(v) > 1 else v for v in (self.factor, self.offset))
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged number may become infinite; `check_cube` refuses it
            if (factor != 1).any():
                out *= factor
            if offset.any():
                out += offset
        return out[after]


def as_scene(cube: Cube, name: str, chunks: Mapping[str, int] | str | None = "auto") -> xr.Dataset:
    """The scene of a cube: lazy float32 with NaN for missing, coordinates, truth, notes.

    chunks: "auto" for dask blocks of all bands that follow the blocks of the file (see `blocks`), a mapping of dim -> size for
    dask blocks of that size, None for xarray's own lazy indexing without dask: `scene.hsi[45, ::20, ::5].values` then reads
    only that window.
    """
    import xarray as xr

    _, y, x = cube.shape
    require_cube(cube.shape, cube.pixels.dtype, name)
    coords: dict[str, Any] = {
        "y": ("y", np.arange(y) if cube.y is None else cube.y),
        "x": ("x", np.arange(x) if cube.x is None else cube.x),
    }
    if cube.wavelength is not None:
        about = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
        coords["wavelength"] = ("band", cube.wavelength, about)
    if cube.fwhm is not None:
        coords["fwhm"] = ("band", cube.fwhm, {"units": "nm", "long_name": "full width at half maximum"})
    if cube.good is not None:
        coords["good"] = ("band", cube.good)
    scene = xr.Dataset({"hsi": pixels_of(cube, name, chunks)}, {**coords, **cube.coords})
    if cube.truth is not None:
        scene["truth"] = (("y", "x"), cube.truth, {"names": ["background", "anomaly"]})
        scene.attrs["anomalous_pixels"] = int((cube.truth > 0).sum())
    notes = [*filter(None, [str(cube.attrs.get("notes", ""))]), *cube.notes]
    flat = isinstance(cube.pixels, np.ndarray) or getattr(cube.pixels, "flat", False)  # any row can be read by itself
    notes += impossible(cube.missing, np.dtype(cube.pixels.dtype))
    if (cube.native is not None or flat) and getattr(cube.pixels, "sampled", True):
        notes += undeclared(cube.pixels, cube.shape, cube.native, cube.missing, cube.good)
    if cube.crs is not None:
        scene = _mapped(scene, cube, notes)
    scene.attrs = {**cube.attrs, **scene.attrs, "notes": "\n".join(notes)}
    return scene


def _mapped(scene: xr.Dataset, cube: Cube, notes: list[str]) -> xr.Dataset:
    """The scene with the CRS and the transform of its cube, as rioxarray stores them."""
    import pyproj
    import rasterio
    import rioxarray  # noqa: F401  (gives scene.rio)

    try:
        scene = scene.rio.write_crs(cube.crs)
    except (ValueError, rasterio.errors.CRSError, pyproj.exceptions.CRSError) as error:
        notes.append(f"the coordinate system of the file is not known ({str(error)[:100]})")
        return scene
    uneven = [name for name, values in (("rows", cube.y), ("columns", cube.x)) if values is not None and not _even(values)]
    if uneven:
        notes.append(
            f"the {' and '.join(uneven)} are not evenly spaced on the map: they keep their coordinates, but the scene has no map"
        )
        return scene.drop_vars("spatial_ref", errors="ignore")
    if cube.x is not None and cube.y is not None:
        scene = scene.rio.write_transform().rio.write_coordinate_system()
    return scene


def _even(values: np.ndarray) -> bool:
    """Whether coordinates have equal steps, to two hundredths of a step and the digits of float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a damaged header they can be near the largest number
        steps = np.diff(values.astype(float))
        mean = steps.mean() if steps.size else 0.0
        digits = 4 * float(np.finfo(np.float32).eps) * np.abs(values.astype(float)).max(initial=0)
        return bool((np.abs(steps - mean) <= 0.02 * abs(mean) + digits).all())


def pixels_of(
    cube: Cube, name: str, chunks: Mapping[str, int] | str | None, dims: tuple[str, ...] = ("band", "y", "x")
) -> xr.Variable:
    """The pixels of a cube as a lazy variable; chunks as in `as_scene`."""
    import xarray as xr

    pixels = Physical(cube, name)
    native = blocks(cube.shape, cube.native)
    if chunks is None:
        from workbench.data.readers.lazy import indexed

        return xr.Variable(dims, indexed(pixels), encoding={"preferred_chunks": dict(zip(dims, native, strict=True))})
    import dask.array as da

    if chunks == "auto":
        chunks = {}
    if not isinstance(chunks, Mapping) or set(chunks) - set(dims):
        raise InputError(f"chunks = {chunks!r} must be 'auto', None, or sizes of {', '.join(dims)} as {{'y': 100}}.")
    sizes = tuple(chunks.get(d, n) for d, n in zip(dims, native, strict=True))
    try:
        blocked = da.core.normalize_chunks(sizes, cube.shape, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"chunks = {dict(chunks)} do not fit a cube of {size(cube.shape)} ({error}).") from None
    return xr.Variable(dims, da.from_array(pixels, blocked, name=False, meta=np.empty((0, 0, 0), np.float32)))


def strips(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Chunk sizes (band, y, x): all bands of as many whole rows as fit into `STRIP`."""
    band, y, x = shape
    return band, max(1, min(y, STRIP // (4 * band * x))), x


def blocks(shape: tuple[int, int, int], native: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
    """Chunk sizes (band, y, x): all bands, because detectors need whole spectra, of as many blocks of the file as fit
    into `STRIP`, whole rows first.

    >>> blocks((200, 1000, 1000), native=(20, 64, 64))
    (200, 64, 1000)

    A file with blocks larger than `LARGEST` is cut into strips of rows instead.
    """
    band, y, x = shape
    if native is None:
        return strips(shape)
    high, wide = min(native[1], y), min(native[2], x)
    if 4 * band * high * wide > LARGEST:
        return strips(shape)
    columns = x if 4 * band * high * x <= STRIP else min(x, max(1, STRIP // (4 * band * high * wide)) * wide)
    return band, min(y, max(1, STRIP // (4 * band * high * columns)) * high), columns


def require_cube(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Raise InputError unless this is a real-valued array of at least two bands, rows and columns."""
    if dtype.kind == "c" or dtype.names is not None:
        raise InputError(
            f"The cube in {name} is complex ({dtype}); hyperspectral methods need real values. Save its amplitude or "
            "intensity instead."
        )
    if dtype.kind not in "iufb":
        raise InputError(f"The cube in {name} has dtype {dtype}; it must hold numbers.")
    if len(shape) != 3 or min(shape) < 2:
        raise InputError(
            f"The image in {name} has shape {size(shape)}; a hyperspectral cube needs several bands, rows and columns."
        )


_WORDS = {"y": "y", "row": "y", "rows": "y", "x": "x", "column": "x", "columns": "x", "band": "band", "bands": "band"}


def axes_of(given: str) -> tuple[int, int, int]:
    """Positions of band, y and x in an array, from the key `axes`.

    >>> axes_of("y,x,band")
    (2, 0, 1)

    Raises InputError for other words.
    """
    words = [_WORDS.get(w.strip().lower(), "") for w in given.split(",")]
    if sorted(words) != ["band", "x", "y"]:
        raise InputError(f"axes={given} must name the axes in the order of the file, such as y,x,band or band,y,x.")
    return words.index("band"), words.index("y"), words.index("x")


def _per_band(value: float | np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(value, np.float32).reshape(-1, 1, 1)


def nanometres(values: Iterable[float], unit: str, bands: int, notes: list[str]) -> np.ndarray | None:
    """(band) wavelengths in nm, or None where the numbers cannot be wavelengths of these bands (reason in `notes`).

    A unit that is missing, unknown or impossible is replaced by the unit that fits the numbers: 0.2 to 30 are micrometres,
    from 200 on nanometres.

    >>> nanometres([0.45, 2.2], "Micrometers", 2, [])
    array([ 450., 2200.])
    """
    wave = np.asarray(list(values), float)
    if wave.size != bands:
        notes.append(f"wavelengths ignored: {wave.size} are given for {bands} bands")
        return None
    if not np.isfinite(wave).all() or wave.min() <= 0:
        notes.append("wavelengths ignored: not all are positive numbers")
        return None
    if unit.strip().lower() == "index" or (
        not unit.strip() and (wave == np.arange(wave.size) + wave[0]).all() and wave[0] <= 1
    ):
        notes.append(f"wavelengths ignored: {wave.min():g} to {wave.max():g} are numbers of bands")
        return None
    if re.fullmatch(r"wave ?numbers?|cm-1|1/cm|cm\^-1", unit.strip().lower()) and wave.min() >= 300 and wave.max() <= 50_000:
        notes.append(f"wavelengths computed from wavenumbers of {wave.min():g} to {wave.max():g} per cm")
        return 1e7 / wave
    converted = _converted(wave, unit)
    if converted is not None:
        notes.append(f"wavelengths converted from {unit.strip()}")
        return converted
    if wave.min() >= 200 and wave.max() <= 30_000:
        fits = 1.0
    elif wave.min() >= 0.2 and wave.max() <= 30:
        fits = 1000.0
    else:
        notes.append(f"wavelengths ignored: {wave.min():g} to {wave.max():g} fit neither nanometres nor micrometres")
        return None
    declared = _unit(unit)
    if declared != fits:
        word = {1.0: "nanometres", 1000.0: "micrometres"}[fits]
        given = f"the unit {unit!r} was given" if unit.strip() else "no unit was given"
        notes.append(f"wavelengths taken as {word}, because they run from {wave.min():g} to {wave.max():g} ({given})")
    return wave * fits


_LENGTHS = (  # pattern of a unit -> nanometres
    (r"å|angstr[oö]ms?", 0.1),
    (r"mm|millimet(er|re)s?", 1e6),
    (r"cm|centimet(er|re)s?", 1e7),
    (r"m|met(er|re)s?", 1e9),
)
_FREQUENCIES = {"mhz": 299_792_458e3, "ghz": 299_792_458.0, "thz": 299_792.458}  # unit -> nanometres times the unit


def _converted(values: np.ndarray, unit: str) -> np.ndarray | None:
    """Wavelengths in nm of frequencies, or of lengths in other units than nm and micrometres if they are plausible (below 1 mm)."""
    word = unit.strip().lower()
    if word in _FREQUENCIES:
        return np.asarray(_FREQUENCIES[word] / values)
    factor = next((f for pattern, f in _LENGTHS if re.fullmatch(pattern, word)), None)
    if factor is None or not 100 <= values.min() * factor <= values.max() * factor <= 1e6:
        return None
    return np.asarray(values * factor)


def widths(values: Iterable[float], wavelength: np.ndarray | None, raw: Iterable[float]) -> np.ndarray | None:
    """(band) fwhm in nm from values in the unit of the `raw` wavelengths; None for other lengths or infinite values."""
    fwhm, stated = np.asarray(list(values), float), np.asarray(list(raw), float)
    if wavelength is None or fwhm.size != wavelength.size or not np.isfinite(fwhm).all():
        return None
    ratio = wavelength / stated
    if not np.allclose(ratio, ratio[0], rtol=1e-6):  # wavenumbers: a width is not in proportion
        return None
    return fwhm * min((0.1, 1.0, 1000.0, 1e6, 1e7, 1e9), key=lambda factor: abs(np.log(factor / ratio[0])))


def _unit(name: str) -> float | None:
    name = name.strip().lower()
    if re.fullmatch(r"nm|nanomet(er|re)s?", name):
        return 1.0
    if re.fullmatch(r"[uµμ]m|microns?|micromet(er|re)s?", name):
        return 1000.0
    return None


def size(shape: Iterable[int]) -> str:
    """`100 x 80`."""
    return " x ".join(map(str, shape))
