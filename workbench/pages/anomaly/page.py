"""The anomaly workbench: explore a scene, compare detectors, watch BSDM train, save the results.

    workbench.explorer("sim-coast-town")       # in a notebook: the explorer in the cell
    Explorer().page().servable()               # in dashboards/anomaly.py: the served page

The state of the page is a few parameters (scene, bands, picks, threshold, detector, run). They are stored in its address, so
a link reopens the page. Everything else is derived from them. Nothing is trained in the page's own process: BSDM and the
slow detectors are launched as separate processes, and the page reads their run folders.
"""

from __future__ import annotations

import shlex
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench import execution
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.pages.anomaly.bsdm import TAB, Train
from workbench.pages.anomaly.detectors import Compare
from workbench.pages.anomaly.explore import Explore
from workbench.pages.anomaly.state import FAST, AnomalyState
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.followed import Follower
from workbench.pages.frame.rooms import BUILDING, place
from workbench.pages.frame.session import FOLD, WIDE
from workbench.scene import Needs
from workbench.views.card import card, code, explain, heading, html
from workbench.views.glimpse import Glimpse
from workbench.views.looks import PICKS
from workbench.views.plots import Frame
from workbench.views.spectra import Axis

TOO_LARGE = (
    "BSDM trains on a scene in memory",
    "This scene is too large. Train on a cropped part of it, then suppress the whole scene block by block with "
    "<code>workbench.methods.bsdm.transfer.apply</code>.",
)


class Explorer(AnomalyState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, a `Source`, or an opened scene; None for the scene of the address, or the first of the catalogue.
    root: folder of the runs.
    """

    TITLE = "Anomaly workbench"
    UNNAMED = "No scene was given. Choose one from the list, or give the path of a .mat, ENVI, GeoTIFF or NetCDF file."
    EMPTY = (
        "No scene is open",
        "Choose one from the list in the side bar, or open your own file: MATLAB, ENVI, GeoTIFF or NetCDF, with a truth mask if "
        "you have one.",
    )
    SCENES: ClassVar = SharedResults(4)
    SCORES: ClassVar = SharedResults(24)
    GLIMPSES: ClassVar = SharedResults(4)
    LOOKS = True

    @classmethod
    def needs(cls) -> Needs:
        """The page needs a cube, `hsi`."""
        return ("hsi",)

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """Whether the entry is a cube and not a set of chips."""
        return super().offers(entry) and not entry.many

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless the scene is one hyperspectral image."""
        super().checked(data)
        if data["hsi"].dims != ("band", "y", "x"):
            raise InputError(
                f"The page shows one image, hsi (band, y, x); this scene has {data['hsi'].dims}. Choose one image of it."
            )

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The tabs (only the first is built immediately), and the lower part of the side bar."""
        self.axis = self.mask_of_truth = self.glimpse = self.place = None
        self.rgb = np.zeros((1, 1, 3), np.uint8)
        self.scores, self.fine, self.aucs, self.refused, self.picked = {}, {}, {}, {}, {}
        self.frame = Frame()
        self.explore = Explore(self)
        self.compare: Compare | None = None
        self.train: Train | None = None
        self.upload = pmui.FileInput(
            label="or upload it (ENVI: both files)", multiple=True, variant="outlined", margin=(4, 0), **WIDE
        )
        self.own.append(self.upload)
        self.code = html(margin=(4, 0))
        self.upload.param.watch(self._uploaded, "value")
        self.param.watch(lambda e: self.furnish(e.new), "tab")
        self.param.watch(self._cut, ["flag", "masked"])
        self.param.watch(self._choose, "detector")
        self._rooms = [self.explore.panel, place(), place()]
        self._furnished = {0}
        below = [
            heading("Display"),
            self.explore.controls,
            heading("Share"),
            self.link,
            pmui.Details(self.code, title="The same as code", **FOLD),
        ]
        return list(zip(("Explore", "Detectors", TAB), self._rooms, strict=True)), below

    def furnish(self, tab: int) -> None:
        """Build a tab when it is first needed: a page with one tab loads several times faster than with three."""
        if self.data is None or tab in self._furnished or (self.large and self.glimpse is None):
            return
        self._furnished.add(tab)
        with pn.io.hold():
            if tab == 2 and self.large:
                self._rooms[2].objects = [explain(*TOO_LARGE, height=300)]
            elif tab == 1:
                self.compare = Compare(self)
                self._rooms[1].objects = [self.compare.panel]
                self.compare.take(first=True)
            else:
                built, self.train = self.train, self.train or Train(self)
                self._rooms[2].objects = [self.train.panel]
                if built is None:
                    self.train.take(first=True)

    # --- opening ----------------------------------------------------------------------------------------------------

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of a scene."""
        return card(data)

    def arrived(self, first: bool) -> None:
        """Show the opened scene and request the scores of the fast detectors; a large scene first needs its overview."""
        self.glimpse = None
        if not self.large:
            self._arrive(first)
            return
        self._show(False)
        self.announce(self.scene or self.called)
        asked, hsi = self.asked, self.data["hsi"]

        def seen(future: Future) -> None:
            if asked != self.asked:
                return
            self.announce("")
            try:
                self.glimpse = future.result()
            except InputError as error:
                self.complain(str(error))
                return
            with pn.io.hold():
                self._show(True)
                self._arrive(first)

        self.when(self.GLIMPSES.ask(self.key, lambda: Glimpse(hsi)), seen)

    def _arrive(self, first: bool) -> None:
        picks, self.picked = self.picks if first else "", {}
        self.scores, self.fine, self.aucs, self.refused, self.result = {}, {}, {}, {}, None
        hsi = self.data["hsi"]
        self._furnished.discard(2)
        self._rooms[2].objects = [explain(*BUILDING, height=300) if self.train is None or self.large else self.train.panel]
        self.axis = Axis(hsi)
        marked = self.data["truth"].values if "truth" in self.data else None
        self.mask_of_truth = marked if marked is not None and (marked > 0).any() and (marked == 0).any() else None
        self.param.update(detector=self.detector if first else "rx", run=self.run if first else "")
        self.frame.fit(hsi.sizes["y"], hsi.sizes["x"])
        self._say_code()
        self.explore.take(first)
        for tab in (self.compare, None if self.large else self.train):
            if tab is not None:
                tab.take(first)
        for n, text in enumerate(t for t in picks.split(";") if t):
            if n < len(PICKS) and (pixel := _pixel(text, *self.frame.shape)):
                self.picked[n + 1] = pixel
        self.picks_changed()
        self.furnish(self.tab)
        if self.large:
            return
        if self.run:
            self.furnish(2)  # all tabs use its maps and spectra
        for name in FAST:
            self._ask(name)

    def _uploaded(self, _: Any) -> None:
        """Open the uploaded files."""
        if paths := self.keep_uploads(self.upload):
            self.path.value = str(next((p for p in paths if p.suffix.lower() == ".hdr"), paths[0]))
            self.open_named()

    # --- drawing after a change of the state ------------------------------------------------------------------------

    def picks_changed(self) -> None:
        """Draw the picked pixels, then update their table."""
        with pn.io.hold():
            self.explore.draw_picks()
        self.soon(self._list_picks)

    def score_arrived(self, name: str) -> None:
        """Draw the new map of detector `name`, in all tabs that show it."""
        if self.compare is not None:
            self.compare.put(name)
        if name == self.detector:
            self.explore.draw_rows()
            self.explore.draw_mask()

    def scores_dropped(self, *names: str) -> None:
        """Remove the maps of these detectors."""
        if self.compare is not None:
            self.compare.drop(*names)

    def quieten(self, result: xr.Dataset | None) -> None:
        """Show spectra of the suppressed cube of a result; None hides them."""
        self.explore.quieten(result)

    def _list_picks(self) -> None:
        """Update table and address after the spectra are drawn: new rows make the browser lay out the whole page again."""
        with pn.io.hold():
            self.explore.draw_rows()
            self.picks = ";".join(f"{r},{c}" for r, c in self.picked.values())

    def _ask(self, name: str) -> None:
        """Request the score of a fast detector; the worker thread computes it once for all visitors."""
        data, asked = self.data, self.asked

        def arrived(future: Future) -> None:
            if asked != self.asked:
                return
            try:
                result = future.result()
            except InputError as error:
                self.refused[name] = str(error)
                if self.compare is not None:
                    self.compare.refuse(name)
                return
            self.put(name, result["score"], float(result["auc"]) if "auc" in result else None)

        self.when(self.SCORES.ask((self.key, name), lambda: execution.execute(name, data).result), arrived)

    def _cut(self, *_: Any) -> None:
        with pn.io.hold():
            self.explore.draw_mask()
            if self.compare is not None:
                self.compare.cut()

    def _choose(self, *_: Any) -> None:
        with pn.io.hold():
            self.explore.draw_rows()
            self.explore.draw_mask()
            if self.compare is not None:
                self.compare.choose()

    def _say_code(self) -> None:
        text = (
            f"import workbench as wb\nscene = wb.open_scene({self.named.arguments()})\nwb.execute('rx', scene).result['score']\n\n"
            f"# or in a terminal\nworkbench run bsdm {shlex.join(self.named.argv())}"
        )
        self.code.object = code(text)

    def followed(self) -> list[Follower]:
        """The run of BSDM, and the launched detectors."""
        return [part for part in (self.train and self.train.runner, self.compare) if part is not None]


def _pixel(text: str, rows: int, columns: int) -> tuple[int, int] | None:
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        return None
    return (row, column) if 0 <= row < rows and 0 <= column < columns else None


def explorer(scene: str | Path | Source | xr.Dataset | None = None) -> Explorer:
    """The explorer of a scene for a notebook cell: put it last in the cell, or call its `panel()`.

    scene: a catalogue name, a path, a `Source`, or an opened scene; None for the first of the catalogue.
    """
    return Explorer(scene)
