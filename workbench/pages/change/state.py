"""Shared state of the tabs of the change page: the visible pair and detector, the result of the run, and its evaluation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import param
import xarray as xr

from workbench.baselines.change import RIVALS
from workbench.pages.change.findings import Findings, Judged
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.one_run import OneRun
from workbench.pages.frame.session import PairSession
from workbench.views.change import OURS

OVERLAYS = ["Nothing", "Reference", "Change", "Uncertainty", "Decisions"]


class ChangeState(OneRun, PairSession):
    """State of the change page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    samples: names of the pairs of a set; empty for one pair. findings: result of the followed run; None before it has
    finished. quick: (detector, sample) -> change map computed by the page. judged: measure of uncertainty -> its evaluation.
    runner: controls of the followed run.
    """

    ADDRESS = (
        "scene", "truth", "keys", "after", "resample", "run", "tab", "sample", "detector", "overlay", "answered", "rival",
    )  # fmt: skip
    MADE: ClassVar = SharedResults(12)  # evaluations, classical maps and inside views

    tab = param.Integer(0, bounds=(0, 4))
    sample = param.String("", doc="name of the visible pair of a set")
    detector = param.String(OURS, doc="detector of the visible map")
    overlay = param.Selector(default="Nothing", objects=OVERLAYS, doc="map drawn over both dates")
    answered = param.Number(0.8, bounds=(0.02, 1.0), doc="share of the pixels that is answered")
    rival = param.String("entropy", doc="the other measure of uncertainty")

    samples: list[str]
    findings: Findings | None
    quick: dict[tuple[str, str], np.ndarray]
    judged: dict[str, Judged]

    def pair(self) -> xr.Dataset:
        """The visible pair: `before`, `after (band, y, x)` and, if known, `truth (y, x)`."""
        data = self.data[[n for n in ("before", "after", "truth") if n in self.data]]
        return data.sel(sample=self.sample) if self.samples else data

    def truth_of(self) -> np.ndarray | None:
        """Reference of the visible pair (y, x): above 0 changed, 0 unchanged, below 0 not labelled."""
        return self.pair()["truth"].values if "truth" in self.data else None

    def classical(self) -> list[str]:
        """Classical detectors that the page computes for the open pair."""
        data = self.data
        if data is None:
            return []
        return ["log_ratio"] if data["before"].attrs.get("kind") == "sar" else ["cva"]

    @property
    def shown(self) -> str:
        """The detector of the visible map: the selected one if it has a map, else AR-CDNet, else a classical one."""
        findings = self.findings
        available = findings.detectors if findings is not None and findings.knows(self.sample) else []
        return (
            self.detector if self.detector in available else OURS if OURS in available else next(iter(self.classical()), "")
        )

    @property
    def mask(self) -> bool:
        """Whether the visible detector gives a mask of 0 and 1, by a threshold of its own, and no probability."""
        return self.shown in RIVALS

    def probability(self) -> np.ndarray | None:
        """Map of change (y, x) of the visible detector, a probability or a mask; None while there is none."""
        findings = self.findings
        own = findings.map("change", self.shown, self.sample) if findings is not None else None
        return own.values if own is not None else self.quick.get((self.shown, self.sample))
