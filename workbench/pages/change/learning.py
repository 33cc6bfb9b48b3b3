"""Second tab: the network's output for one validation pair during training, and every part of the loss."""

from __future__ import annotations

import numpy as np
import panel as pn
import xarray as xr

from workbench.pages.change.state import ChangeState
from workbench.runs.watch import Live
from workbench.views.card import escape, explain, html
from workbench.views.change import pictures
from workbench.views.curves import Curves
from workbench.views.fields import Decisions, Field, outcomes, swatches
from workbench.views.image import ImageView
from workbench.views.looks import CHANGE, GREY, PARTS, REFERENCES, UNCERTAINTY, Look
from workbench.views.plots import Frame
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper

LOSSES = {
    "loss_change": PARTS["final"],
    **{f"loss_side_{k}": PARTS[f"side_{k}"] for k in (2, 3, 4, 5)},
    "loss_uncertainty": PARTS["uncertainty"],
    "floor": PARTS["floor"],
}
SURE = {
    "val_error_auroc": Look("AUROC of U", UNCERTAINTY["ours"].colour),
    "val_error_auroc_entropy": Look("AUROC of entropy", UNCERTAINTY["entropy"].colour),
}
MEANS = {
    "val_mean_uncertainty": Look("mean U", UNCERTAINTY["ours"].colour, "dashed"),
    "val_mean_error": Look("mean |y − P|", GREY, "dashed"),
}
F1 = {"val_f1": CHANGE["ours"]} | {f"val_f1/{n}": one for n, one in CHANGE.items() if n.startswith("fc_")}
CHANCE = REFERENCES["chance"]
INVITATION = (
    "Press <b>Start</b> in the side bar. AR-CDNet learns from the reference, in a separate process that continues when this page is "
    "closed. Here you see its maps of change and uncertainty for one validation pair, step by step. The rivals and controls named "
    "in the settings are trained too."
)
FLOOR = (
    "The loss of the uncertainty cannot be lower than its <b>entropy floor</b>: the target |y − P| is between 0 and 1, so even a "
    "perfect U has the loss of its entropy. Only the distance to the floor can be learnt."
)


class Learning:
    """Step slider, the validation pair, P, U and the error that U should predict; parts of the loss, F1, and the quality of U."""

    def __init__(self, state: ChangeState) -> None:
        self.state = state
        self._fixed: dict[str, xr.DataArray] = {}  # before, after, truth of the validation pair
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.stepper = Stepper(self.draw)
        self.text = html(margin=(0, 8))
        self.frame = Frame()
        self.before = ImageView(self.frame, "Before", axes=False, room=True)
        self.after = ImageView(self.frame, "After", axes=False, room=True)
        self.change = Field(self.frame, "Change P")
        self.decisions = Decisions(self.frame, "Decisions")
        self.uncertainty = Field(self.frame, "Uncertainty U", palette="uncertainty")
        self.target = Field(self.frame, "Error |y − P|", palette="uncertainty")
        shown = (self.before, self.after, self.change, self.decisions, self.uncertainty, self.target)
        self.losses = Curves("step", "loss (log)", [*LOSSES.values()], height=230, log=True)
        self.f1 = Curves("step", "F1, validation", [*F1.values()], height=230)
        self.sure = Curves(
            "step", "validation", [*SURE.values(), *MEANS.values()], [CHANCE], height=230,
        )  # fmt: skip
        self._watch = pn.Column(
            wrapped(self.stepper.follow, self.stepper.slider),
            self.text,
            grid(*(view.panel for view in shown), least=230, most=3),
            html(swatches("not labelled, or missing"), margin=(0, 8)),
            grid(
                *(
                    pn.Column(html(f"<b>{title}</b>", margin=(8, 8, 0, 8)), view.panel, **stretch)
                    for title, view in (
                        ("Parts of the loss", self.losses),
                        ("Does it find change?", self.f1),
                        ("Does U know its errors?", self.sure),
                    )
                ),
                least=300,
            ),
            html(FLOOR, margin=(6, 8), styles={"font-size": "0.78rem", "opacity": ".8", "line-height": "1.4"}),
            visible=False,
            **stretch,
        )
        self._invite = explain("Watch it learn", INVITATION, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the plots."""
        self._invite.visible, self._watch.visible = inviting, not inviting

    def clear(self) -> None:
        """Remove all maps and curves; no run is followed."""
        self._fixed = {}
        for view in (self.change, self.decisions, self.uncertainty, self.target):
            view.show(None)
        for image in (self.before, self.after):
            image.clear()
        for plot in (self.losses, self.f1, self.sure):
            plot.clear()
        self.text.object = ""
        self.invite(True)

    # --- which step -------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """Steps with maps of the validation pair."""
        live = self.state.runner.live
        return [] if live is None else live.frames.get("change", [])

    def grown(self) -> None:
        """Update the slider; with `follow`, move to the newest step."""
        live, steps = self.state.runner.live, self.steps
        if live is None:
            return
        if not steps:
            applied = bool(self.state.runner.config.get("weights"))
            self.text.object = (
                "A trained network is applied, so there is no training to watch. The maps are on the first tab."
                if applied
                else "Waiting for the first maps …"
            )
            return
        self.stepper.fit(len(steps))

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the network's output for the validation pair at the selected step."""
        live, steps = self.state.runner.live, self.steps
        if live is None or not steps:
            return
        if not self._fixed:
            self._begin(live)
        step = steps[min(self.stepper.at, len(steps) - 1)]
        arrays = live.arrays(step).read("change", "uncertainty", "target")
        change, u, target = arrays["change"], arrays.get("uncertainty"), arrays.get("target")
        truth = self._fixed["truth"].values if "truth" in self._fixed else None
        self.change.show(change.values)
        self.decisions.show(outcomes(change.values, truth))
        self.uncertainty.show(u.values if u is not None else None)
        self.target.show(target.values if target is not None else None)
        of = self.state.runner.config.get("steps", "?")
        name = str(change.attrs.get("sample") or "")
        parts = [
            f"<b>Step {step:,}</b> of {of}",
            f"validation pair {escape(name)}" if self.state.samples else "around a validation square",
        ]
        if u is not None and target is not None:
            parts.append(f"mean U {np.nanmean(u.values):.3f}, mean |y − P| {np.nanmean(target.values):.3f}")
        self.text.object = " &ensp;·&ensp; ".join(parts) + (" &ensp;·&ensp; <i>untrained network</i>" if step == 0 else "")

    def _begin(self, live: Live) -> None:
        """Draw both dates of the validation pair; the first event contains them."""
        for name in ("before", "after", "truth"):
            shown = live.frame(name)
            if shown is not None:
                self._fixed[name] = shown
        if {"before", "after"} <= set(self._fixed):
            before, after = self._fixed["before"], self._fixed["after"]
            self.frame.fit(*before.shape[-2:])
            first, second, _ = pictures(before, after)
            self.before.show(first)
            self.after.show(second)

    def curves(self, live: Live) -> None:
        """Draw all scalars against the step; the steps of each rival start at 1."""
        total = int(self.state.runner.config.get("steps") or 0)
        for plot, names in ((self.losses, LOSSES), (self.f1, F1), (self.sure, SURE | MEANS)):
            for key, one in names.items():
                steps, values = live.history.get(key, ([], []))
                if steps:
                    at = np.asarray(steps)
                    if total and key.startswith("val_f1/"):
                        at = (at - 1) % total + 1
                    step = max(1, len(at) // 1500)
                    plot.set(one.title, at[::step] if step > 1 else at, np.asarray(values)[::step] if step > 1 else values)
        self.sure.refer(
            CHANCE.title, 0.5 if "val_error_auroc" in live.history or "val_error_auroc_entropy" in live.history else None
        )
