"""Third tab: accuracy against bit operations, bytes and time, with every rival; and the table of all."""

from __future__ import annotations

import panel as pn

from workbench.pages.compression.findings import Findings, Rival
from workbench.pages.compression.state import CompressionState
from workbench.views.card import escape, explain, heading, html
from workbench.views.compression import Pareto, Point
from workbench.views.lines import swatches
from workbench.views.looks import BLUE, GREEN, GREY, ORANGE, Look
from workbench.views.screen import grid
from workbench.views.tables import Column, Marked, html_table

INVITATION = (
    "When a run has finished, this tab shows the accuracy of its network and of every rival against their cost: bit operations, bytes of "
    "the weights, and bytes and time of the file where they were measured."
)
COSTS = {  # attribute of a rival -> name of the axis
    "bops": "BOPs (G)",
    "kilobytes": "weights packed to their bits (kB)",
    "file": "file (kB)",
    "milliseconds": "latency of the file (ms)",
}
NOTE = (
    "The dotted line joins the networks that no cheaper one equals. Fewer bits than 8 are cheaper in BOPs and in packed bytes only: a CPU "
    "runs them no faster. One seed: neighbours may change places with another."
)


class Comparing:
    """A plot for each cost that the result has, and a table."""

    def __init__(self, state: CompressionState) -> None:
        self.state = state
        self.plots = {cost: Pareto(title, "accuracy") for cost, title in COSTS.items()}
        self.legend = html(margin=(4, 8))
        self.table = html(margin=(4, 8))
        self._content = pn.Column(
            self.legend,
            grid(*(p.panel for p in self.plots.values()), least=420, most=2),
            html(NOTE, margin=(2, 8)),
            heading("All networks"),
            self.table,
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("Is it worth it?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        self._content.visible, self._invite.visible = findings is not None, findings is None
        if findings is None:
            return
        rivals = findings.rivals()
        for plot in self.plots.values():
            plot.figure.yaxis.axis_label = findings.called
        looks = {ORANGE: "this method", BLUE: "pruned and quantised", GREEN: "quantised only", GREY: "not compressed"}
        used = {self._colour(r) for r in rivals}
        self.legend.object = swatches(Look(text, colour) for colour, text in looks.items() if colour in used)
        self._table(findings, rivals)
        self.draw()

    def draw(self) -> None:
        """Draw the plots, when the tab is visible."""
        state, findings = self.state, self.state.findings
        if findings is None or state.tab != 2:
            return
        whole, rivals = findings.whole().total / 1e9, findings.rivals()
        now = state.cost().total / 1e9 if state.moved() else None
        for cost, plot in self.plots.items():
            points = [
                Point(r.name, whole / r.ratio if cost == "bops" else getattr(r, cost), r.quality, self._colour(r), r.about)
                for r in rivals
            ]
            plot.show(points, now if cost == "bops" else None)
            plot.panel.visible = cost == "bops" or len(plot.points.data["x"]) > 0

    def _colour(self, rival: Rival) -> str:
        if rival.name == self.state.method:
            return ORANGE
        return GREY if rival.ratio == 1 else BLUE if rival.pruned else GREEN

    def _table(self, findings: Findings, rivals: list[Rival]) -> None:
        columns = [
            "network", Column(findings.called, "higher", 3), Column("times fewer BOPs", "higher", 1), Column("MACs left", "lower", 3),
            Column("weights, packed (kB)", "lower", 1), Column("file (kB)", "lower", 1), Column("latency (ms)", "lower", 2), "what it is",
        ]  # fmt: skip
        shared = _common([r.about for r in rivals])
        rows = [
            (
                Marked(r.name, self._colour(r)), r.quality, r.ratio, r.macs_left, r.kilobytes, r.file, r.milliseconds,
                " ".join(r.about.split(" ")[shared:]),
            )
            for r in rivals
        ]  # fmt: skip
        result = findings.result
        split = escape(str(result.attrs.get("split", "not named")))
        convention = escape(str(result.attrs.get("convention", "input-act")))
        self.table.object = f"<b>Split</b>: {split}; BOPs by the convention {convention}" + html_table(columns, rows)


def _common(texts: list[str]) -> int:
    """How many words all texts begin with, but for commas, such as two of `test accuracy, ...`; 0 for one text.

    >>> _common(["test accuracy, PIC-PQ", "test accuracy, random filters", "test accuracy of the file"])
    2
    """
    if len(texts) < 2:
        return 0
    words = [[w.rstrip(",") for w in t.split(" ")[:-1]] for t in texts]
    return next((n for n, at in enumerate(zip(*words, strict=False)) if len(set(at)) > 1), min(len(w) for w in words))
