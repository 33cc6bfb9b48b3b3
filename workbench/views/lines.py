"""Any number of named lines in one plot, from one source; with a log axis, dots, or named ticks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, HSpan, MultiLine, Range1d, Scatter, VSpan

from workbench.views.card import escape, html
from workbench.views.looks import GREY
from workbench.views.plots import draw, plot
from workbench.views.waiting import NOTHING, Waiting

Drawn = tuple[str, str, Sequence[float], Sequence[float]]  # name, colour, x, y
Level = tuple[str, str, float]  # name, colour, y


class Lines:
    """A plot with a legend above it. log: axes that are logarithmic, "x", "y" or "xy". dots: mark every point.

    words: shown until a line has a point.
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
        self.lines = ColumnDataSource({"xs": [], "ys": [], "color": [], "name": []})
        self.points = ColumnDataSource({"x": [], "y": [], "color": [], "name": []})
        self.levels = ColumnDataSource({"y": [], "color": []})
        self._cursor = ColumnDataSource({"x": []})
        self._log = log
        types = {f"{axis}_axis_type": "log" if axis in log else "linear" for axis in "xy"}
        self.figure = plot(x, y, height=height, x_range=Range1d(0, 1), y_range=Range1d(0, 1), **types)
        drawn = draw(self.figure, self.lines, MultiLine(xs="xs", ys="ys", line_color=field("color"), line_width=2))
        if dots:
            look = {"size": 6, "fill_color": field("color"), "line_color": field("color")}
            drawn = draw(self.figure, self.points, Scatter(x="x", y="y", **look))
        draw(self.figure, self.levels, HSpan(y="y", line_color=field("color"), line_width=2, line_dash="dashed"))
        draw(self.figure, self._cursor, VSpan(x="x", line_color=GREY, line_width=1.5))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@name"), (x, "$x{0.[000]}"), (y, "$y{0.0000}")]))
        self.legend = html("", margin=(2, 4, 0, 8), visible=legend)
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self._waiting = Waiting(self.legend, plotted, title=y, words=words, height=height + 20)
        self.panel = self._waiting.panel

    def show(self, lines: Iterable[Drawn], levels: Iterable[Level] = ()) -> None:
        """Replace all lines and dashed horizontal levels.

        Values that are not finite, or not positive on a log axis, are omitted.
        """
        kept = []
        for name, colour, x, y in lines:
            x, y = np.asarray(x, float), np.asarray(y, float)
            valid = np.isfinite(x) & np.isfinite(y)
            for axis, values in (("x", x), ("y", y)):
                if axis in self._log:
                    valid &= values > 0
            if valid.any():
                kept.append((name, colour, x[valid], y[valid]))
        self.lines.data = {
            "xs": [x for _, _, x, _ in kept],
            "ys": [y for _, _, _, y in kept],
            "color": [c for _, c, _, _ in kept],
            "name": [n for n, _, _, _ in kept],
        }
        self.points.data = {
            "x": np.concatenate([x for _, _, x, _ in kept]) if kept else [],
            "y": np.concatenate([y for _, _, _, y in kept]) if kept else [],
            "color": [c for _, c, x, _ in kept for _ in x],
            "name": [n for n, _, x, _ in kept for _ in x],
        }
        self._waiting.drawn(bool(kept))
        across = [(n, c, y) for n, c, y in levels if np.isfinite(y) and (y > 0 or "y" not in self._log)]
        self.levels.data = {"y": [y for _, _, y in across], "color": [c for _, c, _ in across]}
        dashed = [_swatch(n, c, "dashed") for n, c, _ in across]
        self.legend.object = " ".join([*(_swatch(n, c) for n, c, _, _ in kept), *dashed])
        extent = {"x": [x for _, _, x, _ in kept], "y": [*(y for _, _, _, y in kept), np.array([y for _, _, y in across])]}
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


def _swatch(name: str, colour: str, dash: str = "solid") -> str:
    style = f"display:inline-block;width:18px;border-top:3px {dash} {colour};vertical-align:middle"
    return f'<span style="white-space:nowrap;margin-right:10px"><span style="{style}"></span> {escape(name)}</span>'
