"""Third tab: accuracy during training on the coresets, and accuracy against the share kept over all runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import panel as pn

from workbench import runs
from workbench.pages.coresets.state import CoresetState
from workbench.views.card import explain, html
from workbench.views.coresets import Accuracy
from workbench.views.curves import Curves
from workbench.views.looks import REFERENCES, SELECTORS
from workbench.views.outcome import leak_text
from workbench.views.screen import grid
from workbench.views.tables import Column, Marked, html_table, spread

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
        counts = [len(seen) for by_keep in values.values() for seen in by_keep.values()] or [0]
        fewest = "" if min(counts) == max(counts) else f" (some numbers: {min(counts)} of {max(counts)})"
        self.text.object = (
            f"{len(alike)} finished run{'s' if len(alike) != 1 else ''} with these settings, "
            f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}{fewest}. Mean ± standard deviation over seeds; every "
            "training has the same number of steps, on coresets and on all samples. Bold: the best selector at a share."
            + leak_text(alike[-1][1])
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
    """HTML: a row for every selector and one for all samples, which does not compete; a column for every share kept."""
    keeps = sorted({k for by_keep in values.values() for k in by_keep}, reverse=True)
    rows: list[list[Any]] = [
        [Marked(SELECTORS[n].title, SELECTORS[n].colour), *(by_keep.get(k, ()) for k in keeps)]
        for n, by_keep in values.items()
    ]
    every = REFERENCES["full"]
    rows.append([Marked(every.title, every.colour), *(spread(full) for _ in keeps)])
    return html_table(["test accuracy", *(Column(f"share kept {k:g}", "higher") for k in keeps)], rows)
