"""Shared state of the tabs of the anomaly page: the scene and its display, the picked pixels, and the scores of all detectors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar

import numpy as np
import panel as pn
import param
import xarray as xr

from workbench.errors import InputError
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.session import IN_MEMORY, Session
from workbench.views.glimpse import Glimpse, Part
from workbench.views.image import PALETTES
from workbench.views.looks import ANOMALY, PICKS
from workbench.views.plots import Frame
from workbench.views.spectra import Axis

FAST = ("rx", "ridge-rx", "pca-rx")  # computed by the page's own process, in about a second
APART = ("local-rx", "crd", "kifd", "auto-ad")  # computed on request, each in a process of its own
DETECTORS = (*FAST, "untrained", "trained", *APART)


class AnomalyState(Session):
    """State of the anomaly page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    frame: shared by all images, which pan and zoom together. rgb: the composite of the whole scene; place: its position, if it
    is an overview. mask_of_truth (y, x): int16, or None without marked pixels. scores: detector -> map; fine: detector -> lazy
    map at full resolution, if its score is an overview. refused: detector -> why it cannot score this scene. picked: number ->
    (row, column).
    """

    ADDRESS = ("scene", "truth", "keys", "look", "preset", "band", "picks", "flag", "detector", "run", "tab")
    PARTS: ClassVar = SharedResults(1)

    look = param.Selector(default="Composite", objects=["Composite", "Band"])
    preset = param.String("", doc="name of the composite; empty for the first that the scene can show")
    band = param.Integer(0, bounds=(0, None), doc="position of the single band")
    palette = param.Selector(default="Grey", objects=list(PALETTES))
    outline = param.Boolean(True, doc="outline the truth")
    masked = param.Boolean(False, doc="show the flagged pixels on the image")
    detector = param.Selector(default="rx", objects=list(DETECTORS), doc="whose mask, score and rank are shown")
    flag = param.Number(1.0, bounds=(0, 100), doc="percentage of pixels that are flagged")
    picks = param.String("", doc="row,column;row,column")

    frame: Frame
    axis: Axis | None
    rgb: np.ndarray
    place: dict[str, float] | None
    mask_of_truth: Any
    glimpse: Glimpse | None  # overview of a scene that is too large for memory
    scores: dict[str, xr.DataArray]
    fine: dict[str, xr.DataArray]
    aucs: dict[str, float]
    refused: dict[str, str]
    picked: dict[int, tuple[int, int]]

    # --- drawing after a change of the state --------------------------------------------------------------------------

    def picks_changed(self) -> None:
        """Draw the picked pixels, then update their table."""
        raise NotImplementedError

    def score_arrived(self, name: str) -> None:
        """Draw the new map of detector `name`, in all tabs that show it."""
        raise NotImplementedError

    def scores_dropped(self, *names: str) -> None:
        """Remove the maps of these detectors."""
        raise NotImplementedError

    def quieten(self, result: xr.Dataset | None) -> None:
        """Show spectra of the suppressed cube of a result; None hides them."""
        raise NotImplementedError

    # --- the scene ----------------------------------------------------------------------------------------------------

    @property
    def large(self) -> bool:
        """Whether the scene is too large for memory: the page only displays it, separate processes compute."""
        return self.data is not None and self.data.nbytes > IN_MEMORY

    def read(self, bands: list[int], part: Part, then: Callable[[], None]) -> None:
        """Read a part of a large scene in the worker thread, then call `then()`."""
        glimpse = self.glimpse

        def work() -> None:
            for p in (part, glimpse.whole):
                glimpse.bands(bands, p)

        self.work(work, lambda _: then())

    def work(self, make: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Call `make` in the worker thread, then `then` with its result; an InputError is shown on the page."""
        asked = self.asked

        def done(future: Future) -> None:
            if asked != self.asked:
                return
            try:
                made = future.result()
            except InputError as error:
                self.complain(str(error))
                return
            with pn.io.hold():
                then(made)

        self.when(self.PARTS.ask(object(), make), done)

    # --- picks --------------------------------------------------------------------------------------------------------

    def pick(self, row: int, column: int) -> None:
        """Pick the pixel, or remove the pick if it exists; at most len(PICKS) picks, the oldest is dropped first."""
        if self.data is None:
            return
        same = [n for n, p in self.picked.items() if p == (row, column)]
        if same:
            del self.picked[same[0]]
        else:
            if len(self.picked) == len(PICKS):
                del self.picked[next(iter(self.picked))]
            self.picked[next(n for n in range(1, len(PICKS) + 1) if n not in self.picked)] = (row, column)
        self.picks_changed()

    def unpick(self, number: int | None = None) -> None:
        """Remove one pick, or all."""
        self.picked = {} if number is None else {n: p for n, p in self.picked.items() if n != number}
        self.picks_changed()

    # --- scores -------------------------------------------------------------------------------------------------------

    def put(self, name: str, score: xr.DataArray, auc: float | None) -> None:
        """Store and show the score map of detector `name`."""
        with pn.io.hold():
            self.scores[name] = score
            self.aucs.pop(name, None)
            if auc is not None:
                self.aucs[name] = auc
            self.score_arrived(name)

    def put_large(self, name: str, result: xr.Dataset) -> None:
        """Store a map that is too large for memory: its overview is shown, and single pixels are read when picked."""
        self.fine[name] = result["score"]
        over = result["score_overview"].load()
        self.put(name, over.rename(dict(zip(over.dims, ("y", "x"), strict=True))), None)

    def grain(self, name: str | None = None) -> int:
        """Scene pixels a side of one cell of a detector's score; 1 unless it is an overview."""
        name = name or self.detector
        return int(self.scores[name].attrs["step"]) if name in self.fine else 1

    def drop(self, *names: str) -> None:
        """Remove the scores of these detectors."""
        for name in names:
            for kept in (self.scores, self.fine, self.aucs):
                kept.pop(name, None)
        self.scores_dropped(*names)

    def threshold(self, name: str) -> float:
        """The lowest flagged score, if the highest `flag` percent of the scored pixels are flagged."""
        score = self.scores[name].values
        finite = np.sort(score[np.isfinite(score)])
        return float(finite[-max(1, round(self.flag / 100 * finite.size))])

    def flagged(self, name: str | None = None) -> np.ndarray | None:
        """Boolean (row, column) mask of the pixels at or above the threshold; None while there is no score."""
        name = name or self.detector
        return None if name not in self.scores else self.scores[name].values >= self.threshold(name)

    def title(self, name: str) -> str:
        """Printed name of a detector."""
        return ANOMALY[name].title
