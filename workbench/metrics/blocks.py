"""How much the metrics of score maps depend on which part of the scene was seen: a bootstrap of square blocks of pixels.

Neighbouring pixels are alike, so drawing single pixels would give intervals that are far too narrow. The scene is cut into
squares of `block` pixels; each draw takes as many squares as there are, with replacement, and computes the metrics on their pixels.
All maps of one call get the same squares in the same draw, so that differences of two maps can be taken draw by draw.

Blocks should be larger than an object. The interval is of this scene: of another part of the same landscape, not of another sensor.

M. R. Kunsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17(3), 1989 (blocks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.errors import InputError
from workbench.metrics.anomaly import FALSE_ALARMS

METRICS = ("auc", "average_precision", *FALSE_ALARMS)


def block_bootstrap(
    scores: Mapping[str, Any], truth: Any, block: int = 10, draws: int = 500, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Metrics of every map in every draw: name of the map -> metric of `METRICS` -> (draws,).

    scores: maps (y, x). Only pixels that have a label and a score in all maps count. Draws without an anomaly or without
    background are NaN; `interval` leaves them out.

    Raises InputError for maps of another shape than the truth, block < 1, fewer than 2 blocks, and a truth without both classes.
    """
    truth = np.asarray(truth)
    maps = {name: np.asarray(score, np.float64) for name, score in scores.items()}
    for name, score in maps.items():
        if score.shape != truth.shape or truth.ndim != 2:
            raise InputError(f"Blocks need maps (y, x) of one shape; {name} has {score.shape}, the truth {truth.shape}.")
    if block < 1:
        raise InputError(f"Blocks need a width of at least 1 pixel; got {block}.")
    counts = (truth >= 0) & np.all([np.isfinite(score) for score in maps.values()], axis=0)
    y, x = np.nonzero(counts)
    _, member = np.unique((y // block) * (truth.shape[1] // block + 1) + x // block, return_inverse=True)
    blocks = int(member.max(initial=-1)) + 1
    positive = truth[counts] > 0
    if blocks < 2 or positive.all() or not positive.any():
        raise InputError(
            f"Blocks need at least 2 squares and both classes; there are {blocks} squares of {block} pixels with "
            f"{int(positive.sum())} anomalous and {int((~positive).sum())} other pixels. Take smaller blocks, or check the truth."
        )
    rng = np.random.default_rng(seed)
    often = np.array([np.bincount(rng.integers(blocks, size=blocks), minlength=blocks) for _ in range(draws)])
    found = {}
    for name, score in maps.items():
        order = np.argsort(-score[counts], kind="stable")
        value, where, anomalous = score[counts][order], member[order], positive[order]
        last = np.flatnonzero(np.r_[value[1:] != value[:-1], True])  # the end of every tie
        rows = [_weighted(often[n][where], anomalous, last) for n in range(draws)]
        found[name] = dict(zip(METRICS, np.array(rows).reshape(draws, len(METRICS)).T, strict=True))
    return found


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the draws; NaN when no draw counts."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _weighted(weight: np.ndarray, anomalous: np.ndarray, last: np.ndarray) -> tuple[float, ...]:
    """The metrics of pixels in descending order of their score, each counted `weight` times; `last`: the end of every tie."""
    hits = np.cumsum(weight * anomalous)[last]
    false = np.cumsum(weight)[last] - hits
    n, m = hits[-1], false[-1]
    if not n or not m:
        return (np.nan,) * len(METRICS)
    hits, false = np.r_[0, hits], np.r_[0, false]
    area = float((np.diff(false) * (hits[1:] + hits[:-1])).sum()) / (2 * n * m)
    gained = np.diff(hits)
    precision = hits[1:] / np.maximum(hits[1:] + false[1:], 1)
    rates = [hits[np.searchsorted(false / m, pf, side="right") - 1] / n for pf in FALSE_ALARMS.values()]
    return area, float((gained * precision).sum()) / n, *(float(rate) for rate in rates)
