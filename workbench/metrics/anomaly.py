"""How well a score map finds the anomalies: exact ROC, areas under it, and detection at a given false-alarm rate.

Scores are real numbers, higher = more anomalous. Truth is > 0 for an anomaly, 0 for background, < 0 for not labelled.
Unlabelled pixels and pixels without a finite score do not count. A pixel is detected when its score is at or above the
threshold: PD is the detected share of the anomalies, PF the detected share of the background.

An object is an 8-connected component of the anomalous pixels; it is hit when at least one of its pixels is detected.

The areas, with tau the threshold on scores, scaled to [0, 1] over the pixels that count:

    auc        AUC(D,F) = P(anomaly scores higher than background) + P(equal) / 2; computed by ranks, exact
    average_precision  AP, area under precision against recall: how much of what is detected is anomalous; a random score
               gives the share of anomalies, so AP tells detectors apart that all have an AUC near 1
    auc_d_tau  AUC(D,tau), area under PD against tau = the anomalies' mean scaled score; higher is better
    auc_f_tau  AUC(F,tau), area under PF against tau = the background's mean scaled score; lower is better
    auc_td     AUC(D,F) + AUC(D,tau), target detectability, in [0, 2]
    auc_bs     AUC(D,F) - AUC(F,tau), background suppressibility, in [-1, 1]
    auc_tdbs   AUC(D,tau) - AUC(F,tau), target detection in background, in [-1, 1]
    auc_od     AUC(D,F) + AUC(D,tau) - AUC(F,tau), overall detection, in [-1, 2]
    auc_odp    AUC(D,tau) + 1 - AUC(F,tau), overall detection probability, in [0, 2]

C.-I. Chang, "An effective evaluation tool for hyperspectral target detection: 3D receiver operating characteristic curve
analysis", IEEE Trans. Geosci. Remote Sens. 59(6), 2021, doi 10.1109/TGRS.2020.3021671. All with tau depend on the scale
of the scores, and a few very high scores can dominate them: compare them only between maps with the same scaling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

FALSE_ALARMS = {"pd_at_pf_01": 0.1, "pd_at_pf_001": 0.01, "pd_at_pf_0001": 0.001}
# metrics that `add_metrics` also gives for controls
COMPARED = (
    "auc",
    "average_precision",
    "auc_f_tau",
    "auc_bs",
    "pd_at_pf_001",
    "pd_at_pf_0001",
    "objects_at_pf_001",
    "objects_at_pf_0001",
)


class Roc(NamedTuple):
    """The exact curve, from no detection to all: `pf` and `pd` at every distinct score in `threshold` (descending).

    The first point is (0, 0) at an infinite threshold.
    """

    pf: np.ndarray
    pd: np.ndarray
    threshold: np.ndarray


def auc(score: Any, truth: Any) -> float:
    """AUC(D,F): the probability that an anomaly scores higher than a background pixel; ties count one half.

    Raises InputError when truth has another shape or does not have both classes.

    >>> auc([1, 2, 3, 3], [0, 0, 0, 1])  # above two of three, equal to one
    0.8333333333333334
    """
    anomalies, others = _both(score, truth)
    ranks = _ranks(np.concatenate([anomalies, others]))
    n = len(anomalies)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(others)))


def average_precision(score: Any, truth: Any) -> float:
    """AP: the mean over anomalies of the precision at the threshold that just detects each; pixels with equal scores are
    detected together. No interpolation, as in scikit-learn.

    >>> average_precision([4, 3, 2, 1], [1, 0, 1, 0])  # precision 1/1 and 2/3
    0.8333333333333333
    """
    anomalies, others = _both(score, truth)
    threshold, counts = np.unique(anomalies, return_counts=True)
    hits = len(anomalies) - np.r_[0, np.cumsum(counts)[:-1]]  # anomalies at or above each threshold
    false = len(others) - np.searchsorted(np.sort(others), threshold)
    return float((counts * hits / (hits + false)).sum() / len(anomalies))


def auc_d_tau(score: Any, truth: Any) -> float:
    """AUC(D,tau), exact: PD falls from 1 to 0 as tau passes the anomalies' scaled scores, so its area is their mean."""
    return float(_scaled(*_both(score, truth))[0].mean())


def auc_f_tau(score: Any, truth: Any) -> float:
    """AUC(F,tau), exact: the mean scaled score of the background."""
    return float(_scaled(*_both(score, truth))[1].mean())


def roc(score: Any, truth: Any) -> Roc:
    """The exact ROC curve; every distinct score is a threshold.

    Raises InputError when truth has another shape or does not have both classes.
    """
    anomalies, others = _both(score, truth)
    threshold = np.unique(np.concatenate([anomalies, others]))[::-1]
    pd = _share_at_or_above(anomalies, threshold)
    pf = _share_at_or_above(others, threshold)
    return Roc(np.r_[0.0, pf], np.r_[0.0, pd], np.r_[np.inf, threshold])


def pd_at_pf(score: Any, truth: Any, pf: float) -> float:
    """The largest PD that a threshold reaches with a false-alarm rate of at most `pf`; no interpolation.

    Raises InputError when pf is not in [0, 1].
    """
    if not 0 <= pf <= 1:
        raise InputError(f"pd_at_pf needs a false-alarm rate from 0 to 1; got {pf}.")
    curve = roc(score, truth)
    return float(curve.pd[curve.pf <= pf][-1])


class Objects(NamedTuple):
    """Objects with at least one scored pixel: how many were hit, of how many."""

    hit: int
    total: int

    @property
    def share(self) -> float:
        """Share of the objects that were hit."""
        return self.hit / self.total


def objects_at_pf(score: Any, truth: Any, pf: float) -> Objects:
    """Objects hit at the lowest threshold with a false-alarm rate of at most `pf`; score and truth are maps (y, x).

    Raises InputError when they are no maps, and as `pd_at_pf` does.
    """
    from scipy.ndimage import label

    score, truth = np.asarray(score, dtype=np.float64), np.asarray(truth)
    if truth.ndim != 2:
        raise InputError(f"Objects are components of a truth map (y, x); this truth has shape {truth.shape}.")
    if not 0 <= pf <= 1:
        raise InputError(f"objects_at_pf needs a false-alarm rate from 0 to 1; got {pf}.")
    curve = roc(score, truth)
    threshold = curve.threshold[curve.pf <= pf][-1]
    parts, _ = label(truth > 0, np.ones((3, 3)))  # 8-connected
    scored = np.isfinite(score) & (parts > 0)
    return Objects(len(np.unique(parts[scored & (score >= threshold)])), len(np.unique(parts[scored])))


def at_threshold(score: Any, truth: Any, threshold: float) -> dict[str, float | int]:
    """`pd`, `pf`, and the counts `tp`, `fp`, `fn`, `tn` when pixels at or above `threshold` are detected."""
    anomalies, others = _both(score, truth)
    tp, fp = int((anomalies >= threshold).sum()), int((others >= threshold).sum())
    return {
        "pd": tp / len(anomalies),
        "pf": fp / len(others),
        "tp": tp,
        "fp": fp,
        "fn": len(anomalies) - tp,
        "tn": len(others) - fp,
    }


def measured(score: Any, truth: Any) -> dict[str, tuple[float, str]]:
    """All metrics of a score map (y, x): name -> (number, long name); empty unless the scored pixels have both classes."""
    anomalies, others = _split(score, truth)
    if not len(anomalies) or not len(others):
        return {}
    flat, both = np.concatenate([anomalies, others]), np.r_[np.ones(len(anomalies)), np.zeros(len(others))]
    area, d, f = auc(flat, both), auc_d_tau(flat, both), auc_f_tau(flat, both)
    hit = {name.replace("pd", "objects"): (objects_at_pf(score, truth, pf), pf) for name, pf in FALSE_ALARMS.items()}
    return {
        "auc": (area, "AUC(D,F)"),
        "average_precision": (average_precision(flat, both), "average precision (AP)"),
        "auc_d_tau": (d, "AUC(D,tau)"),
        "auc_f_tau": (f, "AUC(F,tau), lower is better"),
        "auc_td": (area + d, "AUC_TD = AUC(D,F) + AUC(D,tau)"),
        "auc_bs": (area - f, "AUC_BS = AUC(D,F) - AUC(F,tau)"),
        "auc_tdbs": (d - f, "AUC_TDBS = AUC(D,tau) - AUC(F,tau)"),
        "auc_od": (area + d - f, "AUC_OD = AUC(D,F) + AUC(D,tau) - AUC(F,tau)"),
        "auc_odp": (d + 1 - f, "AUC_ODP = AUC(D,tau) + 1 - AUC(F,tau)"),
        **{name: (pd_at_pf(flat, both, pf), f"PD at PF {pf:g}") for name, pf in FALSE_ALARMS.items()},
        **{name: (of.share, f"share of objects hit at PF {pf:g}, of {of.total}") for name, (of, pf) in hit.items()},
    }


def add_metrics(result: xr.Dataset, truth: xr.DataArray | None, *controls: str) -> xr.Dataset:
    """`result` with all metrics of its `score` as 0-d variables, each with a `long_name`.

    controls: names of other maps, `score_rx` for example: the metrics of `COMPARED` are added for each, as `auc_rx` and so on.
    Unchanged when there is no truth, or none with both classes among the scored pixels.
    """
    if truth is None:
        return result
    added = {}
    for name in ("score", *controls):
        who = name.removeprefix("score")
        for metric, (value, text) in measured(result[name], truth).items():
            if not who or metric in COMPARED:
                about = f"{text}: {result[name].attrs.get('long_name', name)}" if who else text
                added[metric + who] = ((), value, {"long_name": about})
    return result.assign(added)


def _split(score: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the anomalies and of the background, as flat float64 arrays."""
    score, truth = np.asarray(score, dtype=np.float64), np.asarray(truth)
    if score.shape != truth.shape:
        raise InputError(
            f"Score and truth must cover the same pixels; score has shape {score.shape}, truth {truth.shape}. "
            "Crop or transpose one of them."
        )
    counts = np.isfinite(score)
    return score[counts & (truth > 0)], score[counts & (truth == 0)]


def _both(score: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    anomalies, others = _split(score, truth)
    if not len(anomalies) or not len(others):
        raise InputError(
            f"A detection rate needs anomalies and background; among the pixels with a score, {len(anomalies)} are "
            f"anomalies (truth > 0) and {len(others)} background (truth = 0). Check the truth."
        )
    return anomalies, others


def _ranks(values: np.ndarray) -> np.ndarray:
    """1, 2, ... in ascending order; equal values get the mean of their ranks. As scipy.stats.rankdata, whose import
    takes longer than many runs.

    >>> _ranks(np.array([0.5, 0.1, 0.5])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last + (last - counts + 1)) / 2)[place]


def _scaled(anomalies: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both scaled by one minimum and maximum to [0, 1]; all 0 where every score is the same."""
    low = min(anomalies.min(), others.min())
    span = max(anomalies.max(), others.max()) - low
    return (anomalies - low) / (span or 1.0), (others - low) / (span or 1.0)


def _share_at_or_above(values: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    return 1 - np.searchsorted(np.sort(values), threshold) / len(values)
