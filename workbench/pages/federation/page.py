"""The federation workbench: who sends what, what is in a message, who has which classes, and where owners disagree.

    federation("sim-two-sensors")               # in a notebook: the page in the cell
    Federation().page().servable()              # in dashboards/federation.py: the served page

Every method whose `PAGE` is this page is offered; rounds are read from the events of a run while it goes on, the rest from its result.
The state of the page is a few parameters (method, phase, rank, alpha, level, run), which are stored in its address. Nothing is trained
in the page's own process.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.data.source import Source
from workbench.methods import METHODS, load, summary
from workbench.methods import page as page_of
from workbench.pages.federation.clients import ClientsTab
from workbench.pages.federation.diffusion import Diffusion
from workbench.pages.federation.findings import Findings, reads
from workbench.pages.federation.maps import Maps
from workbench.pages.federation.messages import Messages
from workbench.pages.federation.partition import Partition
from workbench.pages.federation.state import FederationState
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.runner import Runner, first_settings, problem_of
from workbench.pages.frame.session import WIDE
from workbench.scene import Needs, fits
from workbench.views.card import heading
from workbench.views.plots import batched


@cache
def methods() -> tuple[str, ...]:
    """The methods that are shown on this page."""
    return tuple(m for m in METHODS if page_of(m).partition("?")[0] == "federation")


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
    OLD = (
        "This run was made before its result kept what each rank of a message is worth, so it cannot be shown here. Run it again, or see "
        "it on the page watch."
    )
    SCENES: ClassVar = SharedResults(3)

    @classmethod
    def needs(cls) -> Needs:
        """What the first of the methods needs; `checked` asks all of them."""
        return load(methods()[0]).NEEDS

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """Whether one of the methods can use an entry of the catalogue."""
        return any(fits(load(m).NEEDS, entry.provides) for m in methods())

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless one of the methods can use the data; the message is that of the first."""
        errors = [e for m in methods() if (e := problem_of(m, data)) is not None]
        if len(errors) == len(methods()):
            raise errors[0]

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The five tabs, and the controls of a run of each method."""
        self.findings = None
        if self.method not in methods():
            self.method = methods()[-1]
        self.methods = pmui.Select(
            label="Method", options={f"{m}: {summary(m)}": m for m in methods()}, value=self.method, margin=(8, 0), **WIDE
        )
        self.runners = {m: Runner(self, m, self, first=first_settings(m)) for m in methods()}
        self.controls = {
            m: pn.Column(*r.controls, sizing_mode="stretch_width", margin=0, visible=m == self.method)
            for m, r in self.runners.items()
        }
        self.runner = self.runners[self.method]
        self.learning, self.partition, self.messages = ClientsTab(self), Partition(self), Messages(self)
        self.maps, self.diffusion = Maps(self), Diffusion(self)
        self.methods.param.watch(batched(lambda e: e.new != self.method and self.choose(e.new)), "value")
        self.param.watch(batched(lambda *_: self.draw()), ["rank", "alpha", "parties", "level", "image", "tab"])
        tabs = [
            ("Clients", self.learning.panel),
            ("Partition", self.partition.panel),
            ("Messages", self.messages.panel),
            ("Maps", self.maps.panel),
            ("Diffusion", self.diffusion.panel),
        ]
        return tabs, [self.methods, heading("Run"), *self.controls.values(), self.link]

    def choose(self, method: str) -> None:
        """Select another method, on the same data."""
        self.method = method
        for name, controls in self.controls.items():
            controls.visible = name == method
        self.runner = self.runners[method]
        self.arrived(False)

    # --- opening ----------------------------------------------------------------------------------------------------

    def arrived(self, first: bool) -> None:
        """Follow the run named in the address when data are open."""
        run = self.run if first else ""
        if not first:
            self.param.update(**self.reset())
        assert self.data is not None
        able = [m for m in methods() if problem_of(m, self.data) is None]
        if able and self.method not in able:
            self.methods.value = able[0]  # its listener calls this again
            return
        self.runner.take(run)

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
