"""An image with a weight for each of its rows on its right and one for each of its columns above it."""

from __future__ import annotations

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, HoverTool, Image, ImageRGBA, LinearColorMapper, Range1d
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from workbench.views.card import html
from workbench.views.plots import draw, rgba
from workbench.views.screen import map_pane, shape

STRIP, GAP = 0.09, 0.02  # width of a strip and of the space before it, as shares of the image


class Gates:
    """`show(picture, rows, columns)` draws the three; both strips have one scale of colours, from the smallest to the largest weight."""

    def __init__(self) -> None:
        self.picture = ColumnDataSource({n: [] for n in ("image", "x", "y", "dw", "dh")})
        self.strips = ColumnDataSource({n: [] for n in ("image", "x", "y", "dw", "dh", "what")})
        self.mapper = LinearColorMapper(palette=Viridis256, low=0.0, high=1.0)
        self.figure = figure(
            title="gates",
            sizing_mode="stretch_width",
            height=200,  # until the browser has applied the stylesheet
            stylesheets=[shape(1, 1, sides=10, ends=46, tall="max(38vh, 180px)")],
            x_range=Range1d(0, 1 + GAP + STRIP),
            y_range=Range1d(1, -GAP - STRIP),
            tools="",
            toolbar_location=None,
            min_border=4,
        )
        self.figure.axis.visible = self.figure.grid.visible = False
        place = {n: n for n in ("image", "x", "y", "dw", "dh")}
        draw(self.figure, self.picture, ImageRGBA(**place))
        drawn = draw(self.figure, self.strips, Image(**place, color_mapper=self.mapper))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@what"), ("weight", "@image{0.000}")]))
        self.text = html(margin=(0, 8))
        self.panel = pn.Column(map_pane(self.figure), self.text, sizing_mode="stretch_width", margin=0)

    def show(self, picture: np.ndarray, rows: np.ndarray, columns: np.ndarray, title: str) -> None:
        """picture: (row, column, 3) uint8. rows (row), columns (column): the weights."""
        self.picture.data = {"image": [rgba(picture)], "x": [0], "y": [0], "dw": [1], "dh": [1]}
        low, high = float(min(rows.min(), columns.min())), float(max(rows.max(), columns.max()))
        self.mapper.update(low=low, high=high if high > low else low + 1e-6)
        self.strips.data = {
            "image": [np.asarray(rows, np.float32)[:, None], np.asarray(columns, np.float32)[None]],
            "x": [1 + GAP, 0],
            "y": [0, -GAP - STRIP],
            "dw": [STRIP, 1],
            "dh": [1, STRIP],
            "what": ["rows", "columns"],
        }
        self.figure.title.text = title
        spans = [f"{name} {w.min():.3f} to {w.max():.3f}" for name, w in (("rows", rows), ("columns", columns))]
        self.text.object = f"Weights of {'; '.join(spans)}. Dark is {low:.3f}, bright {high:.3f}."
