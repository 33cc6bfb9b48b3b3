"""Change masks: how the numbers or colours in a file become 1 changed, 0 not, -1 not labelled."""

from __future__ import annotations

import numpy as np

from workbench.data.readers.truth import NEAR, grey, label_rule
from workbench.errors import InputError


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
    changed, known = int((truth == 1).sum()), int((truth >= 0).sum())
    if changed * 2 > known > 0:
        parts.append("more than half is changed: is the mask inverted, or is what did not change white?")
    return truth, "; ".join(parts)
