"""Truth masks: choice among several arrays, and conversion to 0, 1 and -1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from workbench.data.readers.cube import size
from workbench.errors import InputError

NAMES = re.compile(r"(?i)(gt|map|mask|truth|label|target|anomal|ground)")


MERGED = "merged into one"  # in the note of a mask that holds several classes or colours
NEAR = 32  # largest change of black and white by lossy compression, in grey levels
Rule = Literal["above 0", "above 127", "255 unlabelled"]


def as_truth(values: np.ndarray, name: str, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """(y, x) int16 truth of a mask ([band,] y, x), 1 where it is marked (`label_rule`), -1 where NaN, negative or not labelled,
    else 0; and a note where classes were merged.

    Raises InputError for another size (the message has both) or values that are not real numbers.
    """
    values = np.asarray(values)
    coloured = False
    if values.ndim == 3 and values.shape[1:] == shape and 1 < len(values) <= 4 and values.dtype.kind in "iuf":
        values, coloured = grey(values.astype(np.float64))
    values = np.squeeze(values)
    if values.dtype.kind not in "iufb":
        raise InputError(f"The truth {name} holds {values.dtype}; it must hold numbers, above 0 where there is an anomaly.")
    if values.shape != shape and values.size == shape[0] * shape[1] and 1 in shape:
        values = values.reshape(shape)
    if values.shape != shape:
        turned = " It is turned; transpose it." if values.shape == shape[::-1] else ""
        raise InputError(
            f"The truth {name} is {size(values.shape)} pixels, the cube {size(shape)} (rows x columns); "
            f"give the mask of this scene.{turned}"
        )
    rule = label_rule([values])
    truth = np.zeros(shape, np.int16)
    truth[values > (127 if rule == "above 127" else 0)] = 1
    truth[(values < 0) | np.isnan(values)] = -1
    if rule == "255 unlabelled":
        truth[values == 255] = -1
    kept = values[np.isfinite(values) & ((values != 255) | (rule != "255 unlabelled"))]
    classes = np.unique(values[truth > 0])
    marked = int((truth > 0).sum())
    note = f"{marked} of {truth.size} pixels marked"
    if coloured:
        note += f"; colours other than black were {MERGED}"
    elif rule == "above 127" and classes.size > 1:
        note += "; lossy black and white, marked where above 127"
    elif classes.size > 1:
        note += f"; {classes.size} classes above 0 were {MERGED}"
    if (truth < 0).any():
        note += f"; {int((truth < 0).sum())} not labelled{' (255)' if rule == '255 unlabelled' else ''}"
    if kept.dtype.kind == "f" and (kept != np.round(kept)).any():
        note += f"; it holds fractions, from {kept.min():g} to {kept.max():g}: threshold it first, because all above 0 count as marked"
    if marked and not (truth == 0).any():
        note += "; no pixel is background, which is 0"
        note += ": if -1 means background, write 0 instead" if (kept < 0).any() else ""
    elif marked * 2 > max(1, int((truth >= 0).sum())):
        note += "; more than half is marked: is it inverted, or a map of classes (key classes=numbered)?"
    return truth, note


def label_rule(values: Sequence[np.ndarray]) -> Rule:
    """The rule to read masks like these, chosen by the grey levels that occur in them.

    8-bit black and white, also after lossy compression: above 127 is changed. Any other levels, 0
    and 1 or several classes: above 0. Beside classes that are counted from 0 or 1 without a gap (0, 1 and 255; 0 to 16 and 255),
    255 is not labelled.
    """
    each = [np.unique(v[np.isfinite(v)]) for v in values]
    levels = np.unique(np.concatenate(each or [np.zeros(0)]))
    if any(_with_ignored(found) for found in each) or (_with_ignored(levels) and levels[-2] == 1):
        return "255 unlabelled"
    near = (levels <= NEAR) | (levels >= 255 - NEAR)
    noise = min(int(((levels > 0) & (levels <= NEAR)).sum()), int(((levels < 255) & (levels >= 255 - NEAR)).sum()))
    if levels.size and 127 < levels[-1] <= 255 and (near.all() or len(levels) > 32 or (noise >= 3 and len(levels) > 8)):
        return "above 127"
    return "above 0"


def _with_ignored(levels: np.ndarray) -> bool:
    """Whether these levels are classes that are counted from 0 or 1 without a gap, and 255."""
    counted = levels[levels != 255]
    if 255 not in levels or not counted.size or not 1 <= counted[-1] <= 100 or counted[0] < 0:
        return False
    return set(range(1, int(counted[-1]) + 1)) == set(counted[counted > 0].tolist())


def grey(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """One value per pixel (the mean where bands are nearly equal, else 1 in colours, 0 in black), and whether it has colours."""
    if values.ndim == 2:
        return values, False
    if len(values) == 1:
        return values[0], False
    apart = NEAR if np.nanmax(values, initial=0) > NEAR else 0  # one-hot bands of 0 and 1 are no grey picture
    if np.nanmax(np.ptp(values, axis=0), initial=0) <= apart:
        return np.round(values.mean(0)), False
    return np.where(np.isfinite(values).all(0), (values.max(0) > apart).astype(float), np.nan), True


def too_much(name: str, mask: np.ndarray) -> str:
    """A note for a guessed truth that marks more than half of the scene, so that it is not taken; "" for others."""
    if (mask > 0).sum() * 2 <= mask.size:
        return ""
    return f"no truth taken: {name!r} marks more than half of the scene, as masks of valid pixels do; choose it with the key truth={name}"


def pick(arrays: Mapping[str, tuple[int, ...]], shape: tuple[int, int]) -> tuple[str | None, str]:
    """The name of the array that looks like the truth of a scene of `shape`, by size and name; and a note for the user."""
    fitting = [n for n, s in arrays.items() if tuple(s) == shape]
    named = [n for n in fitting if NAMES.search(n)]
    chosen = fitting if len(fitting) == 1 else named
    others = [n for n, s in arrays.items() if n not in fitting and min(s) > 1 and NAMES.search(n)]
    if not fitting and others:
        sizes = ", ".join(f"{n!r} ({size(arrays[n])})" for n in others[:3])
        return None, f"no truth taken: {sizes} is not of the size of the scene, {size(shape)} (rows x columns)"
    if len(chosen) == 1:
        return chosen[0], f"truth: array {chosen[0]!r}, guessed from its size and name"
    if fitting:
        return None, f"no truth taken: {', '.join(map(repr, fitting))} could all be it; choose with the key truth=NAME"
    return None, ""
