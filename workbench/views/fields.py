"""Maps on a fixed scale: a share or a probability in [0, 1], and maps of right and wrong decisions.

They share one `Frame`: pan, zoom and crosshair are linked. NaN (unknown) is grey.
"""

from __future__ import annotations

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Image,
    ImageRGBA,
    LinearColorMapper,
)
from bokeh.palettes import Cividis256, Viridis256

from workbench.views.looks import GREY
from workbench.views.plots import Frame, draw, rgba, thin
from workbench.views.screen import map_pane

PALETTES = {"change": Viridis256, "uncertainty": Cividis256}
MISSING = (128, 128, 128)
MASK = {0.25: "no", 0.75: "yes"}  # labels of the colour bar of a mask
# outcome of a decision -> red, green, blue; distinguishable with colour blindness
OUTCOMES: dict[str, tuple[int, int, int]] = {
    "change found": (255, 255, 255),
    "false alarm": (213, 94, 0),
    "change missed": (86, 180, 233),
    "rightly unchanged": (0, 0, 0),
}


class Field:
    """One map in a frame. palette: a name of PALETTES. high: end of the scale.

    A mask of 0 and 1 has two colours, and a bar that says so: it is not a probability.
    """

    def __init__(
        self,
        frame: Frame,
        title: str,
        *,
        palette: str = "change",
        high: float = 1.0,
    ) -> None:
        self.title = title
        self.source = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.mapper = LinearColorMapper(palette=PALETTES[palette], low=0.0, high=high, nan_color="rgba(128, 128, 128, 0.45)")
        self.figure = frame.figure(title, bar=True)
        image = Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=self.mapper)
        drawn = draw(self.figure, self.source, image)
        frame.finish(self.figure)
        self._palette = PALETTES[palette]
        self.hover = HoverTool(renderers=[drawn], tooltips=self._tips(False))
        self.figure.add_tools(self.hover)
        self.scale = ColorBar(color_mapper=self.mapper, width=8, padding=2, label_standoff=4)
        self.scale.ticker, self.scale.background_fill_alpha = BasicTicker(desired_num_ticks=4), 0
        self.figure.add_layout(self.scale, "right")
        self.panel = map_pane(self.figure)

    @property
    def empty(self) -> bool:
        """Whether no map is shown."""
        return not len(self.source.data["image"])

    def show(self, values: np.ndarray | None, title: str | None = None, *, mask: bool = False) -> None:
        """Show (row, column) values; None empties the map. mask: the values are 0 and 1, no probabilities."""
        self.figure.title.text = self.title if title is None else title
        if mask != self.mask:
            self._spell(mask)
        if values is None:
            self.source.data = {k: [] for k in self.source.data}
            return
        small, place = thin(np.asarray(values, np.float32))
        self.source.data = {"image": [small], **{k: [v] for k, v in place.items()}}

    @property
    def mask(self) -> bool:
        """Whether the map is shown as a mask."""
        return isinstance(self.scale.ticker, FixedTicker)

    def _spell(self, mask: bool) -> None:
        """Set colours, colour bar and hover text for a mask, or for values."""
        self.mapper.palette = [self._palette[0], self._palette[-1]] if mask else list(self._palette)
        self.scale.ticker = FixedTicker(ticks=list(MASK)) if mask else BasicTicker(desired_num_ticks=4)
        self.scale.major_label_overrides = MASK if mask else {}
        self.hover.tooltips = self._tips(mask)

    def _tips(self, mask: bool) -> list[tuple[str, str]]:
        value = ("changed: 1, not: 0", "@image{0}") if mask else (self.title or "value", "@image{0.000}")
        return [("row", "$y{0}"), ("column", "$x{0}"), value]


class Decisions:
    """Which decisions were right and which wrong, in the colours of OUTCOMES."""

    def __init__(self, frame: Frame, title: str, *, room: bool = True) -> None:
        self.title = title
        self.source = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.figure = frame.figure(title, bar=room)
        drawn = draw(self.figure, self.source, ImageRGBA(image="image", x="x", y="y", dw="dw", dh="dh"))
        frame.finish(self.figure)
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("row", "$y{0}"), ("column", "$x{0}")], visible=False))
        self.panel = map_pane(self.figure)

    def show(self, colours: np.ndarray | None, title: str | None = None) -> None:
        """Show (row, column, 3) uint8 colours, as `outcomes` gives them; None empties the map."""
        self.figure.title.text = self.title if title is None else title
        if colours is None:
            self.source.data = {k: [] for k in self.source.data}
            return
        small, place = thin(colours)
        self.source.data = {"image": [rgba(small)], **{k: [v] for k, v in place.items()}}


def outcomes(change: np.ndarray, truth: np.ndarray | None, answered: np.ndarray | None = None) -> np.ndarray:
    """(row, column, 3) uint8: the decision change > 0.5 compared with truth, in the colours of OUTCOMES.

    Grey where change or truth is unknown and, with `answered`, where the network abstains. Without truth there are only two
    colours, change and no change.

    >>> outcomes(np.array([[0.9, 0.9, 0.1, 0.1]]), np.array([[1, 0, 1, 0]]))[0, :, 0].tolist()
    [255, 213, 86, 0]
    """
    found, missed = change > 0.5, change <= 0.5
    known = np.isfinite(change) if truth is None else np.isfinite(change) & (truth >= 0)
    if answered is not None:
        known &= answered
    yes = found if truth is None else truth > 0
    picture = np.full((*change.shape, 3), MISSING, np.uint8)
    masks = (found & yes, found & ~yes, missed & yes, missed & ~yes)
    for mask, colour in zip(masks, OUTCOMES.values(), strict=True):
        picture[mask & known] = colour
    return picture


def tinted(values: np.ndarray, palette: str = "change", solid: bool = False) -> np.ndarray:
    """(row, column, 4) uint8 of values in [0, 1] for an overlay: opacity grows with the value, or is full with `solid`."""
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in PALETTES[palette]], np.uint8)
    known = np.isfinite(values)
    share = np.clip(np.where(known, values, 0), 0, 1)
    colours = table[(share * (len(table) - 1)).round().astype(int)]
    alpha = np.where(known, 255 if solid else 255 * np.sqrt(share), 0)
    return np.dstack([colours, alpha.astype(np.uint8)])


def swatches(grey: str = "not answered, or unknown") -> str:
    """HTML legend of OUTCOMES; `grey` is the text for grey pixels."""
    return " ".join(
        '<span style="white-space:nowrap;margin-right:10px"><span style="display:inline-block;width:12px;height:12px;'
        f'vertical-align:-1px;border:1px solid {GREY};background:rgb{colour}"></span> {name}</span>'
        for name, colour in (OUTCOMES | {grey: MISSING}).items()
    )
