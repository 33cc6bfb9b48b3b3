"""Fourth tab of a method that teaches its copy: the switches, where teacher and copy attend, and what each of them finds."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.data.boxed_images import Images, entered, images_of
from workbench.data.boxed_settings import BoxedSettings
from workbench.metrics.detect import Boxes
from workbench.metrics.outcomes import of_one
from workbench.pages.compression.findings import Findings
from workbench.pages.compression.state import CompressionState
from workbench.views.boxes import LEGEND, Box, BoxView
from workbench.views.card import escape, heading, html
from workbench.views.image import coloured
from workbench.views.kinds import picture
from workbench.views.picture import PictureView
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid, wrapped

IOU = 0.5
BOXES = {"teacher": "teacher_box", "copy": "box"}  # who -> beginning of the names of its boxes
TITLES = {"teacher": "Float teacher", "copy": "Mixed-bit copy"}
SWITCHED = (
    "Each switch decides, for each image and step, whether a block of the copy hears its teacher. Left: the share of open ones, from the "
    "first to the last part of the training. Right: the logits of the last batch; only the diagonal decides."
)


class Teaching:
    """Detections side by side, attention maps and their difference, the switchboard."""

    def __init__(self, state: CompressionState) -> None:
        self.state = state
        self.images: Images | None = None
        self._drawn: Any = None
        self._moving = False
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.samples = pmui.Select(label="Test image", options=["none"], value="none", width=280, **small)
        self.blocks = pmui.Select(label="Block", options={"none": -1}, value=-1, width=200, **small)
        self.text, self.attended = html(margin=(10, 8)), html(margin=(10, 8))
        self.frame, self.small = Frame(), Frame()
        self.found = {who: BoxView(self.frame, TITLES[who]) for who in BOXES}
        self.maps = {name: PictureView(frame=self.small) for name in ("teacher", "copy", "difference")}
        self.switches, self.logits, self.apart = PictureView(), PictureView(), PictureView()
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self._detections = pn.Column(
            heading("What the float teacher and its mixed-bit copy find"),
            wrapped(self.samples, self.text),
            grid(*(v.panel for v in self.found.values()), least=320),
            html(LEGEND, margin=(2, 8)),
            **stretch,
        )
        self._attention = pn.Column(
            heading("Where they attend, in the test image with most boxes: maps of unit length"),
            wrapped(self.blocks, self.attended),
            grid(*(v.panel for v in self.maps.values()), least=260),
            **stretch,
        )
        self.panel = pn.Column(
            self._detections,
            self._attention,
            heading("The switches"),
            html(SWITCHED, margin=(2, 8)),
            grid(self.switches.panel, self.logits.panel, self.apart.panel, least=340, most=3),
            visible=False,
            **stretch,
        )
        self.samples.param.watch(batched(lambda e: self._picked(e.new)), "value")
        self.blocks.param.watch(batched(lambda e: self._moving or state.param.update(block=e.new)), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        self.images, self._drawn = None, None
        state, findings = self.state, self.state.findings
        self.panel.visible = findings is not None and "logits" in findings.result
        if findings is None or not self.panel.visible:
            return
        result = findings.result
        self._detections.visible = "tested" in result and "teacher_box" in result
        self._attention.visible = "attention_map" in result
        self._moving = True
        if self._detections.visible:
            self.samples.param.update(options=[str(i) for i in result["tested"].values], value=self._sample(findings))
        if self._attention.visible:
            options = {str(name): n for n, name in enumerate(result["block"].values)}
            self.blocks.param.update(options=options, value=min(state.block, len(options) - 1))
        self._moving = False
        for view, name in ((self.switches, "openness"), (self.logits, "logits"), (self.apart, "attention_distance")):
            made = picture(name, result[name]) if name in result else None
            view.show(None if made is None else replace(made, kind="matrix"))
            view.panel.visible = made is not None
        self.draw()

    def draw(self) -> None:
        """Draw the maps and boxes, when the tab is visible."""
        state, findings = self.state, self.state.findings
        if findings is None or state.tab != 3 or not self.panel.visible:
            return
        if self._attention.visible:
            self._draw_maps(findings)
        if self._detections.visible and self.images is None:
            data = state.data
            state.later(("boxed", state.key), lambda: images_of(data, BoxedSettings(), whole=True), self._opened)
        elif self._detections.visible:
            self._draw_boxes(findings)

    def _opened(self, made: Future) -> None:
        self.images = made.result()
        if self.state.findings is not None:
            self._draw_boxes(self.state.findings)

    def _draw_maps(self, findings: Findings) -> None:
        block = min(self.state.block, findings.result.sizes["block"] - 1)
        if self._drawn == block:
            return
        self._drawn = block
        self._moving = True
        self.blocks.value = block
        self._moving = False
        maps = findings.result["attention_map"].isel(block=block)
        teacher, copied = (maps.sel(who=who).values for who in ("teacher", "copy"))
        shown = {"teacher": teacher, "copy": copied, "difference": copied - teacher}
        for name, values in shown.items():
            title = {"teacher": "float teacher", "copy": "mixed-bit copy", "difference": "copy − teacher"}[name]
            made = picture(name, xr.DataArray(values, dims=("map_y", "map_x"), attrs={"long_name": title}))
            self.maps[name].show(made)
        sample = str(findings.result["chip"].attrs.get("sample", "")) if "chip" in findings.result else ""
        self.attended.object = (
            f"Image <b>{escape(sample)}</b>; squared distance of the two maps <b>{float(((copied - teacher) ** 2).sum()):.4f}</b>; a pixel "
            "is 8 × 8 pixels of the image"
        )

    def _picked(self, sample: str) -> None:
        """Show another image; called too when the page itself has set the list."""
        findings = self.state.findings
        if not self._moving and findings is not None and sample != self._sample(findings):
            self.state.sample = sample

    def _sample(self, findings: Findings) -> str:
        """The shown test image: that of the address, else the one in which the copy finds most."""
        tested = [str(i) for i in findings.result["tested"].values]
        owner = findings.result["box_sample"].values.astype(str)
        if self.state.sample in tested:
            return self.state.sample
        return max(tested, key=lambda i: int((owner == i).sum()))

    def _draw_boxes(self, findings: Findings) -> None:
        images, result = self.images, findings.result
        if images is None:
            return
        sample = self._sample(findings)
        self._moving = True
        self.samples.value = sample
        self._moving = False
        n = images.ids.tolist().index(sample)
        shown = coloured(entered(images.amplitude(n), BoxedSettings())[0].numpy())
        if self.frame.shape != shown.shape[:2]:
            self.frame.fit(*shown.shape[:2])
        true = Boxes(images.box[n], np.full(len(images.box[n]), sample), images.label[n], ignored=images.ignored[n])
        texts = []
        for who, lead in BOXES.items():
            here = result[f"{lead}_sample"].values.astype(str) == sample
            columns = (result[name].values[here] for name in (lead, f"{lead}_score", f"{lead}_label"))
            outcomes = of_one(*columns, true, max(len(images.names), 1), IOU)
            count = {kind: sum(o.kind == kind for o in outcomes) for kind in ("hit", "false alarm", "missed")}
            texts.append(f"{TITLES[who]}: {count['hit']} found, {count['false alarm']} false, {count['missed']} missed")
            self.found[who].show(shown, texts[-1])
            boxes = [Box(o.edges, o.kind, "" if np.isnan(o.score) else f"{o.score:.2f}") for o in outcomes]
            self.found[who].draw_boxes([Box(b, "true box") for b in true.box] + boxes)
        self.text.object = (
            f"<b>{len(true.box)}</b> true boxes; each network at the score of its best F1 on validation images; IoU ≥ {IOU}"
        )
