"""Samples as thumbnails: chips as images, spectra as lines; and mosaics of many thumbnails.

view = Gallery(4, 3)                               # 4 columns, 3 rows
view.show(tiles(chips), ["a.jpg", "b.jpg"])
view.on_tap(lambda identifier: ...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from bokeh.core.properties import field
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, HoverTool, ImageRGBA, Range1d, Rect
from bokeh.plotting import figure

from workbench.views.looks import GREY
from workbench.views.plots import draw, rgba
from workbench.views.screen import map_pane, shape

SIDE = 72  # pixels a side of a tile at most
LINE = (63, 160, 224)  # colour of a spectrum; visible on light and dark pages
PAPER = (236, 236, 236)


def tiles(values: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(n, band, y, x) -> (n, side', side', 3) uint8 pictures; a single pixel is drawn as the line of its spectrum.

    One band is grey, three are red, green and blue; of more bands, three evenly spaced ones are shown. Values in [0, 1] are
    not stretched; others are stretched between the 2nd and 98th percentile of the given samples. Missing values are black.
    """
    values = np.asarray(values, np.float32)
    _, bands, rows, columns = values.shape
    if rows == columns == 1:
        return _lines(values[:, :, 0, 0], side)
    if bands == 1:
        values = np.repeat(values, 3, 1)
    elif bands != 3:
        values = values[:, [round(q * (bands - 1)) for q in (0.75, 0.5, 0.25)]]
    step = -(-max(rows, columns) // side)
    values = values[:, :, ::step, ::step]
    finite = values[np.isfinite(values)]
    if finite.size and (finite.min() < 0 or finite.max() > 1):
        low, high = np.percentile(finite, (2, 98))
        values = (values - low) / (high - low if high > low else 1.0)
    return (np.nan_to_num(np.clip(values, 0, 1)) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _lines(spectra: np.ndarray, side: int) -> np.ndarray:
    """(n, band) -> (n, side, side, 3): each spectrum drawn as a line, all on one scale."""
    at = np.linspace(0, spectra.shape[1] - 1, side).round().astype(int)
    drawn = spectra[:, at]
    finite = drawn[np.isfinite(drawn)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    known = np.isfinite(drawn)
    level = np.nan_to_num((drawn - low) / (high - low if high > low else 1.0))
    row = (3 + (1 - level) * (side - 7)).round().astype(int)
    before = np.roll(row, 1, 1)
    before[:, 0] = row[:, 0]
    top, bottom = np.minimum(row, before) - 1, np.maximum(row, before) + 1
    y = np.arange(side)[None, :, None]
    inked = (y >= top[:, None]) & (y <= bottom[:, None]) & known[:, None]
    return np.where(inked[..., None], np.array(LINE), np.array(PAPER)).astype(np.uint8)


def mosaic(pictures: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """(n, y, x, 3) -> one image with `columns` pictures per row and white gaps of `gap` pixels."""
    n, height, width, _ = pictures.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[y : y + height, x : x + width] = picture
    return canvas


class Gallery:
    """A grid of tiles. `show` fills it row by row; `on_tap(then)` calls `then` with the identifier of a tapped tile."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.source = ColumnDataSource({k: [] for k in ("image", "x", "y", "cx", "cy", "id", "text", "edge", "width")})
        self.figure = figure(
            sizing_mode="stretch_width",
            height=100,  # until the browser has applied the stylesheet
            stylesheets=[shape(rows, columns, sides=0, ends=0, tall=f"{SIDE * rows}px")],
            x_range=Range1d(0, columns),
            y_range=Range1d(rows, 0),
            tools="",
            toolbar_location=None,
            min_border=0,
            outline_line_alpha=0,
            background_fill_alpha=0,
            border_fill_alpha=0,
        )
        self.figure.axis.visible = self.figure.grid.visible = False
        draw(self.figure, self.source, ImageRGBA(image="image", x="x", y="y", dw=0.9, dh=0.9))
        frame = Rect(
            x="cx", y="cy", width=0.94, height=0.94, fill_alpha=0, line_color=field("edge"), line_width=field("width")
        )
        framed = draw(self.figure, self.source, frame)
        self.figure.add_tools(HoverTool(renderers=[framed], tooltips="@text", attachment="below"))
        self.panel = map_pane(self.figure)
        self._tapped: list[Callable[[str], None]] = []
        self.figure.on_event(Tap, self._tap)

    @property
    def room(self) -> int:
        """Number of tiles that fit."""
        return self.columns * self.rows

    def show(
        self,
        pictures: np.ndarray,
        ids: Sequence[str],
        texts: Sequence[str] | None = None,
        edges: Sequence[str] | None = None,
    ) -> None:
        """Show (n, y, x, 3) uint8 pictures with their identifiers, hover texts and frame colours; the first `room` of them."""
        n = min(len(ids), self.room)
        at = np.arange(n)
        column, row = at % self.columns, at // self.columns
        self.source.data = {
            "image": [rgba(p) for p in pictures[:n]],
            "x": column + 0.05,
            "y": row + 0.05,
            "cx": column + 0.5,
            "cy": row + 0.5,
            "id": [str(i) for i in ids[:n]],
            "text": list((texts or ids)[:n]),
            "edge": list((edges or [GREY] * n)[:n]),
            "width": [2.5 if edges else 1.0] * n,
        }

    def clear(self) -> None:
        """Remove all tiles."""
        self.source.data = {k: [] for k in self.source.data}

    def on_tap(self, then: Callable[[str], None]) -> None:
        """Call `then` with the identifier of each tapped tile."""
        self._tapped.append(then)

    def _tap(self, event: Tap) -> None:
        if event.x is None or event.y is None:
            return
        column, row = int(np.floor(event.x)), int(np.floor(event.y))
        at = row * self.columns + column
        if 0 <= column < self.columns and 0 <= at < len(self.source.data["id"]):
            for then in self._tapped:
                then(self.source.data["id"][at])
