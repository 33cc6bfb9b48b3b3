"""Second tab: one validation image while the network learns, its boxes, where it fires, the losses and AP50."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn

from workbench.metrics.detect import Boxes
from workbench.metrics.outcomes import of_one
from workbench.pages.detection.state import DetectionState
from workbench.runs.watch import Live
from workbench.scene import names_of
from workbench.views.boxes import LEGEND, Box, BoxView
from workbench.views.card import escape, explain, html
from workbench.views.curves import Curves
from workbench.views.fields import Field
from workbench.views.image import coloured
from workbench.views.looks import BLUE, DETECTORS, GREEN, ORANGE, Look
from workbench.views.plots import Frame
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper

LOSSES = {
    "loss": Look("loss", ORANGE),
    "loss_class": Look("of the classes", BLUE),
    "loss_box": Look("of the boxes", GREEN, "dashed"),
}
AP50 = {"val_ap50": DETECTORS["sarnet"]} | {
    f"val_ap50/{n.replace('_', '-')}": one for n, one in DETECTORS.items() if n != "sarnet"
}
INVITATION = (
    "Press <b>Start</b> in the side bar. SAR-Net learns from the true boxes, in a process of its own that continues after this page. "
    "Here you see one validation image with the boxes that it finds, step by step. The rivals named in the settings are trained after it."
)


class Learning:
    """Step slider, the validation image with its boxes and heat, and the curves."""

    def __init__(self, state: DetectionState) -> None:
        self.state = state
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.stepper = Stepper(self.draw)
        self.text = html(margin=(0, 8))
        self.frame = Frame()
        self.view = BoxView(self.frame, "Boxes", room=True)
        self.heat = Field(self.frame, "Highest class probability")
        self.losses = Curves("step", "loss (log)", [*LOSSES.values()], height=230, log=True)
        self.ap50 = Curves("step", "AP50, validation images", [*AP50.values()], height=230)
        self._watch = pn.Column(
            wrapped(self.stepper.follow, self.stepper.slider),
            self.text,
            grid(self.view.panel, self.heat.panel, least=300),
            html(LEGEND, margin=(2, 8)),
            grid(self.losses.panel, self.ap50.panel, least=300),
            visible=False,
            **stretch,
        )
        self._invite = explain("Watch it learn", INVITATION, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the plots."""
        self._invite.visible, self._watch.visible = inviting, not inviting

    def clear(self) -> None:
        """Remove image and curves; no run is followed."""
        self.view.clear()
        self.view.draw_boxes([])
        self.heat.show(None)
        for plot in (self.losses, self.ap50):
            plot.clear()
        self.text.object = ""
        self.invite(True)

    @property
    def steps(self) -> list[int]:
        """Steps with boxes of the validation image."""
        live = self.state.runner.live
        return [] if live is None else live.frames.get("box", [])

    def grown(self) -> None:
        """Update the slider; with `follow`, move to the newest step."""
        if self.state.runner.live is None:
            return
        if not self.steps:
            self.text.object = "Waiting for the first boxes …"
            return
        self.stepper.fit(len(self.steps))

    def draw(self) -> None:
        """Draw the validation image at the selected step."""
        live, steps = self.state.runner.live, self.steps
        if live is None or not steps:
            return
        step = steps[min(self.stepper.at, len(steps) - 1)]
        arrays = live.arrays(step).read("box", "box_score", "box_label", "heat")
        chip, heat = live.frame("chip"), arrays.get("heat")
        if chip is not None:
            if self.frame.shape != chip.shape[-2:]:
                self.frame.fit(*chip.shape[-2:])
            self.view.show(coloured(chip.values[0]))
        self.heat.show(heat.values if heat is not None else None)
        names = names_of(arrays["box_label"])
        true = len(names) - 1  # the last class: true boxes, see methods/sarnet/result.py
        box, score, label = (arrays[n].values for n in ("box", "box_score", "box_label"))
        wanted = Boxes(box[label == true], np.zeros(int((label == true).sum())), np.zeros(int((label == true).sum()), int))
        mine = label != true
        sorted_ = of_one(box[mine], score[mine], np.zeros(int(mine.sum()), int), wanted, 1, float(self.state.iou))
        boxes = [Box(edges, "true box") for edges in wanted.box]
        self.view.draw_boxes(boxes + [Box(o.edges, o.kind, "" if np.isnan(o.score) else f"{o.score:.2f}") for o in sorted_])
        found = int(mine.sum())
        of = self.state.runner.config.get("steps", "?")
        name = str(arrays["box"].attrs.get("sample") or "")
        self.text.object = (
            f"<b>Step {step:,}</b> of {of} &ensp;·&ensp; validation image {escape(name)} &ensp;·&ensp; "
            f"{found} boxes with a score of at least 0.3, {len(wanted.box)} true ones, IoU ≥ {self.state.iou}"
            + (" &ensp;·&ensp; <i>untrained network</i>" if step == 0 else "")
        )

    def curves(self, live: Live) -> None:
        """Draw all scalars against the step; the steps of each rival start at 1."""
        total = int(self.state.runner.config.get("steps") or 0)
        for plot, names in ((self.losses, LOSSES), (self.ap50, AP50)):
            for key, one in names.items():
                steps, values = live.history.get(key, ([], []))
                if steps:
                    at = np.asarray(steps)
                    at = (at - 1) % total + 1 if total and "/" in key else at
                    plot.set(one.title, at, values)
