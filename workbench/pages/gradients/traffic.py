"""Second tab: budget and residual of every layer. Third tab: bytes sent and accuracy of every compressor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import panel as pn
from bokeh.palettes import Cividis256

from workbench.methods.rsdgc import RATIOS
from workbench.runs.watch import ArrayHistory, Live
from workbench.views.card import html
from workbench.views.lines import Lines
from workbench.views.looks import COMPRESSORS, Look, nth
from workbench.views.screen import grid
from workbench.views.tables import Column, Marked, html_table


class Budget:
    """For every layer over the steps: share of entries that it may send, norm of the residual gradient, and its age."""

    def __init__(self) -> None:
        self._arrays = ArrayHistory(())
        self.share = Lines("step", "share of the layer's entries sent", height=290, log="y", legend=False)
        self.signal = Lines("step", "importance, relative to first steps", height=290, legend=False)
        self.residual = Lines("step", "norm of the gradient not yet sent", height=290, log="y", legend=False)
        self.age = Lines("steps since an entry was sent", "share of the entries", height=260, dots=True)
        self.key = html(margin=(4, 8))
        self.panel = pn.Column(
            self.key,
            grid(self.share.panel, self.signal.panel, self.residual.panel, self.age.panel, least=420),
            sizing_mode="stretch_width",
            margin=(8, 4),
        )

    def clear(self) -> None:
        """No run is followed."""
        self._arrays = ArrayHistory(("budget", "signal", "residual"), newest=("age",))
        for plot in (self.share, self.signal, self.residual, self.age):
            plot.show([])
        self.key.object = "No data yet: start a run of <b>rsdgc</b>."

    def draw(self, live: Live) -> None:
        """Draw the logged quantities of the layers so far. Every frame is read only once."""
        self._arrays.update(live)
        rows = self._arrays.rows
        if not rows["budget"]:
            return
        first = next(iter(rows["budget"].values()))
        layers, sizes = first["layer"].values.tolist(), first["entries"].values
        colours = [Cividis256[int(i)] for i in np.linspace(80, 235, len(layers))]
        for name, plot, divisor in (
            ("budget", self.share, sizes),
            ("signal", self.signal, 1),
            ("residual", self.residual, 1),
        ):
            values = np.array([array.values / divisor for array in rows[name].values()])
            plot.show((Look(layer, colours[i]), list(rows[name]), values[:, i]) for i, layer in enumerate(layers))
        ramp = f"display:inline-block;width:90px;height:10px;background:linear-gradient(to right,{colours[0]},{colours[-1]})"
        self.key.object = f"{len(layers)} layers, first <span style='{ramp}'></span> last; hover over a line for its name."
        age = self._arrays.newest.get("age")
        if age is not None:
            bins = age["steps"].values.tolist()
            names = {
                float(i): str(b) if b < 2 else f"{b}+" if i == len(bins) - 1 else f"{b}–{bins[i + 1] - 1}"
                for i, b in enumerate(bins)
            }
            self.age.name_ticks(names)
            watched = age["layer"].values.tolist()
            self.age.show((nth(i, layer), list(names), age.values[i]) for i, layer in enumerate(watched))


class Traffic:
    """Accuracy over steps and over bytes for every compressor, and a table: bytes counted, bytes measured, ratios."""

    def __init__(self) -> None:
        self.by_step = Lines("step of the optimiser", "test accuracy", height=310, dots=True)
        self.by_bytes = Lines(
            "megabytes sent by all ranks together (log scale)", "test accuracy", height=310, log="x", dots=True
        )
        self.table = html(margin=(10, 8))
        self.panel = pn.Column(
            grid(self.by_step.panel, self.by_bytes.panel, least=420),
            self.table,
            sizing_mode="stretch_width",
            margin=(8, 4),
        )

    def clear(self) -> None:
        """No run is followed."""
        self.by_step.show([])
        self.by_bytes.show([])
        self.table.object = "No data yet: compressors are trained one after another, and each adds a line."

    def draw(self, history: Mapping[str, tuple[list[int], list[float]]], steps: int) -> None:
        """history: scalars of the run. steps: optimiser steps of each compressor."""
        known = [name for name in COMPRESSORS if f"megabytes/{name}" in history]
        lines, against = [], []
        for name in known:
            sent = dict(zip(*history[f"megabytes/{name}"], strict=True))
            at, accuracy = history.get(f"accuracy/{name}", ([], []))
            one = COMPRESSORS[name]
            lines.append((one, [(step - 1) % steps + 1 for step in at], accuracy))
            against.append((one, [sent[step] for step in at], accuracy))
        self.by_step.show(lines)
        self.by_bytes.show(against)
        if known:
            self.table.object = _meter(history, known)


def _meter(history: Mapping[str, tuple[list[int], list[float]]], names: list[str]) -> str:
    """HTML: a row per compressor."""
    columns: list[Column | str] = [
        "compressor",
        Column("accuracy", "higher"),
        Column("MB of messages", "lower", 3, "counted, without headers"),
        Column("MB with headers", "lower", 3, "counted"),
        Column("MB measured", "lower", 3, "by the kernel, on the loopback"),
        *(Column(f"ratio: {_short(r)}", "higher", 1, text) for r, text in RATIOS.items()),
    ]
    rows = []
    for name in names:
        latest = {
            key: history[f"{key}/{name}"][1][-1]
            for key in ("accuracy", "megabytes", "header_megabytes", "measured_megabytes", *RATIOS)
            if f"{key}/{name}" in history
        }
        headers = latest.get("header_megabytes")
        sent = (latest["megabytes"], None if headers is None else latest["megabytes"] + headers)
        measured = latest.get("measured_megabytes")
        one = COMPRESSORS[name]
        rows.append(
            [
                Marked(one.title, one.colour),
                latest.get("accuracy"),
                *sent,
                measured,
                *(latest.get(ratio) for ratio in RATIOS),
            ]
        )
    meanings = "".join(f"<li><b>{_short(r)}</b>: {text}</li>" for r, text in RATIOS.items())
    return (
        html_table(columns, rows)
        + "<div style='opacity:.8;margin-top:6px'>Messages: counted by the formulas of ring all-reduce and all-gather. "
        "Headers: counted too, as those of gloo and TCP; of a small network they are a large part. "
        "Measured: by the kernel, all bytes on the loopback interface meanwhile, including control messages and other programs. "
        "Bold: the best of a column. Ratios, updated with every test accuracy:"
        f"<ul style='margin:2px 0;padding-left:18px'>{meanings}</ul></div>"
    )


def _short(ratio: str) -> str:
    """`wire` of `ratio_wire`, `measured` of `measured_ratio`."""
    return ratio.removeprefix("ratio_").removesuffix("_ratio")
