"""Axes by rank: values that pile up in one corner of a plot are spread evenly; the ticks keep the values.

position = ranked(score)            # 0.25: a quarter of all values is lower
ticks = rank_ticks(score)           # {0.0: "1.2×10⁻⁵", 0.5: "0.0031", ...}
"""

from __future__ import annotations

import numpy as np

QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def ranked(values: np.ndarray) -> np.ndarray:
    """Share of all values that are lower, from 0 to 1, in the order given; equal values share the middle of their places.

    >>> ranked(np.array([5.0, 1.0, 1.0, 900.0])).tolist()
    [0.625, 0.25, 0.25, 0.875]
    """
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")) / 2 / max(len(values), 1)


def rank_ticks(values: np.ndarray) -> dict[float, str]:
    """Position on the axis of ranks -> the value there, for the lowest, the highest and some between them.

    >>> rank_ticks(np.array([0.0, 0.0, 0.0, 0.5]))
    {0.375: '0', 0.875: '0.5'}
    """
    if not len(values):
        return {}
    ordered = np.sort(values)
    at = np.array([round(q * (len(ordered) - 1)) for q in QUANTILES])
    return dict(zip(ranked(ordered)[at].tolist(), map(written, ordered[at]), strict=True))


def written(value: float) -> str:
    """A value on an axis: three digits, or two and a power of ten for a very small or large one.

    >>> written(0.9121), written(0.000407), written(1.39e-07), written(250000.0), written(0.0)
    ('0.912', '4.1×10⁻⁴', '1.4×10⁻⁷', '2.5×10⁵', '0')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}×10{str(int(power)).translate(RAISED)}"
