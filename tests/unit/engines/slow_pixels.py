"""Pixels that take a while to read, for tests that interrupt their reading. Made in every process anew from a seed."""

from __future__ import annotations

import time

import numpy as np


class SlowPixels:
    """(band, y, x) float64; every window is `seconds` late."""

    ndim = 3
    dtype = np.dtype(np.float64)

    def __init__(self, shape: tuple[int, int, int], seconds: float = 0.0):
        self.shape, self.seconds = shape, seconds

    def values(self) -> np.ndarray:
        return np.random.default_rng(3).gamma(2.0, size=self.shape)

    def __getitem__(self, window):
        time.sleep(self.seconds)
        return self.values()[window]
