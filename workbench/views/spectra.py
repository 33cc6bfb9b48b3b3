"""Spectra of picked pixels: one line each in the pick's colour, interrupted at bad bands and gaps, which are grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import panel as pn
import xarray as xr
from bokeh.core.properties import field
from bokeh.models import ColumnDataSource, HoverTool, Line, MultiLine, Patches, Range1d, VSpan, VStrip

from workbench.views.looks import GREY
from workbench.views.plots import draw, pick_number, plot


class Axis:
    """The spectral axis of a cube: positions in nm if known, else band numbers, and where a line is interrupted.

    A line is interrupted in bands marked not good and between neighbours more than three median steps apart.
    """

    def __init__(self, hsi: xr.DataArray) -> None:
        n = hsi.sizes["band"]
        self.known = "wavelength" in hsi.coords and bool(np.isfinite(hsi["wavelength"].values).all())
        self.at = hsi["wavelength"].values.astype(float) if self.known else np.arange(n, dtype=float)
        self.label = "wavelength (nm)" if self.known else "band number (wavelengths not known)"
        self.good = hsi["good"].values.astype(bool) if "good" in hsi.coords else np.ones(n, bool)
        self.order = np.argsort(self.at, kind="stable")
        ordered = self.at[self.order]
        steps = np.diff(ordered)
        usual = np.median(steps) if steps.size else 1.0
        self._jumps = np.flatnonzero(steps > 3 * usual)
        # a band covers half a step to either side
        self._half = usual / 2 if usual > 0 else 0.5
        bad = ~self.good[self.order]
        first = np.flatnonzero(bad & ~np.r_[False, bad[:-1]])
        last = np.flatnonzero(bad & ~np.r_[bad[1:], False])
        self.grey = [(ordered[a] - self._half, ordered[b] + self._half) for a, b in zip(first, last, strict=True)]
        self.grey += [(ordered[j] + self._half, ordered[j + 1] - self._half) for j in self._jumps]
        self.limits = (float(ordered[0] - self._half), float(ordered[-1] + self._half))

    def line(self, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y of one spectrum (band,), in order, with NaN in bad bands and a NaN point inside each gap."""
        x = self.at[self.order]
        y = np.where(self.good, spectrum, np.nan)[self.order]
        if self._jumps.size:
            x = np.insert(x, self._jumps + 1, (x[self._jumps] + x[self._jumps + 1]) / 2)
            y = np.insert(y, self._jumps + 1, np.nan)
        return x, y

    def patches(self, low: np.ndarray, high: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Polygons between two spectra (band,), one for every interval without bad band or gap."""
        x, lo = self.line(low)
        _, hi = self.line(high)
        whole = np.isfinite(lo) & np.isfinite(hi)
        xs, ys = [], []
        for part in np.split(np.arange(x.size), np.flatnonzero(np.diff(whole.astype(np.int8))) + 1):
            if part.size and whole[part[0]]:
                xs.append(np.r_[x[part], x[part][::-1]])
                ys.append(np.r_[lo[part], hi[part][::-1]])
        return xs, ys

    def name(self, band: int) -> str:
        """`band 41 (667.3 nm)`, or `band 41`."""
        return f"band {band} ({self.at[band]:.1f} nm)" if self.known else f"band {band}"


class SpectraView:
    """A plot of spectra over an `Axis`, each with the number of its pick; all lines share one source, so that a pick sends one
    small message.
    """

    def __init__(self, y: str, *, height: int = 250, x_range: Range1d | None = None) -> None:
        self.x_range = x_range or Range1d(0, 1)
        self.lines = ColumnDataSource({"xs": [], "ys": [], "color": [], "number": []})
        self._numbers = ColumnDataSource({"x": [], "y": [], "color": [], "number": []})
        self._grey = ColumnDataSource({"x0": [], "x1": []})
        self._bands = ColumnDataSource({"x": [], "color": []})
        self.figure = plot("band", y, height=height, x_range=self.x_range, y_range=Range1d(0, 1))
        self._spread = ColumnDataSource({"xs": [], "ys": []})
        self._mean = ColumnDataSource({"x": [], "y": []})
        draw(self.figure, self._spread, Patches(xs="xs", ys="ys", fill_color=GREY, fill_alpha=0.25, line_alpha=0))
        draw(self.figure, self._mean, Line(x="x", y="y", line_color=GREY, line_width=1.5))
        draw(self.figure, self._grey, VStrip(x0="x0", x1="x1", fill_color=GREY, fill_alpha=0.18, line_alpha=0))
        draw(self.figure, self._bands, VSpan(x="x", line_color=field("color"), line_width=1.5, line_dash="dotted"))
        drawn = draw(self.figure, self.lines, MultiLine(xs="xs", ys="ys", line_color=field("color"), line_width=2))
        draw(self.figure, self._numbers, pick_number(text_baseline="middle", text_align="right"))
        tips = [("pick", "@number"), ("at", "$x{0.0}"), ("value", "$y{0.0000}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips, line_policy="nearest"))
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)
        self.axis: Axis | None = None

    def set_axis(self, axis: Axis, y: str | None = None) -> None:
        """Set the spectral axis of a newly opened cube; removes all lines."""
        self.axis = axis
        start, end = axis.limits
        self.x_range.update(start=start, end=end, reset_start=start, reset_end=end)
        self.figure.xaxis.axis_label = axis.label
        if y is not None:
            self.figure.yaxis.axis_label = y
        self._grey.data = {"x0": [a for a, _ in axis.grey], "x1": [b for _, b in axis.grey]}
        self.show({})

    def show(self, spectra: Mapping[int, np.ndarray], colors: Mapping[int, str] | None = None) -> None:
        """Show spectra by pick number, each (band,)."""
        assert self.axis is not None or not spectra
        drawn = [self.axis.line(s) for s in spectra.values()] if self.axis else []
        self.lines.data = {
            "xs": [x for x, _ in drawn],
            "ys": [y for _, y in drawn],
            "color": [(colors or {}).get(n, GREY) for n in spectra],
            "number": list(spectra),
        }
        self._number(drawn)
        self._bounds()

    def _number(self, drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put the number of its pick on every line, each further left than the one before, so that they do not overlap."""
        data: dict[str, list[Any]] = {"x": [], "y": [], "color": [], "number": []}
        for n, (x, y) in enumerate(drawn):
            known = np.flatnonzero(np.isfinite(y))
            if known.size:
                at = known[-1 - round(0.04 * n * (known.size - 1))]
                named = (self.lines.data["color"][n], str(self.lines.data["number"][n]))
                for column, value in zip(data.values(), (float(x[at]), float(y[at]), *named), strict=True):
                    column.append(value)
        self._numbers.data = data

    def backdrop(self, mean: np.ndarray, spread: np.ndarray) -> None:
        """The mean spectrum of the scene and one standard deviation to either side, in grey behind the picks."""
        assert self.axis is not None
        xs, ys = self.axis.patches(mean - spread, mean + spread)
        self._spread.data = {"xs": xs, "ys": ys}
        x, y = self.axis.line(mean)
        self._mean.data = {"x": x, "y": y}
        self._bounds()

    def _bounds(self) -> None:
        """Fit the vertical range to all lines and the grey backdrop, with a margin."""
        drawn = [np.asarray(y, float) for y in (*self.lines.data["ys"], *self._spread.data["ys"], self._mean.data["y"])]
        values = np.concatenate([y[np.isfinite(y)] for y in drawn])
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        air = 0.04 * (high - low) or 0.5
        start, end = float(low - air), float(high + air)
        self.figure.y_range.update(start=start, end=end, reset_start=start, reset_end=end)

    def mark_bands(self, bands: Sequence[int], colors: Sequence[str]) -> None:
        """Draw dotted lines at the bands of the image."""
        assert self.axis is not None
        self._bands.data = {"x": [float(self.axis.at[b]) for b in bands], "color": list(colors)}
