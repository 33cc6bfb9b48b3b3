"""First tab: both dates with a divider to drag, and linked maps of change, uncertainty and error."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.baselines.change import detect
from workbench.errors import InputError
from workbench.metrics.change import confusion
from workbench.pages.change.state import ChangeState
from workbench.views.card import escape, explain, html, problem
from workbench.views.change import OURS, pictures, step_of
from workbench.views.fields import Decisions, Field, outcomes, swatches, tinted
from workbench.views.looks import CHANGE, TRUTH, look, rgb
from workbench.views.plots import Frame, batched
from workbench.views.screen import beside, grid, wrapped
from workbench.views.swipe import Swipe
from workbench.views.tables import Column, Marked, html_table, spread

WAITING = (
    "Maps of change probability and uncertainty appear here when a run has finished. Start one in the side bar, watch it under "
    "<b>Training</b>. Before that, the page shows a fast classical map: change vector analysis, or the log-ratio of SAR, with "
    "Otsu's threshold."
)
COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU", "kappa": "kappa"}


class Maps:
    """Swipe view on the left, four maps on the right, and below them the scores of all detectors."""

    def __init__(self, state: ChangeState) -> None:
        self.state = state
        self._choosing = False
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.frame = Frame()
        self.swipe = Swipe(self.frame)
        self.change = Field(self.frame, "Change P")
        self.uncertainty = Field(self.frame, "Uncertainty U", palette="uncertainty")
        self.decisions = Decisions(self.frame, "Decisions")
        self.error = Field(self.frame, "Error |y − P|", palette="uncertainty")
        self.samples = pmui.Select(
            label="Pair", options={"": ""}, value="", size="small", width=250, margin=(6, 8), searchable=True
        )
        self.detectors = pmui.Select(label="Map of", options={"": ""}, value="", size="small", width=190, margin=(6, 8))
        self.overlays = pmui.Select.from_param(
            state.param.overlay, label="Lay over both dates", description="", size="small", width=170, margin=(6, 8)
        )
        self.opacity = pmui.FloatSlider(
            label="Opacity",
            start=0.1,
            end=1.0,
            step=0.05,
            value=0.75,
            show_value=False,
            width=110,
            size="small",
            margin=(4, 16),
        )
        self.legend = html(margin=(0, 8, 4, 8))
        self.text = html(margin=(2, 8))
        self.table = html(margin=(4, 8))
        self._wait_small = explain("P and U come with a run", WAITING, height=200)
        self._top = grid(self.change.panel, self.decisions.panel, least=220)
        self._bottom = grid(self.uncertainty.panel, self.error.panel, least=220)
        self.panel = pn.Column(
            wrapped(self.samples, self.detectors, self.overlays, self.opacity),
            beside(
                self.swipe.panel,
                pn.Column(self._top, self.legend, self._wait_small, self._bottom, **stretch),
                least=(420, 480),
            ),
            self.text,
            self.table,
            sizing_mode="stretch_width",
            margin=(4, 4),
        )
        self.samples.param.watch(batched(lambda e: self._choosing or state.param.update(sample=e.new)), "value")
        self.detectors.param.watch(batched(lambda e: self._choosing or state.param.update(detector=e.new)), "value")
        self.opacity.param.watch(batched(lambda _: self._lay()), "value_throttled")

    # --- choices ----------------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Reset for a newly opened pair."""
        state = self.state
        state.quick = {}
        rows, columns = state.data["before"].shape[-2:]
        self.frame.fit(rows, columns)
        self.found()

    def found(self) -> None:
        """Update the lists of pairs and detectors for the result of the run, or without one."""
        state, findings = self.state, self.state.findings
        self._choosing = True
        try:
            with_maps = set(findings.samples) if findings is not None and findings.several else set()
            self.samples.options = {f"{s}{' (test)' if s in with_maps else ''}": s for s in state.samples} or {"": ""}
            self.samples.visible = bool(state.samples)
            offered = list(findings.detectors) if findings is not None else []
            offered += [n for n in state.classical() if n not in offered]
            self.detectors.options = {CHANGE[n].title: n for n in offered} or {"": ""}
            self.detectors.visible = len(offered) > 1
        finally:
            self._choosing = False
        self._scores()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw both dates and all maps of the visible pair."""
        state = self.state
        if state.data is None:
            return
        self._choosing = True
        try:
            if state.sample in self.samples.options.values():
                self.samples.value = state.sample
            if state.shown in self.detectors.options.values():
                self.detectors.value = state.shown
        finally:
            self._choosing = False
        pair = state.pair()
        before, after, bands = pictures(pair["before"], pair["after"])
        self.swipe.show(before, after, f"before | after   {bands}")
        truth = state.truth_of()
        self.frame.outline_truth(truth if truth is not None and state.overlay == "Reference" else None)
        self._fill()
        if state.probability() is None and state.shown:
            self._ask(state.shown)

    def _ask(self, name: str) -> None:
        """Run a classical detector on the pair in the worker thread."""
        state, sample, asked = self.state, self.state.sample, self.state.asked
        pair = state.pair()
        if pair["before"].nbytes > 1 << 28:  # 256 MB: too slow for the page; use a run
            return

        def here(future: Future) -> None:
            if asked != state.asked:
                return
            try:
                state.quick[name, sample] = future.result()["change"].values
            except InputError as error:
                self.text.object = problem(str(error))
                return
            self._fill()

        state.when(state.MADE.ask(("quick", state.key, sample, name), lambda: detect(name, pair)), here)

    def _fill(self) -> None:
        state, findings = self.state, self.state.findings
        p, truth = state.probability(), state.truth_of()
        name = CHANGE[state.shown].title if state.shown else ""
        u = findings.map("uncertainty", OURS, state.sample) if findings is not None and state.shown == OURS else None
        what = "Change mask" if state.mask else "Change P"
        self.change.show(p, f"{what}, {name}" if p is not None else None, mask=state.mask)
        self.uncertainty.show(u.values if u is not None else None)
        self.uncertainty.panel.visible = u is not None
        decided = "Decisions" if state.mask else "P > 0.5"
        self.decisions.show(outcomes(p, truth) if p is not None else None, f"{decided}, {name}")
        wrong = np.where(truth < 0, np.nan, np.abs((truth > 0) - p)) if p is not None and truth is not None else None
        self.error.show(wrong)
        self.error.panel.visible = wrong is not None and u is not None
        self._wait_small.visible = u is None and findings is None
        self.legend.object = (
            swatches("not labelled, or missing") if truth is not None else "white: change &ensp; black: no change"
        )
        self._lay()
        self._tell(p, truth, name)

    def _lay(self) -> None:
        """Draw the overlay over both dates."""
        state, findings = self.state, self.state.findings
        self.opacity.disabled = state.overlay == "Nothing"
        p, truth = state.probability(), state.truth_of()
        over: np.ndarray | None = None
        if state.overlay == "Change" and p is not None:
            over = tinted(p)
        elif state.overlay == "Uncertainty" and findings is not None:
            u = findings.map("uncertainty", OURS, state.sample)
            over = tinted(u.values, "uncertainty") if u is not None else None
        elif state.overlay == "Decisions" and p is not None:
            colours = outcomes(p, truth)
            over = np.dstack([colours, np.where(colours.any(-1) & (colours != 128).any(-1), 255, 0).astype(np.uint8)])
        elif state.overlay == "Reference" and truth is not None:
            tint = rgb(TRUTH)
            over = np.dstack([np.full((*truth.shape, 3), tint, np.uint8), np.where(truth > 0, 110, 0).astype(np.uint8)])
        self.swipe.lay(over, self.opacity.value)

    def _tell(self, p: np.ndarray | None, truth: np.ndarray | None, name: str) -> None:
        """Write the scores of the visible map on this pair."""
        if p is None:
            self.text.object = ""
            return
        yes, all_ = int((p > 0.5).sum()), int(np.isfinite(p).sum())
        parts = [
            f"<b>{escape(name)}</b> on this pair: {yes:,} of {all_:,} pixels changed ({100 * yes / max(all_, 1):.1f} %)"
        ]
        if truth is not None and (truth >= 0).any():
            m = confusion(p, truth)
            scores = {"F1": m.f1, "IoU": m.iou, "precision": m.precision, "recall": m.recall}
            parts.append(", ".join(f"{score} {spread([value], 3)}" for score, value in scores.items()))
            findings = self.state.findings
            if findings is not None and "part" in findings.result:
                parts.append("<i>training pixels included; the table below counts test pixels only</i>")
        if step_of(*self.frame.shape) > 1:
            parts.append(f"shown: one in {step_of(*self.frame.shape)} rows and columns")
        self.text.object = " &ensp;·&ensp; ".join(parts)

    def _scores(self) -> None:
        """Write the table of all detectors on the test pixels; each has one pooled confusion matrix."""
        findings = self.state.findings
        rows = findings.table("scores", "rival") if findings is not None else []
        if not rows:
            self.table.object = ""
            return
        of = f"{len(findings.samples)} test pairs" if findings.several else "the held-out squares"
        numbers = [[Marked((one := look(n, CHANGE)).title, one.colour), *(have.get(c) for c in COLUMNS)] for n, have in rows]
        self.table.object = (
            f"<b>On test pixels</b> ({of}; one pooled confusion matrix each); the best of a column in bold"
            + html_table(["", *(Column(title, "higher", 3) for title in COLUMNS.values())], numbers)
        )
