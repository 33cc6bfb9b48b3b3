"""The ticked runs side by side: one scalar of all of them, what differs between them, and their metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui

from workbench.config import Settings
from workbench.errors import InputError
from workbench.methods import load
from workbench.runs.collection import Entry, History, compared, ranked, setting_name
from workbench.views.card import escape, html
from workbench.views.lines import Lines
from workbench.views.looks import PICKS, nth
from workbench.views.outcome import number
from workbench.views.plots import batched


class Comparison:
    """`choose(ticked, histories)` sets the runs; `update(histories)` draws their new events."""

    def __init__(self) -> None:
        self._ticked: Sequence[Entry] = ()
        self._histories: Sequence[History] = ()
        self.scalar = pmui.Select(label="Curve", options=[], width=260, size="small", margin=(8, 8))
        self.curves = Lines("step", "value", height=330)
        self.differences = html(margin=(6, 8))
        self.panel = pn.Column(
            pn.Row(self.scalar, margin=0), self.curves.panel, self.differences, sizing_mode="stretch_width", margin=0
        )
        self.scalar.param.watch(batched(lambda _: self._draw()), "value")

    def choose(self, ticked: Sequence[Entry], histories: Sequence[History]) -> None:
        """Compare these runs; histories: the scalars of each."""
        self._ticked = ticked
        self.update(histories)
        self.differences.object = _tables(ticked) if ticked else ""

    def update(self, histories: Sequence[History]) -> None:
        """Draw the scalars so far; the list begins with that of the first headline metric."""
        self._histories = histories
        scalars = ranked(histories, _headline(self._ticked))
        if list(self.scalar.options) != scalars:
            value = self.scalar.value if self.scalar.value in scalars else (scalars[0] if scalars else None)
            self.scalar.param.update(options=scalars, value=value)
        self._draw()

    def _draw(self) -> None:
        """Draw the scalar of each run: a curve, or a dashed level if the run has one value of it."""
        scalar = self.scalar.value
        drawn, levels = [], []
        for n, (entry, history) in enumerate(zip(self._ticked, self._histories, strict=True)):
            steps, values = history.get(scalar, ((), ()))
            if len(steps) > 1:
                drawn.append((nth(n, entry.name), steps, values))
            elif len(steps) == 1:
                levels.append((nth(n, f"{entry.name}: {number(values[0])}"), values[0]))
        self.curves.figure.yaxis.axis_label = str(scalar or "value").replace("_", " ")
        self.curves.figure.xaxis.visible = bool(drawn)  # a level has no step
        self.curves.show(drawn, levels)


def _headline(ticked: Sequence[Entry]) -> list[str]:
    """The headline metrics of these runs, each once."""
    return list(dict.fromkeys(name for e in ticked for name in e.about.get("headline") or ()))


def _tables(ticked: Sequence[Entry]) -> str:
    """HTML: a table of the differences between the runs, and a table of their metrics."""
    table = compared([e.folder for e in ticked])
    cell = "padding:2px 18px 2px 0;text-align:left;border-bottom:1px solid rgba(128,128,128,.25);white-space:nowrap"
    heads = "".join(
        f'<th style="{cell}"><span style="color:{PICKS[n]}">&#9632;</span> {escape(e.name)}</th>'
        for n, e in enumerate(ticked)
    )
    meanings = {name: _meaning(name, ticked[0]) for name in table["config"]}

    def rows(values: dict[str, list[Any]]) -> str:
        return "".join(
            f'<tr><td style="{cell};opacity:.75" title="{escape(meanings.get(name, ""))}">{escape(name)}</td>'
            + "".join(f'<td style="{cell}" title="{escape(str(v))}">{escape(number(v))}</td>' for v in each)
            + "</tr>"
            for name, each in values.items()
        )

    parts = []
    for title, values in (("Differences", table["about"] | table["config"]), ("Metrics", table["metrics"])):
        if len(ticked) > 1 or title == "Metrics":
            none = "<div style='opacity:.75'>none</div>" if not values else ""
            head = f"<tr><th style='{cell}'></th>{heads}</tr>"
            shown = f'<table style="border-collapse:collapse">{head}{rows(values)}</table>'
            parts.append(f'<div style="margin:0 40px 14px 0"><b>{title}</b>{none or shown}</div>')
    return f'<div style="display:flex;flex-wrap:wrap;overflow-x:auto">{"".join(parts)}</div>'


def _meaning(setting: str, of: Entry) -> str:
    """What a setting means, from the `Config` of its method; empty if the method or the setting is not known any more."""
    method, _, name = (setting if "." in setting else setting_name(of.method, setting)).rpartition(".")
    with contextlib.suppress(InputError):
        fields = load(method).Config.model_fields if method else Settings.model_fields
        return str(fields[name].description) if name in fields else ""
    return ""
