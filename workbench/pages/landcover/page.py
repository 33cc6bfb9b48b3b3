"""The land cover workbench: class maps of several sensors, their accuracy under a named split, and what a diffusion model knows of them.

    landcover("sim-two-sensors")                # in a notebook: the page in the cell
    Landcover().page().servable()               # in dashboards/landcover.py: the served page

The state of the page is a few parameters (image, classifier, cell, pixel, noise level, run), which are stored in its address. Nothing is
trained in the page's own process: `mdfl` is launched as a separate process, and the page reads its run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr

from workbench.data.source import Source
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.runner import Runner
from workbench.pages.landcover.findings import OWN, Findings, reads
from workbench.pages.landcover.inside import Inside
from workbench.pages.landcover.learning import Learning
from workbench.pages.landcover.maps import Maps
from workbench.pages.landcover.state import LandcoverState
from workbench.pages.landcover.trust import Trust
from workbench.views.card import heading
from workbench.views.plots import batched

FIRST = ("split", "steps", "head_steps", "joint", "times", "rivals", "networks", "seed")


class Landcover(LandcoverState):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or an opened scene with sensors and truth; None for that of the address, or simulated sensors. root:
    folder of the runs.
    """

    TITLE = "Land cover workbench"
    UNNAMED = "No scene was given. Choose one from the list, or give the path of a file."
    EMPTY = (
        "No scene is open",
        "Choose a scene with labels from the list in the side bar, or open your own: a cube, radar or image, and a raster of classes.",
    )
    METHOD, FIRST_SCENE = "mdfl", "sim-two-sensors"
    OLD = (
        "This run was made before its result kept the classes of its test pixels, so they cannot be walked through here. Run it again, "
        "or see it on the page watch."
    )
    SCENES: ClassVar = SharedResults(3)

    # --- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The four tabs, and the controls of a run."""
        self.findings = None
        self.runner = Runner(self, self.METHOD, self, first=FIRST)
        self.maps, self.learning, self.trust, self.inside = Maps(self), Learning(), Trust(self), Inside(self)
        self.param.watch(
            batched(lambda *_: self.draw()), ["image", "classifier", "cell", "at", "pixel", "time", "sensor", "tab"]
        )
        tabs = [
            ("Class map", self.maps.panel),
            ("Training", self.learning.panel),
            ("Raw, deep, both", self.trust.panel),
            ("Noise levels", self.inside.panel),
        ]
        return tabs, [heading("Run"), *self.runner.controls, self.link]

    # --- opening ----------------------------------------------------------------------------------------------------

    def arrived(self, first: bool) -> None:
        """Show the opened scene, and follow the run named in the address."""
        run = self.run if first else ""
        if not first:
            self.param.update(image=-1, classifier=OWN, sensor="", **self.reset())
        self.runner.take(run)

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs."""
        return f"split {config.get('split')}, {config.get('steps')} steps, seed {config.get('seed')}"

    def read(self, result: xr.Dataset) -> Findings | None:
        """The table of the test pixels, and the maps."""
        return Findings(result) if reads(result) else None

    def fill(self) -> None:
        """Show maps and numbers, or that there are none yet."""
        for part in (self.maps, self.trust, self.inside):
            part.take()

    def reset(self) -> dict[str, Any]:
        """No cell of the confusion matrix and no pixel are chosen."""
        return {"cell": "", "at": 0, "pixel": ""}

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Redraw the visible tab after a change of image, classifier, cell, pixel or noise level."""
        if self.data is None:
            return
        for tab, part in ((0, self.maps), (2, self.trust), (3, self.inside)):
            if self.tab == tab:
                part.draw()


def landcover(scene: str | Path | Source | xr.Dataset | None = None) -> Landcover:
    """The land cover page for a notebook cell: put it last in the cell.

    scene: a catalogue name, the path of a scene with labels, or a `Source`; None for the page's first choice.
    """
    return Landcover(scene)
