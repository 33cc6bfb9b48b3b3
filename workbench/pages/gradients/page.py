"""The gradient workbench: watch which gradient entries are important while real processes train, and the accuracy if fewer are sent.

    gradients("digits")                         # in a notebook: the page in the cell
    Gradients().page().servable()               # in dashboards/gradients.py: the served page

The state of the page is a few parameters (data, run, layer, the other score), stored in its address. Nothing is trained in the
page's own process: `rsdgc` is launched as a separate process, which starts its ranks; the page reads its run folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr

from workbench.data.source import Source
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.rooms import Rooms
from workbench.pages.frame.runner import Runner
from workbench.pages.gradients.importance import Importance
from workbench.pages.gradients.state import GradientState
from workbench.pages.gradients.traffic import Budget, Traffic
from workbench.runs.watch import Live
from workbench.views.card import heading, samples_card
from workbench.views.plots import batched

FIRST = ("rivals", "steps", "density", "indicator", "p", "network", "width", "seed")
LATER: dict[type, str] = {Budget: "Budget", Traffic: "Traffic"}
INVITATION = (
    "Press <b>Start</b> in the side bar. Two real processes train one network together, once with every compressor named under "
    "<b>rivals</b>; with RS-DGC each sends 1 % of its gradient entries. You see the gradient, its neighbourhood, the score, and "
    "the sent entries at every logged step. <b>dense</b> is the most important rival; <b>randomk</b> is the control."
)


class Gradients(GradientState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or None for the data of the address, or the embedded digits. root: folder of the runs.
    """

    TITLE = "Gradient workbench"
    WHAT, OWN, FILES = "Data", "your own files", "folder or .zip of images by class"
    UNNAMED = "No data were given. Choose a set from the list, or give the path of a folder or .zip of images by class."
    EMPTY = (
        "No data are open",
        "Choose a set from the list in the side bar, or open your own: a folder or .zip of images by class.",
    )
    METHOD, FIRST_SCENE = "rsdgc", "digits"
    SCENES: ClassVar = SharedResults(4)

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The three tabs, and the controls of a run."""
        self.runner = Runner(self, self.METHOD, self, first=FIRST)
        self.importance, self.rooms = Importance(self, INVITATION), Rooms(LATER, lambda tab: tab(), self._fill)
        self.param.watch(batched(lambda e: self._furnish(e.new)), "tab")
        return [("Gradient", self.importance.panel), *self.rooms.tabs], [heading("Run"), *self.runner.controls, self.link]

    def _fill(self, tab: Any) -> None:
        """Draw in a tab that has just been built what came before."""
        tab.clear()
        if (live := self.runner.live) is not None:
            tab.draw(*((live,) if isinstance(tab, Budget) else self._counted(live)))

    def _furnish(self, tab: int) -> None:
        if self.data is not None:
            self.rooms.show(self.titles[tab])

    @property
    def budget(self) -> Budget:
        """The second tab."""
        return self.rooms[Budget]

    @property
    def traffic(self) -> Traffic:
        """The third tab."""
        return self.rooms[Traffic]

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the data."""
        return samples_card(data)

    def arrived(self, first: bool) -> None:
        """Follow the run named in the address when data are open."""
        self.runner.take(self.run if first else "")
        self._furnish(self.tab)

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs."""
        return f"{config.get('network')}, density {config.get('density'):g}, {config.get('steps')} steps, seed {config.get('seed')}"

    def cleared(self) -> None:
        """Empty all tabs; no run is followed."""
        self.importance.clear()
        self.rooms.each("clear", Budget, Traffic)

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the gradients of the followed run."""
        if fresh:
            self.layer = ""
        self.importance.invite(False)
        self.importance.grown()

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw new gradients if there are any, and the traffic."""
        if any(name.startswith("importance/") for line in new for name in line.get("arrays", ())):
            self.when_seen("Gradient", self.importance.grown)
            self.when_seen("Budget", lambda: self.rooms.each("draw", Budget, live=live))
        self.when_seen("Traffic", lambda: self._count(live))

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Draw the final traffic and ratios when the run has ended."""
        self._count(live)

    def _count(self, live: Live) -> None:
        history, steps = self._counted(live)
        self.rooms.each("draw", Traffic, history=history, steps=steps)

    def _counted(self, live: Live) -> tuple[Mapping[str, Any], int]:
        """The scalars of the run, and the steps of each compressor; no scalars before its settings are known."""
        steps = self.runner.config.get("steps")
        return (live.history, int(steps)) if steps else ({}, 1)


def gradients(scene: str | Path | Source | None = None) -> Gradients:
    """The gradient page for a notebook cell: put it last in the cell."""
    return Gradients(scene)
