"""What numbers allow to be said: claims with their controls, means with their spread, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench import runs

if TYPE_CHECKING:
    import xarray as xr


HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold here", "undecided", "cannot be tested: no truth"


@dataclass(frozen=True)
class Claim:
    """ "Ours is higher than the control", and what this run allows to be said of it.

    ours, control: one number per seed, in the same order, so that they are compared seed by seed; what draws nothing has
    one. Empty: the scene has no truth. random: whether either side draws random numbers.

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
        """95 % interval of the mean gain over seeds, by Student's t; without a bound for a single random draw."""
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
        """`holds`: the interval lies above zero. `does not hold here`: not above it. Else `undecided`."""
        if not len(self.ours) or not len(self.control):
            return UNTESTED
        low, high = self.interval
        return HOLDS if low > 0 else FAILS if high <= 0 else UNDECIDED

    def row(self) -> tuple[str, str, str, str, str]:
        """claim, ours, control, gain with interval, verdict, as texts."""
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
    """All metrics of a score map against the truth: name -> number; empty when the truth has not both classes."""
    import xarray as xr

    from workbench.metrics.anomaly import add_metrics

    judged = add_metrics(xr.Dataset({"score": score}), truth)
    return {str(name): float(value) for name, value in judged.data_vars.items() if value.ndim == 0}


def spread(values: Sequence[float]) -> str:
    """`0.9500 ± 0.0100`: mean and standard deviation (n - 1) over seeds; the number alone where there is one.

    >>> spread([0.94, 0.95, 0.96])
    '0.9500 ± 0.0100'
    """
    seen = np.asarray(values, float)
    return f"{seen.mean():.4f}" + (f" ± {seen.std(ddof=1):.4f}" if len(seen) > 1 else "")


def counted(seeds: int) -> str:
    """`3 seeds`, `one seed`."""
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def averaged(seeds: int) -> str:
    """What a number in a table is: `mean ± standard deviation over 3 seeds`, or that there was one seed only."""
    return "one seed, so without a spread" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"


def summary(numbers: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """name -> values per seed, as flat metrics: `name` where there is one value, else `name_mean` and `name_std`."""
    flat: dict[str, float] = {}
    for name, values in numbers.items():
        seen = np.asarray(values, float)
        if len(seen) == 1:
            flat[name] = float(seen[0])
        elif len(seen):
            flat |= {f"{name}_mean": float(seen.mean()), f"{name}_std": float(seen.std(ddof=1))}
    return flat


def provenance(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """(what, value) rows: versions, command, hash of the code, machine, threads, hash of the scene, time of every run."""
    facts = [runs.read(folder) for folder in folders]
    about = facts[0]
    commit = about.get("commit", "not in a git checkout") + (", with uncommitted changes" if about.get("dirty") else "")
    each = [f"{d.name} {f['seconds']:.1f} s" for d, f in zip(folders, facts, strict=True)]
    return [
        ("begun", about["start"]),
        ("time of all runs", f"{sum(f['seconds'] for f in facts):.1f} s: {', '.join(each)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in about["versions"].items())),
        ("command", str(about.get("command", "not noted"))),
        ("code", f"{about.get('code', 'not noted')} (SHA-256 of the package); commit {commit}"),
        (
            "machine",
            f"{about['platform']}; {about.get('cpu', 'processor not noted')}; "
            f"device {about.get('device', 'cpu')}, torch threads: {about.get('threads', 'not used')}",
        ),
        ("fingerprint of the scene", about["scene"]["fingerprint"]),
    ]
