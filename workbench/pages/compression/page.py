"""The compression workbench: which filters go, how many bits each layer keeps, what that costs, and what it is worth beside rivals.

    compression("digits")                       # in a notebook: the page in the cell
    Compression().page().servable()             # in dashboards/compression.py: the served page

Every method whose `PAGE` is this page is offered; a result is read by the names of its variables. The state of the page is a few
parameters (criterion, cut line, changed bits, run), which are stored in its address. Nothing is trained in the page's own process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.config import Settings
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.methods import METHODS, load, summary
from workbench.methods import page as page_of
from workbench.pages.compression.choosing import Choosing
from workbench.pages.compression.comparing import Comparing
from workbench.pages.compression.findings import Findings, quality_of, reads
from workbench.pages.compression.learning import Learning
from workbench.pages.compression.state import CompressionState
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.followed import Follower
from workbench.pages.frame.runner import Runner, changes
from workbench.pages.frame.session import WIDE
from workbench.runs.watch import Live
from workbench.scene import VOCABULARY, Needs, fits, require
from workbench.views.card import heading
from workbench.views.plots import batched
from workbench.views.scene_card import scene_card

SEEN = 6  # settings that are always visible, besides the seed
OLD = "The result of this run has no bits and MACs of its layers, so it cannot be shown here; see it on the page watch."


@cache
def methods() -> tuple[str, ...]:
    """The methods that are shown on this page."""
    return tuple(m for m in METHODS if page_of(m).partition("?")[0] == "compression")


class Compression(CompressionState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or opened data; None for those of the address, or the embedded digits. root: folder of the runs.
    """

    TITLE = "Compression workbench"
    WHAT, OWN, FILES = "Data", "your own files", "a folder or .zip of images by class, or a scene"
    UNNAMED = "No data were given. Choose a set from the list, or give the path of your own."
    EMPTY = (
        "No data are open",
        "Choose a set from the list on the left, or open your own: images by class, or a scene with labelled pixels.",
    )
    SCENES: ClassVar = SharedResults(3)

    @classmethod
    def needs(cls) -> Needs:
        """Any variable of a scene; `checked` asks the methods."""
        return (tuple(VOCABULARY),)

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """Whether one of the methods can use an entry of the catalogue."""
        return any(fits(load(m).NEEDS, entry.provides) for m in methods())

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless one of the methods can use the data; the message is that of the first."""
        errors = [e for m in methods() if (e := _problem(m, data)) is not None]
        if len(errors) == len(methods()):
            raise errors[0]

    @classmethod
    def first_choice(cls) -> str:
        """The embedded chips."""
        return "digits"

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The three tabs, and the controls of a run of each method."""
        self.findings = None
        if self.method not in methods():
            self.method = methods()[0]
        self.methods = pmui.Select(
            label="Method", options={f"{m}: {summary(m)}": m for m in methods()}, value=self.method, margin=(8, 0), **WIDE
        )
        self.methods.visible = len(methods()) > 1
        self.runners = {m: Runner(self, m, self, first=_first(m)) for m in methods()}
        self.controls = {
            m: pn.Column(*r.controls, sizing_mode="stretch_width", margin=0, visible=m == self.method)
            for m, r in self.runners.items()
        }
        self.runner = self.runners[self.method]
        self.choosing, self.learning, self.comparing = Choosing(self), Learning(self), Comparing(self)
        self.learning.show(load(self.method).SHOWS)
        self.methods.param.watch(batched(lambda e: e.new != self.method and self.choose(e.new)), "value")
        self.param.watch(batched(lambda *_: self.draw()), ["criterion", "gone", "edited", "tab"])
        tabs = [
            ("Cut and bits", self.choosing.panel),
            ("Training and search", self.learning.panel),
            ("Compared", self.comparing.panel),
        ]
        return tabs, [self.methods, heading("Run"), *self.controls.values(), self.link]

    def choose(self, method: str) -> None:
        """Select another method, on the same data."""
        self.method = method
        for name, controls in self.controls.items():
            controls.visible = name == method
        self.runner = self.runners[method]
        self.learning.show(load(method).SHOWS)
        self.arrived(False)

    # --- opening ----------------------------------------------------------------------------------------------------

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the data."""
        return scene_card(data)

    def arrived(self, first: bool) -> None:
        """Follow the run named in the address when data are open."""
        run = self.run if first else ""
        if not first:
            self.param.update(**self.reset())
        assert self.data is not None
        error = _problem(self.method, self.data)
        able = next((m for m in methods() if _problem(m, self.data) is None), self.method)
        if error is not None and able != self.method:
            self.methods.value = able  # its listener calls this again
            return
        self.runner.take(run)

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """The settings of a run that differ from their defaults."""
        return changes(self.method, config)

    def cleared(self) -> None:
        """Empty all tabs; no run is followed."""
        self.findings = None
        self.learning.clear()
        self._take()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the training of the followed run. fresh: of another run, so line and bits are those of the run."""
        if fresh:
            self.param.update(**self.reset())
        self.learning.invite(False)

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the new events."""
        self.learning.take(live)

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Show filters, bits and costs when the run has ended."""
        if result is None:
            return
        if not reads(result):
            self.complain(OLD)
            return
        self.findings = Findings(result, quality_of(load(self.method).HEADLINE[0], self.method))
        self.learning.end(result)
        self._take()

    def followed(self) -> list[Follower]:
        """The run of the chosen method."""
        return [self.runner]

    # --- drawing ----------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        for part in (self.choosing, self.comparing):
            part.take()

    def draw(self) -> None:
        """Redraw the visible tab after a change of line, criterion or bits."""
        self.choosing.draw()
        self.comparing.draw()


def _problem(method: str, data: xr.Dataset) -> InputError | None:
    """Why a method cannot use the data."""
    try:
        require(data, *load(method).NEEDS, who=method)
    except InputError as error:
        return error
    return None


def _first(method: str) -> list[str]:
    own = [name for name in load(method).Config.model_fields if name not in Settings.model_fields]
    return [*own[:SEEN], *Settings.model_fields]


def compression(scene: str | Path | Source | xr.Dataset | None = None) -> Compression:
    """The compression page for a notebook cell: put it last in the cell.

    scene: a catalogue name, the path of labelled images or a scene, or a `Source`; None for the page's first choice.
    """
    return Compression(scene)
