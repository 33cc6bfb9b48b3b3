"""Score maps side by side: linked, and on one scale that is comparable between detectors.

Scores of different detectors have different units. So a pixel's colour is its rank: the share of pixels that score at
least as high, on a log scale. 100 % is the lowest score; 0.1 % means that one pixel in a thousand scores at least as
high. The threshold uses the same scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from bokeh.models import (
    BasicTicker,
    BasicTickFormatter,
    ColorBar,
    ColumnDataSource,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    Image,
    LinearColorMapper,
)
from bokeh.palettes import Cividis256, Viridis256

from workbench.views.plots import Frame, draw, ranges, taps, thin
from workbench.views.screen import map_pane

PALETTES = {"Cividis": Cividis256, "Viridis": Viridis256}
RANK, OWN = "Rank", "Own units"


def exceedance(score: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Share of finite pixels (of `among`, if given) that score at least as high as each pixel, in (0, 1]; NaN
    stays NaN.

    >>> exceedance(np.array([3.0, 1.0, 3.0, 2.0])).tolist()
    [0.5, 1.0, 0.5, 0.75]
    """
    share = np.full(score.shape, np.nan)
    finite = np.isfinite(score)
    ordered = np.sort(score[finite] if among is None else among[np.isfinite(among)])
    if ordered.size:
        share[finite] = 1 - np.searchsorted(ordered, score[finite], side="left") / ordered.size
    return share if among is None else np.maximum(share, 1 / max(ordered.size, 1))


class ScoreMap:
    """One map in a frame. `show` takes the raw score; `set_scale` selects rank (comparable) or the detector's own units."""

    def __init__(self, frame: Frame, title: str) -> None:
        self.title = title
        self.scale = RANK
        self.whole: tuple[np.ndarray | None, int] = (None, 1)
        self.source = ColumnDataSource({"rank": [], "own": [], "share": [], "x": [], "y": [], "dw": [], "dh": []})
        self.mapper = LinearColorMapper(palette=Cividis256, low=0, high=4, nan_color="rgba(128, 128, 128, 0.35)")
        self.figure = frame.figure(title, bar=True)
        self._drawn = draw(
            self.figure, self.source, Image(image="rank", x="x", y="y", dw="dw", dh="dh", color_mapper=self.mapper)
        )
        frame.finish(self.figure)
        tips = [
            ("row", "$y{0}"),
            ("column", "$x{0}"),
            ("score", "@own{0.0000}"),
            ("scores at least as high", "@share{0.00} %"),
        ]
        self.figure.add_tools(HoverTool(renderers=[self._drawn], tooltips=tips))
        self._ticks = {
            RANK: (
                FixedTicker(ticks=[0, 1, 2, 3, 4, 5, 6]),
                CustomJSTickFormatter(code="return +(100 / Math.pow(10, tick)).toPrecision(1) + ' %'"),
            ),
            OWN: (BasicTicker(desired_num_ticks=4), BasicTickFormatter(precision=2, power_limit_high=4)),
        }
        self.bar = ColorBar(color_mapper=self.mapper, width=8, padding=2, label_standoff=4)
        self.bar.ticker, self.bar.formatter = self._ticks[RANK]
        self.figure.add_layout(self.bar, "right")
        self._frame = frame
        self.panel = map_pane(self.figure)

    @property
    def empty(self) -> bool:
        """Whether no map is shown."""
        return not len(self.source.data["own"])

    def show(self, score: np.ndarray | None, note: str = "", grain: int = 1) -> None:
        """Show a (row, column) score; None empties the map. `note` follows the title. grain: scene pixels a side of a cell."""
        self.figure.title.text = f"{self.title}   {note}".strip()
        self.whole = (score, grain)
        if score is None:
            self.source.data = {k: [] for k in self.source.data}
            return
        self._draw(score, thin(score, grain)[1], None)
        self._range()

    def refine(self, score: np.ndarray | None, place: Mapping[str, float] | None = None) -> None:
        """Show a part of the map in more detail, at `place`, on the scale of the whole map; None shows the whole map again."""
        whole, grain = self.whole
        if whole is not None:
            self._draw(whole if score is None else score, place or thin(whole, grain)[1], None if score is None else whole)

    def _draw(self, score: np.ndarray, place: Mapping[str, float], among: np.ndarray | None) -> None:
        share = exceedance(score, among)
        with np.errstate(divide="ignore"):
            rank = -np.log10(share)
        layers = {
            "rank": rank.astype(np.float32),
            "own": score.astype(np.float32),
            "share": (100 * share).astype(np.float32),
        }
        self.source.data = {**{k: [thin(v)[0]] for k, v in layers.items()}, **{k: [v] for k, v in place.items()}}

    def set_scale(self, scale: str, palette: str = "Cividis") -> None:
        """`Rank` or `Own units`; the palette is one of PALETTES."""
        self.scale = scale
        self.mapper.palette = PALETTES[palette]
        self._drawn.glyph.image = "rank" if scale == RANK else "own"
        self.bar.ticker, self.bar.formatter = self._ticks[scale]
        self._range()

    def _range(self) -> None:
        if self.empty:
            return
        values = self.source.data["own"][0]
        finite = values[np.isfinite(values)]
        if not finite.size:
            return
        if self.scale == RANK:
            self.mapper.update(low=0.0, high=max(1.0, float(np.log10(finite.size))))
        else:
            low, high = np.percentile(finite, (1, 99.5))
            self.mapper.update(low=float(low), high=float(high if high > low else low + 1))

    def on_look(self, then: Callable[[tuple[float, float], tuple[float, float]], None]) -> None:
        """Call `then(rows, columns)` after a pan or zoom: first and last visible row and column, also beyond the image."""
        ranges(self.figure, then)

    def on_tap(self, then: Callable[[int, int], None]) -> None:
        """Call `then(row, column)` for every tap on the map."""
        taps(self.figure, self._frame, then)
