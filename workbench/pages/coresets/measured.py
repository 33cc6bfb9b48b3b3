"""Third tab: accuracy during training on the coresets, and accuracy against the share kept over all runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import panel as pn

from workbench import runs
from workbench.pages.coresets.state import CoresetState
from workbench.views.card import escape, explain, html
from workbench.views.coresets import Accuracy
from workbench.views.curves import Curves
from workbench.views.looks import REFERENCES, SELECTORS
from workbench.views.screen import grid

FULL = REFERENCES["full"].title
NAME = re.compile(r"accuracy_(?!best_)(?P<name>\w+?)(?:_at_(?P<keep>[\d.e-]+))?$")
# settings in which runs may differ and still be shown together
FREE = {"seed", "keep", "budgets", "compare", "show_every", "log", "trajectories"}
NOTHING = (
    "Each finished run adds its points: one per selector under <b>compare</b> and per share under <b>budgets</b>. For error bars, run "
    "several seeds with the same other settings."
)


class Measured:
    """Curves of the run that is followed; accuracy by budget over every finished run with the same settings on these data."""

    def __init__(self, state: CoresetState) -> None:
        self.state = state
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.lines = Curves("epochs' worth of steps", "test accuracy", [REFERENCES["full"], *SELECTORS.values()], height=300)
        self.accuracy = Accuracy(height=300)
        self.table = html(margin=(6, 8))
        self.text = html(margin=(2, 8))
        self._empty = explain("No finished run yet", NOTHING, height=300)
        self._content = pn.Column(self.accuracy.panel, **stretch)
        self.panel = pn.Column(
            grid(
                pn.Column(html("<b>This run</b>: during training", margin=(0, 8)), self.lines.panel, **stretch),
                pn.Column(
                    html("<b>All runs</b>: against the share kept", margin=(0, 8)), self._content, self._empty, **stretch
                ),
                least=420,
            ),
            self.text,
            self.table,
            sizing_mode="stretch_width",
            margin=(8, 4),
        )

    def curves(self, history: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> None:
        """Accuracy on test samples: of the scoring run, and of each coreset at the run's own share, from its first step."""
        for scalar, (_, values) in history.items():
            quantity, _, who = scalar.partition("/")
            if scalar == "test_accuracy":
                self.lines.set(FULL, range(1, len(values) + 1), values)
            elif who in SELECTORS and quantity == "test_accuracy":
                self.lines.set(SELECTORS[who].title, range(1, len(values) + 1), values)

    def take(self) -> None:
        """Collect the finished runs with the same settings as the followed run, and draw their accuracies."""
        state = self.state
        if state.runner.live is None:
            self.lines.clear()
        finished = list(self._finished())
        wanted = _shared(state.runner.config) if state.runner.config else (_shared(finished[-1][0]) if finished else {})
        alike = [(config, numbers) for config, numbers in finished if _shared(config) == wanted]
        values, full = gathered(alike)
        self._content.visible, self._empty.visible = bool(values), not values
        self.accuracy.show(values, list(full.values()))
        seeds = sorted(full)
        self.text.object = (
            f"{len(alike)} finished run{'s' if len(alike) != 1 else ''} with these settings, "
            f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}. Mean ± standard deviation over seeds; every "
            "training has the same number of steps, on coresets and on all samples."
            if values
            else ""
        )
        self.table.object = _table(values, list(full.values())) if values else ""

    def _finished(self) -> list[tuple[dict[str, Any], dict[str, float]]]:
        """(settings, metrics) of the finished runs on these data, including those of reports, oldest first."""
        state = self.state
        if state.data is None:
            return []
        reports = [folder for folder, about in runs.iter_status(state.root) if about.get("method") == "report-tdds"]
        finished = []
        for root in (*reports, state.root):
            for folder, about in runs.iter_status(root):
                done = about.get("method") == "tdds" and about.get("status") == "finished"
                if done and about["scene"].get("fingerprint") == state.mark:
                    finished.append((about["config"], runs.metrics(folder)))
        return finished


def gathered(
    finished: Sequence[tuple[Mapping[str, Any], Mapping[str, float]]],
) -> tuple[dict[str, dict[float, list[float]]], dict[int, float]]:
    """(selector -> share kept -> accuracies, one per seed; seed -> accuracy on all samples); of equal runs the last is used."""
    cells: dict[tuple[str, float, int], float] = {}
    full: dict[int, float] = {}
    for config, numbers in finished:
        for metric, value in numbers.items():
            known = NAME.match(metric)
            if known is None:
                continue
            name, keep = known["name"], float(known["keep"] or config["keep"])
            if name == "full":
                full[int(config["seed"])] = value
            elif name in SELECTORS:
                cells[name, keep, int(config["seed"])] = value
    values: dict[str, dict[float, list[float]]] = {}
    for (name, keep, _), value in sorted(cells.items(), key=lambda c: list(SELECTORS).index(c[0][0])):
        values.setdefault(name, {}).setdefault(keep, []).append(value)
    return values, full


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in FREE}


def _table(values: Mapping[str, Mapping[float, Sequence[float]]], full: Sequence[float]) -> str:
    """HTML: a line for every share kept, a column for every selector."""
    keeps = sorted({k for by_keep in values.values() for k in by_keep}, reverse=True)
    cell = '<td style="padding:2px 16px 2px 0;white-space:nowrap">'
    head = "".join(
        f'<th style="text-align:left;font-weight:500;opacity:.65;padding-right:16px">{escape(h)}</th>'
        for h in ("share kept", *(SELECTORS[n].title for n in values), FULL)
    )
    body = ""
    for k in keeps:
        cells = [f"{k:g}", *(_mean(values[n].get(k, [])) for n in values), _mean(full)]
        body += "<tr>" + "".join(f"{cell}{c}</td>" for c in cells) + "</tr>"
    style = "border-collapse:collapse;font-size:.82rem;font-variant-numeric:tabular-nums"
    return f'<div style="overflow-x:auto"><table style="{style}"><tr>{head}</tr>{body}</table></div>'


def _mean(seen: Sequence[float]) -> str:
    if not len(seen):
        return "–"
    return f"{np.mean(seen):.4f}" + (f" ± {np.std(seen, ddof=1):.4f} ({len(seen)})" if len(seen) > 1 else " (1)")
