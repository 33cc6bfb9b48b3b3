"""Pairs: two co-registered images of one place at two times, alone or in sets, with the reference change.

    scene = open_pair("2000.tif", "2003.tif", truth="change.png")
    scene = open_pairs("LEVIR-CD")                # A/name.png, B/name.png, label/name.png; or train/A/..., test/A/...
    known = valid(scene)                          # where both dates have a value

gives `before`, `after (band, y, x)` float32, lazily, NaN where missing, and `truth (y, x)` int16: 1 changed, 0 not, -1 not
labelled. A set has a leading `sample` dim, the coordinate `sample` (the name of the files) and, where folders or lists
name it, `split (sample)`. The acquisition time is in `attrs["time"]` of each date, where it is known.

Nothing is resampled, cropped, swapped or guessed silently: every decision is a line in `attrs["notes"]`, and where none is
possible an InputError says what to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data.chips import SPLITS
from workbench.data.labels import as_change, grey, label_rule, read_labels
from workbench.data.readers.files import sha256
from workbench.data.readers.raster import Raster, iso, one_band, onto, open_raster
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

KEYS = ("modality", "time_before", "time_after")
MODALITIES = ("optical", "sar")
FOLDERS = {
    "before": ("A", "t1", "time1", "im1", "before", "pre"),
    "after": ("B", "t2", "time2", "im2", "after", "post"),
    "truth": ("label", "labels", "out", "truth", "gt", "mask", "masks"),
}
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
SAME = 1e-3  # of a pixel, or of its size: grids that differ by less count as equal


# --- opening ----------------------------------------------------------------------------------------------------------


def open_pair(
    before: str | Path,
    after: str | Path,
    truth: str | Path | None = None,
    *,
    resample: bool = False,
    keys: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """The scene of two image files of one place: GeoTIFF, ENVI, PNG, BMP or JPEG.

    truth: a mask of the same rows and columns; also NPY. See `workbench.data.labels.as_change` for what counts as changed.
    resample: put `after` onto the pixels of `before` (bilinear) where the two grids differ.
    keys: `modality` (optical or sar), `time_before`, `time_after`, where the files do not state them.

    Raises InputError that says what is wrong and what to do, where the two differ in size, bands, CRS or resolution, do not
    overlap, are the same file, or `after` is older than `before`.
    """
    given = _keys(keys)
    first, second = open_raster(before), open_raster(after)
    digests = [sha256(first.path), sha256(second.path)]
    if digests[0] == digests[1]:
        raise InputError(f"{before} and {after} are the same file (same SHA-256); give the images of two dates.")
    notes: list[str] = []
    if given.get("modality") == "sar":
        first, second = one_band(first), one_band(second)
    elif first.shape[0] == 1:
        notes.append("taken as optical images of one band; say modality=sar for SAR")
    second = _same_grid(first, second, resample, notes)
    times = [given.get(f"time_{date}") or r.time for date, r in (("before", first), ("after", second))]
    labels = None
    if truth is not None:
        values, name = read_labels(truth)
        _same_place(Path(truth), values.shape[1:], first)
        labels, note = as_change(values, name)
        digests.append(sha256(_file(truth)))
        notes.append(note)
    scene = _scene(first.lazy(), second.lazy(), labels, given.get("modality", "optical"), times)
    scene = _located(scene, first, second)
    if second.onto is not None:
        digests.append("resampled")
    scene.attrs.update(
        id=first.path.stem,
        title=" and ".join(_names(first, second)),
        source=f"files {', '.join(_names(first, second))}",
        sha256=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        simulated="",
        notes="\n".join(dict.fromkeys([*first.notes, *second.notes, *notes])),
    )
    check_times(scene)
    return scene


def open_pairs(folder: str | Path) -> xr.Dataset:
    """The set of pairs in a folder: A/, B/ and label/ (or one of `FOLDERS`) with files of the same names.

    They may be inside folders train, val and test, or next to lists list/train.txt and so on; both give `split`. A pair
    without a label has truth -1. Without any label there is no `truth`.

    Raises InputError where a date is missing (the message names the pair), or the images differ in size or bands.
    """
    folder = Path(folder).expanduser()
    parts = sets_in(folder)
    if not parts:
        raise InputError(
            f"{folder} is not a set of pairs: expected are folders of the first dates ({', '.join(FOLDERS['before'])}), of the "
            f"second ({', '.join(FOLDERS['after'])}) and of the labels ({', '.join(FOLDERS['truth'])})."
        )
    names: list[str] = []
    splits: list[str] = []
    paths: dict[str, list[Path | None]] = {"before": [], "after": [], "truth": []}
    for split, places in sorted(parts.items()):
        files = {role: _files(places[role]) if role in places else {} for role in FOLDERS}
        lost = sorted(set(files["before"]) ^ set(files["after"]))
        if lost:
            only = "before" if lost[0] in files["before"] else "after"
            raise InputError(
                f"The pair {lost[0]!r} in {folder.name} has an image only {only} ({len(lost)} such pairs); both dates "
                "have files of the same name. Add or remove them."
            )
        for name in sorted(files["before"]):
            names.append(f"{split}/{name}" if split else name)
            splits.append(split)
            for role in FOLDERS:
                paths[role].append(files[role].get(name))
    if not names:
        raise InputError(f"{folder} has no images ({', '.join(SUFFIXES)}) of two dates.")
    if not any(splits):
        splits = _listed(folder, names)
    scene = stacked(names, paths["before"], paths["after"], paths["truth"], "optical")  # type: ignore[arg-type]
    if all(splits):
        scene = scene.assign_coords(split=("sample", np.array(splits)))
    scene.attrs.update(id=folder.name, title=f"{len(names)} pairs in {folder.name}", source=f"files in {folder.name}")
    return scene


def sets_in(folder: Path) -> dict[str, dict[str, Path]]:
    """split ("" where there is none) -> role -> folder, of a folder with a set of pairs; empty for other folders."""
    if not folder.is_dir():
        return {}
    own = _roles(folder)
    if {"before", "after"} <= set(own):
        return {"": own}
    inner = {SPLITS[p.name.lower()]: _roles(p) for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in SPLITS}
    return {split: roles for split, roles in inner.items() if {"before", "after"} <= set(roles)}


def as_pair(before: xr.DataArray, after: xr.DataArray, truth: xr.DataArray | None = None) -> xr.Dataset:
    """The scene of two arrays (band, y, x) in memory, on the pixels of `before`; for pairs that are not in files.

    Raises InputError where sizes or coordinates differ: xarray itself would align them and fill with NaN.
    """
    import xarray as xr

    for name, array in (("after", after), *([("truth", truth)] if truth is not None else [])):
        dims = before.dims if name == "after" else tuple(d for d in before.dims if d != "band")
        if array.dims != dims or any(array.sizes[d] != before.sizes[d] for d in dims):
            raise InputError(
                f"{name!r} is {dict(array.sizes)}, 'before' {dict(before.sizes)}; a pair has the same pixels in both. "
                "Crop them, or resample the second onto the first: after.rio.reproject_match(before)."
            )
        for dim in ("y", "x"):
            if (
                dim in array.coords
                and dim in before.coords
                and not np.allclose(array[dim], before[dim], rtol=0, atol=SAME * _step(before[dim].values))
            ):
                raise InputError(
                    f"{name!r} has other {dim} coordinates than 'before' ({float(array[dim][0]):g}.. and "
                    f"{float(before[dim][0]):g}..); resample it onto the first: {name}.rio.reproject_match(before)."
                )
    scene = xr.Dataset({"before": before})
    scene["after"] = (after.dims, after.data, after.attrs)
    if truth is not None:
        scene["truth"] = (truth.dims, truth.data, truth.attrs)
    scene.attrs["modality"] = str(before.attrs.get("kind", "optical"))
    return scene


# --- checks -----------------------------------------------------------------------------------------------------------


def check_times(scene: xr.Dataset) -> None:
    """Raise InputError where both acquisition times are known and `after` is earlier."""
    first, second = (str(scene[date].attrs.get("time") or "") for date in ("before", "after"))
    if first and second and datetime.fromisoformat(second) < datetime.fromisoformat(first):
        raise InputError(
            f"'before' was taken on {first}, 'after' on {second}: the dates are swapped. Exchange the two images."
        )


def valid(scene: xr.Dataset) -> xr.DataArray:
    """`([sample,] y, x)` bool, lazy: True where every band of both dates has a value. Mask loss, metrics and maps with it."""
    from xarray.ufuncs import isfinite

    return (isfinite(scene["before"]) & isfinite(scene["after"])).all("band").rename("valid")


def _same_grid(first: Raster, second: Raster, resample: bool, notes: list[str]) -> Raster:
    """`second`, resampled where the grids differ and `resample` is True; InputError where they differ and it is False."""
    import pyproj

    one, two = _names(first, second)
    if first.shape[0] != second.shape[0]:
        raise InputError(
            f"{one} has {first.shape[0]} bands, {two} {second.shape[0]}; a pair has the same bands in "
            "both. Select them first (gdal_translate -b)."
        )
    sizes = f"{one} has {first.height} x {first.width} pixels, {two} {second.height} x {second.width}"
    a, b = first.grid, second.grid
    if a is None or b is None:
        if first.shape != second.shape:
            raise InputError(
                f"{sizes} (rows x columns), and {'neither has a map' if a is b else 'one of them has no map'}, so their "
                "relative position is not known. Crop or resample them to one size, or give georeferenced files."
            )
        if a is not b:
            notes.append("only one of the two dates has a map; the pixels of the other were taken to lie on it")
        return second
    first_crs, second_crs = pyproj.CRS.from_wkt(a.crs), pyproj.CRS.from_wkt(b.crs)
    other = b.bounds()
    if first_crs != second_crs:
        other = pyproj.Transformer.from_crs(second_crs, first_crs, always_xy=True).transform_bounds(*other)
    extent = a.bounds()
    if not (other[0] < extent[2] and extent[0] < other[2] and other[1] < extent[3] and extent[1] < other[3]):
        raise InputError(
            f"{one} and {two} do not overlap: x {extent[0]:.6g} to {extent[2]:.6g} and {other[0]:.6g} to "
            f"{other[2]:.6g}, y {extent[1]:.6g} to {extent[3]:.6g} and {other[1]:.6g} to {other[3]:.6g}. Give images of one place."
        )
    differ = []
    if first_crs != second_crs:
        differ.append(f"CRS ({_named(first_crs)} and {_named(second_crs)})")
    elif not np.allclose(a.transform[0::4], b.transform[0::4], rtol=SAME / max(a.width, a.height), atol=0):
        differ.append(f"resolution ({abs(a.transform[0]):g} and {abs(b.transform[0]):g} {first_crs.axis_info[0].unit_name})")
    elif not np.allclose(a.transform[2::3], b.transform[2::3], rtol=0, atol=SAME * abs(a.transform[0])):
        differ.append(f"corner ({a.transform[2]:.9g}, {a.transform[5]:.9g} and {b.transform[2]:.9g}, {b.transform[5]:.9g})")
    if first.shape != second.shape:
        differ.append("size")
    if not differ:
        return second
    if not resample:
        raise InputError(
            f"The two dates differ in {' and '.join(differ)}: {sizes}. To put {two} onto the pixels of "
            f"{one} (bilinear), use --resample (in Python resample=True)."
        )
    notes.append(f"{two} was resampled (bilinear) onto the pixels of {one}: they differ in {' and '.join(differ)}")
    return onto(second, a)


def _same_place(path: Path, shape: tuple[int, ...], first: Raster) -> None:
    if tuple(shape) != first.shape[1:]:
        turned = " It is turned; transpose it." if tuple(shape) == first.shape[:0:-1] else ""
        raise InputError(
            f"The truth {path.name} has {shape[0]} x {shape[1]} pixels, {first.path.name} {first.height} x {first.width} (rows x "
            f"columns); give the mask of this pair.{turned}"
        )
    if first.grid is None or path.suffix.lower() == ".npy":
        return
    grid = open_raster(path).grid
    if grid is not None and not np.allclose(grid.transform, first.grid.transform, rtol=SAME / max(shape), atol=0):
        raise InputError(
            f"The truth {path.name} is at another place on the map than {first.path.name}; give the mask of this pair."
        )


# --- sets -------------------------------------------------------------------------------------------------------------


class _Stack:
    """Many files as one array (sample, ..., y, x); a file is read when its values are computed."""

    def __init__(self, read: Any, names: Sequence[str], shape: tuple[int, ...], dtype: Any) -> None:
        self.read, self.names, self.shape, self.dtype = read, list(names), (len(names), *shape), np.dtype(dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        taken = [self.read(i) for i in range(len(self.names))[key[0]]]
        stack = np.stack(taken) if taken else np.empty((0, *self.shape[1:]), self.dtype)
        return stack[(slice(None), *key[1:])]

    def lazy(self, chunk: int = 8) -> Any:
        import dask.array as da

        chunks = (min(chunk, self.shape[0]), *self.shape[1:])
        meta = np.empty((0,) * self.ndim, self.dtype)
        return da.from_array(self, chunks=chunks, asarray=True, fancy=False, name=False, meta=meta)


def stacked(
    names: Sequence[str],
    before: Sequence[Path],
    after: Sequence[Path],
    truth: Sequence[Path | None],
    modality: str,
) -> xr.Dataset:
    """The set of pairs in these files. All labels are read by one rule, chosen from the first eight labels, or from more where
    these contain no change.
    """
    first = open_raster(before[0])
    shape = first.shape

    def reader(files: Sequence[Path]) -> Any:
        def read(i: int) -> np.ndarray:
            raster = open_raster(files[i])
            if raster.shape != shape:
                raise InputError(
                    f"The image {files[i].name} of pair {names[i]!r} has {' x '.join(map(str, raster.shape))} (bands x rows x "
                    f"columns), {before[0].name} {' x '.join(map(str, shape))}; pairs of one set must be of one size."
                )
            return raster[:, :, :]

        return read

    first_dates, second_dates = (_Stack(reader(files), names, shape, np.float32).lazy() for files in (before, after))
    notes = list(first.notes)
    labels = None
    if any(truth):
        looked: list[np.ndarray] = []
        for path in filter(None, truth):
            looked.append(grey(read_labels(path)[0].astype(np.float64))[0])
            if len(looked) >= 8 and any((v > 0).any() for v in looked):
                break
        rule = label_rule(looked)
        rule_text = "where 1; 255 is taken as not labelled" if rule == "255 unlabelled" else f"where {rule}"
        notes.append(f"truth: changed {rule_text}")
        lost = [n for n, p in zip(names, truth, strict=True) if p is None]
        if lost:
            notes.append(f"{len(lost)} pairs have no label ({', '.join(lost[:3])}); their truth is -1")

        def read(i: int) -> np.ndarray:
            path = truth[i]
            if path is None:
                return np.full(shape[1:], -1, np.int16)
            values, name = read_labels(path)
            if values.shape[1:] != shape[1:]:
                raise InputError(
                    f"The label {name} has {values.shape[1]} x {values.shape[2]} pixels, its images {shape[1]} x {shape[2]}."
                )
            return as_change(values, name, rule)[0]

        labels = _Stack(read, names, shape[1:], np.int16).lazy()
    scene = _scene(first_dates, second_dates, labels, modality, (None, None), names=names)
    _numbered(scene, first, first)
    lines = [f"{sha256(p)}  {i} {n}" for i, files in enumerate((before, after)) for n, p in zip(names, files, strict=True)]
    scene.attrs.update(sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(), simulated="", notes="\n".join(notes))
    return scene


def _scene(
    before: Any,
    after: Any,
    truth: Any,
    modality: str,
    times: Sequence[str | None],
    names: Sequence[str] | None = None,
) -> xr.Dataset:
    """A scene of these arrays; `names` are the sample names of a set."""
    import xarray as xr

    lead = () if names is None else ("sample",)
    *_, bands, height, width = before.shape
    what = "SAR intensity or amplitude" if modality == "sar" else "image"
    scene = xr.Dataset(coords={"y": np.arange(height, dtype=float), "x": np.arange(width, dtype=float)})
    for date, data, time in zip(("before", "after"), (before, after), times, strict=True):
        about = {"long_name": f"{what}, {date}", "kind": modality, "units": "1", **({"time": time} if time else {})}
        scene[date] = ((*lead, "band", "y", "x"), data, about)
    if truth is not None:
        scene["truth"] = ((*lead, "y", "x"), truth, {"names": ["unchanged", "changed"], "long_name": "reference change"})
    scene = scene.assign_coords(band=np.arange(bands))
    if names is not None:
        scene = scene.assign_coords(sample=np.array(names))
    scene.attrs["modality"] = modality
    return scene


def _located(scene: xr.Dataset, first: Raster, second: Raster) -> xr.Dataset:
    """The scene with map coordinates, CRS, wavelengths, and the units of the values."""
    grid = first.grid or second.grid
    if grid is not None:
        y, x = grid.centres()
        scene = scene.assign_coords(y=y, x=x)
        import rioxarray  # noqa: F401  (gives scene.rio)

        scene = scene.rio.write_crs(grid.crs)
    if first.wavelength is not None:
        about = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
        scene = scene.assign_coords(wavelength=("band", np.array(first.wavelength), about))
    _numbered(scene, first, second)
    return scene


def _numbered(scene: xr.Dataset, first: Raster, second: Raster) -> None:
    """Set `units` and `step` of each date: the full scale of the stored numbers, and the resolution of the values."""
    for date, raster in (("before", first), ("after", second)):
        if raster.full is not None:
            scene[date].attrs |= {"step": 1 / raster.full, "units": f"stored number / {raster.full:.0f}"}


def _roles(folder: Path) -> dict[str, Path]:
    # names are case-insensitive, except single letters: class folders may be named a and b
    folders = {p.name.lower() if len(p.name) > 1 else p.name: p for p in sorted(folder.iterdir()) if p.is_dir()}
    return {
        role: next(folders[w] for w in words if w in folders)
        for role, words in FOLDERS.items()
        if any(w in folders for w in words)
    }


def _files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()):
        if path.stem in files:
            raise InputError(
                f"{folder.name} has two images of the name {path.stem!r} ({files[path.stem].name}, {path.name}); keep one."
            )
        files[path.stem] = path
    return files


def _listed(folder: Path, names: Sequence[str]) -> list[str]:
    """The split of each name from list/train.txt, list/val.txt, list/test.txt; "" for a name in no list. A set has a
    `split` only if every name is in a list.
    """
    split: dict[str, str] = {}
    for path in sorted((folder / "list").glob("*.txt")) if (folder / "list").is_dir() else []:
        if path.stem.lower() in SPLITS:
            for line in path.read_text(encoding="utf-8").splitlines():
                split.setdefault(Path(line.strip()).stem, SPLITS[path.stem.lower()])
    return [split.get(name, "") for name in names]


def _keys(keys: Mapping[str, str] | None) -> dict[str, str]:
    given = dict(keys or {})
    for name in given:
        if name not in KEYS:
            raise InputError(f"There is no key {name!r} for a pair; use {', '.join(KEYS)}.{did_you_mean(name, KEYS)}")
    if given.get("modality", "optical") not in MODALITIES:
        raise InputError(f"modality is {' or '.join(MODALITIES)}; got {given['modality']!r}.")
    for name in ("time_before", "time_after"):
        if name in given:
            try:
                given[name] = iso(given[name])
            except ValueError:
                raise InputError(f"{name} is a date like 2000-03-17 or 2000-03-17T02:30:00; got {given[name]!r}.") from None
    return given


def _names(first: Raster, second: Raster) -> tuple[str, str]:
    """The names of two files, with their folders where the names alone are the same."""
    a, b = first.path, second.path
    return (a.name, b.name) if a.name != b.name else (f"{a.parent.name}/{a.name}", f"{b.parent.name}/{b.name}")


def _file(path: str | Path) -> Path:
    path = Path(path).expanduser()
    return path if path.suffix.lower() != ".hdr" else open_raster(path).path


def _step(centres: np.ndarray) -> float:
    return float(abs(centres[1] - centres[0])) if len(centres) > 1 else 1.0


def _named(crs: Any) -> str:
    return ":".join(crs.to_authority() or (crs.name,))
