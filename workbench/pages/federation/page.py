"""The federation workbench: who sends what, what is in a message, who has which classes, and where owners disagree.

    federation("sim-two-sensors")               # in a notebook: the page in the cell
    Federation().page().servable()              # in dashboards/federation.py: the served page

Every method whose `PAGE` is this page is offered; rounds are read from the events of a run while it goes on, the rest from its result.
The state of the page is a few parameters (method, phase, rank, alpha, level, run), which are stored in its address. Nothing is trained
in the page's own process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import xarray as xr

from workbench.data.source import Source
from workbench.pages.federation.clients import ClientsTab
from workbench.pages.federation.diffusion import Diffusion
from workbench.pages.federation.findings import Findings, reads
from workbench.pages.federation.maps import Maps
from workbench.pages.federation.messages import Messages
from workbench.pages.federation.partition import Partition
from workbench.pages.federation.state import FederationState
from workbench.pages.frame.cache import SharedResults
from workbench.views.plots import batched


class Federation(FederationState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or opened data; None for those of the address, or simulated sensors. root: folder of the runs.
    """

    TITLE = "Federation workbench"
    UNNAMED = "No scene was given. Choose one from the list, or give the path of a file."
    EMPTY = (
        "No scene is open",
        "Choose a scene of two sensors with labels from the list in the side bar, or open your own: a cube, LiDAR or radar, and a raster "
        "of classes.",
    )
    FIRST_SCENE = "sim-two-sensors"
    PAGE, FIRST_METHOD = "federation", "fedfusion"
    OLD = (
        "This run was made before its result kept what each rank of a message is worth, so it cannot be shown here. Run it again, or see "
        "it on the page watch."
    )
    SCENES: ClassVar = SharedResults(3)

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The five tabs, and the controls of a run of each method."""
        self.findings = None
        chooser = self.chooser()
        self.learning, self.partition, self.messages = ClientsTab(self), Partition(self), Messages(self)
        self.maps, self.diffusion = Maps(self), Diffusion(self)
        self.param.watch(batched(lambda *_: self.draw()), ["rank", "alpha", "parties", "level", "image", "tab"])
        tabs = [
            ("Clients", self.learning.panel),
            ("Partition", self.partition.panel),
            ("Messages", self.messages.panel),
            ("Maps", self.maps.panel),
            ("Diffusion", self.diffusion.panel),
        ]
        return tabs, chooser

    # --- called by the runner ----------------------------------------------------------------------------------------

    def read(self, result: xr.Dataset) -> Findings | None:
        """Messages, maps and partition."""
        return Findings(result, self.method) if reads(result) else None

    def finished(self, result: xr.Dataset) -> None:
        """Draw the cards with what the result knows of the clients."""
        self.learning.draw()
        self.fill()

    def fill(self) -> None:
        """Show the result, or that there is none yet."""
        for part in (self.partition, self.messages, self.maps, self.diffusion):
            part.take()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Redraw the visible tab after a change of rank, alpha, level or image."""
        for part in (self.partition, self.messages, self.maps, self.diffusion):
            part.draw()


def federation(scene: str | Path | Source | xr.Dataset | None = None) -> Federation:
    """The federation page for a notebook cell: put it last in the cell.

    scene: a catalogue name, the path of a scene of two sensors with labels, or a `Source`; None for the page's first choice.
    """
    return Federation(scene)
