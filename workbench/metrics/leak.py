"""Leak meter: how much higher an accuracy gets when test pixels lie between training pixels.

    leak = leak_meter(spectra, label, train, test)
    leak.random, leak.honest          # accuracy of the nearest neighbour under random pixels and under the given split

The number of training and of test samples is the same in both; their classes are drawn as they come.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST = 1500  # samples of each part


class Leak(NamedTuple):
    """Accuracy of the nearest neighbour under a random split of the same pixels, and under the split that is used."""

    random: float
    honest: float


def leak_meter(values: np.ndarray, label: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int = 0) -> Leak:
    """Accuracies of one nearest neighbour. values (N, features) are standardised here; train, test: positions of the split.

    A high `random` beside a low `honest` says that neighbours are alike: then random pixels measure memory, not knowledge.
    """
    draw = np.random.default_rng(seed)
    train, test = draw.permutation(train)[:MOST], draw.permutation(test)[:MOST]
    values = np.asarray(values, np.float64)
    spread = values.std(0)
    values = (values - values.mean(0)) / np.where(spread > 0, spread, 1)
    both = draw.permutation(np.concatenate([train, test]))
    mixed_train, mixed_test = both[: len(train)], both[len(train) :]
    return Leak(_nearest(values, label, mixed_train, mixed_test), _nearest(values, label, train, test))


def _nearest(values: np.ndarray, label: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    from sklearn.neighbors import KNeighborsClassifier

    known = KNeighborsClassifier(1).fit(values[train], label[train])
    return float((known.predict(values[test]) == label[test]).mean())
