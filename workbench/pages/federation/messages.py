"""Third tab: what a rank keeps, costs and is worth; feature maps at their owner and rebuilt; what a message weighs beside pixels."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui
from bokeh.models import FixedTicker

from workbench.pages.federation.state import FederationState
from workbench.views.card import explain, heading, html
from workbench.views.compression import Pareto, Point
from workbench.views.federation import weights_of_a_message
from workbench.views.kinds import picture
from workbench.views.lines import Lines
from workbench.views.looks import BLUE, ORANGE, Look, nth
from workbench.views.picture import PictureView
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid, wrapped

INVITATION = (
    "When a run has finished, this tab shows how much of the features each rank of a message keeps, what it costs and what it is worth, "
    "and the feature maps of a test pixel as their owner has them and as the others rebuild them."
)

NEAR = 1.3  # times as many bytes need a tick of their own


class Messages:
    """Rank slider over scree, accuracy and maps; the inspector."""

    def __init__(self, state: FederationState) -> None:
        self.state = state
        self.rank = pmui.IntSlider.from_param(
            state.param.rank, label="Rank of the messages", step=1, size="small", sizing_mode="stretch_width", min_width=240,
            margin=(4, 24, 4, 16),
        )  # fmt: skip
        self.party = pmui.Select(label="Owner", options=[], size="small", width=180, margin=(6, 8))
        self.text = html(margin=(2, 8))
        self.scree = Lines("rank", "energy of the features that is kept", height=260, dots=True)
        self.worth = Lines("rank", "OA, trained once", height=260, dots=True)
        self.pareto = Pareto("bytes of a pixel's message", "OA, each trained with its messages", height=300)
        self.frame = Frame()
        self.maps = [PictureView(frame=self.frame) for _ in range(3)]
        self.inspector = html(margin=(4, 8))
        self._content = pn.Column(
            heading("A pixel as it could travel, float32"),
            self.inspector,
            heading("What a rank keeps, and is worth"),
            wrapped(self.rank, self.party),
            self.text,
            grid(self.scree.panel, self.worth.panel, self.pareto.panel, least=330, most=3),
            heading("Feature maps of one test pixel, 4 x 4 places each"),
            grid(*(m.panel for m in self.maps), least=330, most=3),
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("What is in a message?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.party.param.watch(batched(lambda _: self.draw()), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        self._content.visible, self._invite.visible = findings is not None, findings is None
        if findings is None:
            return
        result = findings.result
        self.party.options = findings.parties
        if self.party.value not in findings.parties:
            self.party.value = findings.parties[0]
        kinds, sizes = findings.sizes()
        self.inspector.object = weights_of_a_message(
            findings.parties, kinds, sizes, str(result.attrs.get("message_warning", ""))
        )
        ranks = list(range(1, findings.ranks + 1))
        self.scree.show(
            (nth(n, p), ranks, row)
            for n, (p, row) in enumerate(zip(findings.parties, result["kept_by_rank"].values, strict=True))
        )
        oa = result["oa_by_rank"].values
        self.worth.show([(Look("network of the run, its messages cut to this rank", ORANGE), ranks, oa)])
        rivals = findings.rivals()
        points = [
            Point(n, cost, value, ORANGE if i == 0 else BLUE, about)
            for i, (n, cost, value, about) in enumerate(rivals)
            if cost > 0
        ]
        self.pareto.show(points)
        ticks: list[int] = []
        for cost in sorted(p.cost for p in points):
            if not ticks or cost > NEAR * ticks[-1]:
                ticks.append(round(cost))
        self.pareto.figure.xaxis.ticker = FixedTicker(ticks=ticks)
        self.pareto.figure.xaxis.major_label_overrides = {tick: f"{tick:,}" for tick in ticks}
        self.draw()

    def draw(self) -> None:
        """Draw maps and text at the rank."""
        state, findings = self.state, self.state.findings
        if findings is None or state.tab != 2:
            return
        result, k = findings.result, min(state.rank, findings.ranks)
        n = findings.parties.index(self.party.value)
        kept, oa, size = (
            result["kept_by_rank"].values[n, k - 1],
            result["oa_by_rank"].values[k - 1],
            result["bytes_by_rank"].values[k - 1],
        )
        self.text.object = (
            f"<b>Rank {k}</b>: {size:,.0f} bytes a pixel; keeps {100 * kept:.2f} % of the energy of the features of {self.party.value}; "
            f"OA {oa:.3f}. The network was trained with the messages of the run; with others, also of a higher rank, it can be worse."
        )
        for plot in (self.scree, self.worth):
            plot.cursor(k)
        own, there = (result["maps"].isel(party=n, version=v).rename(map_y="y", map_x="x") for v in (0, k))
        for view, name, array in zip(
            self.maps, ("at its owner", f"rebuilt from rank {k}", "difference"), (own, there, there - own), strict=True
        ):
            array.attrs["long_name"] = name
            view.show(picture(name, array))
