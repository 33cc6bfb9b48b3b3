"""First tab: filters as strips with a cut line, what is left of each layer, bits as a ladder, and the cost of it all."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.pages.compression.findings import FLOAT, IN_FLOAT, Findings
from workbench.pages.compression.state import CompressionState
from workbench.views.card import escape, explain, heading, html
from workbench.views.compression import BitLadder, FilterStrips, LayerBars, Step, Waterfall
from workbench.views.looks import BLUE, GREEN, GREY, ORANGE
from workbench.views.plots import batched
from workbench.views.screen import beside, grid, wrapped
from workbench.views.tables import Column, html_table

INVITATION = (
    "Press <b>Start</b> in the side bar. When the run has finished, this tab shows all filters of its network by their score. Move the cut "
    "line, or give layers other bits, and see what is left of channels, multiply-accumulates (MACs) and bit operations (BOPs)."
)
BEST = "a FP + b of the best candidate"
UNTRAINED = "Only the network of the run was trained: the costs follow the line and the ladder, the accuracy does not."


class Choosing:
    """Strips on the left, bars on the right; ladder and waterfall below."""

    def __init__(self, state: CompressionState) -> None:
        self.state = state
        self._moving = False
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.criteria = pmui.Select(label="Score of a filter", options={BEST: -2}, value=-2, width=330, **small)
        self.line = pmui.IntSlider(
            label="Cut line: removed filters, lowest scores first", start=0, end=1, value=0, size="small",
            sizing_mode="stretch_width", min_width=260, margin=(4, 24, 4, 16),
        )  # fmt: skip
        self.back = pmui.Button(label="As the run", icon="restart_alt", variant="outlined", size="small", margin=(8, 8))
        self.text = html(margin=(2, 8))
        self.strips = FilterStrips()
        self.channels, self.macs, self.bops = LayerBars("filters"), LayerBars("MACs (M)"), LayerBars("BOPs (G)", log=True)
        self.ladder, self.waterfall = BitLadder(), Waterfall("BOPs (G)")
        self.timed, self.files = Waterfall("ms for one image"), html(margin=(2, 8))
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self._timed = pn.Column(heading("Measured: the exported files"), self.timed.panel, **stretch)
        self._files = pn.Column(heading("The exported files, on the machine of the run"), self.files, **stretch)
        self.sensitivity = LayerBars("rise of the loss")
        self._sensitive = pn.Column(
            heading("Loss that 3 bits in one layer alone add, without training; bars: one standard error"),
            self.sensitivity.panel,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._cutting = wrapped(self.criteria, self.line)
        self._strips = pn.Column(heading("Filters by their score; click to move the line"), self.strips.panel, **stretch)
        self._content = pn.Column(
            self._cutting,
            wrapped(self.back, self.text),
            beside(
                self._strips,
                pn.Column(
                    heading("What is left of each layer"), self.channels.panel, self.macs.panel, self.bops.panel, **stretch
                ),
                least=(430, 400),
            ),
            grid(
                pn.Column(heading("Bits of each layer; click a cell to change them"), self.ladder.panel, **stretch),
                pn.Column(heading("Counted: from the float network to this one"), self.waterfall.panel, **stretch),
                self._timed,
                least=400,
                most=3,
            ),
            self._files,
            self._sensitive,
            visible=False,
            **stretch,
        )
        self._invite = explain("Which filters, how many bits?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.criteria.param.watch(batched(lambda e: self._moving or state.param.update(criterion=e.new, gone=-1)), "value")
        self.line.param.watch(batched(lambda e: self._moving or state.param.update(gone=e.new)), "value")
        self.back.on_click(lambda _: state.param.update(**state.reset()))
        self.strips.on_cut(state.cut)
        self.ladder.on_set(state.set_bits)

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        self._content.visible, self._invite.visible = findings is not None, findings is None
        if findings is None:
            return
        cuts = findings.plan is not None
        self._cutting.visible = self._strips.visible = cuts
        self.channels.panel.visible = cuts
        self._sensitive.visible = "sensitivity" in findings.result
        if findings.plan is not None:
            options = {"property of the run alone: a = 1, b = 0": -1}
            if findings.candidates:
                options = {BEST: -2, **options}
                options |= {f"a FP + b of candidate {n + 1}": n for n in range(findings.candidates)}
            self._moving = True
            self.criteria.options = options
            self.line.end = int(findings.plan.full().sum())
            self._moving = False
        if self._sensitive.visible:
            rise = findings.result["sensitivity"].values
            error = findings.result["sensitivity_error"].values if "sensitivity_error" in findings.result else None
            self.sensitivity.show(findings.layers, np.zeros(len(rise)), rise, error)
        self._measured(findings)
        self.draw()

    def _measured(self, findings: Findings) -> None:
        """Latency, bytes and accuracy of the exported files."""
        files = findings.files()
        self._files.visible = self._timed.visible = bool(files)
        colours = {True: GREY, False: BLUE}
        self.timed.show(
            [
                Step(f.name, float(f.latency[0, 0]), ORANGE if f.name == self.state.method else colours[f.name in IN_FLOAT])
                for f in files
            ]
        )
        if not files:
            return
        latency = findings.result["latency"]
        columns = ["file", Column(findings.called, "higher", 3), Column("kB", "lower", 1)]
        columns += [
            Column(f"{s}, {b} (ms)", "lower", 3) for b in latency["batch"].values for s in latency["statistic"].values
        ]
        rows = [(f.name, f.quality, f.kilobytes, *f.latency.ravel().tolist()) for f in files]
        about = latency.attrs
        self.files.object = html_table(columns, rows) + (
            f"<div style='margin-top:6px'>onnxruntime, {about.get('threads', '?')} thread; {escape(str(about.get('cpu', 'unnamed CPU')))}; "
            f"instructions: {escape(str(about.get('instructions', 'not known')))}. Measured at the end of the run, while other work "
            "may have run; p95: 95 of 100 calls took no longer.</div>"
        )

    def draw(self) -> None:
        """Draw everything at the line and with the bits of the state, when the tab is visible."""
        state, findings = self.state, self.state.findings
        if findings is None or state.tab != 0:
            return
        whole, now = findings.whole(), state.cost()
        if findings.plan is not None:
            self._cut(findings)
            self.channels.show(findings.layers, whole.filters, now.filters)
        self.macs.show(findings.layers, whole.macs / 1e6, now.macs / 1e6)
        self.bops.show(findings.layers, whole.bops / 1e9, now.bops / 1e9)
        caps = None if findings.caps is None else findings.caps.tolist()
        self.ladder.show(findings.layers, state.bits().tolist(), findings.bits.tolist(), caps)
        self._costs(findings)

    def _cut(self, findings: Findings) -> None:
        """Strips and slider."""
        state = self.state
        assert findings.plan is not None
        scores = state.scores()
        counts = state.counts(scores)
        assert counts is not None
        gone = state.removed(scores)
        ordered = np.sort(np.concatenate(scores))
        ends = [ordered[max(gone - 1, 0)], ordered[min(gone, len(ordered) - 1)]]
        line = ordered[0] - 1e-9 if gone == 0 else float(np.mean(ends))
        self.strips.show(findings.group_names, scores, findings.kept(scores, counts), line)
        self._moving = True
        self.line.value = gone
        self.criteria.value = state.criterion if state.criterion in self.criteria.options.values() else -1
        self._moving = False

    def _costs(self, findings: Findings) -> None:
        state = self.state
        whole, now, run = findings.whole(), state.cost(), findings.cost(None, findings.bits)
        pruned = findings.cost(state.counts(), np.full(len(findings.layers), FLOAT))
        steps = [Step("float", whole.total / 1e9, GREY)]
        if findings.plan is not None:
            steps.append(Step("pruned", (float(pruned.macs.sum()) * FLOAT * FLOAT + pruned.rest) / 1e9, BLUE))
        steps.append(Step("pruned, quantised" if findings.plan is not None else "quantised", now.total / 1e9, ORANGE))
        if state.moved():
            steps.append(Step("the run", run.total / 1e9, GREEN))
        self.waterfall.show(steps)
        self.back.disabled = not state.moved()
        convention = escape(str(findings.result.attrs.get("convention", "input-act")))
        filters = ""
        if findings.plan is not None:
            counts = state.counts()
            assert counts is not None
            filters = f"<b>{int(counts.sum()):,}</b> of {int(findings.plan.full().sum()):,} filters &ensp;·&ensp; "
        self.text.object = (
            f"{filters}MACs <b>{now.macs.sum() / whole.macs.sum():.1%}</b> of {whole.macs.sum() / 1e6:,.1f} M &ensp;·&ensp; "
            f"BOPs <b>{now.total / 1e9:,.3f} G</b>, {whole.total / now.total:.1f} times fewer ({convention})"
            + (
                f" &ensp;·&ensp; weights <b>{now.kilobytes:,.1f} kB</b> of {whole.kilobytes:,.1f}"
                if now.kilobytes > 0
                else ""
            )
            + (f"<br>{UNTRAINED}" if state.moved() else "")
        )
