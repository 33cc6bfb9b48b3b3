"""TDDS against a slow reference written here from the definition: plain loops over samples, windows and classes.

The definition is the one of the authors' published code (commit 9c1e3bd of their repository), as formulas; no line of it is
used. Nothing of `workbench` enters the reference.
"""

import math

import numpy as np
import pytest
import torch

from workbench.methods.tdds.scoring import TDDS
from workbench.parts.dynamics import Recorder, dynamics, scores

EPS = 1e-8


def softmax(row: np.ndarray) -> list[float]:
    top = max(row)
    e = [math.exp(v - top) for v in row]
    return [v / sum(e) for v in e]


def slow_tdds(logits: np.ndarray, T: int, J: int, beta: float, difference: str, label: np.ndarray) -> list[float]:
    """logits (epoch, sample, class) -> score of every sample; all windows kept, the average unrolled as its weights."""
    found = []
    for n in range(logits.shape[1]):
        p = [softmax(logits[t, n].astype(float)) for t in range(T)]
        d = []
        for t in range(T - 1):
            if difference == "loss":
                y = label[n]
                d.append(math.log(p[t][y] + EPS) - math.log(p[t + 1][y] + EPS))
                continue
            terms = [q * (math.log(q + EPS) - math.log(o + EPS)) for q, o in zip(p[t + 1], p[t], strict=True)]
            d.append(sum(map(abs, terms)) if difference == "abs" else sum(terms))
        total = 0.0
        for k in range(T - J + 1):
            window = d[k : k + J - 1]
            mean = sum(window) / len(window)
            total += beta * (1 - beta) ** (T - J - k) * math.sqrt(sum((v - mean) ** 2 for v in window))
        found.append(total)
    return found


def training_like(seed: int, T: int = 17, N: int = 23, C: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits that walk, with jumps and saturation as in training."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 1.5, (T, N, C)) + 4 * (random.random((T, N, C)) < 0.1)
    return np.cumsum(steps, 0).astype(np.float32), random.integers(0, C, N)


@pytest.mark.parametrize("difference", ["abs", "kl", "loss"])
@pytest.mark.parametrize(("T", "J", "beta"), [(17, 10, 0.9), (10, 5, 0.9), (5, 5, 0.9), (12, 3, 0.3), (9, 4, 1.0)])
def test_streaming_and_log_agree_with_the_loops(difference, T, J, beta):
    logits, label = training_like(seed=T + J)
    expected = slow_tdds(logits, T, J, beta, difference, label)
    scorer = TDDS(J, T, beta, difference)
    recorder = Recorder(label, 6, {"tdds": scorer})
    random = torch.Generator().manual_seed(0)
    for epoch in logits:
        for index in torch.randperm(23, generator=random).split(5):
            recorder(index, torch.from_numpy(epoch)[index])
        recorder.end_epoch()
    np.testing.assert_allclose(recorder.score("tdds"), expected, rtol=0, atol=1e-6)
    replayed = scores(dynamics(logits, label), {"tdds": scorer})["tdds"]
    np.testing.assert_allclose(replayed, expected, rtol=0, atol=1e-6)
    assert np.ptp(expected) > 0.1  # the reference tells samples apart


def test_every_length_at_once_is_every_length_alone():
    logits, label = training_like(seed=3)
    lengths = [5, 8, 17]
    together = scores(dynamics(logits, label), {"tdds": TDDS(5)}, at=lengths)["tdds"]
    for T in lengths:
        np.testing.assert_allclose(together.sel(T=T), slow_tdds(logits, T, 5, 0.9, "abs", label), rtol=0, atol=1e-6)
