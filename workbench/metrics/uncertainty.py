"""How reliable an uncertainty map is: whether it is high where the errors are, and as large as the errors.

There are four kinds of metrics. All take flat or shaped arrays of uncertainty U, change probability P and truth y
(> 0 changed, 0 not, < 0 not labelled); pixels without a label or without a finite U or P do not count.

    error_auroc         P(U of a wrong pixel > U of a right one) + P(equal) / 2: ranking only, 0.5 = chance
    risk_coverage       error rate of the most certain share of the pixels, for every share; its mean is the AURC
    auroc_given         error_auroc among pixels of (nearly) equal value of another measure: 0.5 = U adds nothing to it
    reliability         mean |y - P| beside mean U, in bins of U; their mean distance is the calibration error

For a change map with calibrated P, no uncertainty ranks or estimates errors better than 2 P (1 - P) (`variance`): always
show it, or `entropy`, which gives the same ranking, beside a learnt uncertainty. Both are symmetric in P and 1 - P, so they cannot
say that missed changes are likelier than false ones. Where P is not calibrated, the rival that can say it is P itself, or
`fit_wrongness`: isotonic regression of y on P, fitted on validation pixels. A learnt uncertainty is worth its network only if
`auroc_given` that rival is above 0.5.

Y. Geifman and R. El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017 (risk and coverage);
B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002 (isotonic);
C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017 (calibration error,
temperature scaling).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


# metric -> its description
MEANING = {
    "error_auroc": "AUROC of the uncertainty against wrong pixels",
    "aurc": "area under the risk-coverage curve, lower is better",
    "calibration_error": "calibration error of the uncertainty against |y - P|",
    "mean_uncertainty": "mean uncertainty",
    "mean_error": "mean |y - P|",
    "mean_on_wrong": "mean uncertainty of wrong pixels",
    "mean_on_right": "mean uncertainty of right pixels",
    "auroc_given_isotonic": "AUROC against wrong pixels within equal isotonic(P): above 0.5, the measure adds to P",
    "error_rate": "share of wrong pixels, lower is better",
    "error_rate_kept_80": "share of wrong pixels among the most certain 80 %, lower is better",
}


class RiskCoverage(NamedTuple):
    """Points of the curve, from the most certain pixels to all pixels, at most 1000; pixels with equal U are added together.

    coverage: share of pixels kept, in (0, 1]. risk: error rate of the kept. threshold: the largest U among the kept.
    precision, recall: of the kept pixels, recall being out of the changed pixels that were kept; NaN where undefined.
    area: mean risk over all pixels in order of U, the AURC, exact.
    """

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    area: float


@dataclass(frozen=True)
class Reliability:
    """One entry per bin of U: edges (bins + 1), count, mean U and mean |y - P| of its pixels (NaN in an empty bin)."""

    edges: np.ndarray
    count: np.ndarray
    uncertainty: np.ndarray
    error: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Mean over all pixels of the distance between mean U and mean |y - P| of their bin."""
        filled = self.count > 0
        gap = np.abs(self.uncertainty[filled] - self.error[filled])
        return float((gap * self.count[filled]).sum() / self.count.sum())


def error_auroc(uncertainty: Any, change: Any, truth: Any, threshold: float = 0.5) -> float:
    """Area under the ROC curve of U as a detector of wrong pixels, by ranks, exact; NaN when none or all are wrong.

    >>> error_auroc([0.9, 0.1, 0.2, 0.1], [0.4, 0.9, 0.1, 0.2], [1, 1, 0, 0])  # only the first is wrong
    1.0
    """
    from workbench.metrics.anomaly import auc

    u, p, y = _counted(uncertainty, change, truth)
    wrong = (p > threshold) != y
    return float("nan") if wrong.all() or not wrong.any() else auc(u, wrong)


def auroc_given(uncertainty: Any, given: Any, change: Any, truth: Any, threshold: float = 0.5, bins: int = 100) -> float:
    """AUROC of U for wrong pixels, counting only pairs of a wrong and a right pixel of about equal `given`; ties of U count half.

    Pixels are sorted by `given` and cut into `bins` groups of about equal size; equal values stay together. 0.5: U orders errors no
    better than `given` does already. NaN when no group has both wrong and right pixels. Raises InputError when bins < 1.

    >>> auroc_given([0.1, 0.9, 0.9, 0.2], [0, 0, 1, 1], [0.9, 0.9, 0.1, 0.1], [1, 0, 0, 1])  # 1 of 2 pairs in the right order
    0.5
    """
    from workbench.metrics.anomaly import auc

    if bins < 1:
        raise InputError(f"auroc_given needs at least 1 bin; got {bins}.")
    g = np.asarray(given)
    _same(g, np.asarray(truth), "The measure that is given")
    u, p, y = _counted(uncertainty, np.where(np.isfinite(g), np.asarray(change), np.nan), truth)
    g = g[np.isfinite(uncertainty) & np.isfinite(change) & np.isfinite(g) & (np.asarray(truth) >= 0)]
    wrong = (p > threshold) != y
    group = np.searchsorted(np.unique(np.quantile(g, np.linspace(0, 1, bins + 1)[1:-1])), g, side="left")
    found = pairs = 0.0
    for n in np.unique(group):
        here = group == n
        many = float(wrong[here].sum()) * float((~wrong[here]).sum())
        if many:
            found += many * auc(u[here], wrong[here])
            pairs += many
    return found / pairs if pairs else float("nan")


def risk_coverage(uncertainty: Any, change: Any, truth: Any, threshold: float = 0.5) -> RiskCoverage:
    """The risk-coverage curve: error rate when only the pixels with the lowest U are classified.

    Raises InputError when no pixel counts.
    """
    u, p, y = _counted(uncertainty, change, truth)
    order = np.argsort(u, kind="stable")
    u, called, positive = u[order], p[order] > threshold, y[order]
    last = np.r_[u[1:] != u[:-1], True]  # the last pixel of every tie
    kept = np.flatnonzero(last) + 1
    wrong = np.cumsum(called != positive)[last]
    hits = np.cumsum(called & positive)[last]
    with np.errstate(invalid="ignore"):
        precision, recall = hits / np.cumsum(called)[last], hits / np.cumsum(positive)[last]
    risk = wrong / kept
    # within a tie the order is arbitrary; the expected number of errors grows linearly
    count = np.arange(1, len(u) + 1)
    area = (np.interp(count, np.r_[0, kept], np.r_[0, wrong]) / count).mean()
    at = np.arange(len(kept)) if len(kept) <= 1000 else np.unique(np.linspace(0, len(kept) - 1, 1000).astype(int))
    return RiskCoverage(kept[at] / len(u), risk[at], u[last][at], precision[at], recall[at], float(area))


def aurc(uncertainty: Any, change: Any, truth: Any, threshold: float = 0.5) -> float:
    """Area under the risk-coverage curve: mean error rate over all coverages; lower is better, a random U gives the error rate.

    >>> round(aurc([0.1, 0.2, 0.3, 0.4], [0.9, 0.1, 0.2, 0.4], [1, 0, 0, 1]), 4)  # risks 0, 0, 0, 1/4
    0.0625
    """
    return risk_coverage(uncertainty, change, truth, threshold).area


def least_aurc(error_rate: float) -> float:
    """The AURC of a U that ranks every wrong pixel above every right one, for many pixels: e + (1 - e) ln(1 - e).

    >>> round(least_aurc(0.1), 5)
    0.00518
    """
    return float(error_rate + (1 - error_rate) * np.log1p(-error_rate)) if error_rate < 1 else 1.0


def risk_at(uncertainty: Any, change: Any, truth: Any, coverage: float = 0.8, threshold: float = 0.5) -> float:
    """Error rate of the share `coverage` of pixels with the lowest U; ties at the limit count with their mean.

    Raises InputError when coverage is not in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise InputError(f"A coverage is above 0 and at most 1; got {coverage}.")
    u, p, y = _counted(uncertainty, change, truth)
    wrong = (p > threshold) != y
    wanted = max(1, round(coverage * len(u)))
    limit = np.partition(u, wanted - 1)[wanted - 1]
    below, equal = u < limit, u == limit
    missing = wanted - int(below.sum())
    return float((wrong[below].sum() + missing * wrong[equal].mean()) / wanted)


def reliability(uncertainty: Any, change: Any, truth: Any, bins: int = 10, top: float | None = None) -> Reliability:
    """Mean U and the mean residual |y - P| that it estimates, in `bins` bins of equal width from 0 to `top` (None: to 1).

    Values of U above `top` fall into the last bin. Raises InputError when no pixel counts or bins < 1.
    """
    if bins < 1:
        raise InputError(f"A reliability diagram needs at least 1 bin; got {bins}.")
    u, p, y = _counted(uncertainty, change, truth)
    error = np.abs(y - p)
    edges = np.linspace(0, 1.0 if top is None else top, bins + 1)
    where = np.clip(np.searchsorted(edges, u, side="right") - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(where, weights=v, minlength=bins) / count for v in (u, error)]
    return Reliability(edges, count, means[0], means[1])


def calibration_error(uncertainty: Any, change: Any, truth: Any, bins: int = 10) -> float:
    """Expected calibration error of U as an estimate of |y - P|; 0 is perfect."""
    return reliability(uncertainty, change, truth, bins).calibration_error


def mean_gap(uncertainty: Any, change: Any, truth: Any) -> tuple[float, float]:
    """mean(U) and mean(|y - P|) over the pixels that count: equal when U is correct on average."""
    u, p, y = _counted(uncertainty, change, truth)
    return float(u.mean()), float(np.abs(y - p).mean())


def entropy(probability: Any) -> np.ndarray:
    """Entropy of a change probability in bits, in [0, 1].

    >>> entropy([0.5, 0.0, 0.9]).round(3).tolist()
    [1.0, 0.0, 0.469]
    """
    from scipy.special import entr

    p = np.asarray(probability, np.float64)
    return (entr(p) + entr(1 - p)) / np.log(2)


def max_probability(probability: Any) -> np.ndarray:
    """1 - max(P, 1 - P), in [0, 0.5]: the expected error rate of the decision."""
    p = np.asarray(probability, np.float64)
    return np.minimum(p, 1 - p)


def variance(probability: Any) -> np.ndarray:
    """2 P (1 - P), in [0, 0.5]: the expected |y - P| of a calibrated P. It gives the same ranking as entropy."""
    p = np.asarray(probability, np.float64)
    return 2 * p * (1 - p)


def fit_temperature(logits: Any, truth: Any) -> float:
    """The temperature T > 0 for which sigmoid(logits / T) has the least cross-entropy on these pixels.

    Fit it on pixels used neither for training nor for testing. Above 1 the network was overconfident. T is searched from 0.01
    to 100; the loss has one minimum in 1 / T.

    Raises InputError when no labelled pixel has a finite logit.
    """
    from scipy.optimize import minimize_scalar

    z, y = np.asarray(logits, np.float64), np.asarray(truth)
    _same(z, y, "Logits")
    counts = np.isfinite(z) & (y >= 0)
    if not counts.any():
        raise InputError("A temperature needs labelled pixels with finite logits; there are none.")
    z, y = z[counts], (y[counts] > 0).astype(np.float64)

    def loss(log_inverse: float) -> float:
        scaled = z * np.exp(log_inverse)
        return float((np.logaddexp(0, scaled) - y * scaled).mean())

    optimum = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(-optimum.x))


def fit_wrongness(change: Any, truth: Any, threshold: float = 0.5) -> Callable[[Any], np.ndarray]:
    """A function from P to the probability that its decision (P > threshold) is wrong: isotonic regression of y on P.

    Fit it on pixels used neither for training nor for testing. Beyond the range of P seen there the nearest value is taken;
    NaN stays. Raises InputError when no labelled pixel has a finite P.
    """
    from sklearn.isotonic import IsotonicRegression

    p, y = np.asarray(change, np.float64), np.asarray(truth)
    _same(p, y, "Change map")
    counts = np.isfinite(p) & (y >= 0)
    if not counts.any():
        raise InputError("isotonic regression needs labelled pixels with a finite P; there are none.")
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[counts], y[counts] > 0)

    def wrongness(probability: Any) -> np.ndarray:
        values = np.asarray(probability, np.float64)
        changed = np.interp(values, fitted.X_thresholds_, fitted.y_thresholds_)
        return np.where(values > threshold, 1 - changed, changed)

    return wrongness


def add_metrics(result: xr.Dataset, truth: xr.DataArray | None, threshold: float = 0.5) -> xr.Dataset:
    """`result` with error_auroc, aurc, calibration_error, mean_uncertainty and mean_error of its `uncertainty` and `change`.

    Unchanged when there is no truth, or no labelled pixel with both values.
    """
    if truth is None:
        return result
    u, p = (result[name].transpose(*truth.dims).values for name in ("uncertainty", "change"))
    if not (np.isfinite(u) & np.isfinite(p) & (truth.values >= 0)).any():
        return result
    mean, error = mean_gap(u, p, truth)
    numbers = {
        "error_auroc": error_auroc(u, p, truth, threshold),
        "aurc": aurc(u, p, truth, threshold),
        "calibration_error": calibration_error(u, p, truth),
        "mean_uncertainty": mean,
        "mean_error": error,
    }
    return result.assign({name: ((), value, {"long_name": MEANING[name]}) for name, value in numbers.items()})


def _counted(uncertainty: Any, change: Any, truth: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U and P (float64) and y (bool) of the pixels that count, flat."""
    u, p, y = np.asarray(uncertainty), np.asarray(change), np.asarray(truth)
    _same(u, y, "Uncertainty")
    _same(p, y, "Change map")
    counts = np.isfinite(u) & np.isfinite(p) & (y >= 0)
    if not counts.any():
        raise InputError("No pixel has a label, an uncertainty and a change probability; there is nothing to evaluate.")
    return u[counts].astype(np.float64), p[counts].astype(np.float64), y[counts] > 0


def _same(values: np.ndarray, truth: np.ndarray, what: str) -> None:
    if values.shape != truth.shape:
        raise InputError(
            f"{what} and truth must cover the same pixels; shapes are {values.shape} and {truth.shape}. Crop or transpose one."
        )
