"""First tab: the gradient of a layer, its neighbourhood, score and sent entries, and the entries that another score would select."""

from __future__ import annotations

import numpy as np
import panel as pn
import panel_material_ui as pmui
import torch

from workbench.pages.gradients.state import GradientState
from workbench.parts.indicators import INDICATORS, score
from workbench.views.card import escape, explain, html
from workbench.views.plots import batched
from workbench.views.rasters import Kind, Rasters
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper

KINDS = {
    "gradient": Kind("accumulated gradient v", signed=True),
    "mean": Kind("neighbourhood mean μ", signed=True),
    "sigma": Kind("neighbourhood spread σ"),
    "score": Kind("score of the run"),
    "kept": Kind("sent in this step", choice=True),
    "else": Kind("selected by another score", choice=True),
}
NOTE = (
    "<span style='opacity:.75'>The neighbourhood score is a <b>reconstruction</b> from the paper's abstract, "
    "not the paper's equation.</span>"
)


class Importance:
    """Layer and step on top; six linked rasters; the last two compare the entries sent in the run with those selected by another score."""

    def __init__(self, state: GradientState, invitation: str) -> None:
        self.state = state
        self._moving = False
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.layers = pmui.Select(label="Layer", options=[""], value="", size="small", width=190, margin=(8, 8))
        self.stepper = Stepper(self.draw)
        self.text = html(margin=(0, 8))
        self.rasters = Rasters(KINDS)
        self.indicator = pmui.Select.from_param(
            state.param.indicator, label="Another score", size="small", width=190, margin=(6, 8)
        )
        self.window = pmui.Select.from_param(
            state.param.p, label="p, side of the neighbourhood", size="small", width=250, margin=(6, 8)
        )
        self.overlap = html(margin=(10, 8), sizing_mode="stretch_width", min_width=300)
        panels = self.rasters.panels
        self._watch = pn.Column(
            wrapped(self.layers, self.stepper.follow, self.stepper.slider),
            self.text,
            grid(
                *(
                    pn.Column(*(panels[n] for n in names), **stretch)
                    for names in (("gradient", "mean", "sigma"), ("score", "kept", "else"))
                ),
                least=420,
            ),
            wrapped(self.indicator, self.window, self.overlap),
            html(NOTE, margin=(4, 8)),
            visible=False,
            **stretch,
        )
        self._invite = explain("See which gradient entries matter", invitation, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.layers.param.watch(batched(lambda e: self._moving or state.param.update(layer=e.new)), "value")
        state.param.watch(batched(lambda *_: self.draw()), ["layer", "indicator", "p"])

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the plots."""
        self._invite.visible, self._watch.visible = inviting, not inviting

    def clear(self) -> None:
        """Empty the rasters; no run is followed."""
        self.rasters.clear()
        self.text.object = self.overlap.object = ""
        self.invite(True)

    # --- which step -------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """Steps with a logged gradient of the layer."""
        live = self.state.runner.live
        return [] if live is None else live.frames.get(f"importance/{self.state.layer}", [])

    def grown(self) -> None:
        """Update layers and slider; with `follow`, move to the newest step."""
        live = self.state.runner.live
        if live is None:
            return
        names = [n.partition("/")[2] for n in live.frames if n.startswith("importance/")]
        if not names:
            self.text.object = "Waiting for the first gradient …"
            return
        self._moving = True
        try:
            if self.state.layer not in names:
                self.state.layer = names[len(names) // 2]
            self.layers.options = names
            self.layers.value = self.state.layer
        finally:
            self._moving = False
        self.stepper.fit(len(self.steps))

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the gradient of the selected layer and step, and the entries that another score selects."""
        state, steps = self.state, self.steps
        if not steps or self._moving:
            return
        step = steps[min(self.stepper.at, len(steps) - 1)]
        shown = state.runner.live.frame(f"importance/{state.layer}", step)
        if shown is None:
            return
        values = {str(q): shown.sel(quantity=q).values for q in shown["quantity"].values}
        for name, value in values.items():
            self.rasters.show(name, value)
        rows, columns = values["gradient"].shape
        of = f"{shown.attrs['of_rows']} × {shown.attrs['of_columns']}"
        cut = "" if of == f"{rows} × {columns}" else f", the first {rows} × {columns} are shown"
        self.rasters.figures["kept"].title.text = f"sent in this step: {values['kept'].mean():.2%} of the entries shown"
        run_score = str(state.runner.config.get("indicator", "mix"))
        self.text.object = (
            f"<b>Step {step}</b> &ensp; layer <b>{escape(state.layer)}</b>: {of} (output channels × input channels and kernel){cut} &ensp; "
            f"score of the run: {escape(run_score)}, p = {shown.attrs['p']}"
        )
        self._compare(values["gradient"], values["kept"] > 0)

    def _compare(self, gradient: np.ndarray, kept: np.ndarray) -> None:
        """Select the same number of entries of the logged gradient by the other score."""
        state, count = self.state, int(kept.sum())
        name = state.indicator
        scored = score(torch.tensor(gradient), "energy" if name == "tile" else name, state.p).numpy()
        chosen = np.zeros(gradient.size, bool)
        if count:
            chosen[np.argpartition(-scored.ravel(), count - 1)[:count]] = True
        chosen = chosen.reshape(gradient.shape)
        self.rasters.show("else", chosen, f"selected by {name}" + (f", p = {state.p}" if name != "magnitude" else ""))
        either = int((chosen | kept).sum())
        same = f"{(chosen & kept).sum() / either:.2f}" if either else "none sent"
        self.overlap.object = (
            f"{escape(INDICATORS[name])}<br>Both {count:,} entries. Overlap with the sent entries (Jaccard): <b>{same}</b>"
        )
