"""The scene as an image: a colour composite or one band, with mask, truth outline and numbered picks on top.

view = ImageView(Frame())
view.show(composite(scene["hsi"], (40, 20, 8)))
view.on_tap(lambda row, column: ...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, HoverTool, ImageRGBA
from bokeh.palettes import Cividis256, Greys256, Viridis256

from workbench.views.looks import FLAGGED, rgb
from workbench.views.plots import Frame, draw, ranges, rgba, taps, thin
from workbench.views.screen import HALF, map_pane

# name -> wavelengths in nm of red, green, blue
PRESETS: dict[str, tuple[float, float, float]] = {
    "True colour": (650.0, 550.0, 460.0),
    "False colour (near infrared)": (860.0, 650.0, 550.0),
    "Shortwave infrared": (2200.0, 1650.0, 860.0),
}
EVEN = "Evenly spaced bands"
PALETTES = {"Grey": Greys256, "Viridis": Viridis256, "Cividis": Cividis256}
PLACE = {"image": "image", "x": "x", "y": "y", "dw": "dw", "dh": "dh"}


def presets(hsi: xr.DataArray) -> dict[str, tuple[int, int, int]]:
    """name -> (red, green, blue) band positions that this cube can show; bands marked not good are avoided.

    Without wavelengths there is only one, with evenly spaced bands. A preset is offered when each of its wavelengths has a
    good band within 60 nm.
    """
    good = (
        np.flatnonzero(hsi["good"].values)
        if "good" in hsi.coords and hsi["good"].values.any()
        else np.arange(hsi.sizes["band"])
    )
    available: dict[str, tuple[int, int, int]] = {}
    if "wavelength" in hsi.coords:
        nm = hsi["wavelength"].values.astype(float)
        for name, wanted in PRESETS.items():
            near = [int(good[np.nanargmin(np.abs(nm[good] - w))]) for w in wanted]
            if all(abs(nm[b] - w) <= 60 for b, w in zip(near, wanted, strict=True)):
                available[name] = (near[0], near[1], near[2])
    r, g, b = (int(good[round(q * (len(good) - 1))]) for q in (0.75, 0.5, 0.25))
    available[EVEN] = (r, g, b)
    return available


def stretch(values: np.ndarray, low: float = 2.0, high: float = 98.0, *, like: np.ndarray | None = None) -> np.ndarray:
    """`values` as uint8, linear between two percentiles of the finite ones (of those in `like`, where it is given); NaN and flat
    input become 0.
    """
    finite = values if like is None else like
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    bottom, top = np.percentile(finite, (low, high))
    if top <= bottom:
        return np.zeros(values.shape, np.uint8)
    return (np.nan_to_num(np.clip((values - bottom) / (top - bottom), 0, 1)) * 255).astype(np.uint8)


def composite(
    bands: xr.DataArray | np.ndarray, which: Sequence[int] = (0, 1, 2), *, like: np.ndarray | None = None
) -> np.ndarray:
    """(row, column, 3) uint8 from the bands at positions `which`, each stretched between its 2nd and 98th percentile, or those of
    the same band in `like`.
    """
    of = [None] * 3 if like is None else [like[b] for b in which]
    return np.dstack([stretch(np.asarray(bands[b], dtype=float), like=o) for b, o in zip(which, of, strict=True)])


def departures(bands: np.ndarray) -> np.ndarray:
    """(row, column, 3) uint8 of three bands (band, row, column) whose units, signs and tails differ: how far a pixel is from the
    median of each band.

    Grey is the median. The distance is in robust standard deviations of its band (1.4826 MAD; at least an eighth of the span of
    90 % of the pixels, because most pixels may be equal), compressed by asinh(d / 2); the scale ends at the 1st and 99th
    percentile of all three bands. Stretched one by one, bands that are negatives of each other give saturated colours, and long
    tails give few colours. NaN is black.
    """
    values = np.asarray(bands, dtype=float)
    known = np.isfinite(values)
    picture = np.zeros(values.shape)
    for band, seen, out in zip(values, known, picture, strict=True):
        if seen.any():
            distance = band - np.median(band[seen])
            low, high = np.percentile(distance[seen], (5, 95))
            spread = max(1.4826 * np.median(np.abs(distance[seen])), (high - low) / 8) or np.std(distance[seen]) or 1.0
            out[seen] = np.arcsinh(distance[seen] / spread / 2)
    ends = np.abs(np.percentile(picture[known], (1, 99))).max() if known.any() else 0.0
    picture = np.clip(0.5 + picture / (2 * ends or 1.0), 0, 1)
    return np.moveaxis((np.where(known, picture, 0) * 255).astype(np.uint8), 0, -1)


def as_colours(array: xr.DataArray) -> np.ndarray:
    """(row, column, 3) uint8 of any image (y, x) or (band, y, x): a composite, grey for one or two bands, or `departures`.

    An image with many negative values (a tenth and more) is no brightness: a suppressed cube, a gradient.
    """
    values = np.asarray(array.values, float)
    if values.ndim == 2 or len(values) < 3:
        values = np.stack([values if values.ndim == 2 else values[0]] * 3)
        return composite(values)
    which: Sequence[int] = (0, 1, 2)
    if len(values) > 3:
        spread = [round(q * (len(values) - 1)) for q in (0.75, 0.5, 0.25)]
        which = next(iter(presets(array).values())) if array.dims[0] == "band" else spread
    shown = values[list(which)]
    return departures(shown) if (shown < 0).mean() >= 0.1 else composite(shown)


def equal_share(bands: np.ndarray) -> float:
    """Share of the pixels of (band, row, column) that have exactly the median of every band."""
    values = np.asarray(bands)
    return float((values == np.nanmedian(values, axis=(1, 2), keepdims=True)).all(0).mean())


def coloured(values: np.ndarray, palette: str = "Grey", *, like: np.ndarray | None = None) -> np.ndarray:
    """(row, column, 3) uint8 of one band through a palette, stretched between its 2nd and 98th percentile, or those of `like`."""
    lut = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in PALETTES[palette]], np.uint8)
    return lut[stretch(values, like=like)]


class ImageView:
    """One image figure in a frame; views of one frame share pan, zoom and marks.

    room: as wide as a map with a colour bar.
    """

    def __init__(self, frame: Frame, title: str = "", *, axes: bool = True, room: bool = False, tall: str = HALF) -> None:
        self.frame = frame
        self.source = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.mask = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.figure = frame.figure(title, axes=axes, bar=room, tall=tall)
        drawn = draw(self.figure, self.source, ImageRGBA(**PLACE))
        self.overlay = draw(self.figure, self.mask, ImageRGBA(**PLACE))
        frame.finish(self.figure)
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=[("row", "$y{0}"), ("column", "$x{0}")], visible=False))
        self.panel = map_pane(self.figure)

    def show(self, picture: np.ndarray, title: str | None = None, place: Mapping[str, float] | None = None) -> None:
        """Show a (row, column, 3) uint8 image of the whole scene, or of the part of it at `place` (x, y, dw, dh)."""
        small, place = thin(picture) if place is None else (picture, place)
        self.source.data = {"image": [rgba(small)], **{k: [v] for k, v in place.items()}}
        if title is not None:
            self.figure.title.text = title

    def clear(self) -> None:
        """Remove the image."""
        self.source.data = {k: [] for k in self.source.data}

    def flag(self, mask: np.ndarray | None, opacity: float = 0.85, grain: int = 1) -> None:
        """Fill the pixels of a boolean (row, column) mask; None removes it. grain: scene pixels a side of a mask cell."""
        if mask is None:
            self.mask.data = {k: [] for k in self.mask.data}
            return
        small, place = thin(mask, grain)
        colour = np.broadcast_to(np.array(rgb(FLAGGED), np.uint8), (*small.shape, 3))
        self.mask.data = {
            "image": [rgba(colour, np.where(small, round(255 * opacity), 0))],
            **{k: [v] for k, v in place.items()},
        }

    def on_look(self, then: Callable[[tuple[float, float], tuple[float, float]], None]) -> None:
        """Call `then(rows, columns)` after a pan or zoom: first and last visible row and column, also beyond the image."""
        ranges(self.figure, then)

    def on_tap(self, then: Callable[[int, int], None]) -> None:
        """Call `then(row, column)` for every tap on the image; taps outside it are ignored."""
        taps(self.figure, self.frame, then)
