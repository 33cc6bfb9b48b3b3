"""Boxes on an image, coloured by what became of them; and precision against recall with the points of sliders.

view = BoxView(Frame(), "Chip")
view.show(picture, [Box((4, 6, 20, 18), "hit", "0.91", "7")])
view.on_tap(lambda name: ...)              # the name of the smallest box under a tap
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.models import ColumnDataSource, HoverTool, MultiLine, Quad, Range1d, Scatter, Text

from workbench.views.card import html
from workbench.views.image import ImageView
from workbench.views.lines import swatches
from workbench.views.looks import BORDER, STATES, Look
from workbench.views.plots import Frame, draw, plot
from workbench.views.screen import HALF
from workbench.views.waiting import NOTHING, Waiting

KINDS = ("hit", "false alarm", "missed", "true box")  # names of looks in STATES
LEGEND = (
    '<span style="background:rgb(74,74,74);color:white;border-radius:4px;padding:3px 8px;display:inline-block">'
    f"{swatches(STATES[kind] for kind in KINDS)}</span>"  # a true box is white, which no light page shows
)


class Box(NamedTuple):
    """edges: x0 y0 x1 y1 in pixels, half-open. kind: one of KINDS. text: written above it. name: what a tap gives."""

    edges: Sequence[float]
    kind: str
    text: str = ""
    name: str = ""


class BoxView(ImageView):
    """An image with boxes on it; one of them may be marked."""

    def __init__(self, frame: Frame, title: str = "", *, axes: bool = False, room: bool = False, tall: str = HALF) -> None:
        super().__init__(frame, title, axes=axes, room=room, tall=tall)
        names = ("left", "right", "top", "bottom", "color", "dash", "name", "what", "width")
        self.texts = ColumnDataSource({n: [] for n in ("left", "top", "color", "text")})
        self.boxes = ColumnDataSource({n: [] for n in names})
        edges = {n: n for n in ("left", "right", "top", "bottom")}
        width, dash = field("width"), field("dash")
        dark = Quad(**edges, fill_alpha=0, line_color=BORDER, line_alpha=0.55, line_width=4)
        draw(self.figure, self.boxes, dark)
        shown = Quad(**edges, fill_alpha=0.001, line_color=field("color"), line_dash=dash, line_width=width)
        drawn = draw(self.figure, self.boxes, shown)
        style = {"text_color": BORDER, "background_fill_color": field("color"), "text_font_size": "11px", "padding": 1}
        draw(self.figure, self.texts, Text(x="left", y="top", text="text", y_offset=-2, **style))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@what")]))

    def draw_boxes(self, boxes: Sequence[Box], marked: str = "") -> None:
        """Replace all boxes; the one named `marked` is drawn with a thicker line."""
        edges = np.asarray([b.edges for b in boxes], float).reshape(-1, 4) - 0.5  # a pixel's centre is a whole number
        self.boxes.data = {
            **dict(zip(("left", "top", "right", "bottom"), edges.T.tolist(), strict=True)),
            "color": [STATES[b.kind].colour for b in boxes],
            "dash": [STATES[b.kind].dash for b in boxes],
            "name": [b.name for b in boxes],
            "what": [f"{STATES[b.kind].title} {b.text}".strip() for b in boxes],
            "width": [4.0 if marked and b.name == marked else 2.0 for b in boxes],
        }
        written = [n for n, b in enumerate(boxes) if b.text]
        self.texts.data = {
            "left": [edges[n, 0] for n in written],
            "top": [edges[n, 1] for n in written],
            "color": [STATES[boxes[n].kind].colour for n in written],
            "text": [boxes[n].text for n in written],
        }

    def on_box(self, then: Callable[[str], None]) -> None:
        """Call `then` with the name of the smallest box under each tap."""

        def tapped(row: int, column: int) -> None:
            table = self.boxes.data
            under = [
                ((table["right"][n] - table["left"][n]) * (table["bottom"][n] - table["top"][n]), name)
                for n, name in enumerate(table["name"])
                if name and table["left"][n] <= column <= table["right"][n] and table["top"][n] <= row <= table["bottom"][n]
            ]
            if under:
                then(min(under)[1])

        self.on_tap(tapped)


class Curve(NamedTuple):
    """Precision against recall of a detector, and the point of its slider: (recall, precision) and what it says; None: no point."""

    look: Look
    recall: np.ndarray
    precision: np.ndarray
    point: tuple[float, float] | None = None
    text: str = ""


class PrecisionRecall:
    """Curves of several detectors on one pair of axes, 0 to 1, each with a point that a slider moves."""

    def __init__(self, *, height: int = 320, words: str = NOTHING) -> None:
        self.lines = ColumnDataSource({n: [] for n in ("xs", "ys", "color", "dash", "name")})
        self.points = ColumnDataSource({n: [] for n in ("x", "y", "color", "name", "text")})
        whole = {"x_range": Range1d(-0.02, 1.02), "y_range": Range1d(-0.02, 1.05)}
        self.figure = plot("recall", "precision", height=height, **whole)
        style = {"line_color": field("color"), "line_dash": field("dash"), "line_width": 2}
        draw(self.figure, self.lines, MultiLine(xs="xs", ys="ys", **style))
        dot = Scatter(x="x", y="y", size=12, fill_color=field("color"), line_color=BORDER, line_width=1.5)
        drawn = draw(self.figure, self.points, dot)
        tips = [("", "@name"), ("", "@text"), ("recall", "@x{0.000}"), ("precision", "@y{0.000}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.legend = html("", margin=(2, 4, 0, 8))
        plotted = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self._waiting = Waiting(self.legend, plotted, title="Precision and recall", words=words, height=height + 20)
        self.panel = self._waiting.panel

    def show(self, curves: Sequence[Curve]) -> None:
        """Replace all curves and points; the first is drawn on top."""
        drawn = [c for c in reversed(curves) if len(c.recall)]
        self.lines.data = {
            "xs": [np.asarray(c.recall, float) for c in drawn],
            "ys": [np.asarray(c.precision, float) for c in drawn],
            "color": [c.look.colour for c in drawn],
            "dash": [c.look.dash for c in drawn],
            "name": [c.look.title for c in drawn],
        }
        with_point = [(c, c.point) for c in drawn if c.point is not None]
        self.points.data = {
            "x": [p[0] for _, p in with_point],
            "y": [p[1] for _, p in with_point],
            "color": [c.look.colour for c, _ in with_point],
            "name": [c.look.title for c, _ in with_point],
            "text": [c.text for c, _ in with_point],
        }
        self._waiting.drawn(bool(drawn))
        self.legend.object = swatches(c.look for c in reversed(drawn))
