"""Truth masks: choice among several arrays, and conversion to 0, 1 and -1."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from workbench.data.readers.cube import size
from workbench.errors import InputError

NAMES = re.compile(r"(?i)(gt|map|mask|truth|label|target|anomal|ground)")


def as_truth(values: np.ndarray, name: str, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """(y, x) int16 truth, 1 where `values` > 0, -1 where NaN or negative, else 0; and a note where classes were merged.

    Raises InputError for another size (the message has both) or values that are not real numbers.
    """
    values = np.squeeze(np.asarray(values))
    if values.dtype.kind not in "iufb":
        raise InputError(f"The truth {name} holds {values.dtype}; it must hold numbers, above 0 where there is an anomaly.")
    if values.shape != shape:
        turned = " It is turned; transpose it." if values.shape == shape[::-1] else ""
        raise InputError(
            f"The truth {name} is {size(values.shape)} pixels, the cube {size(shape)} (rows x columns); "
            f"give the mask of this scene.{turned}"
        )
    truth = np.zeros(shape, np.int16)
    truth[values > 0] = 1
    truth[(values < 0) | np.isnan(values)] = -1
    classes = np.unique(values[values > 0])
    marked = int((truth > 0).sum())
    note = f"{marked} of {truth.size} pixels marked"
    if classes.size > 1:
        note += f"; {classes.size} classes above 0 were merged into one"
    return truth, note


def pick(arrays: Mapping[str, tuple[int, ...]], shape: tuple[int, int]) -> tuple[str | None, str]:
    """The name of the array that looks like the truth of a scene of `shape`, by size and name; and a note for the user."""
    fitting = [n for n, s in arrays.items() if tuple(s) == shape]
    named = [n for n in fitting if NAMES.search(n)]
    chosen = fitting if len(fitting) == 1 else named
    if len(chosen) == 1:
        return chosen[0], f"truth: array {chosen[0]!r}, guessed from its size and name"
    if fitting:
        return None, f"no truth taken: {', '.join(map(repr, fitting))} could all be it; choose with the key truth=NAME"
    return None, ""
