"""Views of the compression page: filters as strips with a cut line, bars of layers, a ladder of bits, a waterfall, quality by cost.

Every class has its Bokeh figures in `panel`; `show` replaces their data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.events import Tap
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Line,
    Quad,
    Range1d,
    Rect,
    Scatter,
    Segment,
    Text,
    VSpan,
)
from bokeh.plotting import figure

from workbench.views.card import html
from workbench.views.labels import places
from workbench.views.lines import swatches
from workbench.views.looks import BLUE, BORDER, GREEN, GREY, ORANGE, STATES, Look
from workbench.views.plots import draw, name_ticks, plot
from workbench.views.waiting import Waiting

PICKED = Look("picked", BLUE)
KEPT, REMOVED, CUT = STATES["kept"], STATES["dropped"], STATES["cut"]
LEVELS = (2, 3, 4, 5, 6, 7, 8, 32)  # of the ladder
FLOAT = 32
TICKS = 30  # names of layers along an axis at most
PALE = 0.22  # opacity of what was there before


class FilterStrips:
    """One strip for each layer with a tick for each filter at its score; filters left of the line are removed. A click moves the line, or
    picks a filter.
    """

    def __init__(self, *, height: int = 420) -> None:
        self.source = ColumnDataSource({n: [] for n in ("x", "y0", "y1", "color", "layer", "number", "what")})
        self.line, self.picked = ColumnDataSource({"x": []}), ColumnDataSource({"x": [], "y0": [], "y1": []})
        ranges = {"x_range": Range1d(0, 1), "y_range": Range1d(0.5, -0.5)}
        self.figure = plot("score of a filter", "", height=height, tools="xwheel_zoom,xpan,reset", **ranges)
        self.figure.ygrid.visible = False
        ticks = {
            "x0": "x",
            "x1": "x",
            "y0": "y0",
            "y1": "y1",
            "line_color": field("color"),
            "line_width": 2,
            "line_alpha": 0.85,
        }
        drawn = draw(self.figure, self.source, Segment(**ticks))
        marked = Segment(x0="x", x1="x", y0="y0", y1="y1", line_color=PICKED.colour, line_width=5)
        draw(self.figure, self.picked, marked)
        draw(self.figure, self.line, VSpan(x="x", line_color=CUT.colour, line_dash=CUT.dash, line_width=2))
        tips = [("layer", "@layer"), ("filter", "@number"), ("score", "@x{0.000}"), ("", "@what")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.figure.on_event(Tap, lambda event: [] if event.x is None else [then(event.x) for then in self._then])
        self._then: list[Callable[[float], None]] = []
        self._pick: list[Callable[[int, int], None]] = []
        self.figure.on_event(Tap, self._tapped)
        legend = html(
            swatches([KEPT, Look("removed", REMOVED.colour), Look("cut line", CUT.colour, CUT.dash)]), margin=(2, 8)
        )
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "This run removed no filters."
        self._waiting = Waiting(legend, plotted, title="Filters by their score", words=words, height=120)
        self.panel = self._waiting.panel

    def mark(self, row: int, number: int) -> None:
        """Mark a filter of a strip; -1 for none."""
        data = self.source.data
        at = np.flatnonzero(
            (np.round(np.asarray(data["y0"], float) + 0.36) == row) & (np.asarray(data["number"]) == number)
        )[:1]
        x = np.asarray(data["x"])[at]
        self.picked.data = {"x": x, "y0": np.full(len(x), row - 0.46), "y1": np.full(len(x), row + 0.46)}

    def on_pick(self, then: Callable[[int, int], None]) -> None:
        """Call `then(strip, filter)` with the filter nearest to each click on a strip."""
        self._pick.append(then)

    def _tapped(self, event: Tap) -> None:
        if not self._pick or event.x is None or event.y is None:
            return
        data, row = self.source.data, int(np.floor(event.y + 0.5))
        here = np.flatnonzero(np.round(np.asarray(data["y0"]) + 0.36) == row)
        if len(here):
            number = int(np.asarray(data["number"])[here[np.abs(np.asarray(data["x"])[here] - event.x).argmin()]])
            for then in self._pick:
                then(row, number)

    def show(self, names: Sequence[str], scores: Sequence[np.ndarray], kept: Sequence[np.ndarray], line: float) -> None:
        """names: of the layers. scores, kept: (filters,) of each layer, kept as bool. line: score of the cut line."""
        self._waiting.drawn(bool(names))
        counts = [len(s) for s in scores]
        row = np.repeat(np.arange(len(names)), counts)
        alive = np.concatenate([*kept, np.zeros(0, bool)]).astype(bool)
        values = np.concatenate([*scores, []])
        self.source.data = {
            "x": values,
            "y0": row - 0.36,
            "y1": row + 0.36,
            "color": np.where(alive, KEPT.colour, REMOVED.colour).tolist(),
            "layer": [names[n] for n in row],
            "number": np.concatenate([*(np.arange(n) for n in counts), []]).astype(int),
            "what": np.where(alive, "kept", "removed").tolist(),
        }
        self.line.data = {"x": [line] if np.isfinite(line) else []}
        name_ticks(self.figure.yaxis, names, TICKS)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        air = 0.04 * (high - low) or 0.5
        ends = (self.figure.x_range, low - air, high + air), (self.figure.y_range, len(names) - 0.4, -0.6)
        for range_, start, end in ends:
            if (range_.reset_start, range_.reset_end) != (start, end):
                range_.update(start=start, end=end, reset_start=start, reset_end=end)

    def on_cut(self, then: Callable[[float], None]) -> None:
        """Call `then` with the score at each click."""
        self._then.append(then)


class LayerBars:
    """One bar for each layer: what is left, before what was there. log: on a log axis, where little is left of much."""

    def __init__(self, y: str, *, height: int = 190, log: bool = False) -> None:
        self.source = ColumnDataSource({n: [] for n in ("left", "right", "whole", "kept", "name")})
        options: dict[str, Any] = {"tools": "", "toolbar_location": None, "y_axis_type": "log" if log else "linear"}
        self.figure = plot("", y, height=height, x_range=Range1d(0, 1), y_range=Range1d(1e-3 if log else 0, 1), **options)
        self.figure.xgrid.visible = False
        self._log = log
        edges = {"left": "left", "right": "right", "bottom": 1e-12 if log else 0, "line_color": None}
        draw(self.figure, self.source, Quad(**edges, top="whole", fill_color=GREY, fill_alpha=PALE))
        drawn = draw(self.figure, self.source, Quad(**edges, top="kept", fill_color=KEPT.colour, fill_alpha=0.9))
        self.errors = ColumnDataSource({n: [] for n in ("x", "low", "high")})
        draw(self.figure, self.errors, Segment(x0="x", x1="x", y0="low", y1="high", line_color=GREY, line_width=2))
        tips = [("layer", "@name"), ("left", "@kept{0,0.[00000]}"), ("of", "@whole{0,0.[00000]}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)

    def show(self, names: Sequence[str], whole: np.ndarray, kept: np.ndarray, error: np.ndarray | None = None) -> None:
        """whole, kept, error (layers,): before and after, and the half length of an error bar of `kept`."""
        at = np.arange(len(names))
        spread = np.zeros(0) if error is None else error
        ends = {"x": at[: len(spread)], "low": kept[: len(spread)] - spread, "high": kept[: len(spread)] + spread}
        self.errors.data = ends
        self.source.data = {"left": at - 0.4, "right": at + 0.4, "whole": whole, "kept": kept, "name": list(names)}
        name_ticks(self.figure.xaxis, names, TICKS)
        self.figure.xaxis.major_label_orientation = 0.9
        top = 1.06 * float(max(np.max(v, initial=0) for v in (whole, kept, ends["high"]))) or 1.0
        low = 1.06 * float(min(np.min(v, initial=0) for v in (kept, ends["low"])))
        if self._log:
            some = [v[v > 0] for v in (np.asarray(whole, float), np.asarray(kept, float))]
            low, top = float(np.concatenate(some).min(initial=top)) / 2, 1.5 * top
        for range_, start, end in ((self.figure.x_range, -0.6, len(names) - 0.4), (self.figure.y_range, low, top)):
            range_.update(start=start, end=end, reset_start=start, reset_end=end)


class BitLadder:
    """Bits of each layer as steps: a filled cell is what the layer has, an outlined one what the run gave it. A click sets the bits."""

    def __init__(self, *, height: int = 260) -> None:
        self.cells = ColumnDataSource({n: [] for n in ("x", "y", "alpha", "name", "bits")})
        self.marks = ColumnDataSource({"x": [], "y": []})
        self.caps = ColumnDataSource({"x0": [], "x1": [], "y": []})
        ranges = {"x_range": Range1d(-0.6, 0.6), "y_range": Range1d(-0.6, len(LEVELS) - 0.4)}
        self.figure = plot("", "bits", height=height, tools="", toolbar_location=None, **ranges)
        self.figure.grid.visible = False
        cell = {"x": "x", "y": "y", "width": 0.86, "height": 0.8}
        shown = Rect(**cell, fill_color=ORANGE, fill_alpha=field("alpha"), line_color=GREY, line_alpha=0.35)
        drawn = draw(self.figure, self.cells, shown)
        draw(self.figure, self.marks, Rect(**cell, fill_alpha=0, line_color=BLUE, line_width=2.5))
        draw(self.figure, self.caps, Segment(x0="x0", x1="x1", y0="y", y1="y", line_color=GREEN, line_width=3))
        self.figure.add_tools(
            HoverTool(renderers=[drawn], tooltips=[("layer", "@name"), ("a click gives it", "@bits bits")])
        )
        self.figure.yaxis.ticker = FixedTicker(ticks=list(range(len(LEVELS))))
        self.figure.yaxis.major_label_overrides = {n: "float" if b == FLOAT else str(b) for n, b in enumerate(LEVELS)}
        self.figure.on_event(Tap, self._tapped)
        self._then: list[Callable[[int, int], None]] = []
        legend = [Look("now", ORANGE), Look("of the run", BLUE), Look("largest bits", GREEN)]
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self.panel = pn.Column(html(swatches(legend), margin=(2, 8)), plotted, sizing_mode="stretch_width", margin=0)
        self._count = 0

    def show(self, names: Sequence[str], bits: Sequence[int], of_run: Sequence[int], caps: Sequence[int] | None) -> None:
        """bits, of_run, caps: of each layer; bits that are no level are drawn at the nearest one below."""
        self._count = len(names)
        rows, columns = (a.ravel() for a in np.indices((len(LEVELS), len(names))))
        now, before = np.array([level_of(b) for b in bits], int), np.array([level_of(b) for b in of_run], int)
        self.cells.data = {
            "x": columns,
            "y": rows,
            "alpha": np.where(rows == now[columns], 0.9, 0.04) if len(names) else [],
            "name": [names[n] for n in columns],
            "bits": [LEVELS[n] for n in rows],
        }
        self.marks.data = {"x": np.arange(len(names)), "y": before}
        at = np.arange(len(names)) if caps is not None else np.zeros(0)
        top = np.array([level_of(c) for c in caps or ()], float) + 0.44
        self.caps.data = {"x0": at - 0.43, "x1": at + 0.43, "y": top}
        name_ticks(self.figure.xaxis, names, TICKS)
        self.figure.xaxis.major_label_orientation = 0.9
        self.figure.x_range.update(start=-0.6, end=len(names) - 0.4, reset_start=-0.6, reset_end=len(names) - 0.4)

    def on_set(self, then: Callable[[int, int], None]) -> None:
        """Call `then(layer, bits)` for each click on a cell."""
        self._then.append(then)

    def _tapped(self, event: Tap) -> None:
        if event.x is None or event.y is None:
            return
        layer, level = int(np.floor(event.x + 0.5)), int(np.floor(event.y + 0.5))
        if 0 <= layer < self._count and 0 <= level < len(LEVELS):
            for then in self._then:
                then(layer, LEVELS[level])


class Step(NamedTuple):
    """A bar of a waterfall: what it is, its value, and its colour."""

    title: str
    value: float
    colour: str = BLUE


class Waterfall:
    """Costs from the first to the last step on a log axis, each with how many times smaller it is than the first."""

    def __init__(self, y: str, *, height: int = 240) -> None:
        self.source = ColumnDataSource({n: [] for n in ("left", "right", "top", "middle", "color", "text", "name")})
        options: dict[str, Any] = {"tools": "", "toolbar_location": None, "y_axis_type": "log"}
        self.figure = plot("", y, height=height, x_range=Range1d(-0.6, 0.6), y_range=Range1d(0.1, 1), **options)
        self.figure.xgrid.visible = False
        self.bars = Quad(left="left", right="right", top="top", bottom=1e-3, line_color=None, fill_color=field("color"))
        drawn = draw(self.figure, self.source, self.bars)
        text = Text(
            x="middle", y="top", text="text", text_align="center", y_offset=-4, text_font_size="12px", text_color=GREY
        )
        draw(self.figure, self.source, text)
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@name"), (y, "@top{0,0.[000]}"), ("", "@text")]))
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)

    def show(self, steps: Sequence[Step]) -> None:
        """Replace all bars; those that are not positive are left out."""
        steps = [s for s in steps if np.isfinite(s.value) and s.value > 0]
        at = np.arange(len(steps))
        first = steps[0].value if steps else 1.0
        self.source.data = {
            "left": at - 0.38,
            "right": at + 0.38,
            "middle": at,
            "top": [s.value for s in steps],
            "color": [s.colour for s in steps],
            "text": [f"{s.value:.4g}" + (f"\n{_times(s.value / first)}" if n else "") for n, s in enumerate(steps)],
            "name": [s.title for s in steps],
        }
        name_ticks(self.figure.xaxis, [s.title for s in steps])
        low, high = (min(s.value for s in steps), max(s.value for s in steps)) if steps else (0.1, 1.0)
        start, end = low / 4, high * 2.5 * (high / low) ** 0.1  # room for two lines above the highest bar
        self.bars.bottom = start / 10
        self.figure.x_range.update(start=-0.6, end=len(steps) - 0.4, reset_start=-0.6, reset_end=len(steps) - 0.4)
        self.figure.y_range.update(start=start, end=end, reset_start=start, reset_end=end)


def _times(ratio: float) -> str:
    """How a cost became smaller or larger: 0.5 -> "÷ 2", 3 -> "× 3"."""
    return f"÷ {1 / ratio:.3g}" if ratio <= 1 else f"× {ratio:.3g}"


OFFSETS = ("x_offset", "y_offset", "text_align")  # of a name from its point


class Point(NamedTuple):
    """A network in a plot of quality against cost. about: what it is, for the hover text."""

    name: str
    cost: float
    quality: float
    colour: str
    about: str = ""


class Pareto:
    """Quality against cost on a log axis; the line joins the networks that no cheaper one equals."""

    def __init__(self, x: str, y: str, *, height: int = 360) -> None:
        self.points = ColumnDataSource({n: [] for n in ("x", "y", "color", "name", "about", *OFFSETS)})
        self.front = ColumnDataSource({"x": [], "y": []})
        self.cost = ColumnDataSource({"x": []})
        self.figure: figure = plot(x, y, height=height, x_axis_type="log", x_range=Range1d(0.1, 1), y_range=Range1d(0, 1))
        draw(self.figure, self.front, Line(x="x", y="y", line_color=GREY, line_dash="dotted", line_width=2))
        dot = Scatter(x="x", y="y", size=11, fill_color=field("color"), line_color=BORDER, line_alpha=0.5)
        drawn = draw(self.figure, self.points, dot)
        offsets = {name: field(name) for name in OFFSETS}
        draw(self.figure, self.points, Text(x="x", y="y", text="name", text_font_size="11px", text_color=GREY, **offsets))
        draw(self.figure, self.cost, VSpan(x="x", line_color=CUT.colour, line_dash="dashed", line_width=2))
        tips = [("", "@about"), (x, "@x{0.[0000]}"), (y, "@y{0.000}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self._waiting = Waiting(
            plotted, title=f"{y} against {x}", words="The result does not have these costs.", height=height
        )
        self.panel = self._waiting.panel

    def show(self, points: Sequence[Point], now: float | None = None) -> None:
        """Replace all points. now: a cost without a known quality, drawn as a line."""
        points = [p for p in points if np.isfinite([p.cost, p.quality]).all() and p.cost > 0]
        self._waiting.drawn(bool(points))
        best = front(points)
        self.front.data = {"x": [p.cost for p in best], "y": [p.quality for p in best]}
        self.cost.data = {"x": [] if now is None or now <= 0 else [now]}
        costs = [p.cost for p in points] + ([now] if now else [])
        if not points:
            self.points.data = {name: [] for name in self.points.data}
            return
        span = (max(costs) / min(costs)) ** 0.1
        left, right = min(costs) / span / 1.15, max(costs) * span**2 * 1.3
        values = [p.quality for p in points]
        air = 0.1 * (max(values) - min(values)) or 0.05
        low, high = min(values) - air, max(values) + air
        for range_, start, end in ((self.figure.x_range, left, right), (self.figure.y_range, low, high)):
            range_.update(start=start, end=end, reset_start=start, reset_end=end)
        names = [p.name for p in points]
        across = np.log([p.cost / left for p in points]) / np.log(right / left)
        offsets = zip(*places(across, (np.array(values) - low) / (high - low), names), strict=True)
        self.points.data = {
            "x": [p.cost for p in points],
            "y": values,
            "color": [p.colour for p in points],
            "name": names,
            "about": [p.about or p.name for p in points],
            **{name: list(one) for name, one in zip(OFFSETS, offsets, strict=True)},
        }


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no cheaper or equally cheap one equals or beats, by rising cost.

    >>> [p.name for p in front([Point("a", 1, 0.5, ""), Point("b", 2, 0.4, ""), Point("c", 3, 0.6, "")])]
    ['a', 'c']
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def level_of(bits: int) -> int:
    """The place of bits on the ladder: that of the largest level that is not above them, at least the lowest.

    >>> level_of(8), level_of(16), level_of(1)
    (6, 6, 0)
    """
    return max(0, sum(level <= bits for level in LEVELS) - 1)
