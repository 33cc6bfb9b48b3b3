"""Views of bits that follow from weights: the error of each layer by its bits under a threshold, and a histogram with levels in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.events import Tap
from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, HSpan, MultiLine, Quad, Range1d, Scatter, Segment

from workbench.views.card import html
from workbench.views.lines import swatches
from workbench.views.looks import BLUE, BORDER, GREY, ORANGE, STATES, Look
from workbench.views.plots import draw, plot

CUT = STATES["cut"]


class Distances:
    """One line for each layer over its bits, on a log axis, with the bits that the threshold gives it. A click moves the threshold."""

    def __init__(self, y: str, *, height: int = 320) -> None:
        self.lines = ColumnDataSource({n: [] for n in ("xs", "ys", "color", "alpha", "width", "name")})
        self.points = ColumnDataSource({n: [] for n in ("x", "y", "color", "name")})
        self.line = ColumnDataSource({"y": []})
        ranges = {"x_range": Range1d(1.7, 8.3), "y_range": Range1d(0.1, 1)}
        self.figure = plot("bits", y, height=height, y_axis_type="log", tools="ywheel_zoom,ypan,reset", **ranges)
        self.figure.xaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=7)
        style = {"line_color": field("color"), "line_alpha": field("alpha"), "line_width": field("width")}
        drawn = draw(self.figure, self.lines, MultiLine(xs="xs", ys="ys", **style))
        dots = Scatter(x="x", y="y", size=9, fill_color=field("color"), line_color=BORDER)
        marked = draw(self.figure, self.points, dots)
        draw(self.figure, self.line, HSpan(y="y", line_color=CUT.colour, line_dash=CUT.dash, line_width=2))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("layer", "@name")]))
        self.figure.add_tools(
            HoverTool(renderers=[marked], tooltips=[("layer", "@name"), ("bits", "@x"), (y, "@y{0.000e+0}")])
        )
        self.figure.on_event(Tap, lambda event: [] if event.y is None else [then(event.y) for then in self._then])
        self._then: list[Callable[[float], None]] = []
        legend = html(
            swatches([Look("a layer", GREY), Look("the layer below", ORANGE), Look("threshold T", CUT.colour, CUT.dash)]),
            margin=(2, 8),
        )
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self.panel = pn.Column(legend, plotted, sizing_mode="stretch_width", margin=0)

    def show(
        self, names: Sequence[str], bits: np.ndarray, values: np.ndarray, chosen: Sequence[int], threshold: float, one: int
    ) -> None:
        """values (layers, bits), positive or NaN; chosen (layers,): bits of each layer. one: number of the layer that stands
        out, drawn last.
        """
        order = [n for n in range(len(names)) if n != one] + ([one] if one < len(names) else [])
        self.lines.data = {
            "xs": [bits for _ in order],
            "ys": [values[n] for n in order],
            "color": [ORANGE if n == one else GREY for n in order],
            "alpha": [1.0 if n == one else 0.55 for n in order],
            "width": [3.0 if n == one else 1.5 for n in order],
            "name": [names[n] for n in order],
        }
        at = [int(np.argmin(np.abs(bits - chosen[n]))) for n in order]
        self.points.data = {
            "x": [bits[place] for place in at],
            "y": [values[n, place] for n, place in zip(order, at, strict=True)],
            "color": [ORANGE if n == one else GREY for n in order],
            "name": [names[n] for n in order],
        }
        self.line.data = {"y": [threshold] if threshold > 0 else []}
        if np.isfinite(values).any():
            low, high = float(np.nanmin(values)) / 2, float(np.nanmax(values)) * 2
            self.figure.y_range.update(start=low, end=high, reset_start=low, reset_end=high)

    def on_set(self, then: Callable[[float], None]) -> None:
        """Call `then` with the threshold at each click."""
        self._then.append(then)


class LevelHistogram:
    """Upwards the float weights of a layer, downwards the levels of its quantised copy; the largest bar of each has length 1."""

    def __init__(self, *, height: int = 320) -> None:
        self.bars = ColumnDataSource({n: [] for n in ("left", "right", "top", "share")})
        self.levels = ColumnDataSource({n: [] for n in ("x", "y", "share")})
        ranges = {"x_range": Range1d(-1, 1), "y_range": Range1d(-1.12, 1.12)}
        self.figure = plot("weight", "share of weights, largest 1", height=height, tools="xwheel_zoom,xpan,reset", **ranges)
        bar = Quad(left="left", right="right", top="top", bottom=0, line_color=None, fill_color=BLUE, fill_alpha=0.8)
        drawn = draw(self.figure, self.bars, bar)
        stem = draw(self.figure, self.levels, Segment(x0="x", x1="x", y0=0, y1="y", line_color=ORANGE, line_width=2))
        draw(self.figure, self.levels, Scatter(x="x", y="y", size=6, fill_color=ORANGE, line_color=ORANGE))
        self.figure.add_tools(
            HoverTool(renderers=[drawn], tooltips=[("", "@left{0.0000} to @right{0.0000}"), ("share", "@share{0.0%}")])
        )
        self.figure.add_tools(HoverTool(renderers=[stem], tooltips=[("level", "@x{0.0000}"), ("share", "@share{0.0%}")]))
        legend = html(swatches([Look("float teacher", BLUE), Look("levels of the copy", ORANGE)]), margin=(2, 8))
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self.panel = pn.Column(legend, plotted, sizing_mode="stretch_width", margin=0)

    def show(self, edges: np.ndarray, share: np.ndarray, level: np.ndarray, level_share: np.ndarray) -> None:
        """edges (bins + 1,), share (bins,): of the float weights. level, level_share (levels,): of the copy."""
        top, deep = (max(float(np.max(v, initial=0)), 1e-12) for v in (share, level_share))
        self.bars.data = {"left": edges[:-1], "right": edges[1:], "top": share / top, "share": share}
        self.levels.data = {"x": level, "y": -level_share / deep, "share": level_share}
        ends = np.concatenate([edges, level])
        air = 0.04 * float(np.ptp(ends)) or 0.5
        start, end = float(ends.min()) - air, float(ends.max()) + air
        self.figure.x_range.update(start=start, end=end, reset_start=start, reset_end=end)
