"""First tab: clients as cards with what their links carried, and loss, accuracy, bytes and weights apart over the rounds."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from workbench.pages.federation.findings import Phase, at, phases
from workbench.pages.federation.state import FederationState
from workbench.runs.watch import Live
from workbench.views.card import explain, html
from workbench.views.federation import SENT, Client, Clients
from workbench.views.lines import Lines
from workbench.views.looks import GREEN, GREY, RED, Look, nth
from workbench.views.plots import batched
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper

INVITATION = (
    "Press <b>Start</b> in the side bar. You then see the clients, what each has learnt, and every megabyte that its link carries, step by "
    "step; beside it the bytes of exact features. The run is a separate process that continues when this page is closed."
)
TITLES = {"home": "diffusion networks, at home", "exchange": "exchange of features", "fedavg": "FedAvg: rounds of weights"}


class ClientsTab:
    """Cards and curves at a step that a slider chooses."""

    def __init__(self, state: FederationState) -> None:
        self.state = state
        self.found: dict[str, Phase] = {}
        self._moving = False
        self.choice = pmui.Select(label="Rounds of", options={}, size="small", width=260, margin=(6, 8))
        self.text = html(width=190, margin=(10, 8))
        self.stepper = Stepper(self.draw)
        self.cards = Clients()
        self.loss = Lines("step", "training loss", height=240)
        self.oa = Lines("step", "OA on 300 test pixels", height=240, dots=True)
        self.sent = Lines("step", "MB sent, all links", height=240)
        self.apart = Lines(
            "step",
            "shared weights apart",
            height=240,
            words="All clients begin a round with the same weights here, or share none.",
        )
        self._content = pn.Column(
            wrapped(self.choice, self.text, self.stepper.slider, self.stepper.follow),
            self.cards.panel,
            grid(self.loss.panel, self.oa.panel, self.sent.panel, self.apart.panel, least=400, most=2),
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("Who sends what?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.choice.param.watch(batched(lambda e: self._moving or self.choose(e.new)), "value")

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the clients."""
        self._invite.visible, self._content.visible = inviting, not inviting and bool(self.found)

    def clear(self) -> None:
        """No run is followed."""
        self.found = {}
        self.cards.clear()
        for plot in (self.loss, self.oa, self.sent, self.apart):
            plot.show([])
        self.invite(True)

    def take(self, live: Live) -> None:
        """Read the events so far."""
        before, self.found = set(self.found), phases(live.history)
        if not self.found:
            return
        self._content.visible, self._invite.visible = True, False
        if set(self.found) != before:
            self._moving = True
            self.choice.options = {TITLES[n]: n for n in self.found}
            self.choice.value = self.state.phase if self.state.phase in self.found else next(reversed(self.found))
            self._moving = False
        self._curves()
        self.stepper.fit(self.phase.length)

    def choose(self, phase: str) -> None:
        """Show the rounds of another phase."""
        self.state.phase = phase
        if phase in self.found:
            self._curves()
            self.stepper.fit(self.phase.length)

    @property
    def phase(self) -> Phase:
        """The phase that is shown."""
        return self.found.get(self.choice.value) or next(iter(self.found.values()))

    def _curves(self) -> None:
        phase = self.phase
        for plot in (self.loss, self.oa, self.sent, self.apart):
            plot.figure.xaxis.axis_label = phase.unit
        self.loss.show((nth(n, name), *line) for n, (name, line) in enumerate(phase.loss.items()))
        self.oa.show((nth(n, name), *line) for n, (name, line) in enumerate(phase.oa.items()))
        lines: list[Any] = [(Look(w, SENT[w]), *line) for w, line in phase.sent.items()]
        if phase.exact[0]:
            lines.append((Look("features if exact", GREY, "dashed"), *phase.exact))
        self.sent.show(lines)
        looks = {"before": GREY, "after": GREEN}
        self.apart.show(
            (Look(f"{n} an average" if n in looks else n, looks.get(n, GREY)), *line) for n, line in phase.apart.items()
        )

    def draw(self) -> None:
        """Draw the cards at the chosen step."""
        if not self.found:
            return
        phase, step, findings = self.phase, self.stepper.at + 1, self.state.findings
        self.text.object = f"<b>{phase.unit.capitalize()} {step:,}</b> of {phase.length:,}"
        sent = {w: at(line, step) for w, line in phase.sent.items()}
        exact = at(phase.exact, step) if phase.exact[0] else 0.0
        ghost = exact + sum(v for w, v in sent.items() if w != "features") if exact else 0.0
        share = phase.shares(step)
        pixels = {}
        if findings is not None and (self.choice.value == "fedavg" or findings.method == "feddiff"):
            pixels = dict(zip(findings.clients, findings.result["clients"].values.sum(1).astype(int), strict=True))
        shown = []
        for name, (loss, oa) in phase.clients.items():
            facts = {"loss": f"{at(phase.loss[loss], step):.3f}", "OA": f"{at(phase.oa[oa], step):.3f}"}
            facts |= {"training pixels": f"{pixels[name]:,}"} if name in pixels else {}
            away = bool(phase.present) and step not in phase.present[name]
            shown.append(
                Client(
                    name,
                    facts,
                    "away, or failed in this round" if away else "",
                    {w: share[name] * v for w, v in sent.items()},
                    share[name] * ghost,
                )
            )
        last = {w: line[1][-1] if line[1] else 0.0 for w, line in phase.sent.items()}
        exact_last = phase.exact[1][-1] if phase.exact[1] else 0.0
        most = sum(v for w, v in last.items() if w != "features") + max(last.get("features", 0.0), exact_last)
        self.cards.show(shown, self._server(phase, step), most * max(phase.shares(phase.length).values()))
        for plot in (self.loss, self.oa, self.sent, self.apart):
            plot.cursor(step)

    def _server(self, phase: Phase, step: int) -> str:
        missing = sum(step not in steps for steps in phase.present.values())
        failed = f"; <span style='color:{RED}'>{missing} of {len(phase.clients)} clients missing</span>" if missing else ""
        if not phase.sent:
            return "<b>No server here</b>: each owner trains its own network at home, and nothing travels."
        total = sum(at(line, step) for line in phase.sent.values())
        words = f"<b>Server</b>: it has passed on and averaged {total:.3g} MB so far, up and down, payload{failed}."
        after = phase.apart.get("after")
        if after and after[0] and after[0][0] <= step:
            apart = at(after, step)
            words += _told(apart, "after the last average")
        elif self.state.findings is not None and self.choice.value == "exchange":
            words += _told(self.state.findings.apart, "at the end")
        return words


def _told(apart: float, when: str) -> str:
    colour = GREEN if apart == 0 else RED
    return f" Shared weights apart {when}: <b style='color:{colour}'>{apart:.3g}</b> (must be 0)."
