"""Any array as a picture: map with colour bar, class map with legend, composite, boxes, matrix, lines, bars, histogram, strip.

view = PictureView()
view.show(picture("score", result["score"]))        # see `workbench.views.kinds`

The module `kinds` decides the kind of picture; this module draws it. An array with leading dims gets a slider.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr
from bokeh.core.properties import field
from bokeh.models import (
    BasicTicker,
    BasicTickFormatter,
    ColorBar,
    ColumnDataSource,
    HoverTool,
    Image,
    ImageRGBA,
    LinearColorMapper,
    NumeralTickFormatter,
    Quad,
    Range1d,
    Text,
)
from bokeh.palettes import Cividis256, Viridis256

from workbench.scene import names_of
from workbench.views.card import TEXT, escape, html, swatch
from workbench.views.image import as_colours
from workbench.views.kinds import Picture
from workbench.views.lines import Lines
from workbench.views.looks import BORDER, PICKS, STATES, class_colours, look, nth
from workbench.views.plots import Frame, batched, draw, name_ticks, plot, rgba, slant, theme_later, thin
from workbench.views.screen import HALF, STRETCH, map_pane
from workbench.views.screen import height as growing

NOTHING = "rgba(128, 128, 128, 0.3)"  # colour of pixels without a value
TOOLS = 30  # pixels above a map in which its tools appear, at the right; the title of the picture is beside them
ABOVE = {"position": "relative", "z-index": "1", "pointer-events": "none"}
LARGE = 1e5  # from here on a colour bar says 200k and not 2.000e+5
KEPT = (look("dropped", STATES).colour, look("kept", STATES).colour)


class PictureView:
    """`show(picture)` draws any kind, as wide as its place; without one it takes no room.

    frame: shared by views of one size that pan and zoom together.

    tall: height of a map at most (CSS). height: of a plot, in pixels.
    """

    def __init__(self, *, tall: str = HALF, height: int = 300, frame: Frame | None = None) -> None:
        self.picture: Picture | None = None
        self._size, self._frame = (tall, height), frame
        self._drawers: dict[str, _Grid | _Table | _Bars | _Curves] = {}
        self._place = pn.Column(**STRETCH)
        self.slider = pmui.IntSlider(
            label="", start=1, end=2, value=1, show_value=False, sizing_mode="stretch_width", margin=(2, 20)
        )
        self.where = html(margin=(0, 8), styles={**TEXT, **ABOVE})
        self.legend = html(margin=(0, 8))
        self.slider.visible = False
        self.slider.param.watch(batched(lambda _: self._draw()), "value")
        self.panel = pn.Column(
            self.where,
            self.slider,
            self._place,
            self.legend,
            sizing_mode="stretch_width",
            margin=(0, 10, 6, 0),
            visible=False,
        )

    def show(self, picture: Picture | None) -> None:
        """Draw a picture; None removes it. The slider keeps its position if the new picture has this position."""
        self.picture = picture
        self.panel.visible = picture is not None
        if picture is None:
            self._place.objects = []
            self.slider.visible, self.where.object, self.legend.object = False, "", ""
            return
        count = len(picture.positions)
        self.slider.visible = count > 1
        self.slider.param.update(end=max(count, 2), value=min(self.slider.value, count))
        self._draw()

    def _draw(self) -> None:
        picture = self.picture
        if picture is None:
            return
        at = min(self.slider.value, len(picture.positions)) - 1
        where = f" &middot; {escape(picture.positions[at])}" if self.slider.visible else ""
        self.where.object = f"<b>{escape(_title(picture))}</b>{where}"
        drawer = self._drawer(picture)
        self._place.margin = (-TOOLS if isinstance(drawer, _Grid) and not self.slider.visible else 0, 0, 0, 0)
        drawer.draw(picture, picture.at(at))
        self.legend.object = drawer.legend
        if self._place.objects[:1] != [drawer.panel]:
            self._place.objects = [drawer.panel]
            theme_later(self._place)

    def _drawer(self, picture: Picture) -> _Grid | _Table | _Bars | _Curves:
        kind = {"map": "grid", "classes": "grid", "composite": "grid", "boxes": "grid", "matrix": "table", "kept": "table"}
        name = kind.get(picture.kind, "lines" if picture.kind == "lines" else "bars")
        if name not in self._drawers:
            made = {"grid": _Grid, "table": _Table, "bars": _Bars, "lines": _Curves}[name]
            self._drawers[name] = made(*self._size, self._frame)
        return self._drawers[name]


class _Grid:
    """Map, class map, composite, or boxes on an image: every kind with rows and columns of pixels."""

    def __init__(self, tall: str, _: int, frame: Frame | None) -> None:
        self.legend = ""
        self.frame = frame or Frame()
        self.figure = self.frame.figure("", bar=True, tall=tall)
        place = {"x": [], "y": [], "dw": [], "dh": []}
        self.values = ColumnDataSource({"image": [], **place})
        self.colours = ColumnDataSource({"image": [], **place})
        self.boxes = ColumnDataSource({n: [] for n in ("left", "right", "top", "bottom", "text", "color")})
        self.mapper = LinearColorMapper(palette=Viridis256, low=0, high=1, nan_color=NOTHING)
        where = {n: n for n in ("image", "x", "y", "dw", "dh")}
        draw(self.figure, self.colours, ImageRGBA(**where))
        drawn = draw(self.figure, self.values, Image(**where, color_mapper=self.mapper))
        edges = {n: n for n in ("left", "right", "top", "bottom")}
        draw(self.figure, self.boxes, Quad(**edges, fill_alpha=0, line_color=field("color"), line_width=2))
        style = {"text_color": BORDER, "background_fill_color": field("color"), "text_font_size": "11px", "padding": 1}
        label = Text(x="left", y="top", text="text", y_offset=-2, **style)
        draw(self.figure, self.boxes, label)
        self.frame.finish(self.figure)
        tips = [("row", "$y{0}"), ("column", "$x{0}"), ("value", "@image")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.bar = _bar(self.mapper)
        self.figure.add_layout(self.bar, "right")
        self.panel = map_pane(self.figure)

    def draw(self, picture: Picture, array: xr.DataArray) -> None:
        self.legend = ""
        self.bar.visible = picture.kind == "map"
        rgb = values = None
        boxes = _boxes(picture) if picture.kind == "boxes" else None
        if picture.kind == "boxes":
            rgb = as_colours(picture.image) if picture.image is not None else _blank(array)
        elif picture.kind == "composite":
            rgb = as_colours(array)
        else:
            values = np.asarray(array.values, np.float32)
        shown = rgb if rgb is not None else values
        assert shown is not None
        if self.frame.shape != shown.shape[:2]:
            self.frame.fit(*shown.shape[:2])
        if picture.kind == "classes" and values is not None:
            palette, self.legend = _classes(picture, values)
            values = np.where(values < 0, np.nan, values)
            self.mapper.update(palette=palette, low=-0.5, high=len(palette) - 0.5)
        elif values is not None:
            low, high = _limits(values)
            self.mapper.update(palette=Viridis256, low=low, high=high)
        for source, image in ((self.colours, rgb), (self.values, values)):
            if image is None:
                source.data = {n: [] for n in source.data}
            else:
                small, place = thin(image)
                source.data = {"image": [rgba(small) if image is rgb else small], **{n: [v] for n, v in place.items()}}
        self.boxes.data = boxes or {n: [] for n in self.boxes.data}


class _Table:
    """A matrix as coloured cells with names along both axes; or which samples are kept, as one row of cells."""

    def __init__(self, _: str, height: int, __: Frame | None) -> None:
        self.legend = ""
        self.height = height
        self.figure = plot("", "", height=height, x_range=Range1d(-0.5, 0.5))
        self.figure.y_range = Range1d(0.5, -0.5)
        self.figure.grid.visible = False
        self.source = ColumnDataSource({"image": [], "dw": [], "dh": []})
        self.mapper = LinearColorMapper(palette=Cividis256, low=0, high=1, nan_color=NOTHING)
        image = Image(image="image", x=-0.5, y=-0.5, dw="dw", dh="dh", color_mapper=self.mapper)
        drawn = draw(self.figure, self.source, image)
        tips = [("row", "$y{0}"), ("column", "$x{0}"), ("value", "@image")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.bar = _bar(self.mapper)
        self.figure.add_layout(self.bar, "right")
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)

    def draw(self, picture: Picture, array: xr.DataArray) -> None:
        strip = picture.kind == "kept"
        values = np.atleast_2d(np.asarray(array.values, np.float32))
        rows, columns = values.shape
        self.figure.styles = growing(130 if strip else self.height)
        self.figure.yaxis.visible = not strip
        self.bar.visible = not strip
        self.legend = _kept(array) if strip else ""
        low, high = (0.0, 1.0) if strip else _limits(values)
        self.bar.formatter = NumeralTickFormatter(format="0.[0]a") if high >= LARGE else BasicTickFormatter()
        self.mapper.update(palette=list(KEPT) if strip else Cividis256, low=low, high=high)
        self.source.data = {"image": [values], "dw": [columns], "dh": [rows]}
        for axis, dim, count, range_, start, end in (
            (self.figure.xaxis, array.dims[-1], columns, self.figure.x_range, -0.5, columns - 0.5),
            (self.figure.yaxis, array.dims[0], rows, self.figure.y_range, rows - 0.5, -0.5),
        ):
            axis.axis_label = str(dim).replace("_", " ")
            _named_ticks(axis, array, str(dim), count)
            range_.update(start=start, end=end, reset_start=start, reset_end=end)
        _slant(self.figure, list(self.figure.xaxis.major_label_overrides.values()))


def _slant(made: Any, names: Sequence[str]) -> None:
    """Slant long names below the axis, with room at the left for the first of them; pictures beside each other are narrow."""
    angle = slant(names) or (0.7 if sum(map(len, names)) >= 16 and max(map(len, names)) > 3 else 0.0)
    made.xaxis.major_label_orientation = angle
    made.min_border_left = 90 if angle else 5


class _Bars:
    """Bars: a value for each name, a count for each class, or a histogram of the values of samples."""

    def __init__(self, _: str, height: int, __: Frame | None) -> None:
        self.legend = ""
        ranges = {"x_range": Range1d(0, 1), "y_range": Range1d(0, 1)}
        self.figure = plot("", "", height=height, **ranges)
        self.figure.xgrid.visible = False
        self.source = ColumnDataSource({n: [] for n in ("left", "right", "top", "bottom", "name")})
        edges = {n: n for n in ("left", "right", "top", "bottom")}
        drawn = draw(self.figure, self.source, Quad(**edges, fill_color=PICKS[1], line_color=None, fill_alpha=0.9))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@name"), ("value", "@top")]))
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)

    def draw(self, picture: Picture, array: xr.DataArray) -> None:
        values = np.asarray(array.values, float)
        if picture.kind == "histogram":
            seen = values[np.isfinite(values)]
            top, edges = (
                np.histogram(seen, bins=min(40, max(5, round(seen.size**0.5)))) if seen.size else ([], np.array([0, 1]))
            )
            left, right = edges[:-1], edges[1:]
            names = [f"{a:.4g} to {b:.4g}" for a, b in zip(left, right, strict=True)]
            self.figure.xaxis.ticker, self.figure.xaxis.major_label_overrides = BasicTicker(desired_num_ticks=5), {}
            self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = picture.units or "value", "samples"
            self.figure.xaxis.major_label_orientation = 0.0
        else:
            if picture.kind == "counts":
                names = picture.classes
                top = np.bincount(values[values >= 0].astype(int), minlength=len(names))
                self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = "class", "samples"
            else:
                names, top = _names(array, str(array.dims[-1])), np.nan_to_num(values)
                self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = str(array.dims[-1]), picture.units
            left, right = np.arange(len(top)) - 0.4, np.arange(len(top)) + 0.4
            name_ticks(self.figure.xaxis, names)
            _slant(self.figure, names)
        top = np.asarray(top, float)
        bottom = np.minimum(top, 0.0)
        self.source.data = {"left": left, "right": right, "top": np.maximum(top, 0.0), "bottom": bottom, "name": names}
        low, high = (float(bottom.min()), float(np.maximum(top, 0).max())) if top.size else (0.0, 1.0)
        high = high if high > low else low + 1.0
        air = 0.06 * (high - low)
        ends = (float(left[0]) - 0.1 * float(right[0] - left[0]), float(right[-1]) + 0.1 * float(right[0] - left[0]))
        for range_, (start, end) in (
            (self.figure.x_range, ends if len(top) else (0.0, 1.0)),
            (self.figure.y_range, (low - air if low < 0 else 0.0, high + air)),
        ):
            range_.update(start=start, end=end, reset_start=start, reset_end=end)


class _Curves:
    """Lines over an axis that is a quantity."""

    def __init__(self, _: str, height: int, __: Frame | None) -> None:
        self.legend = ""
        self.lines = Lines("", "", height=height - 30, dots=True)
        self.panel = self.lines.panel

    def draw(self, picture: Picture, array: xr.DataArray) -> None:
        values = np.atleast_2d(np.asarray(array.values, float))
        dim = str(array.dims[-1])
        x = array[dim].values if dim in array.coords else np.arange(values.shape[1])
        names = _names(array, str(array.dims[0])) if array.ndim > 1 else [picture.name]
        self.lines.figure.xaxis.axis_label = dim.replace("_", " ")
        self.lines.figure.yaxis.axis_label = picture.units
        self.lines.show((nth(n, name), x, row) for n, (name, row) in enumerate(zip(names, values, strict=True)))


# --- helpers of the kinds ----------------------------------------------------------------------------------------------


def _title(picture: Picture) -> str:
    units = picture.units or _bands(picture)
    return f"{picture.title} ({units})" if units else picture.title


def _bands(picture: Picture) -> str:
    """The wavelengths of a composite's three bands, red first, if its array names them: `653 / 550 / 456 nm`."""
    array = picture.array
    dim = str(array.dims[-3]) if picture.kind == "composite" else ""
    known = [c for c in array.coords.values() if c.dims == (dim,) and str(c.name).endswith("wavelength")] if dim else []
    if not known or array.sizes[dim] != 3:
        return ""
    return " / ".join(f"{nm:.0f}" for nm in known[0].values) + " nm"


def _bar(mapper: LinearColorMapper) -> ColorBar:
    bar = ColorBar(color_mapper=mapper, width=8, padding=2, label_standoff=4, ticker=BasicTicker(desired_num_ticks=4))
    bar.background_fill_alpha = 0
    return bar


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale: the smallest finite value and the 99.5th percentile."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(np.percentile(finite, 99.5))
    return low, high if high > low else low + 1.0


def _blank(box: xr.DataArray) -> np.ndarray:
    """A grey background (row, column, 3) that contains all boxes, for boxes without an image."""
    columns, rows = (int(np.ceil(v)) + 1 for v in box.values.reshape(-1, 4)[:, 2:].max(0))
    return np.full((rows, columns, 3), 60, np.uint8)


def _boxes(picture: Picture) -> dict[str, list]:
    x0, y0, x1, y1 = np.asarray(picture.array.values, float).reshape(-1, 4).T
    label = np.zeros(len(x0), int) if picture.label is None else picture.label.values.astype(int)
    names = [] if picture.label is None else names_of(picture.label)
    score = [""] * len(x0) if picture.score is None else [f"{s:.2f}" for s in picture.score.values]
    text = [
        f"{names[n] if n < len(names) else '' if picture.label is None else n} {s}".strip()
        for n, s in zip(label, score, strict=True)
    ]
    return {
        "left": (x0 - 0.5).tolist(),
        "right": (x1 - 0.5).tolist(),
        "top": (y0 - 0.5).tolist(),
        "bottom": (y1 - 0.5).tolist(),
        "text": text,
        "color": [PICKS[n % len(PICKS)] for n in label],
    }


def _classes(picture: Picture, values: np.ndarray) -> tuple[list[str], str]:
    """Colours of all classes, and an HTML legend of the classes with pixels."""
    names = picture.classes
    last = int(values.max()) + 1 if values.size and np.isfinite(values).any() else 1
    names += [str(n) for n in range(len(names), last)]
    palette = class_colours(len(names))
    counts = np.bincount(values[values >= 0].astype(int).ravel(), minlength=len(names))
    entries = [swatch(palette[n], f"{names[n]} ({count:,})") for n, count in enumerate(counts) if count]
    return palette, " ".join(entries)


def _kept(array: xr.DataArray) -> str:
    kept, of = int(array.values.astype(bool).sum()), array.size
    return f"{swatch(KEPT[1], f'{kept:,} of {of:,} kept ({100 * kept / of:.1f} %)')} {swatch(KEPT[0], 'dropped')}"


def _names(array: xr.DataArray, dim: str) -> list[str]:
    return [str(v) for v in array[dim].values] if dim in array.coords else [str(n) for n in range(array.sizes[dim])]


def _named_ticks(axis: object, array: xr.DataArray, dim: str, count: int) -> None:
    named = dim in array.coords and not np.array_equal(array[dim].values, np.arange(count))
    if named and array.ndim > 1:
        name_ticks(axis, _names(array, dim))
    else:
        axis.ticker, axis.major_label_overrides = BasicTicker(min_interval=1, desired_num_ticks=5), {}  # type: ignore[attr-defined]
