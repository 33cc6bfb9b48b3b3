"""Views of the coreset page: the map of easy and moving samples, trajectories, class bars, overlaps, accuracy by budget.

Every class has its Bokeh figures in `panel`; `show` replaces their data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.models import (
    BoxAnnotation,
    BoxSelectTool,
    ColorBar,
    ColumnDataSource,
    FactorRange,
    FixedTicker,
    HoverTool,
    HSpan,
    LassoSelectTool,
    Line,
    LinearColorMapper,
    MultiLine,
    Range1d,
    Rect,
    Scatter,
    TapTool,
    Text,
    VBar,
    VSpan,
    Whisker,
)
from bokeh.palettes import Cividis256

from workbench.views.card import html, swatch
from workbench.views.lines import swatches
from workbench.views.looks import GREY, REFERENCES, SELECTORS, STATES, Look, look
from workbench.views.plots import draw, plot
from workbench.views.ranks import rank_ticks, ranked
from workbench.views.waiting import Waiting

FULL, CUT = REFERENCES["full"], STATES["cut"]
LARGEST = 6000  # points that are sent to a browser at most; more are thinned to every second, third, ...


class DataMap:
    """Samples as points: x is the mean probability of the label, y the score. `on_select(then)` gives the selected positions.

    Both axes are by rank, with values at their ticks: most samples are easy and hardly move, so they would pile up in a corner.
    A point is selected by a click, by the box or by the lasso; positions are those of the arrays given to `show`.
    """

    def __init__(self, *, height: int = 330) -> None:
        columns = ("x", "y", "rank_x", "rank_y", "at", "text", "color", "wrong")
        self.source = ColumnDataSource({c: [] for c in columns})
        self.picks = ColumnDataSource({"rank_x": [], "rank_y": [], "color": []})
        self._ranks = np.zeros((2, 0))  # of all samples, also of those that are not sent
        lasso = LassoSelectTool(continuous=False)
        self.figure = plot(
            "mean probability of the label so far (easy to the right; axis by rank)",
            "score S (axis by rank)",
            height=height,
            x_range=Range1d(-0.03, 1.03),
            y_range=Range1d(-0.03, 1.03),
            tools="pan,wheel_zoom,reset",
            active_drag=None,
        )
        place = {"x": "rank_x", "y": "rank_y"}
        point = {**place, "size": 6, "fill_color": field("color"), "line_width": 0, "fill_alpha": 0.65}
        drawn = draw(self.figure, self.source, Scatter(**point, line_color=None))
        drawn.nonselection_glyph = Scatter(**{**point, "fill_alpha": 0.18}, line_color=None)
        ringed = Scatter(**place, size=field("wrong"), fill_alpha=0, line_color=STATES["wrong label"].colour, line_width=1.6)
        rings = draw(self.figure, self.source, ringed)
        rings.nonselection_glyph = None
        draw(self.figure, self.picks, Scatter(**place, size=12, fill_alpha=0, line_color="black", line_width=4.5))
        draw(self.figure, self.picks, Scatter(**place, size=12, fill_alpha=0, line_color=field("color"), line_width=2.5))
        tap = TapTool(renderers=[drawn])
        box = BoxSelectTool(renderers=[drawn])
        lasso.renderers = [drawn]
        self.figure.add_tools(lasso, box, tap, HoverTool(renderers=[drawn], tooltips="@text"))
        self.figure.toolbar.active_drag = lasso
        self.figure.toolbar.active_tap = tap
        self.figure.toolbar.autohide = False
        self._then: list[Callable[[list[int]], None]] = []
        self._quiet = False
        self.source.selected.on_change("indices", self._selected)
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "Scores begin when the first window of J epochs is full."
        self._waiting = Waiting(plotted, title="Scores of the samples", words=words, height=height)
        self.panel = self._waiting.panel

    def show(self, x: np.ndarray, y: np.ndarray, texts: Sequence[str], kept: np.ndarray, wrong: np.ndarray | None) -> None:
        """Show all samples: x, y, hover texts, whether kept (colour), and which labels are known to be wrong (blue ring)."""
        at = np.arange(0, len(x), -(-len(x) // LARGEST) or 1)
        self._waiting.drawn(len(x) > 0)
        self._ranks = np.array([ranked(np.asarray(x)), ranked(np.asarray(y))])
        self._quiet = True
        self.source.data = {
            "x": np.asarray(x, np.float32)[at],
            "y": np.asarray(y, np.float32)[at],
            "rank_x": self._ranks[0][at].astype(np.float32),
            "rank_y": self._ranks[1][at].astype(np.float32),
            "at": at,
            "text": [texts[i] for i in at],
            "color": np.where(np.asarray(kept)[at], STATES["kept"].colour, STATES["dropped"].colour).tolist(),
            "wrong": np.zeros(len(at)) if wrong is None else np.where(wrong[at], 9.0, 0.0),
        }
        self._quiet = False
        for axis, values in ((self.figure.xaxis, x), (self.figure.yaxis, y)):
            ticks = rank_ticks(np.asarray(values))
            axis.ticker, axis.major_label_overrides = FixedTicker(ticks=list(ticks)), ticks

    def mark(self, positions: Sequence[int] | np.ndarray, colours: Sequence[str]) -> None:
        """Ring the picked samples; positions are those of the arrays given to `show`."""
        x, y = self._ranks[:, np.asarray(positions, int)]
        self.picks.data = {"rank_x": x, "rank_y": y, "color": list(colours)}

    def unselect(self) -> None:
        """Clear the selection without calling the listeners."""
        self._quiet = True
        self.source.selected.indices = []
        self._quiet = False

    def clear(self) -> None:
        """Remove all samples, marks and the selection."""
        self.unselect()
        self.source.data = {k: [] for k in self.source.data}
        self._waiting.drawn(False)
        self.mark([], [])

    def on_select(self, then: Callable[[list[int]], None]) -> None:
        """Call `then` with the positions of the samples after each selection."""
        self._then.append(then)

    def _selected(self, _attr: str, _old: object, new: Sequence[int]) -> None:
        if self._quiet:
            return
        chosen = [int(self.source.data["at"][i]) for i in new]
        for then in self._then:
            then(chosen)


Drawn = tuple[str, str, Sequence[float], Sequence[float]]  # name, colour, epochs, values


class Trajectory:
    """Two figures over the epochs: probability of the label, and its change d from epoch to epoch; the window of the score is shaded."""

    def __init__(self, *, height: int = 170) -> None:
        self.lines = ColumnDataSource({"xs": [], "ys": [], "color": [], "name": []})
        self.changes = ColumnDataSource({"xs": [], "ys": [], "color": [], "name": []})
        self.means = tuple(ColumnDataSource({"xs": [], "ys": [], "color": [], "name": []}) for _ in range(2))
        self.p = plot("", "p of the label", height=height, x_range=Range1d(0, 1), y_range=Range1d(-0.04, 1.04))
        self.d = plot("epoch", "change d", height=height, x_range=self.p.x_range, y_range=Range1d(0, 1))
        self._windows = []
        for made, source, mean in zip((self.p, self.d), (self.lines, self.changes), self.means, strict=True):
            shade = BoxAnnotation(
                left=0, right=0, fill_color=STATES["window"].colour, fill_alpha=0.22, line_alpha=0, visible=False
            )
            made.add_layout(shade)
            self._windows.append(shade)
            behind = draw(
                made, mean, MultiLine(xs="xs", ys="ys", line_color=field("color"), line_width=2, line_dash="dashed")
            )
            drawn = draw(made, source, MultiLine(xs="xs", ys="ys", line_color=field("color"), line_width=2.2))
            made.add_tools(
                HoverTool(renderers=[drawn, behind], tooltips=[("", "@name"), ("epoch", "$x{0}"), ("value", "$y{0.000}")])
            )
        plotted = [pn.pane.Bokeh(f, sizing_mode="stretch_width", margin=0) for f in (self.p, self.d)]
        words = "Drawn after the first epochs; click a point or a picture to add its sample."
        self.legend = html("", margin=(2, 4, 0, 8))
        self._waiting = Waiting(self.legend, *plotted, title="Trajectories", words=words, height=2 * height)
        self.panel = self._waiting.panel

    def show(
        self,
        lines: Sequence[Drawn],
        changes: Sequence[Drawn],
        means: tuple[Sequence[Drawn], Sequence[Drawn]],
        last: float,
        window: tuple[float, float] | None,
    ) -> None:
        """lines, changes, and both of `means` (dashed, in the background): (name, colour, epochs, values) each.

        last: last epoch of the axis. window: first and last epoch that the score S uses.
        """
        self._waiting.drawn(any(len(x) for given in (lines, changes, *means) for _, _, x, _ in given))
        for source, given in zip((self.lines, self.changes, *self.means), (lines, changes, *means), strict=True):
            source.data = {
                "xs": [np.asarray(x, float) for _, _, x, _ in given],
                "ys": [np.asarray(y, float) for _, _, _, y in given],
                "color": [c for _, c, _, _ in given],
                "name": [n for n, _, _, _ in given],
            }
        groups = {name: Look(name, colour, "dashed") for name, colour, _, _ in means[0]}
        window_colour = f"{STATES['window'].colour}88"
        shaded = swatch(window_colour, f"epochs {window[0]:g} to {window[1]:g}, the newest window of S") if window else ""
        self.legend.object = f"{swatches(groups.values())} {shaded}"
        self.p.x_range.update(start=0.7, end=max(last, 2) + 0.3, reset_start=0.7, reset_end=max(last, 2) + 0.3)
        highest = max((float(np.nanmax(y)) for _, _, _, y in (*changes, *means[1]) if len(y)), default=1.0)
        self.d.y_range.update(start=-0.04 * highest, end=1.08 * highest or 1.0, reset_end=1.08 * highest or 1.0)
        for shade in self._windows:
            shade.visible = window is not None
            if window is not None:
                shade.update(left=window[0], right=window[1])


class ClassBars:
    """For every class: number of samples, and number of kept samples."""

    def __init__(self, *, height: int = 250) -> None:
        self.source = ColumnDataSource({"name": [], "total": [], "kept": [], "share": []})
        self.figure = plot(
            "class", "training samples", height=height, x_range=FactorRange(), y_range=Range1d(0, 1), tools=""
        )
        draw(
            self.figure, self.source, VBar(x="name", top="total", width=0.78, fill_color=GREY, fill_alpha=0.35, line_alpha=0)
        )
        drawn = draw(
            self.figure, self.source, VBar(x="name", top="kept", width=0.78, fill_color=STATES["kept"].colour, line_alpha=0)
        )
        tips = [("class", "@name"), ("kept", "@kept of @total"), ("share", "@share{0.0} %")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips, mode="vline"))
        self.figure.xgrid.visible = False
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "Drawn when the run has scores."
        self._waiting = Waiting(plotted, title="Samples of each class", words=words, height=height)
        self.panel = self._waiting.panel

    def show(self, names: Sequence[str], total: np.ndarray, kept: np.ndarray) -> None:
        """Replace the bars: names of the classes, number of samples and of kept samples (class)."""
        names = [str(n) for n in names]
        if list(self.figure.x_range.factors) != names:
            self.figure.x_range.factors = names
            self.figure.xaxis.major_label_orientation = 0.6 if max(map(len, names)) > 4 and len(names) > 4 else 0.0
        self._waiting.drawn(bool(names))
        self.source.data = {
            "name": names,
            "total": np.asarray(total),
            "kept": np.asarray(kept),
            "share": 100 * np.asarray(kept) / np.maximum(total, 1),
        }
        self.figure.y_range.update(end=1.08 * float(np.max(total)), reset_end=1.08 * float(np.max(total)))


class Cumulative:
    """Share of the total score that the highest-scored samples have, against their share; dashed: if all scores were equal."""

    def __init__(self, *, height: int = 250) -> None:
        self.source = ColumnDataSource({"xs": [], "ys": [], "color": [], "dash": [], "name": []})
        self.cut = ColumnDataSource({"x": []})
        self.figure = plot(
            "share of samples, highest score first",
            "share of the whole score",
            height=height,
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1.03),
        )
        draw(
            self.figure,
            ColumnDataSource({"x": [0, 1], "y": [0, 1]}),
            Line(x="x", y="y", line_color=GREY, line_dash="dashed"),
        )
        style = {"line_color": field("color"), "line_dash": field("dash"), "line_width": 2.4}
        drawn = draw(self.figure, self.source, MultiLine(xs="xs", ys="ys", **style))
        draw(self.figure, self.cut, VSpan(x="x", line_color=CUT.colour, line_width=2.5, line_dash=CUT.dash))
        tips = [("", "@name"), ("samples", "$x{0 %}"), ("score", "$y{0 %}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "Drawn when the run has scores."
        self._waiting = Waiting(plotted, title="Share of the whole score", words=words, height=height)
        self.panel = self._waiting.panel

    def show(self, scores: Mapping[str, np.ndarray], keep: float) -> None:
        """selector -> its scores (sample); a selector with a negative or non-finite score is omitted."""
        data: dict[str, list] = {k: [] for k in self.source.data}
        for name, score in scores.items():
            if not np.isfinite(score).all() or score.min() < 0 or score.sum() <= 0:
                continue
            total = np.concatenate([[0.0], np.cumsum(np.sort(score)[::-1])])
            at = np.unique(np.linspace(0, score.size, min(score.size, 400) + 1).round().astype(int))
            data["xs"].append(at / score.size)
            data["ys"].append(total[at] / total[-1])
            data["color"].append(look(name, SELECTORS).colour)
            data["dash"].append(look(name, SELECTORS).dash)
            data["name"].append(look(name, SELECTORS).title)
        self._waiting.drawn(bool(data["name"]))
        self.source.data = data
        self.cut.data = {"x": [keep]}


class Overlap:
    """Jaccard overlap of all pairs of selectors, as a coloured matrix with numbers."""

    def __init__(self, *, height: int = 330) -> None:
        self.source = ColumnDataSource({"a": [], "b": [], "value": [], "text": [], "ink": []})
        self.figure = plot("", "", height=height, x_range=FactorRange(), y_range=FactorRange(), tools="")
        self.figure.min_border_top = 10  # half a label of the colour bar
        mapper = LinearColorMapper(palette=Cividis256, low=0, high=1)
        drawn = draw(
            self.figure,
            self.source,
            Rect(x="b", y="a", width=1, height=1, fill_color={"field": "value", "transform": mapper}, line_alpha=0),
        )
        centred = {"text_align": "center", "text_baseline": "middle", "text_font_size": "11px"}
        draw(self.figure, self.source, Text(x="b", y="a", text="text", text_color=field("ink"), **centred))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips="@a and @b: @value{0.000}"))
        self.figure.grid.visible = False
        self.figure.xaxis.major_label_orientation = 0.8
        bar = ColorBar(color_mapper=mapper, width=8, padding=2, label_standoff=4, ticker=FixedTicker(ticks=[0, 0.5, 1]))
        self.figure.add_layout(bar, "right")
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "Drawn when the run has scores."
        self._waiting = Waiting(plotted, title="Overlap of the selectors", words=words, height=height)
        self.panel = self._waiting.panel

    def show(self, names: Sequence[str], matrix: np.ndarray) -> None:
        """matrix (selector, selector), in the order of the printed names."""
        names = list(names)
        if list(self.figure.x_range.factors) != names:
            self.figure.x_range.factors, self.figure.y_range.factors = names, names[::-1]
        values = np.asarray(matrix, float).ravel()
        self._waiting.drawn(bool(names))
        self.source.data = {
            "a": list(np.repeat(names, len(names))),
            "b": names * len(names),
            "value": values,
            "text": ["1" if v > 0.995 else f"{v:.2f}"[1:] for v in values],
            "ink": np.where(values > 0.55, "#111111", "#FFFFFF").tolist(),
        }


class Accuracy:
    """Accuracy against the share kept: mean and standard deviation over runs for every selector; all samples as a line."""

    def __init__(self, *, height: int = 380) -> None:
        self.figure = plot(
            "share of training samples kept (log scale)",
            "test accuracy, last step",
            height=height,
            x_axis_type="log",
            x_range=Range1d(0.08, 0.6),
            y_range=Range1d(0, 1),
        )
        self.sources = {
            n: ColumnDataSource({k: [] for k in ("x", "keep", "y", "low", "high", "runs", "name")}) for n in SELECTORS
        }
        self.full = ColumnDataSource({"y": []})
        draw(self.figure, self.full, HSpan(y="y", line_color=FULL.colour, line_dash=FULL.dash, line_width=2))
        drawn = []
        for name, one in SELECTORS.items():
            source, colour = self.sources[name], one.colour
            draw(self.figure, source, Line(x="x", y="y", line_color=colour, line_dash=one.dash, line_width=2.2))
            drawn.append(draw(self.figure, source, Scatter(x="x", y="y", size=8, fill_color=colour, line_color=colour)))
            bars = Whisker(
                base="x", lower="low", upper="high", source=source, line_color=colour, line_width=2, level="glyph"
            )
            bars.upper_head.line_color = bars.lower_head.line_color = colour
            self.figure.add_layout(bars)
            source.name = one.title
        tips = [("", "@name"), ("share kept", "@keep"), ("accuracy", "@y{0.0000}"), ("runs", "@runs")]
        self.figure.add_tools(HoverTool(renderers=drawn, tooltips=tips))
        self.legend = html("", margin=(2, 4, 0, 8))
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "Drawn when a run on these data has measured it."
        self._waiting = Waiting(self.legend, plotted, title="Accuracy against the share kept", words=words, height=height)
        self.panel = self._waiting.panel

    def show(self, values: Mapping[str, Mapping[float, Sequence[float]]], full: Sequence[float]) -> None:
        """selector -> share kept -> one accuracy per run."""
        seen: list[float] = list(full)
        shares: set[float] = set()
        for n, (name, source) in enumerate(self.sources.items()):
            by_keep = values.get(name, {})
            keeps = sorted(by_keep)
            mean = np.array([np.mean(by_keep[k]) for k in keeps])
            spread = np.array([np.std(by_keep[k], ddof=1) if len(by_keep[k]) > 1 else 0.0 for k in keeps])
            aside = 1 + 0.008 * (n % 5 - 2)  # shift sideways, so that error bars do not overlap
            source.data = {
                "x": np.array(keeps) * aside,
                "keep": keeps,
                "y": mean,
                "low": mean - spread,
                "high": mean + spread,
                "runs": [len(by_keep[k]) for k in keeps],
                "name": [SELECTORS[name].title] * len(keeps),
            }
            shares |= set(keeps)
            seen += [*(mean - spread), *(mean + spread)]
        self._waiting.drawn(bool(seen))
        self.full.data = {"y": [float(np.mean(full))] if full else []}
        self.legend.object = swatches([*(one for n, one in SELECTORS.items() if values.get(n)), *([FULL] if full else [])])
        if shares:
            low, high = 0.85 * min(shares), min(1.15 * max(shares), 1.2)
            self.figure.x_range.update(start=low, end=high, reset_start=low, reset_end=high)
            self.figure.xaxis.ticker = FixedTicker(ticks=sorted(shares))
            self.figure.xaxis.major_label_overrides = {
                share: f"{share:g}" for share in shares
            }  # the default labels are powers of ten
        if seen:
            air = 0.08 * (max(seen) - min(seen)) or 0.02
            low, high = min(seen) - air, max(seen) + air
            self.figure.y_range.update(start=low, end=high, reset_start=low, reset_end=high)
