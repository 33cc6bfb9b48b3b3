"""Statistics of reports: claims tested against controls, means with standard deviations, and provenance rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbench import runs
from workbench.views.tables import spread

if TYPE_CHECKING:
    import xarray as xr


HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold here", "undecided", "cannot be tested: no truth"
ON_SCENE, NOT_ON_SCENE = "on this scene", "not on this scene"  # nothing is drawn at random: a fact of one scene, not a test
VERDICTS = (HOLDS, FAILS, UNDECIDED, ON_SCENE, NOT_ON_SCENE)  # where there is truth
ROUNDING = 1e-12  # equal gains of shares and rates differ by this much in float64
LEVEL = 0.05  # of the two-sided tests, for a whole table


def student(gains: np.ndarray) -> np.ndarray:
    """Two-sided p values of Student's t test that the mean of `gains (..., n)` is zero: (...).

    NaN where nothing can be tested: fewer than two gains, or gains without any spread.
    """
    gains = np.asarray(gains, float)
    n = gains.shape[-1]
    if n < 2:
        return np.full(gains.shape[:-1], np.nan)
    from scipy.special import stdtr

    same = np.ptp(gains, axis=-1) <= ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        t = gains.mean(-1) / (gains.std(-1, ddof=1) / math.sqrt(n))
    return np.where(same, np.nan, 2 * stdtr(n - 1, -np.abs(t)))


def holm(p: np.ndarray) -> np.ndarray:
    """p values of one family along the last axis, `(..., m)`, corrected: below a level where a test rejects, the chance of any
    false rejection in the family is at most that level. NaN (not tested) stays, and does not count in m.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2), 1979.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)  # NaN last
    tested = np.isfinite(p).sum(-1, keepdims=True)
    factor = np.maximum(tested - np.arange(p.shape[-1]), 1)
    stepped = np.maximum.accumulate(np.minimum(np.take_along_axis(p, order, -1) * factor, 1.0), axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, stepped, -1)
    return corrected


@dataclass(frozen=True)
class Claim:
    """The claim that ours is higher than the control, with the numbers that test it.

    ours, control: one number per seed, in the same order, compared seed by seed; a method that draws no random numbers has
    one number. Empty: the scene has no truth. random: whether either side draws random numbers. over: "scenes" if the numbers
    are of several scenes instead, one each, in the same order. among: the p value after correction for the other claims of the
    table (see `corrected`); None: this claim is the only one.

    Numbers that draw nothing at random, and gains without any spread, are facts of one scene: they have no interval.

    >>> Claim("a beats b", [0.95, 0.96, 0.97], [0.90]).verdict
    'holds'
    >>> Claim("a beats b", [0.85, 0.96, 0.97], [0.90]).verdict
    'undecided'
    >>> Claim("a beats b", [0.95], [0.90], random=False).verdict
    'on this scene'
    """

    text: str
    ours: Sequence[float]
    control: Sequence[float]
    random: bool = True
    over: Literal["seeds", "scenes"] = "seeds"
    among: float | None = None

    @property
    def gains(self) -> np.ndarray:
        """Ours minus control, seed by seed (or scene by scene)."""
        if 1 not in (len(self.ours), len(self.control)) and len(self.ours) != len(self.control):
            raise ValueError(f"{len(self.ours)} numbers cannot be compared with {len(self.control)}")
        return np.asarray(self.ours, float) - np.asarray(self.control, float)

    @property
    def fact(self) -> bool:
        """Whether the numbers are of one scene and do not vary, so that there is nothing to test."""
        gains = self.gains
        if self.over == "scenes":
            return len(gains) == 1
        return not self.random or (len(gains) > 1 and float(np.ptp(gains)) <= ROUNDING)

    @property
    def p(self) -> float:
        """Two-sided p value of a mean gain of zero, without correction; NaN where nothing can be tested."""
        if not len(self.ours) or not len(self.control) or self.fact:
            return math.nan
        return float(student(self.gains))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean gain over seeds or scenes, by Student's t; infinite where it cannot be estimated."""
        gains = self.gains
        mean = float(gains.mean())
        if self.fact or len(gains) < 2 or float(np.ptp(gains)) <= ROUNDING:
            return -math.inf, math.inf
        from scipy.stats import t

        half = float(t.ppf(1 - LEVEL / 2, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains)))
        return mean - half, mean + half

    @property
    def verdict(self) -> str:
        """`holds` or `does not hold here`: the test rejects a mean gain of zero at 5 %, after correction, and the gain is positive
        or not. Else `undecided`. Of one scene without random draws: `on this scene` or `not on this scene`.
        """
        if not len(self.ours) or not len(self.control):
            return UNTESTED
        gain = float(self.gains.mean())
        if self.fact:
            return ON_SCENE if gain > ROUNDING else NOT_ON_SCENE
        p = self.p if self.among is None else self.among
        if not p <= LEVEL:
            return UNDECIDED
        return HOLDS if gain > 0 else FAILS

    def row(self) -> tuple[str, str, str, str, str]:
        """Claim, ours, control, gain with interval and p, and verdict as texts."""
        if self.verdict == UNTESTED:
            return self.text, "–", "–", "–", UNTESTED
        low, high = self.interval
        gains = self.gains
        gain = f"{gains.mean():+.4f}"
        if math.isfinite(low):
            p, corrected_for = (self.p, "") if self.among is None else (self.among, ", Holm")
            gain += f" [{low:+.4f},\u00a0{high:+.4f}], p {p:.3f}{corrected_for}"
        elif not self.fact and len(gains) < 2:
            gain += " (one seed: no interval)"
        if self.over == "scenes":
            gain += f"; {int((gains > 0).sum())} wins, {int((gains < 0).sum())} losses of {len(gains)}"
        return self.text, spread(self.ours), spread(self.control), gain.replace("-", "−"), self.verdict


def corrected(claims: Sequence[Claim]) -> list[Claim]:
    """The claims of one table, each with its p value corrected by Holm for all that are tested in it.

    Without it, in about 22 % of the tables of ten false, independent claims at least one would read "holds".
    """
    adjusted = holm(np.array([c.p for c in claims]))
    several = int(np.isfinite(adjusted).sum()) > 1
    return [replace(c, among=float(p)) if several and math.isfinite(p) else c for c, p in zip(claims, adjusted, strict=True)]


# name of a metric -> its heading; lower is better for auc_f_tau alone
METRICS = {
    "auc": "AUC(D,F)",
    "average_precision": "AP",
    "pd_at_pf_001": "PD at PF 0.01",
    "pd_at_pf_0001": "PD at PF 0.001",
    "objects_at_pf_001": "objects at PF 0.01",
    "objects_at_pf_0001": "objects at PF 0.001",
    "auc_f_tau": "AUC(F,τ)",
    "auc_bs": "AUC_BS",
    "auc_d_tau": "AUC(D,τ)",
}


def evaluate(score: xr.DataArray, truth: xr.DataArray) -> dict[str, float]:
    """All metrics of a score map (y, x) against the truth (y, x): name -> number; empty unless the truth has both classes."""
    from workbench.metrics.anomaly import measured

    return {name: value for name, (value, _) in measured(score, truth).items()}


def counted(seeds: int) -> str:
    """The number of seeds as text: `3 seeds`, `one seed`."""
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def averaged(seeds: int) -> str:
    """The caption for numbers of a table: `mean ± standard deviation over 3 seeds`, or that there is only one seed."""
    return "one seed, so without a spread" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"


def summary(numbers: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Flat metrics from name -> values per seed: `name` for a single value, else `name_mean` and `name_std`."""
    flat: dict[str, float] = {}
    for name, values in numbers.items():
        array = np.asarray(values, float)
        if len(array) == 1:
            flat[name] = float(array[0])
        elif len(array):
            flat |= {f"{name}_mean": float(array.mean()), f"{name}_std": float(array.std(ddof=1))}
    return flat


def provenance(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Rows (title, value) on the runs: versions, command, notebook, hash of the code, machine, hash of the scene, time of every run.

    folders: runs, of a report or alone. The notebook is known where a report, or a cell of a sweep, made the runs.
    """
    facts = [runs.read(folder) for folder in folders]
    about = facts[0]
    commit = about.get("commit", "not in a git checkout") + (", with uncommitted changes" if about.get("dirty") else "")
    times = [float(f.get("seconds", 0.0)) for f in facts]  # a cell of a sweep has none before it ends
    each = [f"{d.name} {spent:.1f} s" for d, spent in zip(folders, times, strict=True)]
    return [
        ("begun", about["start"]),
        ("time of all runs", f"{sum(times):.1f} s: {', '.join(each)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in about["versions"].items())),
        ("command", str(about.get("command", "not noted"))),
        *_notebook(folders[0].parent),
        ("code", f"{about.get('code', 'not noted')} (SHA-256 of the package); commit {commit}"),
        (
            "machine",
            f"{about['platform']}; {about.get('cpu', 'processor not noted')}; "
            f"device {about.get('device', 'cpu')}, torch threads: {about.get('threads', 'not used')}",
        ),
        ("fingerprint of the scene", runs.data_hash(about)),
    ]


def _notebook(report: Path) -> list[tuple[str, str]]:
    """The row on the notebook of a report's folder; none if the folder is no report."""
    made = runs.read(report).get("notebook") if (report / "run.json").is_file() else None
    if not made:
        return []
    name = made["name"] if made["name"].endswith(".ipynb") else f"notebooks/{made['name']}.ipynb"
    return [("notebook", f"{name}; SHA-256 of its cells {made['sha256']}")]
