"""The score: depth one, depth two and their moving average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.parts.dynamics import Batch, Memory

EPS = 1e-8  # as in the authors' code; it is 0 in half precision, so all computation is in float64


SPREAD_BLOCK = 4096  # samples whose windows are processed at once


def change(p: Tensor, previous: Tensor, difference: str = "abs", label: Tensor | None = None) -> Tensor:
    """Depth one, the change during one epoch: (B, C), (B, C) -> (B,).

        abs     d = sum_c | p_c (log(p_c + eps) - log(q_c + eps)) |        q: p one epoch earlier
        kl      the same without absolute values: classes can cancel
        loss    d = log(q_y + eps) - log(p_y + eps), the change of the label's cross-entropy

    From (0.5, 0.5) to (0.8, 0.2), abs: 0.8 ln 1.6 + 0.2 |ln 0.4| = 0.559261; kl: 0.192745.
    """
    if difference == "loss":
        if label is None:
            raise InputError('difference="loss" needs labels; give them to the recorder, or use "abs" or "kl".')
        p, previous = p.gather(1, label[:, None]), previous.gather(1, label[:, None])
        return (torch.log(previous + EPS) - torch.log(p + EPS))[:, 0]
    terms = p * (torch.log(p + EPS) - torch.log(previous + EPS))
    return terms.abs().sum(1) if difference == "abs" else terms.sum(1)


def spread(window: Tensor) -> Tensor:
    """Depth two, the spread of d in a window: (J - 1, N) -> (N,), the root of the sum of squares about the mean.

    Not divided by J - 1. Of 0.559261, 0.449868: 0.0773525. Exactly 0 where all are equal.
    """
    moved = window - window[:1]
    return (moved - moved.mean(0)).square().sum(0).sqrt()


def ema_weights(T: int, J: int, beta: float = 0.9) -> np.ndarray:
    """Weight of each window k = 0..T-J in S: beta (1 - beta)^(T-J-k); the newest, last, weighs most: (..., 0.09, 0.9)."""
    if T < J:
        raise InputError(f"A window of J={J} epochs does not fit in a trajectory of T={T}; choose J <= T.")
    return beta * (1 - beta) ** np.arange(T - J, -1, -1.0)


@dataclass(frozen=True)
class TDDS:
    """The score as a `Scorer`, for any training loop (with `Recorder`) or a log (with `score`).

    J: window in epochs. T: epochs 0..T-1 are used, later ones ignored; None uses all, and the score after each epoch is that
    of the trajectory up to it. difference: see `change`.

    Memory: the J - 1 newest changes, `ring (J-1, n)` with change t (from 0) in row t mod J-1, their `spread (n)`, and S,
    `score (n)`.
    Raises InputError for J < 3 (one change has no spread), J > T, and fewer epochs than T or J.
    """

    J: int = 10
    T: int | None = None
    beta: float = 0.9
    difference: Literal["abs", "kl", "loss"] = "abs"

    def __post_init__(self) -> None:
        if self.J < 3:
            raise InputError(f"A window of TDDS needs at least 3 epochs, which are two changes; J={self.J}.")
        if self.T is not None and self.T < self.J:
            raise InputError(f"A window of J={self.J} epochs does not fit in a trajectory of T={self.T}; choose J <= T.")
        if not 0 < self.beta <= 1:
            raise InputError(f"beta is the weight of the newest window, above 0 and at most 1; got {self.beta}.")
        if self.difference not in ("abs", "kl", "loss"):
            raise InputError(f"difference is abs, kl or loss, not {self.difference!r}.")

    def start(self, n: int) -> Memory:
        """Zeros for n samples: `ring (J - 1, n)`, `spread (n,)`, `score (n,)`."""
        one = torch.zeros(n, dtype=torch.float64)
        return {"ring": torch.zeros(self.J - 1, n, dtype=torch.float64), "spread": one.clone(), "score": one}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Write the change of these rows into the ring."""
        if batch.previous is not None and not self._past(batch.epoch):
            d = change(batch.p, batch.previous, self.difference, batch.label)
            memory["ring"][(batch.epoch - 1) % (self.J - 1), rows] = d

    def end(self, memory: Memory, epoch: int) -> None:
        """Update the spread of the window and the moving average."""
        if epoch + 1 >= self.J and not self._past(epoch):
            for ring, out in zip(memory["ring"].split(SPREAD_BLOCK, 1), memory["spread"].split(SPREAD_BLOCK), strict=True):
                out.copy_(spread(ring))
            memory["score"].mul_(1 - self.beta).add_(memory["spread"], alpha=self.beta)

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """S `(n,)`; InputError for fewer epochs than T or J."""
        needed = self.J if self.T is None else self.T
        if epochs < needed:
            raise InputError(
                f"TDDS with J={self.J}, T={self.T} needs {needed} epochs; {epochs} were recorded. Train longer, or "
                "choose a smaller window."
            )
        return memory["score"]

    def _past(self, epoch: int) -> bool:
        return self.T is not None and epoch >= self.T


def window_of(memory: Memory, epochs: int) -> Tensor:
    """The changes in the newest window, oldest first: (J - 1 or fewer, n), from TDDS' memory after `epochs` epochs."""
    ring = memory["ring"]
    size, changes = len(ring), epochs - 1
    return ring[[t % size for t in range(max(0, changes - size), changes)]]


def trajectory_length(keep: float, epochs: int, J: int) -> int:
    """T for a budget, our rule: .45, .35, .3, .1, .05 of the run at keep .7, .5, .3, .2, .1, the nearest; at least 2 J.

    Heavy pruning needs an early window, but not the first epochs, in which every sample changes. Of 200 epochs with
    J = 5: 90, 70, 60, 20, 10.
    """
    shares = {0.7: 0.45, 0.5: 0.35, 0.3: 0.3, 0.2: 0.1, 0.1: 0.05}
    nearest = min(shares, key=lambda k: abs(k - keep))
    return min(max(round(shares[nearest] * epochs), 2 * J), epochs)


@dataclass(frozen=True)
class PLabel:
    """The label's probability in the last epoch; the score is its mean over epochs, the easiness of a sample."""

    def start(self, n: int) -> Memory:
        """Zeros for n samples: `last (n,)` and `sum (n,)`."""
        return {"last": torch.zeros(n, dtype=torch.float64), "sum": torch.zeros(n, dtype=torch.float64)}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Keep the label's probability and add it to the sum."""
        memory["last"][rows] = batch.p_label
        memory["sum"][rows] += batch.p_label

    def end(self, memory: Memory, epoch: int) -> None:
        """Nothing is left to do after an epoch."""

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """The mean probability of the label, `(n,)`."""
        return memory["sum"] / max(epochs, 1)
