"""What the tabs of the change page know: the pair on show, whose map, what the run has found, and how far it can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import param
import xarray as xr

from workbench.pages.change.findings import Findings, Judged
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.runner import Runner
from workbench.pages.frame.session import Session
from workbench.views.change import OURS

OVERLAYS = ["Nothing", "Reference", "Change", "Uncertainty", "Decisions"]


class ChangeState(Session):
    """State of the change page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    samples: names of the pairs of a set; empty for one pair. findings: of the run that is followed; None before it has
    finished. quick: (detector, sample) -> change map that the page computed itself. judged: measure of uncertainty -> how
    far it can be trusted. runner: the run that is followed.
    """

    ADDRESS = (
        "scene", "truth", "keys", "after", "resample", "run", "tab", "sample", "detector", "overlay", "answered", "rival",
    )  # fmt: skip
    MORE = ("after", "resample")
    MADE: ClassVar = SharedResults(12)  # judgements, rivals and inside views

    tab = param.Integer(0, bounds=(0, 4))
    after = param.String("", doc="path of the second date's image, where `scene` is the first's")
    resample = param.Boolean(False, doc="put the second date onto the pixels of the first")
    sample = param.String("", doc="which pair of a set is shown")
    detector = param.String(OURS, doc="whose map is shown")
    overlay = param.Selector(default="Nothing", objects=OVERLAYS, doc="what lies over both dates")
    answered = param.Number(0.8, bounds=(0.02, 1.0), doc="share of the pixels that is answered")
    rival = param.String("entropy", doc="the other measure of uncertainty")

    runner: Runner
    samples: list[str]
    findings: Findings | None
    quick: dict[tuple[str, str], np.ndarray]
    judged: dict[str, Judged]

    def pair(self) -> xr.Dataset:
        """The pair on show: `before`, `after (band, y, x)` and, where known, `truth (y, x)`."""
        data = self.data[[n for n in ("before", "after", "truth") if n in self.data]]
        return data.sel(sample=self.sample) if self.samples else data

    def truth_of(self) -> np.ndarray | None:
        """Reference of the pair on show (y, x): above 0 changed, 0 not, below 0 not labelled."""
        return self.pair()["truth"].values if "truth" in self.data else None

    def weights(self) -> Path | None:
        """Run folder of the network whose result is shown; None before there is one."""
        if self.findings is None or self.runner.live is None:
            return None
        given = self.runner.config.get("weights")
        return Path(given) if given else self.runner.live.folder

    def classical(self) -> list[str]:
        """What the page computes itself, on what is open."""
        data = self.data
        if data is None:
            return []
        return ["log_ratio"] if data["before"].attrs.get("kind") == "sar" else ["cva"]

    @property
    def shown(self) -> str:
        """The detector whose map is on screen: the one chosen, where there is a map of it."""
        found = self.findings
        there = found.detectors if found is not None and found.knows(self.sample) else []
        return self.detector if self.detector in there else OURS if OURS in there else next(iter(self.classical()), "")

    def probability(self) -> np.ndarray | None:
        """(y, x) of the detector on screen; None while there is none."""
        found = self.findings
        kept = found.map("change", self.shown, self.sample) if found is not None else None
        return kept.values if kept is not None else self.quick.get((self.shown, self.sample))
