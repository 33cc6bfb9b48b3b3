"""Result of a run for the page: maps of one pair by detector and measure, and their scores on the test pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from workbench.metrics.uncertainty import reliability, risk_coverage
from workbench.views.change import OURS
from workbench.views.looks import CHANGE, UNCERTAINTY

TEST = 2  # value of `part` in a result
IN_TABLES = {"arcdnet": OURS, "uncertainty": OURS}  # names of the network's own row in the tables of a result


def called(name: str, kind: str) -> str:
    """Name of the result's variable with `kind` ("change" or "uncertainty") of detector or measure `name`."""
    return kind if name == OURS else f"{kind}_{name}"


@dataclass(frozen=True)
class Judged:
    """Evaluation of one measure of uncertainty on test pixels.

    coverage, risk, precision, recall, threshold (point): share answered and its scores, if only pixels with uncertainty up to
    the threshold are answered. believed, seen (bin): mean uncertainty and mean |y - P|. right, wrong: histograms over edges.
    """

    coverage: np.ndarray
    risk: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    threshold: np.ndarray
    believed: np.ndarray
    seen: np.ndarray
    edges: np.ndarray
    right: np.ndarray
    wrong: np.ndarray

    def at(self, share: float) -> int:
        """Index of the first point with a coverage of at least `share`."""
        return min(int(np.searchsorted(self.coverage, share - 1e-9)), len(self.coverage) - 1)


class Findings:
    """The maps and scores of one result; for a set of pairs, of the test pairs only."""

    def __init__(self, result: xr.Dataset) -> None:
        self.result = result
        self.several = "sample" in result["change"].dims
        self.samples = result["sample"].values.astype(str).tolist() if self.several else []
        self.detectors = [n for n in CHANGE if called(n, "change") in result]
        self.measures = [n for n in UNCERTAINTY if called(n, "uncertainty") in result]
        self.truth = result["truth"] if "truth" in result and bool((result["truth"] >= 0).any()) else None

    def knows(self, sample: str) -> bool:
        """Whether the result has maps of this pair."""
        return not self.several or sample in self.samples

    def map(self, kind: str, name: str, sample: str = "") -> xr.DataArray | None:
        """(y, x): "change" or "uncertainty" of one pair, by a detector or measure; None if the result has none."""
        variable = called(name, kind)
        if variable not in self.result or not self.knows(sample):
            return None
        maps = self.result[variable]
        return maps.sel(sample=sample) if self.several else maps

    def probability(self, measure: str) -> str:
        """Name of the detector whose P the measure describes."""
        return measure if called(measure, "change") in self.result else OURS

    def judge(self, measure: str) -> Judged | None:
        """Evaluate the measure against the errors on all test pixels; None without truth."""
        if self.truth is None or measure not in self.measures:
            return None
        truth = self.truth.values
        if "part" in self.result:
            truth = np.where(self.result["part"].values == TEST, truth, -1)
        p = self.result[called(self.probability(measure), "change")].values
        u = self.result[called(measure, "uncertainty")].values
        known = (truth >= 0) & np.isfinite(p) & np.isfinite(u)
        if not known.any():
            return None
        truth, p, u = (truth[known] > 0).astype(np.int16), p[known], u[known]
        curve = risk_coverage(u, p, truth)
        bins = reliability(u, p, truth, top=max(float(u.max()), 1e-6))
        some = bins.count > 0
        edges = np.linspace(0, bins.edges[-1], 41)
        good = (p > 0.5) == (truth > 0)
        right, wrong = (np.histogram(u[which], edges)[0] / max(which.sum(), 1) for which in (good, ~good))
        points = (curve.coverage, curve.risk, curve.precision, curve.recall, curve.threshold)
        return Judged(*points, bins.uncertainty[some], bins.error[some], edges, right, wrong)

    def table(self, name: str, rows: str) -> list[tuple[str, dict[str, float]]]:
        """(row, column -> number) of one of the result's tables, `scores` or `uncertainty_scores`."""
        if name not in self.result:
            return []
        scores = self.result[name]
        other = next(str(d) for d in scores.dims if d != rows)
        return [
            (
                IN_TABLES.get(str(r), str(r)),
                {str(c): float(scores.sel({rows: r, other: c})) for c in scores[other].values},
            )
            for r in scores[rows].values
        ]
