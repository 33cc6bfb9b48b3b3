"""Third tab: answer only pixels with uncertainty below a threshold, and see their share, error rate, precision and recall."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Literal

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.pages.change.findings import Findings, Judged
from workbench.pages.change.state import ChangeState
from workbench.views import save
from workbench.views.card import explain, html
from workbench.views.change import OURS
from workbench.views.fields import Decisions, outcomes, swatches
from workbench.views.lines import Lines
from workbench.views.looks import REFERENCES, STATES, UNCERTAINTY, Look, look
from workbench.views.plots import Frame, batched
from workbench.views.screen import beside, grid, wrapped
from workbench.views.tables import Column, Marked, html_table, spread

INVITATION = (
    "When a run has finished, and the pair has a reference, this tab evaluates its uncertainty: whether uncertain pixels are wrong "
    "more often, how much the error rate falls if they are left unanswered, and whether the entropy of P, which needs no extra "
    "network, does this equally well."
)
ANSWERED = "Answered pixels"  # until they are there; a title that is empty at first is drawn too high when its text comes
QUANTITIES = {
    "error_auroc": ("AUROC", "probability that a wrong pixel is more uncertain than a right one; 0.5: no information"),
    "aurc": ("AURC", "mean error rate over all shares answered; lower is better"),
    "calibration_error": ("ECE", "mean distance between U and |y − P|, by bins; lower is better"),
    "mean_uncertainty": ("mean U", ""),
    "mean_error": ("mean |y − P|", ""),
    "mean_on_right": ("U where right", "mean uncertainty of right pixels"),
    "mean_on_wrong": ("U where wrong", "mean uncertainty of wrong pixels"),
    "error_rate": ("error rate", "of all test pixels"),
    "error_rate_kept_80": ("at 80 %", "error rate of the surest 80 %"),
}
BETTER: dict[str, Literal["higher", "lower"]] = {
    "error_auroc": "higher", "aurc": "lower", "calibration_error": "lower", "error_rate": "lower", "error_rate_kept_80": "lower",
}  # fmt: skip


class Trust:
    """Slider, answered pixels of the visible pair by U and by another measure, curves, and the table of all measures."""

    def __init__(self, state: ChangeState) -> None:
        self.state = state
        self._waiting: set[str] = set()
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.slider = pmui.FloatSlider.from_param(
            state.param.answered, label="Share of test pixels answered, most certain first", step=0.01, format="0%",
            size="small", sizing_mode="stretch_width", min_width=260, margin=(4, 24, 4, 16),
        )  # fmt: skip
        self.rivals = pmui.Select(label="Compare with", options={"": ""}, value="", size="small", width=230, margin=(6, 8))
        self.readout = html(margin=(2, 8))
        self.frame = Frame()
        self.mine = Decisions(self.frame, ANSWERED, room=False)
        self.theirs = Decisions(self.frame, ANSWERED, room=False)
        self.curve = Lines("share of pixels answered", "error rate of the answered pixels", height=250)
        self.bins = Lines("mean uncertainty in the bin", "mean |y − P| in the bin", height=250, dots=True)
        self.spread = Lines("uncertainty", "share of pixels (log)", height=250, log="y")
        self.table = html(margin=(6, 8))
        self.csv = save.download("Curves as CSV", self._csv, "risk_coverage.csv")
        self._choosing = False
        self._content = pn.Column(
            wrapped(self.slider, self.rivals),
            beside(
                pn.Column(grid(self.mine.panel, self.theirs.panel, least=200), html(swatches(), margin=(0, 8)), **stretch),
                self.readout,
                least=(520, 480),
            ),
            grid(
                *(
                    pn.Column(
                        html(f"<b>{title}</b> <span style='opacity:.75'>{note}</span>", margin=(6, 8, 0, 8)),
                        v.panel,
                        **stretch,
                    )
                    for title, note, v in (
                        ("Risk and coverage", "lower is better", self.curve),
                        ("Reliability", "on the line: uncertainty equals error", self.bins),
                        ("Right and wrong pixels", "separated is better", self.spread),
                    )
                ),
                least=300,
            ),
            self.table,
            self.csv,
            visible=False,
            **stretch,
        )
        self._invite = explain("How far can it be trusted?", INVITATION, height=420)
        self._no_truth = explain(
            "No reference, no evaluation",
            "This pair has no labelled test pixels, so its errors are unknown. The uncertainty map is on the first tab; to evaluate "
            "it, use a pair with a reference.",
            height=420,
        )
        self._no_truth.visible = False
        self.panel = pn.Column(self._content, self._invite, self._no_truth, sizing_mode="stretch_width", margin=(8, 4))
        self.rivals.param.watch(batched(lambda e: self._choosing or state.param.update(rival=e.new)), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        self.state.judged, self._waiting = {}, set()
        known = findings is not None and findings.truth is not None and bool(findings.measures)
        self._content.visible, self._invite.visible = known, findings is None
        self._no_truth.visible = findings is not None and not known
        if not known:
            return
        self._choosing = True
        try:
            others = [n for n in findings.measures if n != self.first]
            self.rivals.options = {UNCERTAINTY[n].title: n for n in others} or {"": ""}
            if self.state.rival in others:
                self.rivals.value = self.state.rival
        finally:
            self._choosing = False
        self._table(findings)
        self.draw()

    @property
    def first(self) -> str:
        """The measure on the left: the network's own if it has one, else entropy."""
        findings = self.state.findings
        return OURS if findings is not None and OURS in findings.measures else "entropy"

    @property
    def second(self) -> str:
        """The measure on the right; empty if there is none."""
        findings, state = self.state.findings, self.state
        others = [n for n in findings.measures if n != self.first] if findings is not None else []
        return state.rival if state.rival in others else next(iter(others), "")

    def _judge(self, name: str, findings: Findings) -> Judged | None:
        """The evaluation of a measure, computed once by the worker thread; None until it is ready."""
        if name in self.state.judged or name in self._waiting:
            return self.state.judged.get(name)
        self._waiting.add(name)
        state, asked = self.state, self.state.runner.live

        def here(future: Future) -> None:
            if asked is state.runner.live:
                self._waiting.discard(name)
                judged = future.result()
                if judged is not None:
                    self.state.judged[name] = judged
                    self.draw()

        key = ("judged", str(state.runner.live.folder) if state.runner.live else "", name)
        state.when(state.MADE.ask(key, lambda: findings.judge(name)), here)
        return self.state.judged.get(name)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the pixels answered at the selected share."""
        state, findings = self.state, self.state.findings
        if findings is None or not self._content.visible:
            return
        names = [n for n in (self.first, self.second) if n]
        judged = {n: j for n in names if (j := self._judge(n, findings)) is not None}
        others = {n: j for n, j in self.state.judged.items() if n in findings.measures}
        self._curves(judged | others)
        truth = state.truth_of()
        for view, name in ((self.mine, self.first), (self.theirs, self.second)):
            if name not in judged:
                view.show(None, ANSWERED)
                continue
            point = judged[name]
            at = point.at(state.answered)
            p = findings.map("change", findings.probability(name), state.sample)
            u = findings.map("uncertainty", name, state.sample)
            if p is None or u is None:
                view.show(None, f"{UNCERTAINTY[name].title}: not a test pair")
                continue
            if self.frame.shape != p.shape:
                self.frame.fit(*p.shape)
            left = u.values <= point.threshold[at]
            known = np.isfinite(p.values)
            view.show(
                outcomes(p.values, truth, left), f"{UNCERTAINTY[name].title}: {100 * left[known].mean():.0f} % answered here"
            )
        self._tell(judged)

    def _curves(self, judged: dict[str, Judged]) -> None:
        ordered = [n for n in UNCERTAINTY if n in judged]
        self.curve.show([(UNCERTAINTY[n], judged[n].coverage, judged[n].risk) for n in ordered])
        self.curve.cursor(self.state.answered)
        top = max([float(np.nanmax([*j.believed, *j.seen])) for j in judged.values() if len(j.believed)] or [1.0])
        line = [(REFERENCES["equal"], [0, top], [0, top])]
        self.bins.show(line + [(UNCERTAINTY[n], judged[n].believed, judged[n].seen) for n in ordered])
        if (mine := judged.get(self.first)) is not None:
            middle = (mine.edges[1:] + mine.edges[:-1]) / 2
            name = UNCERTAINTY[self.first].title
            self.spread.show(
                [
                    (Look(f"right pixels, {name}", STATES["right"].colour), middle, mine.right),
                    (Look(f"wrong pixels, {name}", STATES["wrong"].colour, "dashed"), middle, mine.wrong),
                ]
            )
            self.spread.cursor(float(mine.threshold[mine.at(self.state.answered)]))

    def _tell(self, judged: dict[str, Judged]) -> None:
        """Write error rate, precision and recall of the answered pixels and of all pixels."""
        if not judged:
            self.readout.object = "Computing …"
            return
        share = self.state.answered
        points = [
            (f"surest {100 * share:.0f} %, {UNCERTAINTY[name].title}", j, j.at(share), f"≤ {j.threshold[j.at(share)]:.4f}")
            for name, j in judged.items()
        ]
        one = next(iter(judged.values()))
        points.insert(0, ("all test pixels", one, len(one.coverage) - 1, ""))
        table = html_table(
            [
                "",
                "answered",
                "uncertainty",
                Column("error rate (%)", "lower", 2),
                *(Column(c, "", 3) for c in ("precision", "recall")),
            ],
            [
                (name, f"{100 * j.coverage[at]:.1f} %", u, 100 * j.risk[at], j.precision[at], j.recall[at])
                for name, j, at, u in points
            ],
        )
        note = (
            "<div style='margin-top:10px;opacity:.8;line-height:1.45'>Computed on all test pixels; the maps show the pair selected on the "
            "first tab. Changed pixels are harder, so most of them are among the unanswered ones; recall and precision count only the "
            "answered pixels. So compare the <b>error rate</b>. A measure is useful if its error rate is lower than that of "
            "<b>entropy</b> at the same share.</div>"
        )
        self.readout.object = table + note

    def _table(self, findings: Findings) -> None:
        """Write the table of all measures, each against the errors of its own change map."""
        rows = findings.table("uncertainty_scores", "measure")
        shown = [q for q in QUANTITIES if rows and q in rows[0][1]]
        if not shown:
            self.table.object = ""
            return
        columns = [Column(QUANTITIES[q][0], BETTER.get(q, ""), 4 if q == "aurc" else 3, QUANTITIES[q][1]) for q in shown]
        cells = []
        for name, numbers in rows:
            one = look(name, UNCERTAINTY)
            apart = {"calibration_error"} if name == "entropy" else set()  # in bits, so it does not compete
            cells.append(
                [Marked(one.title, one.colour), *(spread([v], 3) if q in apart else v for q in shown for v in [numbers[q]])]
            )
        self.table.object = (
            "<b>All measures on test pixels</b>, each against the errors of its own change map; the best of a column in bold "
            '<span style="opacity:.75">(AUROC high; AURC, ECE and error rates low; entropy is in bits, so its ECE is not compared)</span>'
            + html_table(["", *columns], cells)
        )

    def _csv(self) -> Any:
        """All computed curves as CSV, one row per point."""
        names, columns = list(self.state.judged), ("coverage", "risk", "precision", "recall", "threshold")
        lengths = [len(self.state.judged[n].coverage) for n in names]
        table: dict[str, Any] = {"measure": np.repeat(np.array(names, object), lengths)}
        table |= {c: np.concatenate([getattr(self.state.judged[n], c) for n in names]) if names else [] for c in columns}
        return save.spectra_csv(table)
