"""Whether the two dates of a pair can be compared: one grid, one place, one scale of values.

    second = one_grid(first, second, resample=False, notes=notes)
    first, second = one_scale(first, second, None, notes)

Where the two differ, they are brought together and the notes say so, or an InputError says how to bring them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers.raster import Grid, Raster, onto, open_raster
from workbench.errors import InputError

SAME = 1e-3  # of a pixel, or of its size: grids that differ by less count as equal
NEGATIVE = 0.05  # share of negative values that noise removal and resampling leave in intensities at most
ROWS = 16  # rows whose values are compared
TOLD, REFUSED = 5.0, 20.0  # ratio of the largest values of two dates from which it is told, or refused for different types


def one_grid(first: Raster, second: Raster, resample: bool, notes: list[str]) -> Raster:
    """`second`, resampled where the grids differ and `resample` is True; InputError where they differ and it is False."""
    one, two = names(first, second)
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
    if not a.crs or not b.crs:
        return _without_crs(first, second, sizes, notes)
    first_crs, second_crs = parsed(a.crs), parsed(b.crs)
    equal = same_crs(first_crs, second_crs)
    if equal and first_crs.is_geographic:
        b = _one_turn(a, b, (one, two), notes)
        second = replace(second, grid=b)
    check_overlap(one, a, two, b)
    differ = []
    if not equal:
        differ.append(f"CRS ({_named(first_crs)} and {_named(second_crs)})")
    else:
        unit = first_crs.axis_info[0].unit_name if first_crs.axis_info else ""
        differ += _apart(a, b, unit)
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


def check_overlap(one: str, a: Grid, two: str, b: Grid) -> None:
    """Raise InputError unless the grids `a` and `b` have ground in common. one, two: what lies on them, in words."""
    first_crs, second_crs = parsed(a.crs), parsed(b.crs)
    extent, other = a.bounds(), b.bounds()
    if not same_crs(first_crs, second_crs):
        import pyproj

        other = pyproj.Transformer.from_crs(second_crs, first_crs, always_xy=True).transform_bounds(*other)
    if not (other[0] < extent[2] and extent[0] < other[2] and other[1] < extent[3] and extent[1] < other[3]):
        raise InputError(
            f"{one} and {two} do not overlap: x {extent[0]:.6g} to {extent[2]:.6g} and {other[0]:.6g} to "
            f"{other[2]:.6g}, y {extent[1]:.6g} to {extent[3]:.6g} and {other[1]:.6g} to {other[3]:.6g}. Give images of one place."
        )


def _apart(a: Grid, b: Grid, unit: str = "") -> list[str]:
    """Words on the difference of two grids of one CRS in resolution or corner."""
    if not np.allclose(a.transform[0::4], b.transform[0::4], rtol=SAME / max(a.width, a.height), atol=0):
        if np.allclose(np.abs(a.transform[0::4]), np.abs(b.transform[0::4]), rtol=SAME / max(a.width, a.height), atol=0):
            return ["direction (one is stored from north to south, the other from south to north)"]
        return [f"resolution ({abs(a.transform[0]):g} and {abs(b.transform[0]):g} {unit}".rstrip() + ")"]
    if not np.allclose(a.transform[2::3], b.transform[2::3], rtol=0, atol=SAME * abs(a.transform[0])):
        return [f"corner ({a.transform[2]:.9g}, {a.transform[5]:.9g} and {b.transform[2]:.9g}, {b.transform[5]:.9g})"]
    return []


def _without_crs(first: Raster, second: Raster, sizes: str, notes: list[str]) -> Raster:
    """`second`, where the grids are equal but one or both name no CRS; InputError where they differ."""
    a, b = first.grid, second.grid
    assert a is not None
    assert b is not None
    one, two = names(first, second)
    differ = _apart(a, b) + (["size"] if first.shape != second.shape else [])
    lacking = " and ".join(n for n, g in ((one, a), (two, b)) if not g.crs)
    if differ:
        raise InputError(
            f"The two dates differ in {' and '.join(differ)}: {sizes}; {lacking} give{'s' * (' and ' not in lacking)} no "
            "coordinate system, so "
            "they cannot be put onto one grid. Write it into the file first, for example with gdal_edit -a_srs EPSG:32632."
        )
    notes.append(
        f"{lacking} without a coordinate system: the two dates have the same corner and pixel size and were taken to lie on each other"
    )
    return replace(second, grid=a) if a.crs else second


def _one_turn(a: Grid, b: Grid, named: tuple[str, str], notes: list[str]) -> Grid:
    """`b` with its longitudes moved by a multiple of 360 degrees, so that it lies nearest to `a`.

    Raises InputError for two maps of the whole globe that are cut at different longitudes.
    """
    middles = [(g.bounds()[0] + g.bounds()[2]) / 2 for g in (a, b)]
    turns = round((middles[0] - middles[1]) / 360)
    if turns:
        notes.append(
            f"the longitudes of {named[1]} differ from those of {named[0]} by {360 * turns} degrees (0 to 360, and -180 to 180); they were "
            "taken as one place"
        )
        t = list(b.transform)
        t[2] += 360 * turns
        return b._replace(transform=tuple(t), turns=turns)
    wide = [g.bounds()[2] - g.bounds()[0] > 300 for g in (a, b)]
    if all(wide) and abs(middles[0] - middles[1]) > 1:
        raise InputError(
            f"{named[0]} runs from longitude {a.bounds()[0]:g} to {a.bounds()[2]:g}, {named[1]} from {b.bounds()[0]:g} to "
            f"{b.bounds()[2]:g}: they are "
            "cut at different longitudes (0 to 360, and -180 to 180). Cut one of them like the other first."
        )
    return b


def same_bands(first: Raster, second: Raster, notes: list[str]) -> None:
    """A note where the two dates state other wavelengths for their bands; InputError where they have the same bands in another order."""
    one, two = first.wavelength, second.wavelength
    if one is None or two is None or len(one) != len(two):
        return
    if _near(one, two):
        return
    a, b = names(first, second)
    stated = " and ".join(", ".join(f"{w:g}" for w in some[:6]) + (", ..." if len(some) > 6 else "") for some in (one, two))
    if _near(sorted(one), sorted(two)):
        raise InputError(
            f"The bands of {b} stand in another order than those of {a}: {stated} nm. Bring them into one order first, for example "
            f"with gdal_translate {' '.join(f'-b {two.index(w) + 1}' for w in _ordered(one, two)[:6])}{' ...' * (len(two) > 6)}."
        )
    notes.append(
        f"the bands of {a} and {b} have other wavelengths ({stated} nm); they are compared in the order in which they stand"
    )


def same_names(first: Raster, second: Raster, notes: list[str]) -> None:
    """A note where the two dates give their bands other names; InputError where they have the same bands in another order."""
    one, two = ([n.strip().lower() for n in r.described] for r in (first, second))
    if one == two or not all(one) or not all(two) or len(one) != len(two):
        return
    a, b = names(first, second)
    stated = f"{', '.join(first.described[:6])} and {', '.join(second.described[:6])}"
    if sorted(one) == sorted(two) and len(set(one)) == len(one):
        raise InputError(
            f"The bands of {b} stand in another order than those of {a}: {stated}. Bring them into one order first, for example with "
            f"gdal_translate {' '.join(f'-b {two.index(n) + 1}' for n in one[:6])}{' ...' * (len(one) > 6)}."
        )
    if len(set(one) & set(two)) > 0:  # with no common name the names count or date the bands
        notes.append(
            f"the bands of {a} and {b} have other names ({stated}); they are compared in the order in which they stand"
        )


def no_decibels(dates: Sequence[Raster]) -> None:
    """Raise InputError for a SAR image of a pair with many negative values, which no intensity and no amplitude has."""
    for raster in dates:
        values = _some(raster)
        negative = float((values < 0).mean()) if values.size else 0.0
        if negative > NEGATIVE:
            raise InputError(
                f"{raster.path.name} has {negative:.0%} negative values, down to {float(values.min()):.4g}; intensities and amplitudes "
                "have none. If it is in dB, convert it to intensity first: 10 ** (dB / 10)."
            )


def _near(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether wavelengths of two dates, one for each band, are of the same kind of band: within a tenth."""
    return bool(np.allclose(one, two, rtol=0.1))


def _ordered(one: Sequence[float], two: Sequence[float]) -> list[float]:
    """The wavelengths `two` in the order in which the sizes of `one` stand."""
    ranks = np.argsort(np.argsort(one))
    return [sorted(two)[r] for r in ranks]


def same_place(path: Path, shape: tuple[int, ...], first: Raster) -> None:
    """Raise InputError unless a mask of this shape (rows, columns) has the size of `first` and lies at the same place."""
    if tuple(shape) != first.shape[1:]:
        turned = " It is turned; transpose it." if tuple(shape) == first.shape[:0:-1] else ""
        raise InputError(
            f"The truth {path.name} has {' x '.join(map(str, shape))} pixels, {first.path.name} {first.height} x {first.width} (rows x "
            f"columns); give the mask of this pair.{turned}"
        )
    if first.grid is not None:
        on_grid(path, first.grid, first.path.name)


def on_grid(path: Path, grid: Grid, name: str) -> None:
    """Raise InputError where a mask is a raster with a map that is not `grid`, the grid of the file `name`."""
    try:
        own = open_raster(path).grid
    except InputError:  # not a raster: it has no map
        return
    if own is None:
        return
    if own.crs and grid.crs:
        if not same_crs(parsed(own.crs), parsed(grid.crs)):
            raise InputError(
                f"The truth {path.name} is at another place on the map than {name}: its CRS is {_named(parsed(own.crs))}, not "
                f"{_named(parsed(grid.crs))}; give the mask of this scene."
            )
        if parsed(grid.crs).is_geographic:
            own = _one_turn(grid, own, (name, path.name), [])
    if _apart(own, grid):
        raise InputError(
            f"The truth {path.name} is at another place on the map than {name} ({_apart(grid, own)[0]}); give the mask of this scene."
        )


def parsed(crs: str) -> Any:
    """The CRS of WKT or "EPSG:n"."""
    import pyproj

    return pyproj.CRS.from_user_input(crs)


def horizontal(crs: Any) -> Any:
    """The horizontal part of a CRS that also names heights, as those of height models do."""
    return horizontal(crs.sub_crs_list[0]) if crs.is_compound and crs.sub_crs_list else crs


def same_crs(one: Any, two: Any) -> bool:
    """Whether two CRS are one, whatever the order of their axes and the words of their WKT."""
    one, two = horizontal(one), horizontal(two)
    if one == two or one.equals(two, ignore_axis_order=True):
        return True
    codes = [crs.to_epsg(min_confidence=70) for crs in (one, two)]
    return codes[0] is not None and codes[0] == codes[1]


# --- values -----------------------------------------------------------------------------------------------------------


def one_scale(first: Raster, second: Raster, given: str | None, notes: list[str]) -> tuple[Raster, Raster]:
    """The two dates with values on one scale; a note where they had to be brought to it.

    given: what the user says: "none" keeps the values of each date, "255,10000" divides the dates by these numbers. Raises InputError
    where the dates differ in type and full scale, and no common scale is evident.
    """
    if given is not None:
        return _given(first, second, given, notes)
    one, two = names(first, second)
    types = f"{one} holds {_type(first)}, {two} {_type(second)}"
    if first.full != second.full:
        known, open_ = (first, second) if first.full == 255 or second.full is None else (second, first)
        low, high, _ = _range(replace(open_, divide=1.0))
        full = known.full
        assert full is not None
        if np.isfinite(high) and low >= -1 and 1.5 < high <= 256 and full == 255:
            notes.append(f"{types}, up to {high:g}: both were divided by 255")
            changed = replace(open_, divide=255.0)
        elif open_.stored == known.stored and open_.full is None:
            notes.append(f"{types}: both were divided by {full:g}")
            changed = replace(open_, divide=full)
        elif open_.full is None and not high <= 1.5:
            raise InputError(
                f"The two dates cannot be compared: {types}, with values up to {high:g}, and only the first kind has a known "
                "full scale. Give "
                "both in one type, or say by which numbers they are divided: --key full=255,10000 (before,after; full=none "
                "keeps the values)."
            )
        else:
            notes.append(f"{types}: the values of both run up to 1")
            changed = open_
        first, second = (first, changed) if known is first else (changed, second)
    tops = [_range(r)[2] for r in (first, second)]
    if all(np.isfinite(t) and t > 0 for t in tops):
        ratio = max(tops) / min(tops)
        if first.stored != second.stored and ratio > REFUSED:
            raise InputError(
                f"The two dates cannot be compared: {types}, and their values run up to about {tops[0]:.3g} and {tops[1]:.3g}. "
                "Give both on "
                "one scale, or say by which numbers they are divided: --key full=1,10000 (before,after; full=none keeps the values)."
            )
        if ratio > TOLD:
            notes.append(
                f"the values of the two dates run up to about {tops[0]:.3g} and {tops[1]:.3g}; if they are not on one scale, "
                "say full=BEFORE,AFTER"
            )
    return first, second


def _given(first: Raster, second: Raster, given: str, notes: list[str]) -> tuple[Raster, Raster]:
    if given == "none":
        notes.append(f"values of both dates as stored ({_type(first)} and {_type(second)}), as full=none says")
        return replace(first, divide=1.0), replace(second, divide=1.0)
    words = given.split(",") if "," in given else [given, given]
    try:
        full = [float(w) for w in words]
        if len(full) != 2 or not all(np.isfinite(v) and v > 0 for v in full):
            raise ValueError
    except ValueError:
        raise InputError(f"full={given} must be none, or two numbers above 0 such as 255,10000 (before,after).") from None
    notes.append(f"values divided by {full[0]:g} and {full[1]:g}, as full={given} says")
    return replace(first, divide=full[0]), replace(second, divide=full[1])


def _type(raster: Raster) -> str:
    return (
        f"{raster.stored.itemsize * 8} bit whole numbers ({raster.stored})"
        if raster.stored.kind in "iu"
        else str(raster.stored)
    )


def _range(raster: Raster) -> tuple[float, float, float]:
    """Smallest, largest value and the 98th percentile of some rows; NaN where none is valid."""
    values = _some(raster)
    return (float(values.min()), float(values.max()), float(np.quantile(values, 0.98))) if values.size else (np.nan,) * 3


def _some(raster: Raster) -> np.ndarray:
    """The valid values of some rows."""
    rows = sorted({int(r) for r in np.linspace(0, raster.height - 1, min(ROWS, raster.height))})
    if raster.driver in ("PNG", "BMP", "JPEG"):  # decoded as a whole
        values = raster[:, :, :][:, rows]
    else:
        values = np.concatenate([raster[slice(None), slice(r, r + 1), slice(None)] for r in rows], axis=1)
    return np.asarray(values[np.isfinite(values)])


def names(first: Raster, second: Raster) -> tuple[str, str]:
    """The names of two files, with their folders where the names alone are the same."""
    a, b = first.path, second.path
    return (a.name, b.name) if a.name != b.name else (f"{a.parent.name}/{a.name}", f"{b.parent.name}/{b.name}")


def _named(crs: Any) -> str:
    return ":".join(crs.to_authority() or (crs.name,))
