"""The gradient workbench: watch which gradient entries matter while real processes train, and what sending fewer costs.

    gradients("digits")                         # in a notebook: the page in the cell
    Gradients().page().servable()               # in dashboards/gradients.py: the served page

The state of the page is a handful of parameters (data, run, layer, the other score), which its address holds. Nothing is
trained in the page's own process: `rsdgc` is launched as a process of its own, which starts its ranks; the page follows its
folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr

from workbench.methods import load
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.runner import Runner
from workbench.pages.gradients.importance import Importance
from workbench.pages.gradients.state import GradientState
from workbench.pages.gradients.traffic import Budget, Traffic
from workbench.runs.watch import Live
from workbench.scene import Needs, require
from workbench.views.card import heading, samples_card

FIRST = ("rivals", "steps", "density", "indicator", "p", "network", "width", "seed")
INVITATION = (
    "Press <b>Start</b> at the left. Two real processes train one network together, once with every compressor named under "
    "<b>rivals</b>; with RS-DGC each sends one gradient entry in a hundred. You see the gradient, its neighbourhood, the score, and "
    "what is sent, change step by step. <b>dense</b> is the rival that counts; <b>randomk</b> the control."
)


class Gradients(GradientState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or None for the one in the address, or the embedded digits. root: folder of the runs.
    """

    TITLE = "Gradient workbench"
    WHAT, OWN, FILES = "Data", "your own files", "folder or .zip of images by class"
    UNNAMED = "No data were named. Choose a set of the list, or give the path of a folder or .zip of images by class."
    EMPTY = (
        "No data are open",
        "Choose a set of the list at the left, or open your own: a folder or .zip of images by class.",
    )
    SCENES: ClassVar = SharedResults(4)

    @classmethod
    def needs(cls) -> Needs:
        """Chips by class."""
        return load("rsdgc").NEEDS

    @classmethod
    def first_choice(cls) -> str:
        """The embedded chips."""
        return "digits"

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless these are chips with labels."""
        require(data, *load("rsdgc").NEEDS, who="the gradient workbench")

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The three tabs, and the controls of a run."""
        self.runner = Runner(self, "rsdgc", self, first=FIRST)
        self.runner.form.reset.label = "Defaults"
        self.importance, self.budget, self.traffic = Importance(self, INVITATION), Budget(), Traffic()
        tabs = [("Gradient", self.importance.panel), ("Budget", self.budget.panel), ("Traffic", self.traffic.panel)]
        return tabs, [heading("Run"), *self.runner.controls, self.link]

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the data."""
        return samples_card(data)

    def arrived(self, first: bool) -> None:
        """Data are open: show the run that the address asked for."""
        self.runner.take(self.run if first else "")

    # --- what the runner tells --------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """What tells a run from others in the list."""
        return f"{config.get('network')}, density {config.get('density'):g}, {config.get('steps')} steps, seed {config.get('seed')}"

    def cleared(self) -> None:
        """No run is followed."""
        for tab in (self.importance, self.budget, self.traffic):
            tab.clear()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """A run is followed."""
        if fresh:
            self.layer = ""
        self.importance.invite(False)
        self.importance.grown()

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Another step, and from time to time another gradient."""
        if any(name.startswith("importance/") for line in new for name in line.get("arrays", ())):
            self.importance.grown()
            self.budget.draw(live)
        self._count(live)

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """The run is over: the ratios are known."""
        self._count(live)

    def _count(self, live: Live) -> None:
        if steps := self.runner.config.get("steps"):
            self.traffic.draw(live.history, int(steps))

    def take_in(self) -> bool:
        """Take in what the run has added; True while it goes on."""
        return self.runner.poll()


def gradients(scene: str | Path | None = None) -> Gradients:
    """The gradient page for a notebook cell: put it last in the cell. Call `panel.extension(inline=True)` once before."""
    return Gradients(scene)
