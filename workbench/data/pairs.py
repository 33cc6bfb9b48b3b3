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
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.data import comparable
from workbench.data.chips import SPLITS
from workbench.data.labels import as_change
from workbench.data.pair_sets import FOLDERS, SUFFIXES, by_stem, leave_out, roles_of, sets_in
from workbench.data.readers.files import inside, not_read, sha256
from workbench.data.readers.mask_files import stored
from workbench.data.readers.raster import Raster, iso, one_band, open_raster, undeclared_in
from workbench.data.readers.truth import grey, label_rule
from workbench.data.split_lists import listed, lists_of
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

KEYS = ("modality", "time_before", "time_after", "nodata", "alpha", "full")
MODALITIES = ("optical", "sar")


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
    keys: `modality` (optical or sar), `time_before`, `time_after`, where the files do not state them; `nodata`, the value that means "no
        data"; `alpha`, the number of the alpha band or "none"; `full`, the numbers by which the two dates are divided ("255,10000").

    Raises InputError that says what is wrong and what to do, where the two differ in size, bands, CRS or resolution, do not
    overlap, are the same file, or `after` is older than `before`.
    """
    given = _keys(keys)
    first, second = open_raster(before, given), open_raster(after, given)
    digests = [sha256(first.path), sha256(second.path)]
    if digests[0] == digests[1]:
        raise InputError(f"{before} and {after} are the same file (same SHA-256); give the images of two dates.")
    notes: list[str] = []
    if given.get("modality") == "sar":
        first, second = one_band(first), one_band(second)
    elif first.shape[0] == 1:
        notes.append("taken as optical images of one band; say modality=sar for SAR")
    comparable.same_bands(first, second, notes)
    comparable.same_names(first, second, notes)
    second = comparable.one_grid(first, second, resample, notes)
    first, second = comparable.one_scale(first, second, given.get("full"), notes)
    if given.get("modality") == "sar":
        comparable.no_decibels((first, second))
    for raster in (first, second):
        notes += [f"{raster.path.name}: {n}" for n in undeclared_in(raster)]
    times = [given.get(f"time_{date}") or r.time for date, r in (("before", first), ("after", second))]
    labels = None
    if truth is not None:
        values, name, told = stored(truth, shape=first.shape[1:])
        comparable.same_place(Path(truth).expanduser(), values.shape[-2:], first)
        labels, note = as_change(values, name)
        digests.append(sha256(_file(truth)))
        notes.append("; ".join([note, *told]))
    scene = _scene(first.lazy(), second.lazy(), labels, given.get("modality", "optical"), times)
    scene = _located(scene, first, second)
    if second.onto is not None:
        digests.append("resampled")
    scene.attrs.update(
        id=first.path.stem,
        title=" and ".join(comparable.names(first, second)),
        source=f"files {', '.join(comparable.names(first, second))}",
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
        found = ", ".join(p.name for p in inside(folder)[:8]) or "nothing"
        raise InputError(
            f"{folder} is not a set of pairs: expected are folders of the first dates ({', '.join(FOLDERS['before'])}), of the "
            f"second ({', '.join(FOLDERS['after'])}) and of the labels ({', '.join(FOLDERS['truth'])}); found: {found}."
        )
    names: list[str] = []
    splits: list[str] = []
    notes: list[str] = []
    paths: dict[str, list[Path | None]] = {"before": [], "after": [], "truth": []}
    for split, places in sorted(parts.items()):
        files = {role: by_stem(places[role]) if role in places else {} for role in FOLDERS}
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
        notes += _told(places, files)
    if not names:
        raise InputError(f"{folder} has no images ({', '.join(SUFFIXES)}) of two dates.")
    lists = [] if any(splits) else lists_of(folder)
    if lists:
        splits = listed(lists, names, notes)
    notes += not_read([p for p in inside(folder) if p.is_file() and p not in lists], f"of {folder.name}")
    kept = leave_out(names, paths, notes)
    names, splits = [names[i] for i in kept], [splits[i] for i in kept]
    first, second, truth = ([paths[role][i] for i in kept] for role in FOLDERS)
    scene = stacked(names, first, second, truth, "optical")  # type: ignore[arg-type]
    if all(splits):
        scene = scene.assign_coords(split=("sample", np.array(splits)))
    notes += [n for n in str(scene.attrs.get("notes", "")).split("\n") if n]
    about = {"id": folder.name, "title": f"{len(names)} pairs in {folder.name}", "source": f"files in {folder.name}"}
    scene.attrs.update(about, notes="\n".join(dict.fromkeys(notes)))
    return scene


def _told(places: Mapping[str, Path], files: Mapping[str, Mapping[str, Path]]) -> list[str]:
    """Notes on folders beside those of a set, and on labels without images."""
    above = places["before"].parent
    unread = roles_of(above)[1] if above == places["after"].parent else []
    unread = [name for name in unread if name.lower() not in SPLITS]
    notes = [f"folders beside the dates that are not read: {', '.join(unread[:6])}"] if unread else []
    alone = sorted(set(files["truth"]) - set(files["before"]))
    if files["truth"] and not set(files["truth"]) & set(files["before"]):
        raise InputError(
            f"No label in {places['truth'].name} has the name of an image ({alone[0]!r} and {sorted(files['before'])[0]!r}); both have "
            "files of the same name. Rename them, or move the folder of labels away."
        )
    return notes + ([f"{len(alone)} labels belong to no pair ({', '.join(alone[:3])})"] if alone else [])


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
                and not np.allclose(array[dim], before[dim], rtol=0, atol=comparable.SAME * _step(before[dim].values))
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
    known = min(len(first), len(second))  # a date without a time is compared as a date
    if first and second and datetime.fromisoformat(second[:known]) < datetime.fromisoformat(first[:known]):
        raise InputError(
            f"'before' was taken on {first}, 'after' on {second}: the dates are swapped. Exchange the two images."
        )


def valid(scene: xr.Dataset) -> xr.DataArray:
    """`([sample,] y, x)` bool, lazy: True where every band of both dates has a value. Mask loss, metrics and maps with it."""
    from xarray.ufuncs import isfinite

    return (isfinite(scene["before"]) & isfinite(scene["after"])).all("band").rename("valid")


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
    """The set of pairs in these files. All labels are read by one rule, chosen from the values of all of them (of 2000, spread over the
    set, where there are more).
    """
    notes: list[str] = []
    first, other = comparable.one_scale(open_raster(before[0]), open_raster(after[0]), None, notes)
    shape = first.shape

    def reader(files: Sequence[Path], divide: float | None) -> Any:
        def read(i: int) -> np.ndarray:
            raster = replace(open_raster(files[i]), divide=divide)
            if raster.shape != shape:
                raise InputError(
                    f"The image {files[i].name} of pair {names[i]!r} has {' x '.join(map(str, raster.shape))} (bands x rows x "
                    f"columns), {before[0].name} {' x '.join(map(str, shape))}; pairs of one set must be of one size."
                )
            return raster[:, :, :]

        return read

    first_dates, second_dates = (
        _Stack(reader(files, raster.divide), names, shape, np.float32).lazy()
        for files, raster in ((before, first), (after, other))
    )
    notes = list(dict.fromkeys([*first.notes, *notes]))
    labels = None
    if any(truth):
        rule = label_rule([_levels(path) for path in _spread([p for p in truth if p is not None])])
        rule_text = "where above 0; 255 is taken as not labelled" if rule == "255 unlabelled" else f"where {rule}"
        notes.append(f"truth: changed {rule_text}")
        lost = [n for n, p in zip(names, truth, strict=True) if p is None]
        if lost:
            notes.append(f"{len(lost)} pairs have no label ({', '.join(lost[:3])}); their truth is -1")

        def read(i: int) -> np.ndarray:
            path = truth[i]
            if path is None:
                return np.full(shape[1:], -1, np.int16)
            values, name, _ = stored(path)
            if values.shape[-2:] != shape[1:]:
                raise InputError(
                    f"The label {name} has {' x '.join(map(str, values.shape[-2:]))} pixels, its images {shape[1]} x {shape[2]}."
                )
            return as_change(values, name, rule)[0]

        labels = _Stack(read, names, shape[1:], np.int16).lazy()
    scene = _scene(first_dates, second_dates, labels, modality, (None, None), names=names)
    _numbered(scene, first, other)
    lines = [f"{sha256(p)}  {i} {n}" for i, files in enumerate((before, after)) for n, p in zip(names, files, strict=True)]
    scene.attrs.update(sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(), simulated="", notes="\n".join(notes))
    return scene


MANY = 2000  # labels of a set that are looked at to choose the rule


def _spread(paths: list[Path]) -> list[Path]:
    return paths if len(paths) <= MANY else [paths[int(i)] for i in np.linspace(0, len(paths) - 1, MANY)]


def _levels(path: Path) -> np.ndarray:
    """The values that occur in a label."""
    values = stored(path)[0]
    return np.unique(grey(values.astype(np.float64))[0] if values.ndim > 2 and len(values) > 1 else values).astype(float)


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
    grid = next((r.grid for r in (first, second) if r.grid is not None and r.grid.crs), None)
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
        full = raster.full if raster.divide is None else raster.divide
        if full is not None and full != 1:
            whole = raster.stored.kind in "iu"
            scene[date].attrs |= {**({"step": 1 / full} if whole else {}), "units": f"stored number / {full:g}"}


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


def _file(path: str | Path) -> Path:
    path = Path(path).expanduser()
    return path if path.suffix.lower() != ".hdr" else open_raster(path).path


def _step(centres: np.ndarray) -> float:
    return float(abs(centres[1] - centres[0])) if len(centres) > 1 else 1.0
