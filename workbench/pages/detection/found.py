"""First tab: one image with its true and its found boxes, precision against recall with sliders, and a gallery to click through."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.metrics.detect import Boxes
from workbench.metrics.outcomes import Judged, Outcome, judge, outcomes, ranks
from workbench.pages.detection.findings import Sweep, of_images, one_class, precision_recall
from workbench.pages.detection.state import CFARS, DetectionState
from workbench.views.boxes import LEGEND, Box, BoxView, Curve, PrecisionRecall
from workbench.views.card import escape, explain, heading, html
from workbench.views.gallery import Gallery
from workbench.views.image import coloured
from workbench.views.looks import DETECTORS, STATES, look
from workbench.views.plots import Frame, batched
from workbench.views.screen import WHOLE, beside, wrapped
from workbench.views.tables import Column, Marked, html_table

ORDER = {
    "false alarm": "False alarms, most certain first",
    "missed": "Missed, smallest first",
    "hit": "Found, least certain first",
}
AROUND = 32  # pixels a side of a thumbnail at least
TILE = 64  # pixels a side of the picture of a thumbnail
WIDTH = 128  # columns that a picked box is shown with at least
WAITING = (
    "The boxes of a network appear here when a run has finished; start one in the side bar. Until then the page shows the true boxes, and "
    "CFAR, which needs no training."
)


class Found:
    """The image on the left, curves and numbers on the right, the gallery below."""

    def __init__(self, state: DetectionState) -> None:
        self.state = state
        self._choosing = False
        self._judged: dict[str, Judged] = {}
        self._sweep: Sweep | None = None
        self._curve: tuple[np.ndarray, np.ndarray] | None = None
        self._at: dict[tuple[str, float], Judged] = {}  # CFAR at each factor that was looked at, on all counted images
        self._pictured: Any = None  # the image that is on the screen
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.samples = pmui.Select(label="Image", options={"": ""}, value="", width=230, searchable=True, **small)
        self.detectors = pmui.Select(label="Boxes of", options={"": ""}, value="", width=230, **small)
        self.ious = pmui.Select.from_param(state.param.iou, label="True from IoU", description="", width=110, **small)
        self.places = pmui.Select.from_param(state.param.place, label="Counted", description="", width=140, **small)
        self.cfars = pmui.Select(
            label="CFAR", options={DETECTORS[n].title: n for n in CFARS}, value=state.cfar, width=130, **small
        )
        slider: dict[str, Any] = {
            "size": "small",
            "sizing_mode": "stretch_width",
            "min_width": 200,
            "margin": (4, 24, 4, 16),
        }
        self.score = pmui.FloatSlider.from_param(state.param.score, label="Lowest score", step=0.01, format="0.00", **slider)
        self.factor = pmui.FloatSlider.from_param(
            state.param.factor, label="CFAR: times the clutter around a pixel", step=0.2, format="0.0", **slider
        )
        self.frame = Frame()
        self.view = BoxView(self.frame, "", axes=True, tall=WHOLE)
        self.picked = html(margin=(2, 8))
        self.plot = PrecisionRecall(words="Curves of CFAR are being computed.")
        self.numbers = html(margin=(2, 8))
        self.kinds = pmui.RadioButtonGroup(
            options={"False alarms": "false alarm", "Missed": "missed", "Found": "hit"}, value="false alarm", size="small",
            margin=(6, 8), sx={"whiteSpace": "nowrap"},
        )  # fmt: skip
        self.gallery = Gallery(12, 2)
        self.listed = html(margin=(10, 8))
        self._wait = explain("Boxes of a network", WAITING, height=110)
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.panel = pn.Column(
            wrapped(self.samples, self.detectors, self.ious, self.places, self.cfars),
            beside(
                pn.Column(self.view.panel, html(LEGEND, margin=(2, 8)), self.picked, **stretch),
                pn.Column(self._wait, self.score, self.factor, self.plot.panel, **stretch),
                least=(460, 440),
            ),
            self.numbers,
            heading("What became of the boxes, in all counted images; click one to see it"),
            wrapped(self.kinds, self.listed),
            self.gallery.panel,
            sizing_mode="stretch_width",
            margin=(4, 4),
        )
        self.samples.param.watch(batched(lambda e: self._choosing or self.go(e.new)), "value")
        self.detectors.param.watch(batched(lambda e: self._choosing or self.choose(e.new)), "value")
        self.cfars.param.watch(batched(lambda e: state.param.update(cfar=e.new)), "value")
        self.kinds.param.watch(batched(lambda _: self._fill_gallery()), "value")
        self.view.on_box(lambda name: self.pick(name, zoom=False))
        self.gallery.on_tap(lambda name: self.pick(name, zoom=True))

    # --- choices ----------------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Offer the images and detectors of a newly opened scene, or of a new result, and evaluate."""
        state = self.state
        if state.images is None:
            return
        tested = set(state.findings.ids) if state.findings is not None else set()
        count = {i: len(b) for i, b in zip(state.ids, state.images.box, strict=True)}
        self._choosing = True
        try:
            self.samples.options = {
                f"{i}: {count[i]} true{', tested' if i in tested else ''}": i
                for i in sorted(state.ids, key=lambda i: (i not in tested, state.ids.index(i)))
            }
            if state.sample not in state.ids:
                state.sample = max(state.basis, key=lambda i: count[i])
            self.samples.value = state.sample
            offered = [*(state.findings.found if state.findings is not None else ()), *CFARS]
            offered = list(dict.fromkeys(offered))
            self.detectors.options = {look(n, DETECTORS).title: n for n in offered}
            self.detectors.value = state.detector if state.detector in offered else offered[0]
        finally:
            self._choosing = False
        self.places.visible = state.near() is not None
        self._wait.visible = state.findings is None
        self.score.visible = state.findings is not None
        self.evaluate()

    @property
    def shown(self) -> str:
        """The detector whose boxes are visible: the selected one, if it has boxes."""
        state = self.state
        known = [*(state.findings.found if state.findings is not None else ()), *CFARS]
        return state.detector if state.detector in known else known[0]

    def choose(self, name: str) -> None:
        """Show the boxes of another detector; a CFAR is then the one with the slider."""
        self.state.param.update(detector=name, marked="", **({"cfar": name} if name in CFARS else {}))

    def go(self, sample: str, marked: str = "") -> None:
        """Show another image."""
        self.state.param.update(sample=sample, marked=marked)

    def evaluate(self) -> None:
        """Match boxes again, for another result, IoU, place or CFAR; the answers of the worker thread are drawn as they come."""
        state = self.state
        if state.images is None:
            return

        def judged(found: dict[str, Judged]) -> None:
            self._judged = found
            self.draw()

        def curve(points: tuple[np.ndarray, np.ndarray]) -> None:
            self._curve = points
            self.draw()

        def swept(sweep: Sweep) -> None:
            self._sweep = sweep
            state.swept_curve(sweep, curve)

        self._judged, self._sweep, self._curve, self._at = {}, None, None, {}
        state.judged(judged)
        state.swept(swept)

    # --- boxes ------------------------------------------------------------------------------------------------------

    def _of(self, name: str, ids: list[str]) -> list[Outcome]:
        """What became of the boxes of a detector on these images, at the sliders' thresholds; true boxes alone while nothing is known."""
        state, true = self.state, self.state.true(ids)
        every = ids == state.tested
        if name in CFARS:
            if self._sweep is None or self._sweep.name != name:
                rows = zip(true.box, true.image, true.label, ranks(true.image), strict=True)
                return [Outcome("true box", b, str(i), np.nan, int(n), f"t{k}") for b, i, n, k in rows]
            found = of_images(self._sweep.at(state.factor), ids)
            judged = self._cfar_at(self._sweep) if every else self._judge(found, true, True)
            return outcomes(judged, found, true, -np.inf)
        if state.findings is None:
            return []
        found = of_images(state.findings.found[name], ids)
        judged = self._judged[name] if every and name in self._judged else self._judge(found, true, False)
        return outcomes(judged, found, true, state.score)

    def _judge(self, found: Boxes, true: Boxes, without_classes: bool) -> Judged:
        """Match boxes at the chosen IoU. without_classes: of CFAR, which knows none."""
        classes = max(len(self.state.names), 1)
        if without_classes and classes > 1:
            true, classes = one_class(true), 1
        return judge(found, true, classes, float(self.state.iou), self.state.most)

    def _cfar_at(self, sweep: Sweep) -> Judged:
        """CFAR at the slider's factor, on all counted images."""
        state = self.state
        key = (sweep.name, round(state.factor, 1))
        if key not in self._at:
            ids = state.tested
            self._at[key] = self._judge(of_images(sweep.at(state.factor), ids), state.true(ids), True)
        return self._at[key]

    def draw(self) -> None:
        """Draw the image, its boxes, the curves and the numbers."""
        state = self.state
        if state.images is None or state.sample not in state.ids:
            return
        self._choosing = True
        try:
            self.samples.value = state.sample
            self.detectors.value = self.shown
            self.cfars.value = state.cfar
        finally:
            self._choosing = False
        now = (state.key, state.sample)
        if self._pictured != now:
            self._pictured = now
            picture = state.shown(state.sample)
            self.frame.fit(*picture.shape)
            self.view.show(coloured(picture))
        name = look(self.shown, DETECTORS).title
        known = state.sample in state.basis
        title = f"{state.sample}: {name}" if known else f"{state.sample}: true boxes; not a test image"
        self.view.figure.title.text = title
        here = self._of(self.shown, [state.sample]) if known else []
        if not known:
            true: Boxes = state.true([state.sample])
            here = [Outcome("true box", b, state.sample, np.nan, 0, f"t{n}") for n, b in enumerate(true.box)]
        several = len(state.names) > 1
        boxes = [
            Box(o.edges, o.kind, _text(o, state.names if several else []), f"{o.image}|{o.name}")
            for o in here
        ]  # fmt: skip
        true_ = state.true([state.sample])
        boxes = [Box(b, "true box") for b in true_.box if known] + boxes
        self.view.draw_boxes(boxes, state.marked)
        self._say(here)
        self._curves()
        self._fill_gallery()

    def _say(self, here: list[Outcome]) -> None:
        """Describe the picked box."""
        state = self.state
        one = next((o for o in here if f"{o.image}|{o.name}" == state.marked), None)
        if one is None:
            self.picked.object = "Click a box to read its numbers."
            return
        x0, y0, x1, y1 = one.edges
        score = "" if np.isnan(one.score) else f" &ensp;·&ensp; score {one.score:.3f}"
        kind = f" &ensp;·&ensp; {escape(state.names[one.label])}" if len(state.names) > 1 else ""
        self.picked.object = (
            f"<b>{STATES[one.kind].title}</b>{score}{kind} &ensp;·&ensp; columns {x0:.1f} to {x1:.1f}, rows {y0:.1f} to {y1:.1f}"
            f" ({x1 - x0:.1f} × {y1 - y0:.1f} pixels)"
        )

    def pick(self, name: str, *, zoom: bool) -> None:
        """Mark a box, named image|box; with zoom, show its image around it."""
        with pn.io.hold():
            image, _, _ = name.rpartition("|")
            self.go(image, name)
            one = next((o for o in self._of(self.shown, [image]) if f"{o.image}|{o.name}" == name), None)
            if zoom and one is not None:
                x0, y0, x1, y1 = one.edges
                self.frame.look_at((x0 + x1) / 2, (y0 + y1) / 2, max(WIDTH, 5 * max(x1 - x0, y1 - y0)))

    # --- curves and numbers -----------------------------------------------------------------------------------------

    def _curves(self) -> None:
        state = self.state
        curves, rows = [], []
        images = max(len(state.tested), 1)
        for name, judged in self._judged.items():
            one = look(name, DETECTORS)
            if name in CFARS:
                continue  # drawn below, by factor and not by score
            counts = judged.counts(state.score)
            precision, recall = precision_recall(*counts)
            curves.append(Curve(one, judged.recall, judged.precision, (recall, precision), f"score ≥ {state.score:.2f}"))
            rows.append(self._row(Marked(one.title, one.colour), f"score ≥ {state.score:.2f}", counts, images, judged.ap))
        if self._curve is not None and self._sweep is not None:
            one = look(self._sweep.name, DETECTORS)
            recall_, precision_ = self._curve
            judged = self._cfar_at(self._sweep)
            counts = judged.counts(-np.inf)
            precision, recall = precision_recall(*counts)
            curves.append(Curve(one, recall_, precision_, (recall, precision), f"factor {state.factor:.1f}"))
            rows.append(self._row(Marked(one.title, one.colour), f"factor {state.factor:.1f}", counts, images, judged.ap))
        self.plot.show(curves)
        where = "" if state.near() is None else f", {state.place}"
        head = (
            f"<b>{len(state.tested)} {'test ' if state.findings is not None else ''}images{where}</b>: IoU ≥ {state.iou}, "
            f"at most {state.most} boxes an image (maxDets)"
        )
        columns = [
            "", "threshold", Column("precision", "higher", 3), Column("recall", "higher", 3), Column("F1", "higher", 3),
            Column("false alarms an image", "lower", 2), Column(f"AP{round(100 * float(state.iou))}", "higher", 3, "at any threshold"),
        ]  # fmt: skip
        note = "<div style='opacity:.75;margin-top:4px'>AP of CFAR is that of its boxes at this factor, ordered by contrast.</div>"
        self.numbers.object = head + html_table(columns, rows) + (note if rows else "")

    @staticmethod
    def _row(title: Marked, threshold: str, counts: tuple[int, int, int], images: int, ap: float) -> tuple[Any, ...]:
        precision, recall = precision_recall(*counts)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return title, threshold, precision, recall, f1, counts[1] / images, float(ap)

    # --- gallery ----------------------------------------------------------------------------------------------------

    def _fill_gallery(self) -> None:
        """Thumbnails of the boxes of one kind, in all counted images."""
        state, kind = self.state, self.kinds.value
        if state.images is None:
            return
        every = [o for o in self._of(self.shown, state.tested) if o.kind == kind]
        sizes = {"missed": lambda o: float((o.edges[2] - o.edges[0]) * (o.edges[3] - o.edges[1]))}
        every.sort(key=sizes.get(kind, lambda o: -o.score if kind == "false alarm" else o.score))
        shown = every[: self.gallery.room]
        who = look(self.shown, DETECTORS).title
        more = f", {len(shown)} of {len(every):,}" if len(every) > len(shown) else ""
        self.listed.object = f"{ORDER[kind]}{more}: {who}, IoU ≥ {state.iou}" if every else f"None: {who}, IoU ≥ {state.iou}"
        if not shown:
            self.gallery.clear()
            return
        pictures = np.stack([thumbnail(state.shown(o.image), o.edges) for o in shown])
        texts = [f"{o.image}, {STATES[o.kind].title} {_text(o, [])}".strip() for o in shown]
        names = [f"{o.image}|{o.name}" for o in shown]
        self.gallery.show(pictures, names, texts, [STATES[kind].colour] * len(shown))


def thumbnail(image: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(TILE, TILE, 3) uint8: surroundings of a box, twice as wide as its longer side, at least AROUND pixels; black beyond the image."""
    x0, y0, x1, y1 = edges
    side = max(AROUND, round(2 * max(x1 - x0, y1 - y0)))
    top, left = round((y0 + y1) / 2 - side / 2), round((x0 + x1) / 2 - side / 2)
    at = (np.arange(TILE) + 0.5) * side / TILE
    rows, columns = (top + at).astype(int), (left + at).astype(int)
    inside = ((rows >= 0) & (rows < image.shape[0]))[:, None] & (columns >= 0) & (columns < image.shape[1])
    values = image[np.clip(rows, 0, image.shape[0] - 1)][:, np.clip(columns, 0, image.shape[1] - 1)]
    grey = (255 * np.clip(np.where(inside, values, 0), 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def _text(one: Outcome, names: list[str]) -> str:
    kind = names[one.label] if names else ""
    return f"{kind} {'' if np.isnan(one.score) else f'{one.score:.2f}'}".strip()
