"""First tab: both dates with a divider to drag, and maps of change, uncertainty and error, panned and zoomed together."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.baselines.change import detect
from workbench.errors import InputError
from workbench.metrics.change import confusion
from workbench.pages.change.findings import cell
from workbench.views.card import explain, html, problem, say
from workbench.views.change import DETECTORS, OURS, pictures, step_of
from workbench.views.fields import Decisions, Field, outcomes, swatches, tinted
from workbench.views.plots import TRUTH, Frame, held
from workbench.views.swipe import Swipe

if TYPE_CHECKING:
    from workbench.pages.change.page import Changes

SIDE = 190  # screen pixels of a small map
WAITING = (
    "Maps of change probability and uncertainty appear here when a run has finished. Start one at the left, watch it under "
    "<b>Training</b>. Until then there is what takes a second: change vector analysis, or the log-ratio of SAR, cut by Otsu."
)
COLUMNS = ("precision", "recall", "f1", "iou", "kappa")


class Maps:
    """Swipe view at the left, four maps at the right, and under them who found what."""

    def __init__(self, page: Changes) -> None:
        self.page = page
        self.quick: dict[tuple[str, str], np.ndarray] = {}  # (detector, sample) -> decision, found by the page itself
        self._choosing = False
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.frame = Frame()
        self.swipe = Swipe(self.frame, width=400, height=400)
        small = {"width": SIDE, "height": SIDE}
        self.change = Field(self.frame, "Change P", **small)
        self.uncertainty = Field(self.frame, "Uncertainty U", palette="uncertainty", **small)
        self.decisions = Decisions(self.frame, "Decisions P > 0.5", **small)
        self.error = Field(self.frame, "Error |y − P|", palette="uncertainty", **small)
        self.samples = pmui.Select(
            label="Pair", options={"": ""}, value="", size="small", width=250, margin=(6, 8), searchable=True
        )
        self.detectors = pmui.Select(label="Map of", options={"": ""}, value="", size="small", width=190, margin=(6, 8))
        self.overlays = pmui.Select.from_param(
            page.param.overlay, label="Lay over both dates", description="", size="small", width=170, margin=(6, 8)
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
        self._wait_small = explain("P and U come with a run", WAITING, height=200, width=2 * SIDE + 130)
        self._top = pn.Row(self.change.panel, self.decisions.panel, **stretch)
        self._bottom = pn.Row(self.uncertainty.panel, self.error.panel, **stretch)
        self.panel = pn.Column(
            pn.Row(self.samples, self.detectors, self.overlays, self.opacity, **stretch),
            pn.Row(
                self.swipe.panel,
                pn.Column(self._top, self.legend, self._wait_small, self._bottom, **stretch),
                **stretch,
            ),
            self.text,
            self.table,
            sizing_mode="stretch_width",
            margin=(4, 4),
        )
        self.samples.param.watch(held(lambda e: self._choosing or page.param.update(sample=e.new)), "value")
        self.detectors.param.watch(held(lambda e: self._choosing or page.param.update(detector=e.new)), "value")
        self.opacity.param.watch(held(lambda _: self._lay()), "value_throttled")

    # --- what there is ----------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Begin anew with a newly opened pair."""
        page = self.page
        self.quick = {}
        rows, columns = page.data["before"].shape[-2:]
        self.frame.fit(rows, columns)
        self.found()

    def found(self) -> None:
        """A run has finished, or none is followed any more: offer what maps there are."""
        page, found = self.page, self.page.findings
        self._choosing = True
        try:
            with_maps = set(found.samples) if found is not None and found.several else set()
            self.samples.options = {f"{s}{' (test)' if s in with_maps else ''}": s for s in page.samples} or {"": ""}
            self.samples.visible = bool(page.samples)
            offered = list(found.detectors) if found is not None else []
            offered += [n for n in self._classical() if n not in offered]
            self.detectors.options = {DETECTORS[n][0]: n for n in offered} or {"": ""}
            self.detectors.visible = len(offered) > 1
        finally:
            self._choosing = False
        self._scores()

    def _classical(self) -> list[str]:
        """What the page computes itself, on what is open."""
        data = self.page.data
        if data is None:
            return []
        return ["log_ratio"] if data["before"].attrs.get("kind") == "sar" else ["cva"]

    @property
    def shown(self) -> str:
        """The detector whose map is on screen: the one chosen, where there is a map of it."""
        page, found = self.page, self.page.findings
        there = found.detectors if found is not None and found.knows(page.sample) else []
        return page.detector if page.detector in there else OURS if OURS in there else next(iter(self._classical()), "")

    def probability(self) -> np.ndarray | None:
        """(y, x) of the detector on screen; None while there is none."""
        page, found = self.page, self.page.findings
        kept = found.map("change", self.shown, page.sample) if found is not None else None
        return kept.values if kept is not None else self.quick.get((self.shown, page.sample))

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Both dates and all maps of the pair on show."""
        page = self.page
        if page.data is None:
            return
        self._choosing = True
        try:
            if page.sample in self.samples.options.values():
                self.samples.value = page.sample
            if self.shown in self.detectors.options.values():
                self.detectors.value = self.shown
        finally:
            self._choosing = False
        pair = page.pair()
        before, after, told = pictures(pair["before"], pair["after"])
        self.swipe.show(before, after, f"before | after   {told}")
        truth = page.truth_of()
        self.frame.outline_truth(truth if truth is not None and page.overlay == "Reference" else None)
        self._fill()
        if self.probability() is None and self.shown:
            self._ask(self.shown)

    def _ask(self, name: str) -> None:
        """Have a classical detector look at the pair, off the event loop."""
        page, sample, asked = self.page, self.page.sample, self.page.asked
        pair = page.pair()
        if pair["before"].nbytes > 1 << 28:  # a quarter of a gigabyte: a run of its own does that
            return

        def here(future: Future) -> None:
            if asked != page.asked:
                return
            try:
                self.quick[name, sample] = future.result()["change"].values
            except InputError as error:
                self.text.object = problem(str(error))
                return
            self._fill()

        page.when(page.MADE.ask(("quick", page.key, sample, name), lambda: detect(name, pair)), here)

    def _fill(self) -> None:
        page, found = self.page, self.page.findings
        p, truth = self.probability(), page.truth_of()
        name = DETECTORS[self.shown][0] if self.shown else ""
        u = found.map("uncertainty", OURS, page.sample) if found is not None and self.shown == OURS else None
        self.change.show(p, f"Change P, {name}" if p is not None else None)
        self.uncertainty.show(u.values if u is not None else None)
        self.uncertainty.panel.visible = u is not None
        self.decisions.show(outcomes(p, truth) if p is not None else None, f"Decisions, {name}")
        wrong = np.where(truth < 0, np.nan, np.abs((truth > 0) - p)) if p is not None and truth is not None else None
        self.error.show(wrong)
        self.error.panel.visible = wrong is not None and u is not None
        self._wait_small.visible = u is None and found is None
        self.legend.object = (
            swatches("not labelled, or missing") if truth is not None else "white: change &ensp; black: no change"
        )
        self._lay()
        self._tell(p, truth, name)

    def _lay(self) -> None:
        """The overlay over both dates."""
        page, found = self.page, self.page.findings
        p, truth = self.probability(), page.truth_of()
        over: np.ndarray | None = None
        if page.overlay == "Change" and p is not None:
            over = tinted(p)
        elif page.overlay == "Uncertainty" and found is not None:
            u = found.map("uncertainty", OURS, page.sample)
            over = tinted(u.values, "uncertainty") if u is not None else None
        elif page.overlay == "Decisions" and p is not None:
            colours = outcomes(p, truth)
            over = np.dstack([colours, np.where(colours.any(-1) & (colours != 128).any(-1), 255, 0).astype(np.uint8)])
        elif page.overlay == "Reference" and truth is not None:
            tint = [int(TRUTH[i : i + 2], 16) for i in (1, 3, 5)]
            over = np.dstack([np.full((*truth.shape, 3), tint, np.uint8), np.where(truth > 0, 110, 0).astype(np.uint8)])
        self.swipe.lay(over, self.opacity.value)

    def _tell(self, p: np.ndarray | None, truth: np.ndarray | None, name: str) -> None:
        """How the detector on screen does on this very pair."""
        if p is None:
            self.text.object = ""
            return
        yes, all_ = int((p > 0.5).sum()), int(np.isfinite(p).sum())
        parts = [f"<b>{say(name)}</b> on this pair: {yes:,} of {all_:,} pixels changed ({100 * yes / max(all_, 1):.1f} %)"]
        if truth is not None and (truth >= 0).any():
            m = confusion(p, truth)
            parts.append(f"F1 {cell(m.f1)}, IoU {cell(m.iou)}, precision {cell(m.precision)}, recall {cell(m.recall)}")
            found = self.page.findings
            if found is not None and "part" in found.result:
                parts.append("<i>training pixels included; the table below counts test pixels only</i>")
        if step_of(*self.frame.shape) > 1:
            parts.append(f"every {step_of(*self.frame.shape)}. pixel is shown")
        self.text.object = " &ensp;·&ensp; ".join(parts)

    def _scores(self) -> None:
        """Everybody on the test pixels, from one pooled table of right and wrong each."""
        found = self.page.findings
        rows = found.table("scores", "rival") if found is not None else []
        if not rows:
            self.table.object = ""
            return
        best = max(r[1]["f1"] for r in rows if np.isfinite(r[1]["f1"])) if rows else 0
        head = "".join(
            f'<th style="text-align:right;padding:2px 14px">{c}</th>' for c in ("precision", "recall", "F1", "IoU", "kappa")
        )
        body = "".join(
            f'<tr style="font-weight:{700 if numbers["f1"] == best else 400}"><td style="padding:1px 14px 1px 0">'
            f'<span style="color:{_look(n)[1]}">■</span> {say(_look(n)[0])}</td>'
            + "".join(f'<td style="text-align:right;padding:1px 14px">{cell(numbers.get(c))}</td>' for c in COLUMNS)
            + "</tr>"
            for n, numbers in rows
        )
        of = f"{len(found.samples)} test pairs" if found.several else "the squares held out"
        self.table.object = (
            f'<b>On test pixels</b> ({of}; one pooled table of right and wrong each)<table style="border-collapse:collapse;'
            f'margin-top:4px"><tr><th></th>{head}</tr>{body}</table>'
        )


def _look(name: str) -> tuple[str, Any]:
    return DETECTORS.get(name, (name, "#8A8A8A"))
