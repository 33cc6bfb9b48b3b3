"""Shared by all plots: linked image frames, and figures with units. Colours are in `looks.py`.

Fonts, backgrounds, axes and grids are not set here: the page's theme does that in the browser, so that plots follow
its light and dark mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.events import RangesUpdate, Tap
from bokeh.models import (
    BasicTicker,
    CDSView,
    ColumnDataSource,
    CrosshairTool,
    FixedTicker,
    Glyph,
    GlyphRenderer,
    Range1d,
    Scatter,
    Segment,
    Span,
    Text,
)
from bokeh.plotting import figure

from workbench.views.looks import BORDER, GREY, PICKS, TRUTH
from workbench.views.screen import HALF, breadth, shape
from workbench.views.screen import height as growing

LONGEST = 1.7  # largest aspect ratio of a frame, in both directions
LARGEST = 1024  # pixels a side that are sent to a browser; larger images are thinned


def plot(x: str, y: str, *, height: int = 260, **options: Any) -> figure:
    """A figure of full width, `height` screen pixels high (more in a high window), with axis labels `x` and `y`."""
    options = {"tools": "pan,wheel_zoom,box_zoom,reset", "active_drag": None, "sizing_mode": "stretch_width", **options}
    options["styles"] = growing(height)
    made = figure(height=height, x_axis_label=x, y_axis_label=y, min_border_right=12, **options)
    made.toolbar.logo = None
    made.toolbar.autohide = True
    return made


def batched(then: Callable[..., Any]) -> Callable[..., None]:
    """Wrap a widget's listener: all its changes of Bokeh models are sent in one message, when it returns.

    Panel calls listeners of widgets without the document's lock; without the lock Bokeh sends every change separately.
    """

    def called(*given: Any) -> None:
        with pn.io.hold():
            then(*given)

    return called


def theme_later(place: pn.Column) -> None:
    """Apply the page's theme to figures that were put into `place` after the page had loaded.

    The theme is applied to models that are in the document before a change, not to models that the change adds. So `place`
    is changed a second time: a spacer without height is added.
    """

    def again() -> None:
        with pn.io.hold():
            place.objects = [*(o for o in place.objects if not isinstance(o, pn.Spacer)), pn.Spacer(height=0, margin=0)]

    doc = pn.state.curdoc
    if doc is not None and doc.session_context:
        doc.add_timeout_callback(again, 60)


def draw(made: figure, source: ColumnDataSource, glyph: Glyph, **options: Any) -> GlyphRenderer:
    """Add one glyph. `figure.line` and similar methods also make four unused copies; these add one second to the load of a page."""
    return made.add_glyph(source, glyph, **options)


def pick_number(**place: Any) -> Text:
    """The number of a pick on its colour, at columns `x`, `y`, `number` and `color`. place: baseline and offsets of the text."""
    style = {"text_color": "#111111", "text_font_size": "11px", "text_font_style": "bold", "border_radius": 3, "padding": 2}
    return Text(x="x", y="y", text=field("number"), background_fill_color=field("color"), **style, **place)


# columns of `Frame.marks`: a number stands above and right of its pick, but not where the edge of the image would cut it
NUMBER_PLACE = {
    "text_baseline": field("baseline"),
    "text_align": field("align"),
    "x_offset": field("right"),
    "y_offset": field("down"),
}


class Frame:
    """The view that all image figures of a page share: ranges, crosshair, marks.

    Pixel (row, column) has its centre at y = row, x = column; row 0 is at the top, for any map coordinates.
    `marks`: numbered picks. `outline`: edges of the marked truth pixels.
    """

    def __init__(self) -> None:
        self.x_range = Range1d(-0.5, 0.5)
        self.y_range = Range1d(0.5, -0.5)
        self.shape = (1, 1)
        self.marks = ColumnDataSource(
            {name: [] for name in ("x", "y", "number", "color", "baseline", "align", "right", "down")}
        )
        self.outline = ColumnDataSource({"x0": [], "y0": [], "x1": [], "y1": []})
        edge = {n: n for n in ("x0", "y0", "x1", "y1")}
        ring = {"x": "x", "y": "y", "size": 12, "fill_alpha": 0}
        outlined, marked = CDSView(), CDSView()
        # (source, view, glyph) on top of each image; all images share them, because a page is sent with all its models
        self._top: list[tuple[ColumnDataSource, CDSView, Glyph]] = [
            (self.outline, outlined, Segment(**edge, line_color=BORDER, line_width=3, line_cap="square")),
            (self.outline, outlined, Segment(**edge, line_color=TRUTH, line_width=1.2, line_cap="square")),
            (self.marks, marked, Scatter(**ring, line_color=BORDER, line_width=4.5, line_alpha=0.6)),
            (self.marks, marked, Scatter(**ring, line_color=field("color"), line_width=2.5)),
            (self.marks, marked, pick_number(**NUMBER_PLACE)),
        ]
        self._cross = [Span(dimension=d, line_color=GREY, line_width=1, line_alpha=0.8) for d in ("width", "height")]
        self._figures: list[tuple[figure, dict[str, Any]]] = []

    def mark(self, picked: tuple[int, int] | None, colour: str = PICKS[0], number: str = "1") -> None:
        """Mark one pixel (row, column) in all images, and no other; None marks none."""
        self.mark_all([] if picked is None else [picked], [number], [colour])

    def mark_all(self, places: Sequence[tuple[int, int]], numbers: Sequence[str], colours: Sequence[str]) -> None:
        """Mark these pixels (row, column) in all images, and no others, each with its number and colour."""
        high = [row < 0.1 * self.shape[0] for row, _ in places]  # near the top: the number stands below
        left = [column > 0.93 * self.shape[1] for _, column in places]
        self.marks.data = {
            "x": [column for _, column in places],
            "y": [row for row, _ in places],
            "number": list(numbers[: len(places)]),
            "color": list(colours[: len(places)]),
            "baseline": ["top" if here else "bottom" for here in high],
            "align": ["right" if here else "left" for here in left],
            "right": [-6 if here else 6 for here in left],
            "down": [5 if here else -5 for here in high],
        }

    def figure(self, title: str, *, axes: bool = False, bar: bool = False, tall: str = HALF) -> figure:
        """An image figure that is as wide as its place; its frame has the scene's aspect and is at most `tall` (CSS) high.

        axes: label rows and columns. bar: leave room for a colour bar on the right.
        """
        left, right = (76, 14) if axes else (4, 76) if bar else (4, 6)
        top, bottom = (42, 68) if axes else (42, 4)
        made = figure(
            title=title,
            x_range=self.x_range,
            y_range=self.y_range,
            tools="pan,wheel_zoom,box_zoom,reset",
            active_scroll="wheel_zoom",
            toolbar_location="above",
            min_border_left=left,
            min_border_right=right,
            min_border_top=top,
            min_border_bottom=bottom,
            sizing_mode="stretch_width",
            height=200,  # until the browser has applied the stylesheet
            **({} if axes else {"x_axis_type": None, "y_axis_type": None}),
        )
        made.toolbar.logo = None
        made.toolbar.autohide = True
        if axes:
            made.grid.visible = False
            made.xaxis.axis_label, made.yaxis.axis_label = "column (pixels)", "row (pixels)"
            made.xaxis.ticker = BasicTicker(desired_num_ticks=4)  # four labels of five digits fit below a narrow frame
        made.add_tools(CrosshairTool(overlay=self._cross))
        sized = {"sides": left + right, "ends": top + bottom, "tall": tall}
        self._figures.append((made, sized))
        made.stylesheets = [shape(*self._seen, **sized)]
        return made

    def finish(self, made: figure) -> None:
        """Draw truth outline and marks on top of the image; call it after the image was added."""
        for source, view, glyph in self._top:
            draw(made, source, glyph, view=view)

    def fit(self, rows: int, columns: int) -> None:
        """Show a whole scene of this size; a very long one gets margins at its sides."""
        self.shape = (rows, columns)
        high, wide = self._seen
        top, left = (high - rows) / 2 + 0.5, (wide - columns) / 2 + 0.5
        for axis, start, end in ((self.x_range, -left, wide - left), (self.y_range, high - top, -top)):
            axis.update(start=start, end=end, reset_start=start, reset_end=end)
        for made, sized in self._figures:
            made.stylesheets = [shape(high, wide, **sized)]

    def look_at(self, x: float, y: float, width: float) -> None:
        """Zoom to `width` columns around a point, not beyond the image where that can be avoided; `reset` shows the whole again."""
        high, wide = self._seen
        width = min(width, wide)
        for axis, at, length, size in ((self.x_range, x, width, wide), (self.y_range, y, width * high / wide, high)):
            start = min(max(at - length / 2, -0.5), size - 0.5 - length)
            axis.update(
                **(
                    {"start": start, "end": start + length}
                    if axis is self.x_range
                    else {"start": start + length, "end": start}
                )
            )

    def breadth(self, made: figure) -> str:
        """CSS of something that is as wide as a figure of this frame, in a place as wide."""
        high, wide = self._seen
        sized = next(s for m, s in self._figures if m is made)
        return breadth(high, wide, sides=sized["sides"], tall=sized["tall"])

    @property
    def _seen(self) -> tuple[float, float]:
        """Rows and columns that a frame shows; limited by LONGEST, because a narrower frame has no room for title and axis."""
        rows, columns = self.shape
        return max(rows, columns / LONGEST), max(columns, rows / LONGEST)

    def outline_truth(self, truth: np.ndarray | None) -> None:
        """Outline the pixels with truth > 0; None removes the outline."""
        self.outline.data = edges(truth > 0) if truth is not None else {k: [] for k in self.outline.data}

    def inside(self, x: float, y: float) -> tuple[int, int] | None:
        """(row, column) of a tap, or None outside the image."""
        row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        rows, columns = self.shape
        return (row, column) if 0 <= row < rows and 0 <= column < columns else None


def edges(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Line segments around a boolean (row, column) mask, between marked and unmarked pixels.

    >>> {k: v.tolist() for k, v in edges(np.array([[True]])).items()}["x0"]
    [-0.5, -0.5, -0.5, 0.5]
    """
    padded = np.pad(mask.astype(np.int8), 1)
    row, column = np.nonzero(np.diff(padded, axis=0)[:, 1:-1])
    across = (column - 0.5, row - 0.5, column + 0.5, row - 0.5)
    row, column = np.nonzero(np.diff(padded, axis=1)[1:-1])
    down = (column - 0.5, row - 0.5, column - 0.5, row + 0.5)
    return {k: np.concatenate([a, d]) for k, a, d in zip(("x0", "y0", "x1", "y1"), across, down, strict=True)}


def name_ticks(axis: Any, names: Sequence[str], most: int = 12) -> None:
    """Ticks at 0, 1, 2, ... with names, long ones cut; at most `most` of them are written."""
    step = -(-len(names) // most) or 1
    short = {float(n): name if len(name) < 19 else f"{name[:17]}…" for n, name in enumerate(names) if n % step == 0}
    axis.ticker, axis.major_label_overrides = FixedTicker(ticks=list(short)), short


def slant(names: Sequence[str]) -> float:
    """Angle of names below an axis, in radians: many or long ones would overlap."""
    return 0.0 if sum(map(len, names)) < 36 else 0.7


def thin(image: np.ndarray, grain: int = 1) -> tuple[np.ndarray, dict[str, float]]:
    """The (row, column, ...) image, thinned to at most `LARGEST` pixels a side, and its position and size for Bokeh.

    grain: scene pixels a side of an image pixel; more than 1 for an overview.
    """
    step = -(-max(image.shape[:2]) // LARGEST)
    small = np.ascontiguousarray(image[::step, ::step])
    return small, {"x": -0.5, "y": -0.5, "dw": grain * step * small.shape[1], "dh": grain * step * small.shape[0]}


def rgba(rgb: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """(row, column, 3) uint8 as the packed (row, column) uint32 Bokeh draws; `alpha` 0..255 per pixel."""
    packed = np.empty((*rgb.shape[:2], 4), np.uint8)
    packed[..., :3] = rgb
    packed[..., 3] = 255 if alpha is None else alpha
    return packed.view(np.uint32)[..., 0]


def taps(made: figure, frame: Frame, then: Callable[[int, int], None]) -> None:
    """Call `then(row, column)` for every tap on an image figure; taps outside the image are ignored."""

    def tapped(event: Tap) -> None:
        if event.x is not None and event.y is not None and (pixel := frame.inside(event.x, event.y)):
            then(*pixel)

    made.on_event(Tap, tapped)


def ranges(made: figure, then: Callable[[tuple[float, float], tuple[float, float]], None]) -> None:
    """Call `then(rows, columns)` after a pan or zoom of an image figure: first and last visible row and column."""
    made.on_event(RangesUpdate, lambda e: then((e.y0, e.y1), (e.x0, e.x1)))
