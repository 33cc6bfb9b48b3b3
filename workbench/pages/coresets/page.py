"""The coreset workbench: watch the scores during training, choose a budget, see the coreset, train on it.

    coresets("digits")                          # in a notebook: the page in the cell
    Coresets().page().servable()                # in dashboards/coresets.py: the served page

The state of the page is a few parameters (data, run, share kept, selector, picked samples), stored in its address. Nothing is
trained in the page's own process: `tdds` is launched as a separate process, and the page reads its run folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr

from workbench.data.source import Source
from workbench.pages.coresets.choosing import Choose
from workbench.pages.coresets.measured import Measured
from workbench.pages.coresets.samples import Film, Pictures
from workbench.pages.coresets.scoring import Score
from workbench.pages.coresets.state import CoresetState
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.rooms import Rooms
from workbench.pages.frame.runner import Runner
from workbench.runs.watch import Live
from workbench.views.card import heading, samples_card
from workbench.views.plots import batched

FIRST = ("epochs", "keep", "budgets", "compare", "label_noise", "seed")
LATER: dict[type, str] = {Choose: "Coreset", Measured: "Accuracy"}
INVITATION = (
    "Press <b>Start</b> in the side bar. A network is trained on all samples, in a separate process that continues when this page is "
    "closed, and every sample's score is updated. Then the same network is trained again on the coreset of TDDS, and on equally "
    "many samples drawn at <b>random</b>, the most important rival."
)


class Coresets(CoresetState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, a `Source`, or an opened scene; None for the data of the address, or the embedded digits.
    root: folder of the runs.
    """

    TITLE = "Coreset workbench"
    WHAT, OWN, FILES = "Data", "your own files", "folder or .zip by class, a scene, a coreset's .yml"
    UNNAMED = "No data were given. Choose a set from the list, or give the path of a folder, .zip or scene."
    EMPTY = (
        "No data are open",
        "Choose a set from the list in the side bar, or open your own: a folder or .zip of images by class, or a scene with its truth.",
    )
    METHOD, FIRST_SCENE = "tdds", "digits"
    SCENES: ClassVar = SharedResults(4)

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The three tabs, and the controls of a run."""
        self.film = Film()
        self.runner = Runner(self, self.METHOD, self, first=FIRST)
        self.score, self.rooms = Score(self, INVITATION), Rooms(LATER, lambda tab: tab(self), self._fill)
        self.param.watch(batched(lambda *_: self._changed()), ["keep", "length", "selector", "balanced"])
        self.param.watch(batched(lambda e: self._furnish(e.new)), "tab")
        return [("Scores", self.score.panel), *self.rooms.tabs], [heading("Run"), *self.runner.controls, self.link]

    def _fill(self, tab: Any) -> None:
        """Draw in a tab that has just been built what came before."""
        tab.take()
        if isinstance(tab, Measured) and self.runner.live is not None:
            tab.curves(self.runner.live.history)

    def _furnish(self, tab: int) -> None:
        if self.data is not None:
            self.rooms.show(self.titles[tab])

    @property
    def choosing(self) -> Choose:
        """The second tab."""
        return self.rooms[Choose]

    @property
    def measured(self) -> Measured:
        """The third tab."""
        return self.rooms[Measured]

    # --- opening ----------------------------------------------------------------------------------------------------

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the data."""
        return samples_card(data)

    def arrived(self, first: bool) -> None:
        """Show the opened data, and the run named in the address."""
        picks = self.picks if first else ""
        self.pictures = Pictures(self.data)
        self.score.take()
        self.runner.take(self.run if first else "")
        if not first:
            self.param.update(selector="tdds", length=0)
        if "wrong_label" in self.data.coords:  # the coreset already has wrong labels; add no more
            self.runner.form.widgets["label_noise"].value = 0.0
        self.rooms.each("take", Measured)
        self._furnish(self.tab)
        if self.runner.live is not None:
            self.pick([i for i in picks.split("|") if i])

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs."""
        noise = f", {100 * config['label_noise']:g} % wrong labels" if config.get("label_noise") else ""
        return f"{config.get('epochs')} epochs, seed {config.get('seed')}{noise}"

    def cleared(self) -> None:
        """Remove scores, selection and picks; no run is followed."""
        self.film = Film()
        self.picked, self.picks = [], ""
        self.score.clear()
        self.rooms.each("take", Choose, Measured)

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the scores; for a fresh run, set the share kept and T to those of its settings."""
        if fresh:
            self.param.update(keep=float(config["keep"]), length=0)
        self.score.invite(False)

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the new scores, and the accuracy of networks trained on coresets."""
        scored = [line for line in new if "p_label" in line.get("arrays", ())]
        for line in scored:
            self.film.add(line["step"], live.arrays(line["step"]).read("p_label", "contribution", "score"))
        self.when_seen("Accuracy", lambda: self.rooms.each("curves", Measured, history=live.history))
        if scored:
            self.when_seen("Scores", self.score.grown)

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Show scores at every T, selection and accuracies when the run has ended."""
        if result is not None:
            self.film.finish(result)
            self.rooms.each("take", Choose)
            self.score.grown()
        self.rooms.each("take", Measured)

    def _changed(self) -> None:
        self.rooms.each("draw", Choose)
        self.score.draw()


def coresets(scene: str | Path | Source | xr.Dataset | None = None) -> Coresets:
    """The coreset page for a notebook cell: put it last in the cell."""
    return Coresets(scene)
