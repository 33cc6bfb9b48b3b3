"""Pairs: two co-registered images of one place at two times, alone or in sets, with what changed between them.

    scene = open_pair("2000.tif", "2003.tif", truth="change.png")
    scene = open_pairs("LEVIR-CD")                # A/name.png, B/name.png, label/name.png; or train/A/..., test/A/...
    known = valid(scene)                          # where both dates have a value

gives `before`, `after (band, y, x)` float32, lazily, NaN where missing, and `truth (y, x)` int16: 1 changed, 0 not, -1 not
labelled. A set has a leading `sample` dim, the coordinate `sample` (the name of the files) and, where folders or lists
say so, `split (sample)`. The acquisition time is in `attrs["time"]` of each date, where it is known.

Nothing is resampled, cropped, swapped or guessed silently: whatever was decided is a line in `attrs["notes"]`, and what
cannot be decided is an InputError that says what to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from workbench.data.chips import SPLITS, relative
from workbench.data.readers.files import sha256
from workbench.data.readers.raster import Raster, iso, one_band, onto, open_raster
from workbench.data.records import Record, Sourced, file_lines, signed
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
NEAR = 32  # grey levels that compression moves black and white by
SAME = 1e-3  # of a pixel, or of its size: grids that differ by less are one


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

    truth: a mask of the same rows and columns; also NPY. See `as_change` for what counts as changed.
    resample: put `after` onto the pixels of `before` (bilinear) where the two lie on different grids.
    keys: `modality` (optical or sar), `time_before`, `time_after`, where the files do not say.

    Raises InputError, saying what was found and what to do, where the two differ in size, bands, CRS or resolution, do not
    overlap, are one and the same file, or `after` is older than `before`.
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
        values, told = read_labels(truth)
        _same_place(Path(truth), values.shape[1:], first)
        labels, note = as_change(values, told)
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

    Above these may be folders train, val and test, or beside them lists list/train.txt and so on; both give `split`. A pair
    without a label has truth -1. Without any label there is no `truth`.

    Raises InputError where a date is missing, named, or the images differ in size or bands.
    """
    folder = Path(folder).expanduser()
    parts = sets_in(folder)
    if not parts:
        raise InputError(
            f"{folder} is no set of pairs: expected are folders of the first dates ({', '.join(FOLDERS['before'])}), of the "
            f"second ({', '.join(FOLDERS['after'])}) and of the labels ({', '.join(FOLDERS['truth'])})."
        )
    names: list[str] = []
    splits: list[str] = []
    found: dict[str, list[Path | None]] = {"before": [], "after": [], "truth": []}
    for split, places in sorted(parts.items()):
        files = {role: _files(places[role]) if role in places else {} for role in FOLDERS}
        lost = sorted(set(files["before"]) ^ set(files["after"]))
        if lost:
            there = "before" if lost[0] in files["before"] else "after"
            raise InputError(
                f"The pair {lost[0]!r} in {folder.name} has an image only {there} ({len(lost)} such pairs); both dates "
                "have files of the same name. Add or remove them."
            )
        for name in sorted(files["before"]):
            names.append(f"{split}/{name}" if split else name)
            splits.append(split)
            for role in FOLDERS:
                found[role].append(files[role].get(name))
    if not names:
        raise InputError(f"{folder} has no images ({', '.join(SUFFIXES)}) of two dates.")
    if not any(splits):
        splits = _listed(folder, names)
    scene = _stacked(names, found["before"], found["after"], found["truth"], "optical")  # type: ignore[arg-type]
    if all(splits):
        scene = scene.assign_coords(split=("sample", np.array(splits)))
    scene.attrs.update(id=folder.name, title=f"{len(names)} pairs in {folder.name}", source=f"files in {folder.name}")
    return scene


def sets_in(folder: Path) -> dict[str, dict[str, Path]]:
    """split ("" where there is none) -> role -> folder, of a folder that holds a set of pairs; empty for any other."""
    if not folder.is_dir():
        return {}
    own = _roles(folder)
    if {"before", "after"} <= set(own):
        return {"": own}
    inner = {SPLITS[p.name.lower()]: _roles(p) for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in SPLITS}
    return {split: roles for split, roles in inner.items() if {"before", "after"} <= set(roles)}


def as_pair(before: xr.DataArray, after: xr.DataArray, truth: xr.DataArray | None = None) -> xr.Dataset:
    """The scene of two arrays (band, y, x) in memory, on the pixels of `before`; for pairs that no file holds.

    Raises InputError where sizes or coordinates differ: xarray alone would join them, and fill with NaN.
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
                    f"{name!r} lies on other {dim} coordinates than 'before' ({float(array[dim][0]):g}.. and "
                    f"{float(before[dim][0]):g}..); resample it onto the first: {name}.rio.reproject_match(before)."
                )
    scene = xr.Dataset({"before": before})
    scene["after"] = (after.dims, after.data, after.attrs)
    if truth is not None:
        scene["truth"] = (truth.dims, truth.data, truth.attrs)
    scene.attrs["modality"] = str(before.attrs.get("kind", "optical"))
    return scene


# --- checks -----------------------------------------------------------------------------------------------------------


def check_pair(scene: xr.Dataset, who: str = "this method") -> None:
    """Raise InputError unless a method can work on this pair, or set of pairs; reads the pixels once.

    Refused: after older than before, no pixel that is known on both dates, infinite values, a truth with other values than
    1, 0 and -1 or with no labelled pixel among the known ones.
    """
    check_times(scene)
    known = valid(scene)
    strength = abs(scene["before"]).max() + abs(scene["after"]).max()
    labelled = (known & (scene["truth"] >= 0)).any() if "truth" in scene else known.any()
    import dask

    some, top, some_labelled = dask.compute(known.any(), strength, labelled)
    if float(top) == np.inf:
        raise InputError("Infinite values in this pair; mark them as missing (nodata or NaN).")
    if not bool(some):
        raise InputError(
            f"{who} needs pixels that are known on both dates; this scene has none (every pixel is nodata on one of them). "
            "Check that the two images overlap, and their nodata values."
        )
    if "truth" in scene:
        values = np.unique(scene["truth"].values)
        if not np.isin(values, (-1, 0, 1)).all():
            raise InputError(
                f"'truth' of a pair is 1 (changed), 0 (not) or -1 (not labelled); this one has {', '.join(map(str, values[:6]))}. "
                "Use workbench.data.pairs.as_change."
            )
        if not bool(some_labelled):
            raise InputError(
                f"{who} needs labelled pixels; where this pair is known on both dates, 'truth' is -1 everywhere."
            )


def check_times(scene: xr.Dataset) -> None:
    """Raise InputError where both acquisition times are known and `after` is the older."""
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
    """`second`, resampled where that was asked for and is needed; InputError where it is needed and was not."""
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
                f"{sizes} (rows x columns), and {'neither has a map' if a is b else 'one of them has no map'}, so it is not "
                "known how they lie on each other. Crop or resample them to one size, or give georeferenced files."
            )
        if a is not b:
            notes.append("only one of the two dates has a map; the pixels of the other were taken to lie on it")
        return second
    ours, theirs = pyproj.CRS.from_wkt(a.crs), pyproj.CRS.from_wkt(b.crs)
    reach = b.bounds()
    if ours != theirs:
        reach = pyproj.Transformer.from_crs(theirs, ours, always_xy=True).transform_bounds(*reach)
    mine = a.bounds()
    if not (reach[0] < mine[2] and mine[0] < reach[2] and reach[1] < mine[3] and mine[1] < reach[3]):
        raise InputError(
            f"{one} and {two} do not overlap: x {mine[0]:.6g} to {mine[2]:.6g} and {reach[0]:.6g} to "
            f"{reach[2]:.6g}, y {mine[1]:.6g} to {mine[3]:.6g} and {reach[1]:.6g} to {reach[3]:.6g}. Give images of one place."
        )
    differ = []
    if ours != theirs:
        differ.append(f"CRS ({_named(ours)} and {_named(theirs)})")
    elif not np.allclose(a.transform[0::4], b.transform[0::4], rtol=SAME / max(a.width, a.height), atol=0):
        differ.append(f"resolution ({abs(a.transform[0]):g} and {abs(b.transform[0]):g} {ours.axis_info[0].unit_name})")
    elif not np.allclose(a.transform[2::3], b.transform[2::3], rtol=0, atol=SAME * abs(a.transform[0])):
        differ.append(f"corner ({a.transform[2]:.9g}, {a.transform[5]:.9g} and {b.transform[2]:.9g}, {b.transform[5]:.9g})")
    if first.shape != second.shape:
        differ.append("size")
    if not differ:
        return second
    if not resample:
        raise InputError(
            f"The two dates differ in {' and '.join(differ)}: {sizes}. To put {two} onto the pixels of "
            f"{one} (bilinear), say --resample (in Python resample=True)."
        )
    notes.append(f"{two} was resampled (bilinear) onto the pixels of {one}: they differ in {' and '.join(differ)}")
    return onto(second, a)


def _same_place(path: Path, shape: tuple[int, ...], first: Raster) -> None:
    if tuple(shape) != first.shape[1:]:
        turned = " It is turned; transpose it." if tuple(shape) == first.shape[:0:-1] else ""
        raise InputError(
            f"The truth {path.name} has {shape[0]} x {shape[1]} pixels, {first.path.name} {first.height} x {first.width} (rows x "
            f"columns); give the mask of this very pair.{turned}"
        )
    if first.grid is None or path.suffix.lower() == ".npy":
        return
    grid = open_raster(path).grid
    if grid is not None and not np.allclose(grid.transform, first.grid.transform, rtol=SAME / max(shape), atol=0):
        raise InputError(
            f"The truth {path.name} lies elsewhere on the map than {first.path.name}; give the mask of this very pair."
        )


# --- labels -----------------------------------------------------------------------------------------------------------


def read_labels(path: str | Path) -> tuple[np.ndarray, str]:
    """The stored values (band, y, x) of a mask file, NaN where it has nodata, and its name."""
    path = Path(path).expanduser()
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except Exception as error:  # np.load raises many kinds on a damaged file
            raise InputError(f"The truth {path} cannot be read as NPY ({error}).") from None
        if values.ndim != 2:
            raise InputError(f"The truth {path} has {values.ndim} dimensions; a mask has rows and columns.")
        return values[None], path.name
    raster = open_raster(path)
    values, known = raster.raw()
    if not known.all():
        values = np.where(known, values.astype(np.float32), np.nan)
    return values, path.name


def label_rule(values: Sequence[np.ndarray]) -> Literal["above 0", "above 127", "255 unlabelled"]:
    """How masks like these are to be read, from the grey levels that occur in them.

    Black and white of 8 bits, with or without what lossy compression made of them: above 127 is changed. Any other levels, 0
    and 1 or several classes: above 0. Exactly 0, 1 and 255: 255 is not labelled.
    """
    levels = np.unique(np.concatenate([np.unique(v[np.isfinite(v)]) for v in values] or [np.zeros(0)]))
    if set(levels) <= {0, 1, 255} and {1, 255} <= set(levels):
        return "255 unlabelled"
    near = (levels <= NEAR) | (levels >= 255 - NEAR)
    if levels.size and 127 < levels[-1] <= 255 and (near.all() or len(levels) > 32):
        return "above 127"
    return "above 0"


def as_change(values: np.ndarray, name: str, rule: str | None = None) -> tuple[np.ndarray, str]:
    """(y, x) int16 truth (1 changed, 0 not, -1 not labelled) of a mask ([band,] y, x), and a note on how it was read.

    NaN and negative values are not labelled. Colours other than black are changed. `rule`: of `label_rule`, where several
    masks must be read alike; None looks at this one.

    >>> as_change(np.array([[0, 3, 252, 255]]), "m.png")[0].tolist()  # lossy black and white
    [[0, 0, 1, 1]]

    Raises InputError for values that are no labels.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iufb":
        raise InputError(f"The truth {name} holds {values.dtype}; it must hold numbers, above 0 where something changed.")
    grey, coloured = _grey(values.astype(np.float64))
    some = grey[np.isfinite(grey)]
    if some.size and (some != np.round(some)).any():
        raise InputError(
            f"The truth {name} holds fractions ({some.min():g} to {some.max():g}); a mask has whole numbers. Threshold it first."
        )
    rule = rule or label_rule([grey])
    truth = np.full(grey.shape, -1, np.int16)
    truth[grey >= 0] = 0
    truth[grey > (127 if rule == "above 127" else 0)] = 1
    if rule == "255 unlabelled":
        truth[grey == 255] = -1
    parts = [f"truth {name}: {int((truth == 1).sum())} of {int((truth >= 0).sum())} labelled pixels changed"]
    levels = np.unique(some[some > 0])
    if rule == "above 127" and not set(levels) <= {255}:
        between = int(((grey > NEAR) & (grey < 255 - NEAR)).sum())
        parts.append(f"lossy black and white, changed where above 127 ({between} pixels are neither black nor white)")
    elif rule == "255 unlabelled":
        parts.append("255 is taken as not labelled")
    elif coloured:
        parts.append("colours other than black were merged into changed")
    elif levels.size > 1:
        parts.append(f"{levels.size} classes above 0 were merged into changed")
    return truth, "; ".join(parts)


def _grey(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """One value per pixel: the mean where bands are nearly equal, else 1 in colours and 0 in black; and whether coloured."""
    if values.ndim == 2:
        return values, False
    if len(values) == 1:
        return values[0], False
    if np.nanmax(np.ptp(values, axis=0), initial=0) <= NEAR:
        return np.round(values.mean(0)), False
    return np.where(np.isfinite(values).all(0), (values.max(0) > NEAR).astype(float), np.nan), True


# --- sets -------------------------------------------------------------------------------------------------------------


class _Stack:
    """Many files as one array (sample, ..., y, x); a file is read when it is asked for."""

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


def _stacked(
    names: Sequence[str],
    before: Sequence[Path],
    after: Sequence[Path],
    truth: Sequence[Path | None],
    modality: str,
) -> xr.Dataset:
    """The set of pairs in these files; labels are all read by one rule, found from the first that hold any change."""
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
            looked.append(_grey(read_labels(path)[0].astype(np.float64))[0])
            if len(looked) >= 8 and any((v > 0).any() for v in looked):
                break
        rule = label_rule(looked)
        told = "where 1; 255 is taken as not labelled" if rule == "255 unlabelled" else f"where {rule}"
        notes.append(f"truth: changed {told}")
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
    """A scene of these arrays; `names` are those of the samples of a set."""
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
    """Map coordinates, CRS, wavelengths, and what the numbers are."""
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
    """Say of each date what full scale was divided by, and the step that the numbers therefore have."""
    for date, raster in (("before", first), ("after", second)):
        if raster.full is not None:
            scene[date].attrs |= {"step": 1 / raster.full, "units": f"stored number / {raster.full:.0f}"}


def _roles(folder: Path) -> dict[str, Path]:
    # words in any case of letters; a single letter as it is, because chips have folders a and b, too
    there = {p.name.lower() if len(p.name) > 1 else p.name: p for p in sorted(folder.iterdir()) if p.is_dir()}
    return {
        role: next(there[w] for w in words if w in there)
        for role, words in FOLDERS.items()
        if any(w in there for w in words)
    }


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()):
        if path.stem in found:
            raise InputError(
                f"{folder.name} has two images of the name {path.stem!r} ({found[path.stem].name}, {path.name}); keep one."
            )
        found[path.stem] = path
    return found


def _listed(folder: Path, names: Sequence[str]) -> list[str]:
    """The split of each name from list/train.txt, list/val.txt, list/test.txt; all empty where they do not cover the set."""
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


# --- catalogue entries ------------------------------------------------------------------------------------------------


class PairFile(Record):
    """One file of an entry, below WORKBENCH_DATA or the cache."""

    role: Literal["before", "after", "truth", "changed", "unchanged", "header"]
    sample: str | None = Field(None, description="name of the pair in a set")
    path: Annotated[str, AfterValidator(relative)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    url: str | None = Field(None, pattern=r"^https://", description="pinned public mirror of exactly this file")


class Times(Record):
    """When the two images were taken, as ISO text; None where nobody says."""

    before: Annotated[str, AfterValidator(iso)] | None = None
    after: Annotated[str, AfterValidator(iso)] | None = None


class PairShape(Record):
    band: int = Field(ge=1)
    y: int = Field(ge=1)
    x: int = Field(ge=1)


class Pairs(Sourced):
    """Catalogue entry of one pair, or of a set of pairs of one size."""

    kind: Literal["pairs"]
    modality: Literal["optical", "sar"] = "optical"
    times: Times = Times()
    shape: PairShape
    labelled_pixels: int = Field(ge=1)
    changed_pixels: int = Field(ge=1)
    test: list[str] = Field([], description="samples held back for testing; the others are for training")
    files: list[PairFile]

    @model_validator(mode="after")
    def _whole(self) -> Pairs:
        for name in self.samples() or [None]:  # type: ignore[list-item]
            roles = sorted(f.role for f in self.files if f.sample == name and f.role != "header")
            if roles not in (["after", "before", "truth"], ["after", "before", "changed", "unchanged"]):
                raise ValueError(
                    f"the pair {name or self.id} needs one before, one after, and a truth or a changed and an unchanged mask"
                )
        if not set(self.test) <= set(self.samples()):
            raise ValueError("test names samples that are not there")
        if self.obtain is None and not all(f.url for f in self.files):
            raise ValueError("files without an address need obtain")
        return self

    def samples(self) -> list[str]:
        """Names of the pairs of a set, in order; empty for one pair."""
        return sorted({f.sample for f in self.files if f.sample is not None})


def open_entry(entry: Pairs) -> xr.Dataset:
    """The scene of a catalogue entry, verified, with its provenance; files are looked up as `workbench.data.fetch` says."""
    places = {(f.sample, f.role): p for f, p in zip(entry.files, locate(entry), strict=True)}
    names = entry.samples()
    if names:
        before, after, truth = ([places[n, role] for n in names] for role in ("before", "after", "truth"))
        scene = _stacked(names, before, after, truth, entry.modality)
        if entry.test:
            scene = scene.assign_coords(split=("sample", np.where(np.isin(names, entry.test), "test", "train")))
    else:
        keys = {"modality": entry.modality}
        keys |= {f"time_{d}": t for d, t in entry.times.model_dump().items() if t is not None}
        scene = open_pair(places[None, "before"], places[None, "after"], places.get((None, "truth")), keys=keys)
        if (None, "changed") in places:
            scene = _referenced(scene, places[None, "changed"], places[None, "unchanged"])
    found = tuple(scene["before"].sizes[d] for d in ("band", "y", "x"))
    if found != (entry.shape.band, entry.shape.y, entry.shape.x):
        raise InputError(f"{entry.id} should be {entry.shape}; its files are {found}.")
    return signed(scene, entry)


def _referenced(scene: xr.Dataset, changed: Path, unchanged: Path) -> xr.Dataset:
    """The scene with truth from two masks: 1 in the first, 0 in the second, -1 in neither; InputError where they overlap."""
    yes, no = (as_change(*read_labels(p))[0] == 1 for p in (changed, unchanged))
    if (yes & no).any():
        raise InputError(
            f"{changed.name} and {unchanged.name} overlap in {int((yes & no).sum())} pixels; a pixel is one or the other."
        )
    truth = np.where(yes, 1, np.where(no, 0, -1)).astype(np.int16)
    return scene.assign(truth=(("y", "x"), truth, {"names": ["unchanged", "changed"], "long_name": "reference change"}))


def locate(entry: Pairs) -> list[Path]:
    """Where the files of an entry are on this machine, verified; downloaded where they can be.

    Raises InputError when they are absent: it says where they belong and who has them.
    """
    from workbench.data import fetch

    if all(f.url for f in entry.files):
        return fetch.get(entry.id, entry.files)  # type: ignore[arg-type]
    found = fetch.find(entry.files)  # type: ignore[arg-type]
    if found is None:
        raise InputError(
            f"{entry.id} is not on this machine, and it cannot be downloaded file by file. Get it from {entry.obtain}, put it "
            f"at {os.path.dirname(entry.files[0].path)} below a folder, and name that folder in WORKBENCH_DATA; or open two "
            "files of your own by their paths. The scene 'sim-change-town' needs no files."
        )
    return found


def card(entry: Pairs) -> list[str]:
    """Lines that describe an entry, without opening or downloading anything."""
    s, names = entry.shape, entry.samples()
    count = f"{len(names)} pairs" if names else "one pair"
    dates = " and ".join(t for t in (entry.times.before, entry.times.after) if t)
    lines = [
        f"  pair: {count} of {s.y} x {s.x} pixels, {s.band} band{'s' * (s.band > 1)}, {entry.sensor}{', ' * bool(dates)}{dates}"
    ]
    lines.append(f"  truth: {entry.changed_pixels} changed of {entry.labelled_pixels} labelled pixels")
    if entry.test:
        lines.append(f"  held back for testing: {', '.join(entry.test)}")
    lines.append(f"  publisher: {entry.publisher}")
    return lines + file_lines(entry.files, entry.obtain)
