"""A gradient matrix and the quantities computed from it, as rasters with linked pan and zoom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import panel as pn
from bokeh.models import BasicTicker, ColorBar, ColumnDataSource, HoverTool, Image, LinearColorMapper, Range1d
from bokeh.palettes import Cividis256, interp_palette

from workbench.views.looks import STATES
from workbench.views.plots import draw, plot
from workbench.views.waiting import Waiting

SIGNED = interp_palette(["#2166AC", "#67A9CF", "#F7F7F7", "#EF8A62", "#B2182B"], 255)  # blue, white, red
BAR = 80  # pixels beside each raster, with and without a colour bar: their edges are below each other
CHOICE = ["#3A4A63", STATES["kept"].colour]


@dataclass(frozen=True)
class Kind:
    """Kind of a raster. signed: values around zero. choice: sent or not sent."""

    title: str
    signed: bool = False
    choice: bool = False


class Rasters:
    """One raster per name, each (row, column) with its own colour bar. `kinds`: name -> Kind."""

    def __init__(self, kinds: Mapping[str, Kind], *, height: int = 200) -> None:
        self.kinds = dict(kinds)
        self.x_range, self.y_range = Range1d(-0.5, 0.5), Range1d(0.5, -0.5)
        self.sources, self.mappers, self.figures = {}, {}, {}
        for name, kind in self.kinds.items():
            source = ColumnDataSource({"image": [], "dw": [], "dh": []})
            palette = SIGNED if kind.signed else CHOICE if kind.choice else Cividis256
            mapper = LinearColorMapper(palette=palette, low=0, high=1, nan_color="rgba(128, 128, 128, 0.3)")
            options = {"x_range": self.x_range, "y_range": self.y_range, "active_scroll": "wheel_zoom"}
            made = plot("input channel and kernel", "output channel", height=height, title=kind.title, **options)
            made.grid.visible = False
            made.xaxis.ticker = made.yaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=4)
            image = Image(image="image", x=-0.5, y=-0.5, dw="dw", dh="dh", color_mapper=mapper)
            drawn = draw(made, source, image)
            tips = [("output channel", "$y{0}"), ("input x kernel", "$x{0}"), (kind.title, "@image")]
            made.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
            if not kind.choice:
                bar = ColorBar(color_mapper=mapper, width=9, padding=2, margin=0, ticker=BasicTicker(desired_num_ticks=3))
                bar.background_fill_alpha = 0
                made.add_layout(bar, "right")
            made.min_border_right = BAR
            self.sources[name], self.mappers[name], self.figures[name] = source, mapper, made
        panes = {n: pn.pane.Bokeh(f, sizing_mode="stretch_width", margin=(0, 4)) for n, f in self.figures.items()}
        words = "Drawn at the first logged step."
        self._waiting = {n: Waiting(p, title=self.kinds[n].title, words=words, height=height) for n, p in panes.items()}
        self.panels = {n: w.panel for n, w in self._waiting.items()}

    def show(self, name: str, values: np.ndarray, title: str | None = None) -> None:
        """values: (row, column). The scale ends at the 99.5th percentile of the finite values."""
        values = np.asarray(values, np.float32)
        self._waiting[name].drawn(True)
        rows, columns = values.shape
        if self.kinds[name].choice:
            low, high = 0.0, 1.0
        else:
            high = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
            low = -high if self.kinds[name].signed else 0.0
        self.mappers[name].update(low=low, high=high)
        self.sources[name].data = {"image": [values], "dw": [columns], "dh": [rows]}
        if title is not None:
            self.figures[name].title.text = title
        if (self.x_range.reset_end, self.y_range.reset_start) != (columns - 0.5, rows - 0.5):
            self.x_range.update(start=-0.5, end=columns - 0.5, reset_start=-0.5, reset_end=columns - 0.5)
            self.y_range.update(start=rows - 0.5, end=-0.5, reset_start=rows - 0.5, reset_end=-0.5)

    def clear(self) -> None:
        """Empty all rasters."""
        for name, source in self.sources.items():
            source.data = {"image": [], "dw": [], "dh": []}
            self._waiting[name].drawn(False)
