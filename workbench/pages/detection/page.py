"""The detection workbench: ships and aircraft in SAR images, what was found, missed and mistaken, and why.

    detection("sim-ships")                      # in a notebook: the page in the cell
    Detections().page().servable()              # in dashboards/detection.py: the served page

The state of the page is a few parameters (image, sliders, run), which are stored in its address. Nothing is trained in the page's own
process: `sarnet` is launched as a separate process, and the page reads its run folder. CFAR is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import panel_material_ui as pmui
import xarray as xr

from workbench.data.boxed_images import images_of
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.methods.sarnet.settings import Config
from workbench.pages.detection.export import Export
from workbench.pages.detection.findings import Findings, reads
from workbench.pages.detection.found import Found
from workbench.pages.detection.inside import Inside
from workbench.pages.detection.learning import Learning
from workbench.pages.detection.mistakes import Mistakes
from workbench.pages.detection.state import DetectionState
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.runner import Runner
from workbench.pages.frame.session import WIDE
from workbench.runs.watch import Live
from workbench.scene import names_of
from workbench.views.card import fact_card, heading
from workbench.views.plots import batched

FIRST = ("steps", "rivals", "width", "show_every", "seed")


class Detections(DetectionState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or opened images with boxes; None for those of the address, or the simulated ships. root: folder of
    the runs.
    """

    TITLE = "Detection workbench"
    WHAT, OWN, FILES = "Images with boxes", "your own images", "a folder in COCO, VOC, DOTA or VEDAI layout"
    UNNAMED = "No images were given. Choose a set from the list, or give the path of a folder."
    EMPTY = (
        "No images are open",
        "Choose a set from the list in the side bar, or open your own: a folder of images with boxes in COCO, VOC, DOTA or VEDAI layout.",
    )
    METHOD, FIRST_SCENE = "sarnet", "sim-ships"
    OLD = (
        "This run was made before its result kept every box, so its boxes cannot be matched here. Run it again, or see it on the page "
        "watch."
    )
    SCENES: ClassVar = SharedResults(3)

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless these are images with boxes that a detector can use."""
        super().checked(data)
        images_of(data, Config(), whole=True)

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The five tabs, and the controls of a run."""
        self.findings, self.images = None, None
        self._changing = False
        self.runner = Runner(self, self.METHOD, self, first=FIRST)
        self.networks = pmui.Select(label="Network", options={"train a new one": ""}, value="", margin=(8, 0), **WIDE)
        self.networks.param.watch(batched(lambda e: self.runner.form.widgets["weights"].param.update(value=e.new)), "value")
        self.found, self.learning, self.mistakes = Found(self), Learning(self), Mistakes(self)
        self.inside, self.export = Inside(self), Export(self)
        self.param.watch(batched(lambda *_: self._evaluate()), ["iou", "place", "cfar"])
        self.param.watch(batched(lambda *_: self.draw()), ["sample", "detector", "score", "factor", "marked", "tab"])
        tabs = [
            ("Boxes", self.found.panel),
            ("Training", self.learning.panel),
            ("Errors", self.mistakes.panel),
            ("Inside", self.inside.panel),
            ("Take it with you", self.export.panel),
        ]
        return tabs, [heading("Run"), self.networks, *self.runner.controls, self.link]

    # --- opening ----------------------------------------------------------------------------------------------------

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of the images."""
        names = names_of(data["box_label"])
        high, wide = data.sizes["y"], data.sizes["x"]
        facts = [
            ("Images", f"{data.sizes['sample']:,}, {'up to ' if 'height' in data.coords else ''}{high:,} × {wide:,} pixels"),
            ("Boxes", f"{data.sizes['object']:,}"),
            ("Classes", ", ".join(names) or "one"),
            ("Split", "of the data set" if "split" in data.coords else "dealt into folds"),
        ]
        return fact_card(data.attrs, facts, untitled="Images")

    def arrived(self, first: bool) -> None:
        """Read the true boxes of the opened images, and follow the run named in the address."""
        run = self.run if first else ""
        if not first:
            self.param.update(sample="", marked="", detector="sarnet", place="all images")
        data, asked = self.data, self.asked
        self.images, self.findings = None, None

        def here(future: Future) -> None:
            if asked == self.asked:
                self._read(future, run)

        self.when(self.MADE.ask(("images", self.key), lambda: images_of(data, Config(), whole=True)), here)

    def _read(self, future: Future, run: str) -> None:
        try:
            self.images = future.result()
        except InputError as error:
            self.complain(str(error))
            return
        if self.near() is None:
            self.place = "all images"
        self._list_networks()
        self.runner.take(run)
        self.found.take()
        self.export.take()

    def _list_networks(self) -> None:
        """Offer the finished runs of the method, whose weights can be applied."""
        networks = self.networks_of("own images", lambda _, about: not about["config"].get("weights"))
        options = {"train a new one": "", **networks}
        if options != self.networks.options:
            self.networks.param.update(options=options, value="")

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs."""
        if config.get("weights"):
            return f"applied {Path(str(config['weights'])).name}"
        return f"{config.get('steps')} steps, width {config.get('width')}, seed {config.get('seed')}"

    def cleared(self) -> None:
        """Reset all tabs; no run is followed."""
        had, self.findings = self.findings, None
        self.learning.clear()
        for part in (self.mistakes, self.inside, self.export):
            part.take()
        if had is not None:
            self.found.take()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the training of the followed run. fresh: of another run, so image and slider are chosen anew when it has finished."""
        self._fresh = fresh
        self.learning.invite(False)
        self.learning.grown()

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the new scalars, and new boxes of the validation image if there are any."""
        self.when_seen("Training", lambda: self.learning.curves(live), "curves")
        if any(line.get("arrays") for line in new):
            self.when_seen("Training", self.learning.grown, "boxes")

    def read(self, result: xr.Dataset) -> Findings | None:
        """The boxes of all detectors."""
        return Findings(result) if reads(result) else None

    def finished(self, result: xr.Dataset) -> None:
        """Show boxes and errors."""
        self._list_networks()
        if self._fresh or self.score == self.param.score.default:
            self.score = round(float(result["operating_threshold"]), 2)
        if self._fresh:
            self.param.update(sample="", marked="")
        for part in (self.found, self.mistakes, self.inside, self.export):
            part.take()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        self.found.evaluate()
        self.mistakes.draw()

    def draw(self) -> None:
        """Redraw the visible tab after a change of image, detector or slider."""
        if self.images is None or self._changing:
            return
        for tab, part in ((0, self.found), (2, self.mistakes), (3, self.inside)):
            if self.tab == tab:
                part.draw()


def detection(scene: str | Path | Source | xr.Dataset | None = None) -> Detections:
    """The detection page for a notebook cell: put it last in the cell.

    scene: a catalogue name, the path of a folder of images with boxes, or a `Source`; None for the page's first choice.
    """
    return Detections(scene)
