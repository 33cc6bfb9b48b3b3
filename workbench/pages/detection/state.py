"""Shared state of the tabs of the detection page: the visible image, sliders, the result of the run, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import param

from workbench.data.boxed_images import Images, entered
from workbench.methods.sarnet.settings import Config
from workbench.metrics.detect import Boxes
from workbench.metrics.outcomes import Judged, judge
from workbench.pages.detection.findings import MOST_PIXELS, PLACES, Findings, Sweep, of_images, swept
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.one_run import OneRun

CFARS = ("ca_cfar", "os_cfar")


class DetectionState(OneRun):
    """State of the detection page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    images: the images of the scene with their true boxes; None until they are read. findings: result of the followed run; None before it
    has finished. runner: controls of the followed run.
    """

    ADDRESS = ("scene", "truth", "keys", "run", "tab", "sample", "detector", "score", "iou", "place", "cfar", "factor")
    MADE: ClassVar = SharedResults(24)  # evaluations, curves of CFAR, inside views

    tab = param.Integer(0, bounds=(0, 4))
    sample = param.String("", doc="name of the visible image")
    detector = param.String("sarnet", doc="whose boxes are visible")
    score = param.Number(0.5, bounds=(0.0, 1.0), doc="lowest score of a visible detection")
    iou = param.Selector(default="0.5", objects=["0.5", "0.75"], doc="overlap from which a detection is true")
    place = param.Selector(default=PLACES[0], objects=list(PLACES), doc="which test images are counted")
    cfar = param.Selector(default="ca_cfar", objects=list(CFARS), doc="which CFAR is drawn beside the detectors")
    factor = param.Number(2.0, bounds=(1.2, 5.0), doc="CFAR's threshold: multiple of the clutter around a pixel")
    marked = param.String("", doc="name of the picked box")

    images: Images | None
    findings: Findings | None

    # --- images -----------------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        """All images."""
        return [] if self.images is None else [str(i) for i in self.images.ids]

    @property
    def basis(self) -> list[str]:
        """The test images of the run; without a result, the first images of the scene."""
        if self.images is None:
            return []
        if self.findings is not None:
            return self.findings.ids
        area = np.cumsum([h * w for h, w in self.images.size])
        return self.ids[: max(1, int((area <= MOST_PIXELS).sum()))]

    @property
    def tested(self) -> list[str]:
        """The images of `basis` that are counted: those at `place`."""
        near = self.near()
        if near is None or self.place == PLACES[0]:
            return self.basis
        return [i for i in self.basis if near[i] == (self.place == PLACES[1])]

    def near(self) -> dict[str, bool] | None:
        """Whether there is land in each image; None if the scene does not say it."""
        if self.data is None or "inshore" not in self.data.coords:
            return None
        return dict(zip(self.ids, self.data["inshore"].values.astype(bool).tolist(), strict=True))

    def shown(self, sample: str) -> np.ndarray:
        """(y, x) in [0, 1]: an image as the network sees it, the logarithm of its amplitude."""
        return entered(self._amplitude(sample), Config())[0].numpy()

    def amplitude(self, sample: str) -> np.ndarray:
        """(y, x) in [0, 1]: amplitude of an image."""
        return self._amplitude(sample)[0].numpy()

    def _amplitude(self, sample: str) -> Any:
        assert self.images is not None
        return self.images.amplitude(self.ids.index(sample))

    def true(self, ids: list[str]) -> Boxes:
        """The true boxes of these images."""
        assert self.images is not None
        images, position = self.images, {i: n for n, i in enumerate(self.ids)}
        rows = [images.box[position[i]] for i in ids]
        label, ignored = (
            np.concatenate([of[position[i]] for i in ids]) if ids else np.zeros(0, kind)
            for of, kind in ((images.label, int), (images.ignored, bool))
        )
        box = np.concatenate(rows) if ids else np.zeros((0, 4), np.float32)
        return Boxes(box, np.repeat(ids, [len(r) for r in rows]), label, ignored=ignored)

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return [] if self.images is None else self.images.names

    # --- evaluation -------------------------------------------------------------------------------------------------

    @property
    def most(self) -> int:
        """Detections of an image that count at most (maxDets)."""
        return int(self.config("most") or Config().most)

    def config(self, name: str) -> Any:
        """A setting of the followed run; None without a run."""
        return None if self.runner.live is None else self.runner.config.get(name)

    def judged(self, then: Callable[[dict[str, Judged]], None]) -> None:
        """Call `then` with the evaluation of every detector at the chosen IoU and place; empty without a result."""
        findings, ids = self.findings, self.tested
        if findings is None or self.images is None or self.runner.live is None:
            then({})
            return
        iou, most, classes, true = float(self.iou), self.most, max(len(self.names), 1), self.true(ids)
        now = ("judged", self.key, str(self.runner.live.folder), iou, self.place)

        def make() -> dict[str, Judged]:
            return {n: judge(of_images(f, ids), true, classes, iou, most) for n, f in findings.found.items()}

        self.later(now, make, lambda made: then(made.result()))

    def swept(self, then: Callable[[Sweep], None]) -> None:
        """Call `then` with the boxes of the chosen CFAR, for each factor, on the test images of all places."""
        images, ids, name = self.images, self.basis, self.cfar
        if images is None or not ids:
            return
        guard, train = (int(self.config(n) or getattr(Config(), n)) for n in ("cfar_guard", "cfar_train"))
        key = ("swept", self.key, name, guard, train, tuple(ids))
        self.later(key, lambda: swept(name, images, ids, guard, train), lambda made: then(made.result()))

    def swept_curve(self, sweep: Sweep, then: Callable[[Any], None]) -> None:
        """Call `then` with (recall, precision) of each factor of a sweep, on the images that are counted."""
        ids, iou, most, classes = self.tested, float(self.iou), self.most, max(len(self.names), 1)
        true = self.true(ids)
        key = ("curve", self.key, sweep.name, iou, self.place, most, tuple(ids))
        self.later(key, lambda: sweep.curve(true, ids, classes, iou, most), lambda made: then(made.result()))
