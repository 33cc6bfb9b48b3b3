"""Change masks: how the numbers or colours in a file become 1 changed, 0 not, -1 not labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from workbench.data.readers.raster import open_raster
from workbench.errors import InputError

NEAR = 32  # largest change of black and white by lossy compression, in grey levels


def read_labels(path: str | Path) -> tuple[np.ndarray, str]:
    """The stored values (band, y, x) of a mask file, NaN where it has nodata, and its name."""
    path = Path(path).expanduser()
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except Exception as error:  # np.load raises many exception types on a damaged file
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
    """The rule to read masks like these, chosen by the grey levels that occur in them.

    8-bit black and white, also after lossy compression: above 127 is changed. Any other levels, 0
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

    NaN and negative values are not labelled. Colours other than black are changed. `rule`: from `label_rule`, where several
    masks must be read by one rule; None: the rule for this mask.

    >>> as_change(np.array([[0, 3, 252, 255]]), "m.png")[0].tolist()  # lossy black and white
    [[0, 0, 1, 1]]

    Raises InputError for values that cannot be labels.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iufb":
        raise InputError(f"The truth {name} holds {values.dtype}; it must hold numbers, above 0 where something changed.")
    shades, coloured = grey(values.astype(np.float64))
    some = shades[np.isfinite(shades)]
    if some.size and (some != np.round(some)).any():
        raise InputError(
            f"The truth {name} holds fractions ({some.min():g} to {some.max():g}); a mask has whole numbers. Threshold it first."
        )
    rule = rule or label_rule([shades])
    truth = np.full(shades.shape, -1, np.int16)
    truth[shades >= 0] = 0
    truth[shades > (127 if rule == "above 127" else 0)] = 1
    if rule == "255 unlabelled":
        truth[shades == 255] = -1
    parts = [f"truth {name}: {int((truth == 1).sum())} of {int((truth >= 0).sum())} labelled pixels changed"]
    levels = np.unique(some[some > 0])
    if rule == "above 127" and not set(levels) <= {255}:
        between = int(((shades > NEAR) & (shades < 255 - NEAR)).sum())
        parts.append(f"lossy black and white, changed where above 127 ({between} pixels are neither black nor white)")
    elif rule == "255 unlabelled":
        parts.append("255 is taken as not labelled")
    elif coloured:
        parts.append("colours other than black were merged into changed")
    elif levels.size > 1:
        parts.append(f"{levels.size} classes above 0 were merged into changed")
    return truth, "; ".join(parts)


def grey(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """One value per pixel (the mean where bands are nearly equal, else 1 in colours, 0 in black), and whether it has colours."""
    if values.ndim == 2:
        return values, False
    if len(values) == 1:
        return values[0], False
    if np.nanmax(np.ptp(values, axis=0), initial=0) <= NEAR:
        return np.round(values.mean(0)), False
    return np.where(np.isfinite(values).all(0), (values.max(0) > NEAR).astype(float), np.nan), True
