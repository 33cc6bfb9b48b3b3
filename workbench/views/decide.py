"""Choice of the threshold: ROC curves with operating points; without truth, a histogram of the scores with the threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.models import ColumnDataSource, HoverTool, MultiLine, Quad, Range1d, Scatter, VSpan

from workbench.views.looks import ANOMALY, BLUE, STATES, look
from workbench.views.plots import draw, plot
from workbench.views.waiting import Waiting

CUT = STATES["cut"]


class RocView:
    """ROC curves of several detectors (false-alarm rate across, detection rate up) and their operating points."""

    def __init__(self, *, height: int = 300) -> None:
        self.curves = ColumnDataSource({"xs": [], "ys": [], "color": [], "name": [], "width": [], "dash": []})
        self.points = ColumnDataSource({"pf": [], "pd": [], "color": [], "name": [], "size": []})
        self._raw: Mapping[str, tuple[np.ndarray, np.ndarray, str]] = {}
        self._chosen = ""
        tips = [("", "@name"), ("PF", "$x{0.00000}"), ("PD", "$y{0.000}")]
        self._figures = {}
        for kind in ("log", "linear"):
            made = plot(
                "false-alarm rate PF" + (" (log scale)" if kind == "log" else ""),
                "detection rate PD",
                height=height,
                x_axis_type=kind,
                x_range=Range1d(1e-4, 1) if kind == "log" else Range1d(-0.01, 1.01),
                y_range=Range1d(-0.02, 1.02),
            )
            line = {"line_color": field("color"), "line_width": field("width"), "line_dash": field("dash")}
            drawn = draw(made, self.curves, MultiLine(xs="xs", ys="ys", **line))
            dot = {"size": field("size"), "fill_color": field("color"), "line_color": "white", "line_width": 1.5}
            draw(made, self.points, Scatter(x="pf", y="pd", **dot))
            made.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
            self._figures[kind] = made
        self._panes = {
            kind: pn.Column(
                pn.pane.Bokeh(made, sizing_mode="stretch_width", margin=0), sizing_mode="stretch_width", margin=0
            )
            for kind, made in self._figures.items()
        }
        self._panes["linear"].visible = False
        words = "Drawn when the first detector has scored the scene."
        self._waiting = Waiting(*self._panes.values(), title="ROC curves", words=words, height=height)
        self.panel = self._waiting.panel

    def set_log(self, log: bool) -> None:
        """Log or linear false-alarm axis; the log axis starts at one false alarm."""
        self._panes["log"].visible, self._panes["linear"].visible = log, not log

    def show(self, curves: Mapping[str, tuple[np.ndarray, np.ndarray, str]], chosen: str, negatives: int) -> None:
        """Show name -> (pf, pd, colour); the chosen one is drawn strongest, on top. `negatives`: background pixels."""
        self._raw, self._chosen = curves, chosen
        self._waiting.drawn(bool(curves))
        least = 1 / max(negatives, 10)
        self._figures["log"].x_range.update(start=0.7 * least, end=1.0, reset_start=0.7 * least, reset_end=1.0)
        names = sorted(curves, key=lambda n: n == chosen)
        self.curves.data = {
            # PF = 0 does not exist on a log axis: draw it at the left edge
            "xs": [np.maximum(curves[n][0], 0.5 * least) for n in names],
            "ys": [curves[n][1] for n in names],
            "color": [curves[n][2] for n in names],
            "name": names,
            "width": [3.0 if n == chosen else 1.6 for n in names],
            "dash": [look(n, ANOMALY).dash for n in names],
        }

    def operate(self, points: Mapping[str, tuple[float, float]]) -> None:
        """Draw the operating points: name -> (pf, pd)."""
        names = [n for n in sorted(points, key=lambda n: n == self._chosen) if n in self._raw]
        least = self._figures["log"].x_range.start
        self.points.data = {
            "pf": [max(points[n][0], least) for n in names],
            "pd": [points[n][1] for n in names],
            "color": [self._raw[n][2] for n in names],
            "name": names,
            "size": [14 if n == self._chosen else 8 for n in names],
        }


class HistogramView:
    """Histogram of the scores (log count) with the threshold, for scenes without truth."""

    def __init__(self, *, height: int = 300) -> None:
        self.bars = ColumnDataSource({"left": [], "right": [], "top": []})
        self.cut = ColumnDataSource({"x": []})
        self.figure = plot(
            "score", "pixels (log scale)", height=height, y_axis_type="log", x_range=Range1d(0, 1), y_range=Range1d(0.7, 10)
        )
        bar = {"fill_color": BLUE, "fill_alpha": 0.8, "line_alpha": 0}
        draw(self.figure, self.bars, Quad(left="left", right="right", top="top", bottom=0.5, **bar))
        draw(self.figure, self.cut, VSpan(x="x", line_color=CUT.colour, line_width=2.5, line_dash=CUT.dash))
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        words = "Drawn when there are scores."
        self._waiting = Waiting(plotted, title="Histogram of the scores", words=words, height=height)
        self.panel = self._waiting.panel

    def show(self, score: np.ndarray, name: str) -> None:
        """Show the histogram of the finite scores of detector `name`."""
        finite = score[np.isfinite(score)].astype(float)
        self._waiting.drawn(finite.size > 0)
        if not finite.size:
            self.bars.data = {k: [] for k in self.bars.data}
            return
        counts, at = np.histogram(finite, bins=80)
        self.bars.data = {"left": at[:-1], "right": at[1:], "top": np.maximum(counts, 0.5)}
        pad = 0.02 * (at[-1] - at[0] or 1)
        self.figure.x_range.update(start=at[0] - pad, end=at[-1] + pad, reset_start=at[0] - pad, reset_end=at[-1] + pad)
        self.figure.y_range.update(end=2 * counts.max(), reset_end=2 * counts.max())
        self.figure.xaxis.axis_label = f"score of {name} (its own units)"

    def mark(self, threshold: float) -> None:
        """Draw the threshold as a vertical line, in units of the score."""
        self.cut.data = {"x": [threshold]}
