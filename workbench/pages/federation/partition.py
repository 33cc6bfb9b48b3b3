"""Second tab: who has which classes, and what a Dirichlet draw of another alpha would give them."""

from __future__ import annotations

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.pages.federation.state import FederationState
from workbench.parts.federation import class_counts, dirichlet
from workbench.views.card import explain, heading, html
from workbench.views.classes import legend
from workbench.views.federation import ClassCounts
from workbench.views.plots import batched
from workbench.views.screen import grid, wrapped

INVITATION = (
    "When a run has finished, this tab shows how many training pixels of each class every client has, and previews other partitions: "
    "a Dirichlet draw with a small alpha gives each client few classes."
)


class Partition:
    """Bars of the run, and a preview under two sliders."""

    def __init__(self, state: FederationState) -> None:
        self.state = state
        self.alpha = pmui.FloatSlider(
            label="log10 of alpha", start=-2.0, end=2.0, step=0.1, value=float(np.log10(state.alpha)), size="small",
            sizing_mode="stretch_width", min_width=220, margin=(4, 24, 4, 16),
        )  # fmt: skip
        self.parties = pmui.IntSlider.from_param(
            state.param.parties,
            label="Clients",
            size="small",
            sizing_mode="stretch_width",
            min_width=180,
            margin=(4, 24, 4, 16),
        )
        self.text, self.key = html(margin=(4, 8)), html(margin=(4, 8))
        self.run, self.preview = ClassCounts(), ClassCounts()
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self._content = pn.Column(
            self.key,
            grid(
                pn.Column(heading("Training pixels of this run's clients, by class"), self.run.panel, **stretch),
                pn.Column(
                    heading("Preview: the same pixels, dealt out anew"), wrapped(self.alpha, self.parties), self.text,
                    self.preview.panel, **stretch,
                ),
                least=420,
            ),
            visible=False,
            **stretch,
        )  # fmt: skip
        self._invite = explain("Who has which classes?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.alpha.param.watch(batched(lambda e: setattr(state, "alpha", round(10**e.new, 4))), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        self._content.visible, self._invite.visible = findings is not None, findings is None
        if findings is None:
            return
        self.key.object = legend(findings.names)
        self.run.show(findings.result["clients"].values, findings.clients, findings.names)
        self.draw()

    def draw(self) -> None:
        """Draw the preview."""
        state, findings = self.state, self.state.findings
        if findings is None or state.tab != 1:
            return
        label = findings.labels if findings.method == "fedfusion" else findings.labels[:: len(findings.clients)]
        parts = dirichlet(label, state.parties, state.alpha, int(state.runner.config.get("seed", 0)))
        counts = class_counts(label, parts, len(findings.names))
        self.preview.show(counts, [f"client {n}" for n in range(state.parties)], findings.names)
        few = np.median((counts > 0).sum(1))
        empty = int((counts.sum(1) == 0).sum())
        self.text.object = (
            f"<b>alpha = {state.alpha:.3g}</b>: half of the clients have {few:g} or fewer of {len(findings.names)} classes"
            + (f"; {empty} have no pixel and would take no part." if empty else ".")
            + " To train with it: <b>partition</b> dirichlet, <b>clients</b> and <b>alpha</b> in the settings of fedfusion."
        )
