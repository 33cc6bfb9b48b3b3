"""Accuracy of class maps: confusion, overall and average accuracy, kappa, of each class; mapped area with its interval; calibration.

    counts = confusion(truth, labels, classes=8)              # (true, predicted)
    overall(counts), average(counts), kappa(counts)
    mapped_areas(counts, mapped)                              # area of each class with a 95 % interval

For a confusion matrix [[8, 2], [1, 9]]:

    >>> counts = np.array([[8, 2], [1, 9]])
    >>> round(overall(counts), 4), round(average(counts), 4), round(kappa(counts), 4)
    (0.85, 0.85, 0.7)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workbench.errors import InputError


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts, row: true class, column: predicted class; samples with a negative class in either are left out.

    Raises InputError for other shapes, for classes that are not whole numbers, and for classes beyond `classes`.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape:
        raise InputError(
            f"The true classes have the shape {truth.shape}, the predicted ones {predicted.shape}; give the same samples."
        )
    for name, values in (("true", truth), ("predicted", predicted)):
        if values.dtype.kind not in "iu":
            raise InputError(
                f"The {name} classes are {values.dtype}; they must be whole numbers from 0, -1 where there is none."
            )
        if values.size and values.max() >= classes:
            raise InputError(f"A {name} class is {values.max()}; with {classes} classes the last is {classes - 1}.")
    used = (truth >= 0) & (predicted >= 0)
    pairs = truth[used].astype(np.int64) * classes + predicted[used]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overall(counts: np.ndarray) -> float:
    """OA: the share of samples that are right; NaN without samples."""
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


def recall(counts: np.ndarray) -> np.ndarray:
    """(classes,) share of the samples of a class that is found (producer's accuracy); NaN for a class without samples."""
    return _shares(np.diag(counts), counts.sum(1))


def precision(counts: np.ndarray) -> np.ndarray:
    """(classes,) share of what is called a class that is right (user's accuracy); NaN for a class that is never predicted."""
    return _shares(np.diag(counts), counts.sum(0))


def average(counts: np.ndarray) -> float:
    """AA: the mean recall of the classes that have samples; NaN without samples."""
    shares = recall(counts)
    return float(np.nanmean(shares)) if np.isfinite(shares).any() else float("nan")


def kappa(counts: np.ndarray) -> float:
    """Cohen's kappa, (OA - chance) / (1 - chance); NaN where chance is 1."""
    total = counts.sum()
    if not total:
        return float("nan")
    chance = float(counts.sum(0) @ counts.sum(1) / total**2)
    return (overall(counts) - chance) / (1 - chance) if chance < 1 else float("nan")


class Areas(NamedTuple):
    """Of each class: the estimated area, and the half width of its 95 % interval; both in the units of `mapped`."""

    area: np.ndarray
    half_width: np.ndarray


def mapped_areas(counts: np.ndarray, mapped: np.ndarray, z: float = 1.96) -> Areas:
    """The area of each true class, from the area that was mapped and a sample of pixels with their true class.

    counts: `confusion` of the sample. mapped (classes,): pixels, or any unit of area, of each class in the map. Pixels counted in
    the map are biased where the map is wrong; the estimator weighs the confusion by the mapped areas, stratum by stratum:
    P. Olofsson et al., "Good practices for estimating area and assessing accuracy of land change", Remote Sensing of Environment
    148, 2014, equations 9 to 11. It assumes that the sample is random within each mapped class: labelled pixels that were chosen by
    hand are not, so for these the interval is too narrow. Mapped classes without two samples take no part; their area is
    distributed to none, and the result is NaN where that leaves nothing.
    """
    drawn = counts.sum(0).astype(float)  # samples in each mapped class
    used = drawn >= 2
    mapped = np.asarray(mapped, float)
    whole = mapped.sum()
    if not used.any() or whole <= 0:
        nothing = np.full(len(mapped), np.nan)
        return Areas(nothing, nothing)
    weight = np.where(used, mapped / whole, 0.0)
    share = np.where(used, counts / np.maximum(drawn, 1), 0.0)  # of the true classes (rows) in each mapped class (columns)
    variance = (weight**2 * share * (1 - share) / np.maximum(drawn - 1, 1)).sum(1)
    return Areas(whole * (share * weight).sum(1), z * whole * np.sqrt(variance))


class Calibration(NamedTuple):
    """Of each bin of confidence: mean confidence, share that is right, number of samples; and the expected calibration error."""

    confidence: np.ndarray
    right: np.ndarray
    samples: np.ndarray
    error: float


def calibration(probability: np.ndarray, truth: np.ndarray, bins: int = 10) -> Calibration:
    """Whether the highest probability is how often it is right; probability (N, classes), truth (N,), whole numbers from 0.

    C. Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599: bins of equal width. Empty bins are NaN.
    """
    confidence, right = probability.max(1), probability.argmax(1) == truth
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    mean = _shares(np.bincount(place, confidence, bins), count)
    share = _shares(np.bincount(place, right, bins), count)
    error = float(np.nansum(np.abs(mean - share) * count) / max(count.sum(), 1))
    return Calibration(mean, share, count, error)


def entropy(probability: np.ndarray, axis: int = -1) -> np.ndarray:
    """Entropy of class probabilities over an axis, divided by that of equal ones: 0 certain, 1 all classes alike; NaN stays."""
    p = np.clip(probability, 1e-12, 1)
    return -(p * np.log(p)).sum(axis) / np.log(max(probability.shape[axis], 2))


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
