"""Images of two dates with a divider to drag between them, and an optional map over both.

The browser draws the divider: while it is dragged only its position is sent.
"""

from __future__ import annotations

import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.models import ColumnDataSource, CustomJS, HoverTool, ImageRGBA, Span

from workbench.views.card import html
from workbench.views.plots import Frame, batched, draw, rgba, thin
from workbench.views.screen import CONTAINER, STRETCH, WHOLE, map_pane

PLACE = {"image": "image", "x": "x", "y": "y", "dw": "dw", "dh": "dh"}
# makes the first date transparent to the right of the divider
CUT = """
    if (source.data.image.length == 0) return
    const image = source.data.image[0]
    const [rows, columns] = image.shape
    const left = Math.round((span.location + 0.5) * columns / source.data.dw[0])
    const bytes = new Uint8Array(image.buffer, image.byteOffset, 4 * rows * columns)
    for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++)
            bytes[4 * (row * columns + column) + 3] = column < left ? 255 : 0
    source.change.emit()
"""


class Swipe:
    """Before to the left of the divider, after to its right. `share`: position of the divider, 0 (left) to 1."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        empty: dict[str, list[object]] = {k: [] for k in PLACE}
        self.before, self.after, self.over = (ColumnDataSource(dict(empty)) for _ in range(3))
        self.figure = frame.figure("", axes=True, tall=WHOLE)
        drawn = draw(self.figure, self.after, ImageRGBA(**PLACE))
        draw(self.figure, self.before, ImageRGBA(**PLACE))
        self.overlay = draw(self.figure, self.over, ImageRGBA(**PLACE))
        frame.finish(self.figure)
        look = {"line_color": "#FFFFFF", "line_width": 3, "line_alpha": 0.95, "hover_line_color": "#FFB000"}
        self.divider = Span(location=0, dimension="height", editable=True, hover_line_width=5, **look)
        self.shade = Span(location=0, dimension="height", line_color="#000000", line_width=6, line_alpha=0.45)
        self.figure.add_layout(self.shade)
        self.figure.add_layout(self.divider)
        self.divider.js_on_change(
            "location",
            CustomJS(args={"source": self.before, "span": self.divider}, code=CUT),
            CustomJS(args={"shade": self.shade, "span": self.divider}, code="shade.location = span.location"),
        )
        self.divider.on_change("location", lambda _, __, new: self._dragged(float(new)))
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("row", "$y{0}"), ("column", "$x{0}")], visible=False))
        self.slider = pmui.IntSlider(
            label="Divider between before and after", start=0, end=100, value=50, show_value=False, size="small",
            margin=(0, 20, 0, 76), sizing_mode="stretch_width",
        )  # fmt: skip
        self.slider.param.watch(batched(self._slid), "value")
        self.ends = html(_ENDS, margin=(0, 14, 0, 76))
        self._below = pn.Column(self.ends, self.slider, **STRETCH)
        self.panel = pn.Column(map_pane(self.figure), pn.Column(self._below, styles=CONTAINER, **STRETCH), **STRETCH)
        self._moving = False

    @property
    def share(self) -> float:
        """Position of the divider, 0 (left edge) to 1 (right edge)."""
        return self.slider.value / 100

    def show(self, before: np.ndarray, after: np.ndarray, title: str) -> None:
        """Two (row, column, 3) uint8 images of the size of the frame."""
        small, place = thin(after)
        placed = {k: [v] for k, v in place.items()}
        self.after.data = {"image": [rgba(small)], **placed}
        first, _ = thin(before)
        column = round(self.share * first.shape[1])
        alpha = np.broadcast_to(np.where(np.arange(first.shape[1]) < column, 255, 0), first.shape[:2])
        self.before.data = {"image": [rgba(first, alpha)], **placed}
        self.figure.title.text = title
        self._below.stylesheets = [self.frame.breadth(self.figure)]
        self._put()

    def clear(self) -> None:
        """Remove all images."""
        for source in (self.before, self.after, self.over):
            source.data = {k: [] for k in PLACE}

    def lay(self, colours: np.ndarray | None, opacity: float = 1.0) -> None:
        """Draw a (row, column, 4) uint8 image over both dates; None removes it."""
        if colours is None:
            self.over.data = {k: [] for k in PLACE}
            return
        small, place = thin(colours)
        alpha = (small[..., 3] * opacity).astype(np.uint8)
        self.over.data = {"image": [rgba(small[..., :3], alpha)], **{k: [v] for k, v in place.items()}}

    def _put(self) -> None:
        """Move the divider to the position of the slider."""
        self.divider.location = self.share * self.frame.shape[1] - 0.5
        self.shade.location = self.divider.location

    def _slid(self, _: object) -> None:
        if not self._moving:
            self._put()

    def _dragged(self, location: float) -> None:
        """Move the slider to the divider that was dragged on the image."""
        columns = self.frame.shape[1]
        share = round(100 * (location + 0.5) / max(columns, 1))
        self._moving = True
        try:
            self.slider.value = min(max(share, 0), 100)
        finally:
            self._moving = False


_ENDS = (
    '<div style="display:flex;justify-content:space-between;flex-wrap:wrap;font-size:.78rem;opacity:.8">'
    "<span>◀ all of <b>after</b></span><span>drag the line on the image, or this slider</span><span>all of <b>before</b> ▶</span></div>"
)
