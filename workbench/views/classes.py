"""Maps of classes with one legend, and a confusion matrix whose cells can be chosen.

    view = ClassMap(frame, "MDFL")
    view.show(labels, names)                     # (row, column) whole numbers; below 0: no class
    matrix = Confusion()
    matrix.show(counts, names)
    matrix.on_cell(lambda true, given: ...)

The colour of a class depends on its number alone, so it is the same in every map of a page, whichever classes a map has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.events import Tap
from bokeh.models import (
    ColumnDataSource,
    CustomJSHover,
    HoverTool,
    Image,
    LinearColorMapper,
    Range1d,
    Rect,
    Text,
)

from workbench.views.card import swatch
from workbench.views.looks import GREY, RED, class_colours
from workbench.views.plots import Frame, draw, name_ticks, plot, slant, taps, thin
from workbench.views.screen import HALF, map_pane

MASKED = "rgba(128, 128, 128, 0.25)"  # of a pixel without a class
RIGHT, WRONG = "#2F6FB0", "#D9541E"  # of cells on the diagonal, and beside it


class ClassMap:
    """One map of classes in a frame; a pixel without a class is pale grey."""

    def __init__(self, frame: Frame, title: str, *, axes: bool = False, tall: str = HALF) -> None:
        self.frame = frame
        self.source = ColumnDataSource({n: [] for n in ("image", "x", "y", "dw", "dh")})
        self.mapper = LinearColorMapper(palette=class_colours(1), low=-0.5, high=0.5, nan_color=MASKED)
        self.figure = frame.figure(title, axes=axes, tall=tall)
        place = {n: n for n in ("image", "x", "y", "dw", "dh")}
        drawn = draw(self.figure, self.source, Image(**place, color_mapper=self.mapper))
        frame.finish(self.figure)
        self._spelled = CustomJSHover(args={"names": []}, code="return names[Math.round(value)] ?? 'no class'")
        tips = [("row", "$y{0}"), ("column", "$x{0}"), ("class", "@image{custom}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips, formatters={"@image": self._spelled}))
        self.panel = map_pane(self.figure)

    def show(
        self,
        labels: np.ndarray | None,
        names: Sequence[str] = (),
        title: str | None = None,
        colours: Sequence[str] | None = None,
    ) -> None:
        """Show (row, column) whole numbers, below 0 where there is no class; None empties the map. colours: of each, where they are not
        the classes of the scene."""
        if title is not None:
            self.figure.title.text = title
        if labels is None:
            self.source.data = {n: [] for n in self.source.data}
            return
        self.mapper.update(palette=list(colours or class_colours(len(names))), low=-0.5, high=len(names) - 0.5)
        self._spelled.args = {"names": list(names)}
        small, where = thin(np.where(labels < 0, np.nan, labels).astype(np.float32))
        self.source.data = {"image": [small], **{n: [v] for n, v in where.items()}}

    def on_tap(self, then: Callable[[int, int], None]) -> None:
        """Call `then(row, column)` for every tap on the map."""
        taps(self.figure, self.frame, then)


def legend(names: Sequence[str], counts: Sequence[int] | None = None) -> str:
    """HTML: colour and name of every class, with a number of pixels; and the grey of no class."""
    colours = class_colours(len(names))
    texts = [n if counts is None else f"{n} ({int(counts[i]):,})" for i, n in enumerate(names)]
    return " ".join(swatch(c, t) for c, t in zip([*colours, MASKED], [*texts, "no class"], strict=True))


class Confusion:
    """Samples by true class (rows) and given class (columns). The colour of a cell is its share of its row; a click chooses it."""

    def __init__(self, *, height: int = 340) -> None:
        columns = ("x", "y", "color", "alpha", "ink", "count", "share", "true", "given")
        self.cells = ColumnDataSource({n: [] for n in columns})
        self.marked = ColumnDataSource({"x": [], "y": []})
        ranges = {"x_range": Range1d(-0.5, 0.5), "y_range": Range1d(0.5, -0.5)}
        self.figure = plot("class on the map", "true class", height=height, tools="", toolbar_location=None, **ranges)
        self.figure.grid.visible = False
        cell = {"x": "x", "y": "y", "width": 0.94, "height": 0.94}
        filled = Rect(**cell, fill_color=field("color"), fill_alpha=field("alpha"), line_color=GREY, line_alpha=0.3)
        drawn = draw(self.figure, self.cells, filled)
        style = {"text_align": "center", "text_baseline": "middle", "text_font_size": "11px"}
        draw(self.figure, self.cells, Text(x="x", y="y", text=field("count"), text_color=field("ink"), **style))
        draw(self.figure, self.marked, Rect(**cell, fill_alpha=0, line_color=RED, line_width=3))
        tips = [
            ("true", "@true"),
            ("on the map", "@given"),
            ("pixels", "@count"),
            ("share of the true class", "@share{0.0 %}"),
        ]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.figure.on_event(Tap, self._tapped)
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self._size = 0
        self._then: list[Callable[[int, int], None]] = []

    def show(self, counts: np.ndarray, names: Sequence[str]) -> None:
        """counts (true, given): numbers of samples."""
        n = self._size = len(counts)
        rows, columns = (a.ravel() for a in np.indices(counts.shape))
        share = (counts / np.maximum(counts.sum(1, keepdims=True), 1)).ravel()
        self.cells.data = {
            "x": columns,
            "y": rows,
            "color": np.where(rows == columns, RIGHT, WRONG).tolist(),
            "alpha": 0.85 * share,
            "ink": np.where(share > 0.4, "#FFFFFF", GREY).tolist(),
            "count": [str(int(c)) if c else "" for c in counts.ravel()],
            "share": share,
            "true": [str(names[i]) for i in rows],
            "given": [str(names[i]) for i in columns],
        }
        for axis in (self.figure.xaxis, self.figure.yaxis):
            name_ticks(axis, list(names), most=len(names))
        self.figure.xaxis.major_label_orientation = slant(names)
        for range_, start, end in ((self.figure.x_range, -0.5, n - 0.5), (self.figure.y_range, n - 0.5, -0.5)):
            range_.update(start=start, end=end, reset_start=start, reset_end=end)

    def mark(self, cell: tuple[int, int] | None) -> None:
        """Outline the cell (true, given); None outlines none."""
        self.marked.data = {"x": [] if cell is None else [cell[1]], "y": [] if cell is None else [cell[0]]}

    def on_cell(self, then: Callable[[int, int], None]) -> None:
        """Call `then(true, given)` for every tap on a cell."""
        self._then.append(then)

    def _tapped(self, event: Tap) -> None:
        if event.x is None or event.y is None:
            return
        true, given = int(np.floor(event.y + 0.5)), int(np.floor(event.x + 0.5))
        if 0 <= true < self._size and 0 <= given < self._size:
            for then in self._then:
                then(true, given)
