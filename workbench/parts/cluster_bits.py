"""Bits of a layer from how well 2^n cluster centres describe its weights (step B of GHOST), and plans within a budget of bit operations.

    d = {name: distances(w) for name, w in weights.items()}     # (7,), for 2 to 8 bits
    bits = below(d, 0.1)                                        # as published: the first n with d(n) < T
    bits = within(d, macs, budget)                              # ours: the smallest T whose plan costs at most `budget`

d is not free of scale: weights twice as large cost one bit more, although normalisation makes the network the same. For normally
distributed weights d(n) is about 2.72 sigma^2 4^-n 10^6 (P. F. Panter and W. Dite 1951), so it is the standard deviation on a
logarithmic scale; `by_spread` gives the distances that only this formula knows, as a control.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workbench.errors import InputError

LEVELS = tuple(range(2, 9))  # bits
ROUNDS = 300  # of k-means at most; it usually converges sooner
UNIT = 1e6  # d is a mean squared error in this unit


def centres(values: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    """(centres (at most k,), mean squared error) of k-means on numbers: deterministic, to convergence.

    The first centres have equal shares of the cube root of the density, which is optimal for many centres.

    >>> found, error = centres(np.array([0.0, 0.1, 0.2, 0.3]), 2)
    >>> found.round(2).tolist(), round(error, 4)
    ([0.05, 0.25], 0.0025)
    """
    x = np.sort(np.asarray(values, np.float64).ravel())
    if not np.isfinite(x).all():
        raise InputError("These weights have values that are not finite; the training of the network diverged.")
    different = np.unique(x)
    if len(different) <= k:
        return different, 0.0
    middle = x.mean()
    x = x - middle  # sums of squares lose no digits
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (x, x * x))
    now = _first(x, k)
    for _ in range(ROUNDS):
        at = np.concatenate([[0], np.searchsorted(x, (now[1:] + now[:-1]) / 2), [len(x)]])
        count = np.diff(at)
        after = np.where(count > 0, np.diff(sums[at]) / np.maximum(count, 1), now)
        if np.abs(after - now).max() <= 1e-9 * (x[-1] - x[0]):
            break
        now = after
    at = np.concatenate([[0], np.searchsorted(x, (now[1:] + now[:-1]) / 2), [len(x)]])
    error = (np.diff(squares[at]) - 2 * now * np.diff(sums[at]) + np.diff(at) * now**2).sum()
    return now + middle, float(max(error, 0.0) / len(x))


def _first(x: np.ndarray, k: int) -> np.ndarray:
    count, edges = np.histogram(x, bins=min(4096, max(64, 8 * k)))
    mass = np.concatenate([[0.0], np.cumsum(np.cbrt(count))])
    return np.interp((np.arange(k) + 0.5) / k * mass[-1], mass, edges)


def distances(weight: np.ndarray) -> np.ndarray:
    """d(2) to d(8), (7,): mean squared error of 2^n centres, times 10^6."""
    return np.array([UNIT * centres(weight, 2**n)[1] for n in LEVELS])


def by_spread(weight: np.ndarray) -> np.ndarray:
    """The distances of normally distributed weights with this standard deviation, (7,)."""
    return 2.72 * UNIT * float(np.var(weight)) * 4.0 ** -np.array(LEVELS, float)


def below(distance: Mapping[str, np.ndarray], threshold: float) -> dict[str, int]:
    """layer -> the fewest bits with a distance below the threshold, else 8.

    >>> below({"a": np.array([9.0, 4, 1, 0.05, 0, 0, 0])}, 0.1)
    {'a': 5}
    """
    plan = {}
    for name, d in distance.items():
        fit = np.flatnonzero(d < threshold)
        plan[name] = LEVELS[int(fit[0])] if len(fit) else LEVELS[-1]
    return plan


def bops_of(bits: Mapping[str, int], macs: Mapping[str, int], fixed: Mapping[str, int] | None = None) -> float:
    """Bit operations, convention input-act. fixed: layer -> bits of its input, where they are not those of its weights."""
    return float(sum(macs[n] * b * (fixed or {}).get(n, b) for n, b in bits.items()))


def within(
    distance: Mapping[str, np.ndarray], macs: Mapping[str, int], budget: float, fixed: Mapping[str, int] | None = None
) -> tuple[dict[str, int], float]:
    """(layer -> bits, T): the plan of the smallest threshold that costs at most `budget` bit operations.

    Raises InputError where not even two bits everywhere are cheap enough.
    """
    steps = np.unique(np.concatenate(list(distance.values())))
    least = bops_of(dict.fromkeys(distance, LEVELS[0]), macs, fixed)
    if least > budget:
        raise InputError(
            f"Two bits in every layer need {least:.4g} bit operations, more than the budget of {budget:.4g}. Raise it."
        )
    thresholds = np.nextafter(np.concatenate([[0.0], steps]), np.inf)  # just above a distance: this one fits now
    low, high = 0, len(thresholds) - 1
    while low < high:
        half = (low + high) // 2
        low, high = (low, half) if bops_of(below(distance, thresholds[half]), macs, fixed) <= budget else (half + 1, high)
    return below(distance, float(thresholds[low])), float(thresholds[low])
