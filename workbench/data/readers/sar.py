"""SAR images in a GeoTIFF: intensity in dB, linear, or as amplitude.

    scene = open_sar("s1_vv.tif", truth="flood.tif", keys={"scale": "db"}, chunks="auto")

gives `sar (sar_band, y, x)` float32, linear intensity, NaN where missing, `polarization (sar_band)`, and the map.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.readers.files import Look
from workbench.data.readers.mask_files import read_truth
from workbench.data.readers.tiff import Stack, Tiff, is_tiff, lazily, shared
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

SCALES = ("auto", "db", "linear", "amplitude")
KEYS = ("scale", "polarization")
_POLARIZATION = re.compile(r"(?<![A-Za-z])(VV|VH|HH|HV)(?![A-Za-z])", re.IGNORECASE)
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
            named = file.count <= 4 and all(_POLARIZATION.search(d or "") for d in file.descriptions)
            return file.count == 1 or named or "scale" in keys
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

    def __call__(self, rows: range, columns: range) -> np.ndarray:
        """Float32 intensity of these rows and columns (y, x), NaN where missing."""
        raw = self.tiff.read(rows, columns)
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged file may hold very large values or NaN
            values = raw.astype(np.float64)
            gone = np.isnan(values) if self.missing is None else np.isnan(values) | (raw == self.missing)
            values = values * self.factor + self.offset
            if self.scale == "db":
                values = 10 ** (values / 10)
            elif self.scale == "amplitude":
                values *= values
            values[gone] = np.nan
            return values.astype(np.float32)


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
        names in the file, then by its name, then by the values (an intensity is never negative), with a note. A file
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
        bands = int(file.count)
        described = [str(d or "") for d in file.descriptions]
        units = [str(u or "") for u in file.units]
        tags = " ".join(f"{k}={v}" for k, v in {**file.tags(), **file.tags(1)}.items())
        missing, factors, offsets = file.nodata, file.scales, file.offsets
        located = file.crs is not None and file.transform.is_rectilinear and not file.transform.is_identity
        crs, transform = (file.crs.to_wkt(), file.transform) if located else (None, None)
        if len(set(file.dtypes)) > 1:
            raise InputError(f"The bands of {path.name} differ in type ({', '.join(file.dtypes)}); save them alike.")
    tiffs = [Tiff(path, first.shape, first.dtype, first.block, b + 1) for b in range(bands)]
    polarization = _polarizations(path, keys.get("polarization"), described, tags, bands)
    if scale == "auto":
        words = " ".join([*described, *units, tags])
        scale = _named_scale(words, path.stem, notes) or _measured_scale(
            look, tiffs[0], missing, bool(any(polarization)), notes
        )
    if scale != "db":
        _never_negative(look, tiffs[0], missing, scale)
    readers = [Intensity(t, scale, missing, float(f), float(o)) for t, f, o in zip(tiffs, factors, offsets, strict=True)]
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
    matches = [_POLARIZATION.search(d.replace("_", " ")) for d in described]
    if all(matches):
        return [m.group(1).upper() for m in matches if m]
    if bands == 1:
        for words in (tags, path.stem):
            named = {p.upper() for p in _POLARIZATION.findall(words.replace("_", " "))}
            if len(named) == 1:
                return [named.pop()]
    return [""] * bands


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


def _measured_scale(look: Look, tiff: Tiff, missing: float | None, is_sar: bool, notes: list[str]) -> str:
    """The scale that the values allow; only for files that are known to be SAR."""
    if not is_sar:
        raise InputError(
            f"{look.path.name} has one band and does not say what it is. If it is SAR, name the scale of its values: --key scale=db, "
            "--key scale=linear or --key scale=amplitude. A mask is given as truth beside its scene. A cube needs several bands."
        )
    low, high = _range(look, tiff, missing)
    if not low <= high:
        raise InputError(
            f"{look.path.name} has no valid value in the sampled rows; name the scale of the values: --key scale=db or linear."
        )
    scale = "db" if low < 0 else "linear"
    why = "some are negative, which no intensity is" if low < 0 else "none is negative"
    notes.append(f"values taken as {_WORDS[scale]}, because {why} (from {low:.4g} to {high:.4g}); choose with scale=")
    return scale


def _never_negative(look: Look, tiff: Tiff, missing: float | None, scale: str) -> None:
    low, _ = _range(look, tiff, missing)
    if low < 0:
        raise InputError(
            f"{look.path.name} has values down to {low:.4g}; {_WORDS[scale]} is never negative. Is it in dB (scale=db)?"
        )


def _range(look: Look, tiff: Tiff, missing: float | None, looks: int = 12) -> tuple[float, float]:
    """Smallest and largest valid value in a dozen strips spread over the image; (inf, -inf) where all is missing."""
    high, wide = tiff.shape
    low, top = sys.float_info.max, -sys.float_info.max
    size = max(1, min(tiff.block[0], 2**22 // max(1, wide)))
    for start in sorted({int(s) for s in np.linspace(0, max(0, high - size), looks)}):
        with shared(look) as file:
            values = tiff.window(file, range(start, min(high, start + size)), range(wide))
        valid = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if missing is not None:
            valid = valid[valid != missing]
        if valid.size:
            low, top = min(low, float(valid.min())), max(top, float(valid.max()))
    return low, top
