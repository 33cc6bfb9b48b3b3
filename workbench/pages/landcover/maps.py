"""First tab: the scene, its labels and the class map; the confusion matrix, whose cells are walked through; accuracies and areas."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.pages.landcover.findings import OWN, Scores
from workbench.pages.landcover.state import NAMES, LandcoverState
from workbench.views.card import escape, explain, heading, html
from workbench.views.classes import ClassMap, Confusion, legend
from workbench.views.image import ImageView
from workbench.views.looks import RED, class_colours
from workbench.views.outcome import leak_text
from workbench.views.plots import Frame, batched
from workbench.views.screen import WHOLE, beside, grid, wrapped
from workbench.views.tables import Column, Marked, html_table

WAITING = (
    "Press <b>Start</b> in the side bar, or choose an earlier run. When it has finished, the class map appears beside the labels, and here "
    "the confusion matrix of the test pixels, accuracies and areas."
)
LEAKS = 0.05  # difference of the two accuracies of the leak meter from which the page warns
WIDTH = 40  # columns that a walked pixel is shown with at least
CLICK = "Click a cell to walk through its pixels: first the wrong ones beside the diagonal."
AREA = (
    "Estimated area: the mapped area, corrected by the confusion of the test pixels, with a 95 % interval (Olofsson et al., 2014). "
    "Labelled pixels are not a random sample of the map, so the interval is too narrow."
)


class Maps:
    """Three linked maps, the matrix beside them, numbers below."""

    def __init__(self, state: LandcoverState) -> None:
        self.state = state
        self._choosing = False
        self._pictured: Any = None
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.images = pmui.Select(label="Image", options={"": -1}, value=-1, width=220, searchable=True, **small)
        self.sensors = pmui.Select(label="Sensor", options={"": ""}, value="", width=190, **small)
        self.classifiers = pmui.Select(label="Classes given by", options={"": ""}, value="", width=330, **small)
        self.masked = pmui.Switch(label="Mask what is not labelled", value=False, margin=(8, 8))
        self.frame = Frame()
        self.scene = ImageView(self.frame, "Scene", tall=WHOLE)
        self.true = ClassMap(self.frame, "Labels", axes=True, tall=WHOLE)
        self.given = ClassMap(self.frame, "Class map", axes=True, tall=WHOLE)
        self.legend = html(margin=(2, 8))
        self.split = html(margin=(6, 8))
        self.matrix = Confusion()
        self.walk = html(CLICK, margin=(4, 8))
        button: dict[str, Any] = {"size": "small", "variant": "outlined", "margin": (2, 8), "disabled": True}
        self.back = pmui.Button(label="Previous", icon="chevron_left", **button)
        self.next = pmui.Button(label="Next", icon="chevron_right", **button)
        self.table = html(margin=(4, 8))
        self._wait = explain("The class map and its accuracy", WAITING, height=220)
        self._numbers = pn.Column(
            heading("Test pixels: true class against class on the map"),
            beside(
                pn.Column(
                    self.matrix.panel, wrapped(self.back, self.next), self.walk, sizing_mode="stretch_width", margin=0
                ),
                pn.Column(self.split, self.table, sizing_mode="stretch_width", margin=0),
                least=(430, 480),
            ),
            sizing_mode="stretch_width",
            margin=0,
            visible=False,
        )
        self.panel = pn.Column(
            wrapped(self.images, self.sensors, self.classifiers, self.masked),
            grid(self.scene.panel, self.true.panel, self.given.panel, least=280, most=3),
            self.legend,
            self._numbers,
            self._wait,
            sizing_mode="stretch_width",
            margin=(4, 4),
        )
        self.images.param.watch(batched(lambda e: self._choosing or state.param.update(image=e.new, pixel="")), "value")
        self.sensors.param.watch(batched(lambda e: self._choosing or state.param.update(sensor=e.new)), "value")
        self.classifiers.param.watch(batched(lambda e: self._choosing or self.choose(e.new)), "value")
        self.masked.param.watch(batched(lambda _: self.draw()), "value")
        self.back.on_click(lambda _: self.step(-1))
        self.next.on_click(lambda _: self.step(1))
        self.matrix.on_cell(lambda true, given: self.go((true, given), 0))
        for view in (self.scene, self.true, self.given):
            view.on_tap(state.pick)

    # --- choices ----------------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Offer the images and classifiers of a newly opened scene, or of a new result."""
        state, findings = self.state, self.state.findings
        names = state.images
        numbers = findings.images if findings is not None else range(len(names))
        self._choosing = True
        try:
            self.images.options = {names[n] or "the scene": n for n in numbers}
            self.images.value = state.shown
            self.sensors.options = {NAMES[s]: s for s in state.sensors}
            if findings is not None:
                mapped = findings.mapped
                order = [*mapped, *(c for c in findings.classifiers if c not in mapped)]
                self.classifiers.options = {findings.title(c) + ("" if c in mapped else " (numbers only)"): c for c in order}
                if state.classifier not in order:
                    state.classifier = OWN
        finally:
            self._choosing = False
        self.images.visible = len(self.images.options) > 1
        self.sensors.visible = len(state.sensors) > 1
        self.classifiers.visible = self.masked.visible = self._numbers.visible = findings is not None
        self.given.panel.visible = findings is not None
        self._wait.visible = findings is None
        self._pictured = None
        self.draw()

    def choose(self, classifier: str) -> None:
        """Show map and numbers of another classifier; the chosen cell stays."""
        self.state.param.update(classifier=classifier, at=0)

    def go(self, cell: tuple[int, int], at: int) -> None:
        """Show one pixel of a cell of the confusion matrix, in its image."""
        state = self.state
        state.param.update(cell=f"{cell[0]},{cell[1]}", at=at)
        pixels = state.walked
        if not pixels:
            return
        here = pixels[at % len(pixels)]
        with pn.io.hold():
            state.param.update(image=here.image, pixel=f"{here.row},{here.column}")
            self.frame.look_at(here.column, here.row, max(WIDTH, state.shape[1] // 3))

    def step(self, by: int) -> None:
        """Walk to the next pixel of the cell, or back; after the last follows the first."""
        state = self.state
        if state.chosen is not None and state.walked:
            self.go(state.chosen, (state.at + by) % len(state.walked))

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw maps, matrix and numbers."""
        state, findings = self.state, self.state.findings
        if state.data is None:
            return
        sensor = state.sensor if state.sensor in state.sensors else state.sensors[0]
        self._choosing = True
        try:
            self.images.value, self.sensors.value = state.shown, sensor
            if findings is not None:
                self.classifiers.value = state.classifier
        finally:
            self._choosing = False
        name = state.images[state.shown]
        truth = state.labels()
        now = (state.key, state.shown, sensor)
        if self._pictured != now:
            self._pictured = now
            if self.frame.shape != state.shape:
                self.frame.fit(*state.shape)
            self.scene.show(state.picture(sensor), f"{name + ': ' if name else ''}{state.caption(sensor)}")
        names = state.classes
        self.true.show(truth, names, "Labels; outlined: test pixels" if findings is not None else "Labels")
        counts = np.bincount(truth[truth >= 0].ravel(), minlength=len(names))
        self.legend.object = legend(names, counts)
        self.frame.mark(state.picked, RED, "")
        if findings is None:
            self.frame.outline_truth(None)
            return
        self.frame.outline_truth(findings.tested(state.shown, state.shape))
        labels = findings.layer("labels", state.classifier, state.shown)
        title = findings.title(state.classifier)
        if labels is None:
            self.given.show(None, names, f"No map: {title}")
        else:
            self.given.show(np.where(truth >= 0, labels, -1) if self.masked.value else labels, names, f"Class map: {title}")
        scores = findings.scores(state.classifier)
        self.matrix.show(scores.counts, names)
        self._walk()
        self._say(scores, names)

    def _walk(self) -> None:
        """The chosen cell, and which of its pixels is shown."""
        state, findings = self.state, self.state.findings
        assert findings is not None
        cell, pixels = state.chosen, state.walked
        self.matrix.mark(cell)
        self.back.disabled = self.next.disabled = len(pixels) < 2
        if cell is None:
            self.walk.object = CLICK
            return
        true, given = (escape(findings.names[n]) for n in cell)
        head = f"True class <b>{true}</b>, on the map <b>{given}</b>: {len(pixels):,} test pixels"
        if not pixels:
            self.walk.object = head
            return
        at = state.at % len(pixels)
        here = pixels[at]
        image = f"{escape(state.images[here.image])}, " if state.images[here.image] else ""
        self.walk.object = f"{head}. Pixel {at + 1}: {image}row {here.row}, column {here.column}"

    def _say(self, scores: Scores, names: list[str]) -> None:
        result = self.state.result
        findings = self.state.findings
        assert result is not None
        assert findings is not None
        warning = str(result.attrs.get("split_warning") or "")
        leak = {n: float(result[n]) for n in ("leak_random", "leak_split") if n in result}
        leaky = len(leak) == 2 and leak["leak_random"] - leak["leak_split"] > LEAKS
        self.split.object = (
            f"<b>Split</b>: {escape(str(result.attrs.get('split', 'not named')))}"
            + (f'<br><span style="color:{RED};font-weight:600">{escape(warning)}</span>' if warning else "")
            + f"<br><b>{escape(findings.title(self.state.classifier))}</b>: OA {scores.oa:.3f} &ensp; AA {scores.aa:.3f} &ensp; "
            f"kappa {scores.kappa:.3f}"
            + leak_text(leak)
            + (" Accuracies under random pixels would be too high for new places." if leaky else "")
        )
        colours = class_colours(len(names))
        rows = []
        for n, name in enumerate(names):
            mapped = None if scores.mapped is None else f"{scores.mapped[n]:,.0f}"
            area = "" if scores.area is None else _interval(scores.area.area[n], scores.area.half_width[n])
            row = (
                Marked(name, colours[n]),
                f"{scores.counts[n].sum():,.0f}",
                float(scores.recall[n]),
                float(scores.precision[n]),
            )
            rows.append((*row, mapped, area))
        columns = [
            "class", "test pixels", Column("found", "", 3, "share of the class that is found: producer's accuracy"),
            Column("right", "", 3, "share of what is called the class that is right: user's accuracy"),
            "mapped area (pixels)", "estimated area",
        ]  # fmt: skip
        note = f"<div style='opacity:.75;margin-top:4px'>{AREA}</div>"
        self.table.object = html_table(columns, rows) + (note if scores.area is not None else "")


def _interval(area: float, half: float) -> str:
    """`1,234 ± 56`; a dash where it cannot be estimated.

    >>> _interval(1234.4, 56.2), _interval(float("nan"), 1.0)
    ('1,234 ± 56', '–')
    """
    return f"{area:,.0f} ± {half:,.0f}" if np.isfinite(area) and np.isfinite(half) else "–"
