"""The vocabulary of a scene: names, dims and units of an `xr.Dataset`, and the checks that enforce it.

A scene is a plain `xr.Dataset` whose variables have the names and dims below, so that every reader, method and view can
rely on them. The order of dims is band, y, x, as in rasterio and torch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

# name -> dims. All variables of pixels may have a leading `sample` dim (many chips).
VOCABULARY: dict[str, tuple[str, ...]] = {
    "hsi": ("band", "y", "x"),  # float32; coord wavelength(band) in nm where known, good(band) bool where known
    "sar": ("sar_band", "y", "x"),  # linear intensity; coord polarization(sar_band)
    "slc": ("sar_band", "y", "x"),  # complex64 amplitude, |slc|^2 is an intensity
    "lidar": ("lidar_band", "y", "x"),  # metres
    "infrared": ("infrared_band", "y", "x"),  # float32
    "image": ("band", "y", "x"),  # float32 in [0, 1]
    "before": ("band", "y", "x"),  # acquisition time in attrs["time"]
    "after": ("band", "y", "x"),
    "truth": ("y", "x"),  # int16; -1 = not labelled; attrs["names"] lists the classes
    "label": ("sample",),  # int64
    "box": ("object", "edge"),  # x0 y0 x1 y1 in pixels, half-open, origin top left
    "box_sample": ("object",),  # identifier of its image, a value of the coordinate sample
    "box_label": ("object",),  # int64; attrs["names"] lists the classes
    "box_corners": ("object", "corner", "xy"),  # of rotated boxes
    "box_difficult": ("object",),  # bool
}

# Result of a run: name -> dims. Rivals and controls use the same names with a suffix, such as `score_rx`. Scalars (no dims)
# are metrics; each has a long_name and, if it has a unit, units.
RESULT: dict[str, tuple[str, ...]] = {
    "score": ("y", "x"),  # the higher, the more anomalous or important
    "labels": ("y", "x"),  # class of each pixel, an integer; -1 = none; attrs["names"] lists the classes
    "probability": ("class", "y", "x"),
    "change": ("y", "x"),  # probability of change
    "uncertainty": ("y", "x"),
    "box": ("object", "edge"),  # x0 y0 x1 y1 in pixels, as in a scene
    "box_score": ("object",),
    "box_label": ("object",),
    "bits": ("layer",),  # bits per weight
    "kept": ("sample",),  # bool: whether a training sample is kept
}

TABLE = "table"  # attribute of a variable that is a column of a long table: pages read it, and no picture of it is drawn
OVER = "_overview"  # suffix of the name and dims of a reduced map, where the full map does not fit in memory

Needs = tuple[str | tuple[str, ...], ...]  # names of required variables; an inner tuple means "one of these"

# Provenance of a scene: names in `attrs`, copied into every run.
PROVENANCE = ("id", "title", "source", "citation", "licence", "sha256", "simulated", "notes")


def require(scene: xr.Dataset, *needs: str | tuple[str, ...], who: str = "this method") -> None:
    """Raise InputError unless the scene has every name in `needs`; an inner tuple means "one of these".

    who: subject of the message.
    """
    names = ", ".join(str(n) for n in scene.data_vars) or "nothing"
    for need in needs:
        options = (need,) if isinstance(need, str) else need
        present = [n for n in options if n in scene]
        if not present:
            wanted = " or ".join(f"{n!r} ({', '.join(VOCABULARY[n])})" for n in options)
            raise InputError(f"{who} needs {wanted}; this scene has {names}.")
        for name in present:
            want = VOCABULARY[name]
            if tuple(scene[name].dims) not in (want, ("sample", *want)):
                raise InputError(
                    f"{who} needs {name!r} with dims ({', '.join(want)}); this scene has it with dims "
                    f"({', '.join(map(str, scene[name].dims))}). Transpose or rename the dims."
                )


def other_dims(result: xr.Dataset) -> list[str]:
    """One sentence for each variable of a result that has a name of RESULT but other dims; empty when all fit.

    As in a scene, a leading `sample` means many images; the result of a method for whole chips has `sample` instead of `y, x`.
    """
    problems = []
    for name, dims in RESULT.items():
        whole = tuple(d for d in dims if d not in ("y", "x"))
        allowed = {dims, ("sample", *dims)} | ({(*whole, "sample")} if whole != dims else set())
        if name in result.data_vars and tuple(result[name].dims) not in allowed:
            given = ", ".join(map(str, result[name].dims))
            problems.append(f"the result's {name!r} has the dims ({given}); it needs ({', '.join(dims)}).")
    return problems


def names_of(array: xr.DataArray) -> list[str]:
    """Names of the classes of labels, by number; [] without names. A list of one name comes back from a file as text."""
    import numpy as np

    return [str(n) for n in np.atleast_1d(array.attrs.get("names", []))]


def fits(needs: Needs, provides: Collection[str]) -> bool:
    """Whether a scene with these variables has all required ones.

    >>> fits((("image", "hsi"), "label"), provides=("hsi", "label"))
    True
    """
    return all(any(name in provides for name in ((need,) if isinstance(need, str) else need)) for need in needs)


def fingerprint(scene: xr.Dataset) -> str:
    """SHA-256 of the pixels and the truth of a scene, to detect that a scene has changed.

    For a scene from a file, the hash of that file replaces the pixels (`attrs["sha256"]` or, for a file too large to be
    hashed at opening, `file_hash` of `attrs["file"]`); the pixels of a scene made in memory are read once. Truth, labels and
    boxes are small and are always hashed by their values, because they may come from another file.
    """
    import numpy as np

    file = file_hash(scene)
    digest = hashlib.sha256(file.encode())
    small = {"truth", "label", "box", "box_sample", "box_label", "box_corners", "box_difficult"}
    for name in sorted(map(str, scene.data_vars)):
        if name in small or not file:
            values = np.ascontiguousarray(scene[name].values)
            digest.update(f"{name}{scene[name].dims}{values.dtype}{values.shape}".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()


def file_hash(scene: xr.Dataset) -> str:
    """SHA-256 of the file with the pixels; "" for a scene made in memory. A file that was too large to be hashed at opening is
    read here, once.
    """
    if not scene.attrs.get("sha256") and scene.attrs.get("file"):
        path = Path(scene.attrs["file"])
        stat = path.stat()
        return _hashed(path, stat.st_size, stat.st_mtime_ns)
    return str(scene.attrs.get("sha256") or "")


@functools.lru_cache(maxsize=32)
def _hashed(path: Path, size: int, changed: int) -> str:
    """size, changed: of the file; they make a changed file a new cache entry."""
    return digest(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder: of the names and hashes of all files in it; read in blocks."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        lines = (f"{file.relative_to(path).as_posix()} {digest(file)}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def labelled(scene: xr.Dataset) -> bool:
    """Whether a scene has a truth of any kind: a mask, labels, or boxes."""
    return any(name in scene for name in ("truth", "label", "box"))


def describe(scene: xr.Dataset) -> str:
    """The scene as text: id, title, variables with shape, dtype, chunks and units, band range, truth, boxes, provenance."""
    import numpy as np

    lines = [f"{scene.attrs.get('id', 'scene')}: {scene.attrs.get('title', 'untitled')}"]
    if scene.attrs.get("simulated"):
        lines.append("  SIMULATED data: " + str(scene.attrs["simulated"]))
    for name, var in scene.data_vars.items():
        shape = " x ".join(f"{d} {n}" for d, n in var.sizes.items())
        lazy = "in memory" if var.variable._in_memory else "lazy"
        units = f", {var.attrs['units']}" if var.attrs.get("units") else ""
        lines.append(f"  {name}: {shape}, {var.dtype}{units}, {lazy}")
    for date in ("before", "after"):
        if date in scene and scene[date].attrs.get("time"):
            lines.append(f"  {date}: taken {scene[date].attrs['time']}")
    if "wavelength" in scene.coords:
        w = scene["wavelength"].values
        lines.append(f"  wavelength: {w.min():.1f} to {w.max():.1f} nm")
    elif "hsi" in scene:
        lines.append("  wavelength: not known (bands are numbered from 0)")
    if "good" in scene.coords:
        lines.append(f"  good bands: {int(scene['good'].values.sum())} of {scene.sizes['band']}")
    if "polarization" in scene.coords:
        lines.append(f"  polarization: {', '.join(map(str, scene['polarization'].values))}")
    if "box_label" in scene:
        names = names_of(scene["box_label"])
        counts = np.bincount(scene["box_label"].values, minlength=len(names))
        lines.append("  boxes: " + ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True)))
    if "truth" in scene:
        truth = scene["truth"].values
        known = int((truth >= 0).sum())
        rest = "" if known == truth.size else f", {known} labelled"
        if len(scene["truth"].attrs.get("names", ())) > 2:
            lines.append(f"  truth: {len(np.unique(truth[truth >= 0]))} classes on {truth.size} pixels{rest}")
        else:
            lines.append(f"  truth: {int((truth > 0).sum())} marked pixels of {truth.size}{rest}")
    elif not labelled(scene):
        lines.append("  truth: none, so the metrics of a run compare with nothing")
    crs = scene.rio.crs if hasattr(scene, "rio") and "spatial_ref" in scene.coords else None
    if crs:
        lines.append(f"  crs: {crs}")
    for key in ("source", "citation", "licence", "sha256"):
        if scene.attrs.get(key):
            lines.append(f"  {key}: {scene.attrs[key]}")
    for note in str(scene.attrs.get("notes", "")).splitlines():
        lines.append(f"  note: {note}")
    return "\n".join(lines)
