"""The compression workbench: which filters go, how many bits each layer keeps, what that costs, and what it is worth beside rivals.

    compression("digits")                       # in a notebook: the page in the cell
    Compression().page().servable()             # in dashboards/compression.py: the served page

Every method whose `PAGE` is this page is offered; a result is read by the names of its variables. The state of the page is a few
parameters (criterion, cut line, changed bits, run), which are stored in its address. Nothing is trained in the page's own process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import xarray as xr

from workbench.config import Settings
from workbench.data.source import Source
from workbench.methods import load
from workbench.pages.compression.choosing import Choosing
from workbench.pages.compression.comparing import Comparing
from workbench.pages.compression.filters import Filters
from workbench.pages.compression.findings import Findings, quality_of, reads
from workbench.pages.compression.learning import Learning
from workbench.pages.compression.levels import Levels
from workbench.pages.compression.state import CompressionState
from workbench.pages.compression.teaching import Teaching
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.runner import SEEN
from workbench.views.card import explain
from workbench.views.plots import batched
from workbench.views.screen import STRETCH

# what the tabs are drawn by
DRAWN = ("criterion", "gone", "threshold", "edited", "layer", "block", "sample", "filter", "without", "tab")
INSIDE = (
    "When a run has finished, this tab shows its networks inside. Of a method that removes filters: the maps of any filter, and the "
    "accuracy without it. Of a method that teaches its copy: what both find, where they attend, and the switches between them."
)


class Compression(CompressionState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or opened data; None for those of the address, or the embedded digits. root: folder of the runs.
    """

    TITLE = "Compression workbench"
    WHAT, OWN, FILES = "Data", "your own files", "a folder or .zip of images, by class or with boxes, or a scene"
    UNNAMED = "No data were given. Choose a set from the list, or give the path of your own."
    EMPTY = (
        "No data are open",
        "Choose a set from the list in the side bar, or open your own: images by class or with boxes, or a scene with labelled pixels.",
    )
    FIRST_SCENE = "digits"
    PAGE, FIRST_METHOD = "compression", "picpq"
    OLD = "The result of this run has no bits and MACs of its layers, so it cannot be shown here; see it on the page watch."
    SCENES: ClassVar = SharedResults(3)
    MADE: ClassVar = SharedResults(8)  # images with their boxes

    @staticmethod
    def settings_first(method: str) -> list[str]:
        """The first settings that a method itself declares, before those of its data, and those that all have."""
        return [*list(load(method).Config.__annotations__)[:SEEN], *Settings.model_fields]

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The four tabs, and the controls of a run of each method."""
        self.findings = None
        chooser = self.chooser()
        self.choosing, self.learning, self.comparing = Choosing(self), Learning(load(self.method).SHOWS), Comparing(self)
        self.levels, self.teaching, self.filters = Levels(self), Teaching(self), Filters(self)
        self._inside = explain("Look inside", INSIDE, height=420)
        self.param.watch(batched(lambda *_: self.draw()), list(DRAWN))
        tabs = [
            ("Cut and bits", pn.Column(self.levels.panel, self.choosing.panel, **STRETCH)),
            ("Training and search", self.learning.panel),
            ("Compared", self.comparing.panel),
            ("Inside", pn.Column(self._inside, self.filters.panel, self.teaching.panel, **STRETCH)),
        ]
        return tabs, chooser

    def selected(self) -> None:
        """Draw the training by what the method shows."""
        self.learning.show(load(self.method).SHOWS)

    # --- called by the runner ----------------------------------------------------------------------------------------

    def read(self, result: xr.Dataset) -> Findings | None:
        """Filters, bits and costs."""
        quality = quality_of(load(self.method).HEADLINE[0], self.method)
        return Findings(result, quality, self.method) if reads(result) else None

    def finished(self, result: xr.Dataset) -> None:
        """Draw the heat strips, too."""
        self.learning.end(result)
        self.fill()

    def fill(self) -> None:
        """Show filters, bits and rivals, or that there are none yet."""
        for part in (self.choosing, self.levels, self.comparing, self.teaching, self.filters):
            part.take()
        self._inside.visible = not (self.teaching.panel.visible or self.filters.panel.visible)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Redraw the visible tab after a change of line, criterion or bits."""
        for part in (self.choosing, self.levels, self.comparing, self.teaching, self.filters):
            part.draw()


def compression(scene: str | Path | Source | xr.Dataset | None = None) -> Compression:
    """The compression page for a notebook cell: put it last in the cell.

    scene: a catalogue name, the path of labelled images or a scene, or a `Source`; None for the page's first choice.
    """
    return Compression(scene)
