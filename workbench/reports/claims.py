"""Statistics of reports: claims tested against controls, means with standard deviations, and provenance rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench import runs
from workbench.views.tables import spread

if TYPE_CHECKING:
    import xarray as xr


HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold here", "undecided", "cannot be tested: no truth"


@dataclass(frozen=True)
class Claim:
    """The claim that ours is higher than the control, with the numbers that test it.

    ours, control: one number per seed, in the same order, compared seed by seed; a method that draws no random numbers has
    one number. Empty: the scene has no truth. random: whether either side draws random numbers.

    >>> Claim("a beats b", [0.95, 0.96, 0.97], [0.90]).verdict
    'holds'
    >>> Claim("a beats b", [0.85, 0.96, 0.97], [0.90]).verdict
    'undecided'
    """

    text: str
    ours: Sequence[float]
    control: Sequence[float]
    random: bool = True

    @property
    def gains(self) -> np.ndarray:
        """Ours minus control, seed by seed."""
        if 1 not in (len(self.ours), len(self.control)) and len(self.ours) != len(self.control):
            raise ValueError(f"{len(self.ours)} numbers cannot be compared with {len(self.control)}")
        return np.asarray(self.ours, float) - np.asarray(self.control, float)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean gain over seeds, by Student's t; infinite for a single random draw."""
        gains = self.gains
        mean = float(gains.mean())
        if not self.random:
            return mean, mean
        if len(gains) < 2:
            return -math.inf, math.inf
        from scipy.stats import t

        half = float(t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains)))
        return mean - half, mean + half

    @property
    def verdict(self) -> str:
        """`holds`: the interval is above zero. `does not hold here`: its upper end is at most zero. Else `undecided`."""
        if not len(self.ours) or not len(self.control):
            return UNTESTED
        low, high = self.interval
        return HOLDS if low > 0 else FAILS if high <= 0 else UNDECIDED

    def row(self) -> tuple[str, str, str, str, str]:
        """Claim, ours, control, gain with interval, and verdict as texts."""
        if self.verdict == UNTESTED:
            return self.text, "–", "–", "–", UNTESTED
        low, high = self.interval
        gain = f"{self.gains.mean():+.4f}"
        if self.random:
            gain += f" [{low:+.4f},\u00a0{high:+.4f}]" if math.isfinite(low) else " (one seed: no interval)"
        return self.text, spread(self.ours), spread(self.control), gain.replace("-", "−"), self.verdict


# name of a metric -> its heading; lower is better for auc_f_tau alone
METRICS = {
    "auc": "AUC(D,F)",
    "auc_f_tau": "AUC(F,τ)",
    "auc_d_tau": "AUC(D,τ)",
    "pd_at_pf_001": "PD at PF 0.01",
    "pd_at_pf_0001": "PD at PF 0.001",
}


def evaluate(score: xr.DataArray, truth: xr.DataArray) -> dict[str, float]:
    """All metrics of a score map (y, x) against the truth (y, x): name -> number; empty unless the truth has both classes."""
    import xarray as xr

    from workbench.metrics.anomaly import add_metrics

    evaluated = add_metrics(xr.Dataset({"score": score}), truth)
    return {str(name): float(value) for name, value in evaluated.data_vars.items() if value.ndim == 0}


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
