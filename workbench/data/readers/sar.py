"""SAR images in a GeoTIFF: intensity in dB, linear, or as amplitude.

    scene = open_sar("s1_vv.tif", truth="flood.tif", keys={"scale": "db"}, chunks="auto")

gives `sar (sar_band, y, x)` float32, linear intensity, NaN where missing, `polarization (sar_band)`, and the map.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.readers.files import Look
from workbench.data.readers.geotiff import unplaced
from workbench.data.readers.mask_files import read_truth
from workbench.data.readers.missing import NOTHING, Stated, equals, impossible, nodata_of
from workbench.data.readers.tiff import Stack, Tiff, is_tiff, lazily, opened, pages, shared
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

SCALES = ("auto", "db", "linear", "amplitude")
KEYS = ("scale", "polarization", "nodata", "alpha")
DECIBEL = 0.5  # share of negative values from which an image that does not say so is taken as dB
NOISE = 0.05  # share of negative values up to which it is intensity: noise removal and resampling make a few
DEEP = -80.0  # no sensor measures backscatter in dB whose median is below it
FILL = -900.0  # at or below it a value is no dB and no intensity
_POLARIZATION = re.compile(r"(?<![A-Za-z])(VV|VH|HH|HV)(?![A-Za-z])", re.IGNORECASE)
_NO_BACKSCATTER = re.compile(  # names of bands that stand beside backscatter in exports of Earth Engine and SNAP
    r"(?<![A-Za-z])(angle|incidence|lia|local|projected|elevation|dem|ratio|mask|layover|shadow|span|(VV|VH|HH|HV) ?[/+*-] ?(VV|VH|HH|HV))",
    re.IGNORECASE,
)
_DECIBEL = re.compile(r"(?<![A-Za-z])db(?![A-Za-z])", re.IGNORECASE)
_AMPLITUDE = re.compile(r"(?<![A-Za-z])amp(litude)?(?![A-Za-z])", re.IGNORECASE)


def sees(look: Look, keys: Mapping[str, str]) -> bool:
    """Whether a path is a SAR image: a TIFF whose bands are named after polarizations, a TIFF of one band (a cube has
    several), or any TIFF with the key `scale`. A damaged TIFF raises nothing here.
    """
    if not is_tiff(look):
        return False
    try:
        with shared(look) as file:
            stated = Stated.of(file, keys.get("alpha"))
            names = [file.descriptions[b - 1] or "" for b in stated.bands]
            backscatter = [bool(_polarization(d)) for d in names]
            others = [d for d, one in zip(names, backscatter, strict=True) if not one]
            named = len(names) <= 8 and any(backscatter) and all(_NO_BACKSCATTER.search(d.replace("_", " ")) for d in others)
            return len(names) == 1 or named or "scale" in keys
    except InputError:
        return False


@dataclass(frozen=True)
class Intensity:
    """One band of a TIFF as linear intensity: float32, NaN where missing."""

    tiff: Tiff
    scale: str
    missing: float | None = None
    factor: float = 1.0
    offset: float = 0.0
    stated: Stated = NOTHING

    def __call__(self, rows: range, columns: range) -> np.ndarray:
        """Float32 intensity of these rows and columns (y, x), NaN where missing."""
        raw = self.tiff.read(rows, columns)
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged file may hold very large values or NaN
            values = raw.astype(np.float64)
            gone = ~np.isfinite(values) if self.scale == "db" else np.isnan(values)  # minus infinity is the logarithm of 0
            fill = equals(raw, self.missing)
            if fill is not None:
                gone |= fill
            if not self.stated.everywhere and raw.size:
                gone |= ~self._shown(rows, columns)
            values = values * self.factor + self.offset
            if self.scale == "db":
                values = 10 ** (values / 10)
            else:
                gone |= values < 0  # noise removal and resampling make a few; no intensity and no amplitude is negative
            if self.scale == "amplitude":
                values *= values
            values[gone] = np.nan
            return values.astype(np.float32)

    def _shown(self, rows: range, columns: range) -> np.ndarray:
        from rasterio.windows import Window

        wide = Window(columns.start, rows.start, columns[-1] - columns.start + 1, rows[-1] - rows.start + 1)
        with opened(self.tiff.path) as file:
            shown = self.stated.covered(file, wide)
        assert shown is not None
        return shown[:: rows.step, :: columns.step]


def open_sar(
    path: str | Path,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    scale: str = "auto",
    chunks: Any = "auto",
) -> xr.Dataset:
    """The scene of a SAR GeoTIFF.

    scale: "db" (10 log10 of intensity), "linear" intensity, "amplitude" (its square is taken), or "auto": chosen by units and
        names in the file, then by its name, then by all sampled values (an intensity is rarely negative), with a note. A file
        of one band without any sign of SAR needs `scale`.
    truth: a mask of the same size, as for cubes: 1 where above 0, -1 where negative.
    keys: scale as text, and polarization, as "VV" or "VV,VH", where the file does not name its bands.

    Raises InputError for a damaged file, a scale that the values contradict, complex pixels, an unknown key.
    """
    with Look(path) as look:
        return read(look, truth=truth, keys={"scale": scale, **(keys or {})}, chunks=chunks)


def read(
    look: Look, *, truth: str | Path | None = None, keys: Mapping[str, str] | None = None, chunks: Any = "auto"
) -> xr.Dataset:
    """`open_sar` of an existing `Look`."""
    import xarray as xr

    path, keys = look.path, dict(keys or {})
    for key in keys:
        if key not in KEYS:
            raise InputError(f"A SAR image has no key {key!r}; use {', '.join(KEYS)}.{did_you_mean(key, KEYS)}")
    scale = keys.get("scale", "auto")
    nodata = nodata_of(keys.get("nodata"))
    if scale not in SCALES:
        raise InputError(f"There is no scale {scale!r}; use {', '.join(SCALES)}.{did_you_mean(scale, SCALES)}")
    notes: list[str] = []
    look.begin(1)
    with shared(look) as file:
        first = Tiff.of(file, path)
    if first.dtype.kind not in "iuf":
        raise InputError(
            f"{path.name} holds {first.dtype}; SAR images are read as intensity or amplitude, which are real numbers."
        )
    with shared(look) as file:
        stated = Stated.of(file, keys.get("alpha"))
        notes += [*stated.notes, *unplaced(file)]
        bands = len(stated.bands)
        described = [str(file.descriptions[b - 1] or "") for b in stated.bands]
        units = [str(file.units[b - 1] or "") for b in stated.bands]
        chosen = [i for i, d in enumerate(described) if _polarization(d)] if "polarization" not in keys else []
        if chosen and len(chosen) < bands:
            left = [d or f"band {i + 1}" for i, d in enumerate(described) if i not in chosen]
            notes.append(f"{', '.join(left[:6])} left out: not named after a polarization, so no backscatter")
            stated = replace(
                stated, bands=tuple(stated.bands[i] for i in chosen), nodata=tuple(stated.nodata[i] for i in chosen)
            )
            bands, described = len(chosen), [described[i] for i in chosen]
        notes += pages(file)
        factors, offsets = ([v[b - 1] for b in stated.bands] for v in (file.scales, file.offsets))
        tags = " ".join(f"{k}={v}" for k, v in {**file.tags(), **file.tags(1)}.items())
        missing = stated.nodata[0] if nodata is None else nodata
        located = file.crs is not None and file.transform.is_rectilinear and not file.transform.is_identity
        crs, transform = (file.crs.to_wkt(), file.transform) if located else (None, None)
        if len(set(file.dtypes)) > 1:
            raise InputError(f"The bands of {path.name} differ in type ({', '.join(file.dtypes)}); save them alike.")
    tiffs = [Tiff(path, first.shape, first.dtype, first.block, b) for b in stated.bands]
    polarization = _polarizations(path, keys.get("polarization"), described, tags, bands)
    sample, infinite = _sample(look, tiffs[0], missing, stated)
    sample = sample * float(factors[0]) + float(offsets[0])
    if scale == "auto":
        words = " ".join([*described, *units, tags])
        scale = _named_scale(words, path.stem, notes) or _measured_scale(look, sample, bool(any(polarization)), notes)
        if scale != "db":
            _rarely_negative(look, sample, scale)
    notes += impossible(missing, first.dtype)
    if infinite and scale == "db":
        notes.append(f"{infinite:.1%} of the sampled values are infinite, as the logarithm of 0 is; they are missing")
    _told(look, sample, scale, notes)
    readers = [
        Intensity(t, scale, missing, float(f), float(o), stated) for t, f, o in zip(tiffs, factors, offsets, strict=True)
    ]
    about = {"long_name": "backscatter", "units": "linear intensity", "scale_in_file": scale}
    data = lazily(Stack(readers, first.shape, np.float32), chunks, first.block)
    coords: dict[str, Any] = {"y": np.arange(first.shape[0]), "x": np.arange(first.shape[1])}
    if transform is not None:
        coords["x"] = transform.c + transform.a * (np.arange(first.shape[1]) + 0.5)
        coords["y"] = transform.f + transform.e * (np.arange(first.shape[0]) + 0.5)
    if any(polarization):
        coords["polarization"] = ("sar_band", np.array(polarization))
    scene = xr.Dataset({"sar": (("sar_band", "y", "x"), data, about)}, coords)
    if truth is not None:
        mask, note = read_truth(Path(truth).expanduser(), None, first.shape)
        scene["truth"] = (("y", "x"), mask, {"names": ["background", "marked"]})
        notes.append(note)
    if crs is not None:
        import rioxarray  # noqa: F401  (gives scene.rio)

        scene = scene.rio.write_crs(crs)
    title = f"SAR image {path.name}"
    scene.attrs = {
        "id": path.stem,
        "title": title,
        "source": f"file {path.name}",
        "simulated": "",
        "notes": "\n".join(notes),
    }
    return scene


def _polarizations(path: Path, given: str | None, described: list[str], tags: str, bands: int) -> list[str]:
    """A polarization for each band; empty strings where it is not known."""
    if given is not None:
        names = [p.strip().upper() for p in given.split(",")]
        if len(names) != bands or not all(_POLARIZATION.fullmatch(p) for p in names):
            raise InputError(
                f"polarization={given} must name VV, VH, HH or HV for each of the {bands} bands of {path.name}."
            )
        return names
    found = [_polarization(d) for d in described]
    if all(found):
        return found
    if bands == 1:
        for words in (tags, path.stem):
            named = {p.upper() for p in _POLARIZATION.findall(words.replace("_", " "))}
            if len(named) == 1:
                return [named.pop()]
    return [""] * bands


def _polarization(described: str) -> str:
    """The only polarization that the name of a band has; "" for none, and for a ratio of two.

    >>> _polarization("Sigma0_VV_db"), _polarization("VV/VH"), _polarization("angle")
    ('VV', '', '')
    """
    found = {p.upper() for p in _POLARIZATION.findall(described.replace("_", " "))}
    return found.pop() if len(found) == 1 and not re.search(r"(?i)ratio", described) else ""


def _named_scale(words: str, stem: str, notes: list[str]) -> str | None:
    """The scale named by units, tags or band names, else by the file name; None where there is none."""
    for text, where in ((words, "the file says so"), (stem, "its name says so")):
        text = text.replace("_", " ")
        for name, pattern in (("db", _DECIBEL), ("amplitude", _AMPLITUDE)):
            if pattern.search(text):
                notes.append(f"values taken as {_WORDS[name]}: {where}")
                return name
    return None


_WORDS = {"db": "dB", "linear": "linear intensity", "amplitude": "amplitude, and squared"}


def _measured_scale(look: Look, sample: np.ndarray, is_sar: bool, notes: list[str]) -> str:
    """The scale that the values allow; only for files that are known to be SAR."""
    if not is_sar:
        raise InputError(
            f"{look.path.name} has one band and does not say what it is. If it is SAR, name the scale of its values: --key scale=db, "
            "--key scale=linear or --key scale=amplitude. A mask is given as truth beside its scene. A cube needs several bands."
            + "".join(f" {n[0].upper()}{n[1:]}." for n in notes if "pages" in n)
        )
    values = sample[sample > FILL]  # -9999 decides nothing
    if not values.size:
        raise InputError(
            f"{look.path.name} has no valid value in the sampled rows; name the scale of the values: --key scale=db or linear."
        )
    low, high = float(values.min()), float(values.max())
    if np.median(sample) < DEEP:
        raise InputError(
            f"{look.path.name} does not say its scale, and its values (from {float(sample.min()):.4g} to {high:.4g}) fit neither dB nor "
            "intensity. Are they hundredths of dB? Write the factor into the file first (gdal_edit -scale 0.01), or name the scale: "
            "--key scale=db."
        )
    negative = float((values < 0).mean())
    if NOISE < negative < DECIBEL and not -float(np.quantile(values, 0.02)) > 0.5:
        raise InputError(
            f"{look.path.name} does not say its scale, and its values (from {low:.4g} to {high:.4g}, {negative:.0%} negative) "
            "fit neither dB nor "
            "intensity; name it: --key scale=db or --key scale=linear (negative values are then missing)."
        )
    scale = "linear" if negative <= NOISE else "db"
    some = f"{negative:.2%} are negative, as noise removal leaves them" if negative else "none is negative"
    why = f"{negative:.0%} are negative, which no intensity is" if scale == "db" else some
    notes.append(f"values taken as {_WORDS[scale]}, because {why} (from {low:.4g} to {high:.4g}); choose with scale=")
    return scale


def _rarely_negative(look: Look, sample: np.ndarray, scale: str) -> None:
    """Raise InputError where a scale that was guessed or named by the file is contradicted by most values."""
    values = sample[sample > FILL]
    if values.size and (values < 0).mean() > NOISE:
        raise InputError(
            f"{look.path.name} has values down to {float(values.min()):.4g}; {_WORDS[scale]} is never negative. Is it in dB (scale=db)? "
            f"To read it so, say scale={scale}: negative values are then missing."
        )


def _told(look: Look, sample: np.ndarray, scale: str, notes: list[str]) -> None:
    """Notes on negative values, and on values that are repeated like "no data" without being declared.

    Raises InputError where no value is left.
    """
    if scale != "db" and sample.size:
        negative = float((sample < 0).mean())
        if negative == 1:
            raise InputError(
                f"{look.path.name} has only negative values (down to {float(sample.min()):.4g}); {_WORDS[scale]} is never "
                "negative, so nothing "
                "would be left. Is it in dB (scale=db)?"
            )
        if negative:
            notes.append(
                f"{negative:.2%} of the sampled values are negative, which {_WORDS[scale]} is not; they are missing"
            )
    if scale == "db" and sample.size and np.median(sample) < DEEP:
        notes.append(
            f"half of the sampled values are below {DEEP:g}, which no backscatter in dB is; are they hundredths of dB?"
        )
    if (sample <= FILL).any():
        fill = float(sample[sample <= FILL][0])
        notes.append(
            f"{float((sample == fill).mean()):.1%} of the sampled values are {fill:g}, which the file does not declare; say nodata={fill:g}"
        )
    zero = float((sample == 0).mean()) if sample.size else 0.0
    if zero > 0.005:
        notes.append(
            f"{zero:.1%} of the sampled values are exactly 0, which the file does not declare as missing; they count as "
            "values. If they are no "
            "data, say nodata=0"
        )


def _sample(look: Look, tiff: Tiff, missing: float | None, stated: Stated, looks: int = 12) -> tuple[np.ndarray, float]:
    """The valid values of a dozen strips spread over the image, as float64; and the share of infinite ones beside them."""
    from rasterio.windows import Window

    high, wide = tiff.shape
    size = max(1, min(tiff.block[0], 2**22 // max(1, wide)))
    some, infinite, seen = [], 0, 0
    for start in sorted({int(s) for s in np.linspace(0, max(0, high - size), looks)}):
        rows = range(start, min(high, start + size))
        with shared(look) as file:
            values = tiff.window(file, rows, range(wide))
            shown = stated.covered(file, Window(0, rows.start, wide, len(rows)))
        keep = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        infinite, seen = infinite + int(np.isinf(values).sum()), seen + values.size
        gone = equals(values, missing)
        if gone is not None:
            keep &= ~gone
        some.append(values[keep if shown is None else keep & shown].astype(np.float64))
    return np.concatenate(some), infinite / max(seen, 1)
