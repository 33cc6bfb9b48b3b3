"""Scalars against step, with horizontal reference lines; updated while a run is active."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import panel as pn
from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, HSpan, Line, Range1d, Scatter, VSpan

from workbench.views.card import TEXT, html
from workbench.views.lines import swatches
from workbench.views.looks import GREY, Look
from workbench.views.plots import draw, plot
from workbench.views.waiting import NOTHING, Waiting


class Curves:
    """One plot of a few named curves over a common axis.

    Each is named by its title. References are horizontal lines; they appear when `refer` gives them a value. words: shown until a
    curve has a point.
    """

    def __init__(
        self,
        x: str,
        y: str,
        lines: Sequence[Look],
        references: Sequence[Look] = (),
        *,
        height: int = 260,
        log: bool = False,
        dots: bool = False,
        words: str = NOTHING,
    ) -> None:
        self.figure = plot(
            x, y, height=height, y_axis_type="log" if log else "linear", x_range=Range1d(0, 1), y_range=Range1d(0, 1)
        )
        self._log = log
        self.sources = {look.title: ColumnDataSource({"x": [], "y": []}) for look in lines}
        self.levels = {look.title: ColumnDataSource({"y": []}) for look in references}
        self._cursor = ColumnDataSource({"x": []})
        drawn = []
        for look in lines:
            line = Line(x="x", y="y", line_color=look.colour, line_width=2, line_dash=look.dash)
            drawn.append(draw(self.figure, self.sources[look.title], line))
            if dots:
                dot = Scatter(x="x", y="y", size=6, fill_color=look.colour, line_color=look.colour)
                draw(self.figure, self.sources[look.title], dot)
        for look in references:
            level = HSpan(y="y", line_color=look.colour, line_dash=look.dash, line_width=2)
            draw(self.figure, self.levels[look.title], level)
        draw(self.figure, self._cursor, VSpan(x="x", line_color=GREY, line_width=1.5))
        self.figure.xaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=5)
        self.figure.add_tools(HoverTool(renderers=drawn, tooltips=[(x, "@x"), ("value", "@y{0.00000}")], mode="vline"))
        self._looks = (*lines, *references)
        self.legend = html("", margin=(2, 4, 0, 8), styles={**TEXT, "min-height": "2.4rem"})
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self._waiting = Waiting(self.legend, plotted, title=y, words=words, height=height + 40)
        self.panel = self._waiting.panel
        self._bounds()

    def set(self, name: str, x: Sequence[float], y: Sequence[float]) -> None:
        """Replace a curve; if only points at its end are new, send only these."""
        source, have = self.sources[name], len(self.sources[name].data["x"])
        x, y = np.asarray(x, float), np.asarray(y, float)
        if 0 < have <= len(x) and np.array_equal(source.data["x"], x[:have]):
            if len(x) == have:
                return
            source.stream({"x": x[have:], "y": y[have:]})
        elif have or len(x):
            source.data = {"x": x, "y": y}
        else:
            return
        self._bounds()

    def refer(self, name: str, value: float | None) -> None:
        """Put a reference line at `value`; None removes it."""
        wanted = [] if value is None or not np.isfinite(value) else [value]
        if list(self.levels[name].data["y"]) != wanted:
            self.levels[name].data = {"y": wanted}
            self._bounds()

    def cursor(self, x: float | None) -> None:
        """Draw a vertical line at `x`; None removes it."""
        self._cursor.data = {"x": [] if x is None else [x]}

    def clear(self) -> None:
        """Remove all curves, reference lines and the cursor."""
        for source in self.sources.values():
            source.data = {"x": [], "y": []}
        for level in self.levels.values():
            level.data = {"y": []}
        self.cursor(None)
        self._bounds()

    def _bounds(self) -> None:
        """Update the legend, and fit both ranges to curves and reference lines; Bokeh ignores the latter in automatic ranges."""
        shown = {n for n, s in (self.sources | self.levels).items() if len(s.data["y"])}
        text = swatches(look for look in self._looks if look.title in shown)
        if self.legend.object != text:
            self.legend.object = text
        x = np.concatenate([np.asarray(s.data["x"], float) for s in self.sources.values()])
        self._waiting.drawn(x.size > 0)
        left, right = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
        air = 0.03 * (right - left) or 0.5
        self.figure.x_range.update(start=left - air, end=right + air, reset_start=left - air, reset_end=right + air)
        values = [np.asarray(s.data["y"], float) for s in (*self.sources.values(), *self.levels.values())]
        y = np.concatenate(values) if values else np.array([])
        y = y[np.isfinite(y) & (y > 0)] if self._log else y[np.isfinite(y)]
        if not y.size:
            low, high = (1e-3, 1.0) if self._log else (0.0, 1.0)
        elif self._log:
            low, high = y.min() / 1.3, y.max() * 1.3
        else:
            pad = 0.08 * (y.max() - y.min()) or 0.02
            low, high = y.min() - pad, y.max() + pad
        self.figure.y_range.update(start=float(low), end=float(high), reset_start=float(low), reset_end=float(high))
