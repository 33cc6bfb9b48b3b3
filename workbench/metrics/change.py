"""How well a change map matches the truth: precision, recall, F1, IoU and kappa from one pooled confusion matrix.

A change map holds probabilities or decisions in [0, 1]; a pixel is classified as changed when the map is above the threshold.
Truth is > 0 for changed, 0 for not, < 0 for not labelled. Unlabelled pixels and pixels without a finite value do not count.

Scores of a set of images come from one matrix, summed over all images. The mean of the scores per image is different: it
is undefined for images without change, and small changes weigh as much as large ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


# metric -> its description; each is a property of `Confusion`
MEANING = {
    "f1": "F1 of changed pixels",
    "iou": "IoU of changed pixels",
    "kappa": "Cohen's kappa",
    "precision": "share of the pixels classified as changed that did change",
    "recall": "share of the changed pixels that were found",
    "error_rate": "share of wrong pixels, lower is better",
}


@dataclass(frozen=True)
class Confusion:
    """Counts of pixels, changed = positive. `a + b` pools two matrices; a score with denominator 0 is NaN.

    >>> c = Confusion(tp=50, fp=10, fn=20, tn=920)
    >>> round(c.precision, 4), round(c.recall, 4), round(c.f1, 4), c.iou
    (0.8333, 0.7143, 0.7692, 0.625)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def total(self) -> int:
        """Pixels counted."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN when no pixel was classified as changed."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); NaN when no pixel changed."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """Intersection over union of the changed class, F1 / (2 - F1)."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> float:
        """Share of pixels classified correctly."""
        return _ratio(self.tp + self.tn, self.total)

    @property
    def error_rate(self) -> float:
        """Share of pixels classified wrongly."""
        return _ratio(self.fp + self.fn, self.total)

    @property
    def kappa(self) -> float:
        """Agreement beyond chance. J. Cohen, "A coefficient of agreement for nominal scales", 1960."""
        n = self.total
        if n == 0:
            return float("nan")
        agreed = (self.tp + self.tn) / n
        chance = ((self.tp + self.fp) * (self.tp + self.fn) + (self.fn + self.tn) * (self.fp + self.tn)) / n**2
        return _ratio(agreed - chance, 1 - chance)


def confusion(change: Any, truth: Any, threshold: float = 0.5) -> Confusion:
    """The matrix of a map and its truth, which have the same shape; all pixels are pooled.

    >>> confusion([0.9, 0.2, 0.6, 0.5], [1, 0, 0, 1])
    Confusion(tp=1, fp=1, fn=1, tn=1)

    Raises InputError when the shapes differ.
    """
    called, positive = decisions(change, truth, threshold)
    tp = int((called & positive).sum())
    fp, fn = int(called.sum()) - tp, int(positive.sum()) - tp
    return Confusion(tp, fp, fn, called.size - tp - fp - fn)


def decisions(change: Any, truth: Any, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """(classified as changed, truly changed) of all pixels that count, flat bool."""
    change, truth = np.asarray(change), np.asarray(truth)
    if change.shape != truth.shape:
        raise InputError(
            f"Change map and truth must cover the same pixels; the map has shape {change.shape}, truth {truth.shape}. "
            "Crop or transpose one of them."
        )
    counts = np.isfinite(change) & (truth >= 0)
    return change[counts] > threshold, truth[counts] > 0


def add_metrics(result: xr.Dataset, truth: xr.DataArray | None, threshold: float = 0.5) -> xr.Dataset:
    """`result` with f1, iou, kappa, precision, recall and error_rate of its `change` as 0-d variables.

    Unchanged when there is no truth, or no labelled pixel with a value. A score that is not defined is NaN.
    """
    if truth is None:
        return result
    matrix = confusion(result["change"].transpose(*truth.dims), truth, threshold)
    if matrix.total == 0:
        return result
    return result.assign({name: ((), getattr(matrix, name), {"long_name": text}) for name, text in MEANING.items()})


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
