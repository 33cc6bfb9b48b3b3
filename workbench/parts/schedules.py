"""Learning-rate schedules."""

from __future__ import annotations

import math


def cosine(done: int, total: int, high: float, low: float = 0.0, warmup: int = 0, *, pi_first: bool = False) -> float:
    """The learning rate of the step after `done` steps of `total`: half a cosine from `high` to `low`, then flat.

    warmup: first steps, over which the rate rises from high/warmup to `high`; the cosine begins after them.
    pi_first: multiply by pi before dividing by the number of steps, not after; the two differ in the last bit, and the
        published results of RS-DGC use the first.

    high = 1: 1 at the beginning, 0.5 halfway, 0 at the end. With warmup = 5: 0.2, 0.4, 0.6, 0.8, 1, then 1 and falling.
    """
    if done < warmup:
        return high * (done + 1) / warmup
    done, total = done - warmup, max(1, total - warmup)
    angle = math.pi * min(done, total) / total if pi_first else math.pi * min(done / total, 1.0)
    return low + (high - low) * (1 + math.cos(angle)) / 2
