"""Checks of a scene that read its pixels: whether a method can use them. Each runs once per opened scene.

    check_cube(scene)                       # hsi
    check_pair(scene, who="arcdnet")        # before, after and truth
    check(scene, ("before", "after"))       # the checks for these variables

A scene that has passed is remembered as long as the object exists, and is not read again. A scene derived from it
(`assign`, `isel`) is checked again, and so is a scene in which a variable was replaced.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

Check = Callable[["xr.Dataset", str], None]
_passed: dict[tuple[str, int], tuple[weakref.ref, tuple[int, ...]]] = {}


def _once(check: Check) -> Check:
    """The check, skipped for a scene that has passed it."""

    @functools.wraps(check)
    def checked(scene: xr.Dataset, who: str = "this method") -> None:
        key, state = (check.__name__, id(scene)), tuple(id(v) for v in scene.variables.values())
        passed = _passed.get(key)
        if passed is not None and passed[0]() is scene and passed[1] == state:
            return
        check(scene, who)
        _passed[key] = (weakref.ref(scene, lambda _: _passed.pop(key, None)), state)

    return checked


def check_pair(scene: xr.Dataset, who: str = "this method") -> None:
    """Raise InputError unless a method can use this pair, or set of pairs.

    Refused: after older than before, no pixel with values on both dates, infinite values, a truth with other values than
    1, 0 and -1 or without a labelled pixel among those with values.
    """
    from workbench.data.pairs import check_times

    check_times(scene)
    _check_pixels(scene, who)


@_once
def _check_pixels(scene: xr.Dataset, who: str) -> None:
    """The part of `check_pair` that reads the pixels of both dates."""
    from workbench.data.pairs import valid

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
                "Use workbench.data.labels.as_change."
            )
        if not bool(some_labelled):
            raise InputError(
                f"{who} needs labelled pixels; where this pair is known on both dates, 'truth' is -1 everywhere."
            )


@_once
def check_cube(scene: xr.Dataset, who: str = "this method") -> None:
    """Read the pixels of `hsi` once, block by block, and raise InputError if no method can use them.

    Refused: a band without any value (unless its `good` is False: headers mark unusable bands so), a cube without
    a good band, infinite values, and a cube with the same value everywhere. Scattered NaN are allowed.
    """
    hsi = scene["hsi"].transpose(..., "band", "y", "x")
    good = scene["good"].values.astype(bool) if "good" in scene.coords else np.ones(hsi.sizes["band"], bool)
    if not good.any():
        raise InputError("Every band of this scene is marked bad; check the bad-band list (bbl) of the file.")
    try:
        low, high, infinite = _extremes(hsi)
    except OSError as error:
        raise InputError(f"The pixels cannot be read ({error}); the file is damaged or was removed.") from None
    refuse_bands(np.flatnonzero((low > high) & good), np.flatnonzero(infinite & good))
    if low[good].min() == high[good].max():
        raise InputError(
            f"The cube is constant: every value is {low[good].min():g}. There is nothing to detect; check that "
            "the right array was taken (--key cube=NAME)."
        )


def refuse_bands(empty: np.ndarray, infinite: np.ndarray) -> None:
    """Raise InputError that names the bands without a value or with infinite values."""
    if len(infinite):
        raise InputError(f"Infinite values in {_bands(infinite)}; mark them as missing (data ignore value, nodata or NaN).")
    if len(empty):
        raise InputError(
            f"No valid value in {_bands(empty)}: all pixels are missing. Remove such bands, or mark them bad in the "
            "header (bbl = 0) so that they are left out."
        )


def _extremes(hsi: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest and largest finite value `(band)`, inf and -inf where there is none, and whether any is infinite."""
    import dask.array as da

    data = hsi.data if hsi.chunks is not None else da.from_array(hsi.values, chunks=_few(hsi.shape), name=False)
    n = data.ndim
    each = data.map_blocks(
        _block_extremes,
        chunks=((3,), *((1,) * k for k in data.numblocks[:-3]), data.chunks[-3], *((1,) * k for k in data.numblocks[-2:])),
        new_axis=0,
        dtype=np.float64,
        meta=np.empty((0,) * (n + 1)),
    ).compute()
    others = tuple(range(each.ndim - 1))
    axes = tuple(a for a in others if a != n - 3)
    return each[0].min(axes), each[1].max(axes), each[2].max(axes) > 0


def _few(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks of an array in memory: some rows at a time."""
    *others, rows, columns = shape
    return (*others, max(1, min(rows, 2**22 // max(1, int(np.prod(others)) * columns))), columns)


def _block_extremes(block: np.ndarray) -> np.ndarray:
    """(3, ..., band, 1, 1): smallest, largest finite value, whether any is infinite; length 1 on all axes except band."""
    axes = tuple(a for a in range(block.ndim) if a != block.ndim - 3)
    low, high = (f(block, axis=axes, keepdims=True).astype(float) for f in (np.min, np.max))
    infinite = np.zeros(low.shape)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        finite = np.isfinite(block)
        infinite = np.isinf(block).any(axis=axes, keepdims=True)
        low = np.min(block, axis=axes, keepdims=True, where=finite, initial=np.inf)
        high = np.max(block, axis=axes, keepdims=True, where=finite, initial=-np.inf)
    return np.stack([low, high, infinite]).astype(float)


def _bands(numbers: np.ndarray) -> str:
    """`band 3`, or `bands 3, 4, 5, 6, 7 and 2 more`; counted from 0."""
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"band{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:5]))}{more} (counted from 0)"


CHECKS: dict[str, Check] = {"hsi": check_cube, "before": check_pair}  # name of a variable -> its check


def check(scene: xr.Dataset, names: Iterable[str], who: str = "this method") -> None:
    """Run the checks of these variables, where the scene has them. Raises InputError that says what is wrong."""
    wanted = set(names)
    for name, checks in CHECKS.items():
        if name in wanted and name in scene:
            checks(scene, who)
