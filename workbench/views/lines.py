"""Any number of named lines in one plot, from one source; with a log axis, dots, or named ticks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, HSpan, MultiLine, Range1d, Scatter, VSpan

from workbench.views.card import escape, html
from workbench.views.looks import GREY, Look
from workbench.views.plots import draw, plot
from workbench.views.waiting import NOTHING, Waiting

Drawn = tuple[Look, Sequence[float], Sequence[float]]  # look, x, y
Level = tuple[Look, float]  # look, y

PATTERNS = {"solid": "none", "dashed": "6 4", "dotted": "2 3", "dotdash": "2 3 7 3"}  # of Bokeh's dashes, in SVG


class Lines:
    """A plot with a legend above it. log: axes that are logarithmic, "x", "y" or "xy". dots: mark every point.

    words: shown while there is nothing to draw.
    """

    def __init__(
        self,
        x: str,
        y: str,
        *,
        height: int = 260,
        log: str = "",
        dots: bool = False,
        legend: bool = True,
        words: str = NOTHING,
    ) -> None:
        self.lines = ColumnDataSource({"xs": [], "ys": [], "color": [], "dash": [], "name": []})
        self.points = ColumnDataSource({"x": [], "y": [], "color": [], "name": []})
        self.levels = ColumnDataSource({"y": [], "color": [], "dash": []})
        self._cursor = ColumnDataSource({"x": []})
        self._log = log
        types = {f"{axis}_axis_type": "log" if axis in log else "linear" for axis in "xy"}
        self.figure = plot(x, y, height=height, x_range=Range1d(0, 1), y_range=Range1d(0, 1), **types)
        style = {"line_color": field("color"), "line_dash": field("dash"), "line_width": 2}
        drawn = draw(self.figure, self.lines, MultiLine(xs="xs", ys="ys", **style))
        if dots:
            look = {"size": 6, "fill_color": field("color"), "line_color": field("color")}
            drawn = draw(self.figure, self.points, Scatter(x="x", y="y", **look))
        draw(self.figure, self.levels, HSpan(y="y", **style))
        draw(self.figure, self._cursor, VSpan(x="x", line_color=GREY, line_width=1.5))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@name"), (x, "$x{0.[000]}"), (y, "$y{0.0000}")]))
        self.legend = html("", margin=(2, 4, 0, 8), visible=legend)
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self._waiting = Waiting(self.legend, plotted, title=y, words=words, height=height + 20)
        self.panel = self._waiting.panel

    def show(self, lines: Iterable[Drawn], levels: Iterable[Level] = ()) -> None:
        """Replace all lines and horizontal levels. A level is dashed, if its look is solid.

        Values that are not finite, or not positive on a log axis, are omitted.
        """
        kept = []
        for look, x, y in lines:
            x, y = np.asarray(x, float), np.asarray(y, float)
            valid = np.isfinite(x) & np.isfinite(y)
            for axis, values in (("x", x), ("y", y)):
                if axis in self._log:
                    valid &= values > 0
            if valid.any():
                kept.append((look, x[valid], y[valid]))
        self.lines.data = {
            "xs": [x for _, x, _ in kept],
            "ys": [y for _, _, y in kept],
            "color": [look.colour for look, _, _ in kept],
            "dash": [look.dash for look, _, _ in kept],
            "name": [look.title for look, _, _ in kept],
        }
        self.points.data = {
            "x": np.concatenate([x for _, x, _ in kept]) if kept else [],
            "y": np.concatenate([y for _, _, y in kept]) if kept else [],
            "color": [look.colour for look, x, _ in kept for _ in x],
            "name": [look.title for look, x, _ in kept for _ in x],
        }
        across = [(look if look.dash != "solid" else replace(look, dash="dashed"), y) for look, y in levels]
        across = [(look, y) for look, y in across if np.isfinite(y) and (y > 0 or "y" not in self._log)]
        self.levels.data = {
            "y": [y for _, y in across],
            "color": [look.colour for look, _ in across],
            "dash": [look.dash for look, _ in across],
        }
        self._waiting.drawn(bool(kept or across))
        self.legend.object = swatches([*(look for look, _, _ in kept), *(look for look, _ in across)])
        extent = {"x": [x for _, x, _ in kept], "y": [*(y for _, _, y in kept), np.array([y for _, y in across])]}
        for axis, range_ in (("x", self.figure.x_range), ("y", self.figure.y_range)):
            start, end = _bounds([values for values in extent[axis] if len(values)], axis in self._log)
            range_.update(start=start, end=end, reset_start=start, reset_end=end)

    def name_ticks(self, names: dict[float, str]) -> None:
        """Put named ticks on the horizontal axis: position -> name."""
        self.figure.xaxis.ticker = FixedTicker(ticks=list(names))
        self.figure.xaxis.major_label_overrides = names

    def cursor(self, x: float | None) -> None:
        """Draw a vertical line at `x`; None removes it."""
        self._cursor.data = {"x": [] if x is None else [x]}


def _bounds(values: list[np.ndarray], log: bool) -> tuple[float, float]:
    """Smallest and largest value with a margin; without values 0 to 1 (log: 0.001 to 1)."""
    if not values:
        return (1e-3, 1.0) if log else (0.0, 1.0)
    low, high = (float(f(np.concatenate(values))) for f in (np.min, np.max))
    if log:
        air = (high / low) ** 0.05 if high > low else 1.5
        return low / air, high * air
    air = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - air, high + air


def swatches(looks: Iterable[Look]) -> str:
    """HTML legend of lines: a piece of each line, with its dash, and its title."""
    return " ".join(
        '<span style="white-space:nowrap;margin-right:10px"><svg width="26" height="8" style="vertical-align:middle">'
        f'<line x1="0" y1="4" x2="26" y2="4" stroke="{look.colour}" stroke-width="3" stroke-dasharray="{PATTERNS[look.dash]}"/>'
        f"</svg> {escape(look.title)}</span>"
        for look in looks
    )
