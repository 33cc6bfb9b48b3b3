"""First tab: the scene as an image, and the spectra of clicked pixels, before and after suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.pages.anomaly.state import AnomalyState
from workbench.views import save
from workbench.views.card import escape, explain, html
from workbench.views.glimpse import Part, mean_and_spread
from workbench.views.image import ImageView, coloured, composite, presets
from workbench.views.looks import BLUE, GREEN, GREY, PICKS, RED
from workbench.views.picks import PickTable
from workbench.views.plots import batched
from workbench.views.screen import WHOLE, beside, wrapped
from workbench.views.spectra import Axis, SpectraView

QUIET = {"after 1 pass": "suppressed_first", "after K passes": "suppressed"}
BAND_COLOURS = (RED, GREEN, BLUE)


class Explore:
    """Image, display controls, spectra, and the table of picks."""

    def __init__(self, state: AnomalyState) -> None:
        self.state = state
        self.bands: dict[str, tuple[int, int, int]] = {}
        self.part: Part | None = None  # visible part of a large scene
        self._taking = False
        wide = {"sizing_mode": "stretch_width", "size": "small"}
        stretch = {"sizing_mode": "stretch_width", "margin": 0}

        self.looks = pmui.RadioButtonGroup.from_param(state.param.look, label="", size="small", margin=(6, 0))
        self.presets = pmui.Select(label="Bands of the composite", options=[""], value="", margin=(8, 0, 4, 0), **wide)
        self.slider = pmui.IntSlider(label="Band", start=0, end=1, show_value=False, margin=(6, 8, 0, 8), **wide)
        self.palettes = pmui.Select.from_param(state.param.palette, label="Palette of the band", margin=(8, 0, 4, 0), **wide)
        self.outlines = pmui.Switch.from_param(
            state.param.outline, label="Outline the truth", description="", size="small", margin=(2, 0)
        )
        self.masks = pmui.Switch.from_param(
            state.param.masked, label="Show flagged pixels", description="", size="small", margin=(2, 0)
        )
        self.controls = pn.Column(
            self.looks,
            self.presets,
            self.palettes,
            self.slider,
            self.outlines,
            self.masks,
            sizing_mode="stretch_width",
            margin=0,
        )

        self.image = ImageView(state.frame, tall=WHOLE)
        self.spectra = SpectraView("value", height=268)
        self.quiet: Quiet | None = None
        self._quiet = pn.Column(visible=False, **stretch)
        self._no_quiet = explain(
            "Spectra of the suppressed cube",
            "They appear here when a BSDM run on this scene has finished.<br>Train one under <b>BSDM live</b>.",
            height=190,
        )
        self.table = PickTable(state.unpick, sizing_mode="stretch_width", margin=(0, 4))
        self._hint = html(margin=(6, 4, 2, 4))
        self.csv = save.download("Spectra as CSV", self._csv, "spectra.csv")
        self.clear = pmui.Button(label="Clear picks", icon="clear_all", variant="text", size="small", margin=(4, 6, 4, 0))
        self._keep = wrapped(self.csv, self.clear)
        self.panel = pn.Column(
            beside(
                self.image.panel, pn.Column(self.spectra.panel, self._quiet, self._no_quiet, **stretch), least=(400, 440)
            ),
            self._hint,
            self.table,
            self._keep,
            sizing_mode="stretch_width",
            margin=(8, 4),
        )

        self.presets.param.watch(batched(self._preset_chosen), "value")
        self.slider.param.watch(batched(self._band_chosen), "value")
        state.param.watch(self.draw, ["look", "preset", "band", "palette"])
        state.param.watch(batched(self.outline), "outline")
        self.clear.on_click(lambda _: state.unpick())
        self.image.on_tap(state.pick)
        self.image.on_look(self._looked)

    def _preset_chosen(self, event: Any) -> None:
        if not self._taking and event.new != self.state.preset:
            self.state.param.update(preset=event.new, look="Composite")

    def _band_chosen(self, event: Any) -> None:
        if not self._taking and event.new != self.state.band:
            self.state.param.update(band=event.new, look="Band")

    def take(self, first: bool) -> None:
        """Show a newly opened scene; the first one keeps the state of the address."""
        state, hsi = self.state, self.state.data["hsi"]
        unit, name = str(hsi.attrs.get("units") or ""), str(hsi.attrs.get("long_name") or "")
        label = unit if name and name.split()[-1] in unit else f"{name} ({unit})" if name and unit else name or unit
        self.spectra.set_axis(state.axis, label or "value as stored")
        glimpse = state.glimpse
        self.part = None if glimpse is None else glimpse.whole
        self.spectra.backdrop(*(mean_and_spread(hsi.values) if glimpse is None else (glimpse.mean, glimpse.spread)))
        self.quieten(None)
        self._taking = True  # ignore changes of widgets: they are not made by the visitor
        self.bands = presets(hsi)
        last = hsi.sizes["band"] - 1
        self.slider.param.update(end=max(last, 1), value=min(state.band, last) if first else 0)
        state.param.band.bounds = (0, max(last, 1))
        self.presets.options = list(self.bands)
        preset = state.preset if first and state.preset in self.bands else next(iter(self.bands))
        state.param.update(
            preset=preset, band=min(state.band, last) if first else 0, look=state.look if first else "Composite"
        )
        self.presets.value = state.preset
        self.slider.value = state.band
        self._taking = False
        self.outline()
        self.draw()
        self.draw_mask()

    def draw(self, *_: Any) -> None:
        """Redraw the image, and mark its bands in the spectrum."""
        state = self.state
        if state.data is None or not self.bands:
            return
        which = self.bands.get(state.preset, next(iter(self.bands.values())))
        shown = [state.band] if state.look == "Band" else list(which)
        if state.glimpse is not None and not state.glimpse.has([*which, *shown], self.part):
            state.read([*which, *shown], self.part, self.draw)
            return
        with pn.io.hold():
            self.slider.label = state.axis.name(state.band).capitalize()
            if self.slider.value != state.band:
                self.slider.value = state.band
            whole, _, _ = self._bands(which, whole=True)
            state.rgb = composite(whole)
            state.place = None if state.glimpse is None else state.glimpse.whole.place
            if state.look == "Band":
                (values,), place, (like,) = self._bands(shown)
                picture, title = coloured(values, state.palette, like=like), state.axis.name(state.band).capitalize()
                self.spectra.mark_bands([state.band], [GREY])
            else:
                values, place, like = self._bands(which)
                at = " / ".join(f"{state.axis.at[b]:.0f}" for b in which)
                picture = state.rgb if state.glimpse is None else composite(values, like=like)
                title = f"{state.preset}: {at} nm" if state.axis.known else f"{state.preset}: {at}"
                self.spectra.mark_bands(which, BAND_COLOURS)
            self.image.show(picture, title, place)
            self.presets.visible = state.look == "Composite"
            self.palettes.visible = state.look == "Band"

    def _bands(self, which: Sequence[int], whole: bool = False) -> tuple[Any, Any, Any]:
        """Bands (band, row, column) of the visible part of a large scene, its place, and the overview that defines the stretch;
        for other scenes the bands, None and the same bands. whole: the overview instead of the visible part.
        """
        glimpse = self.state.glimpse
        if glimpse is None:
            values = self.state.data["hsi"].isel(band=list(which)).values
            return values, None, values
        like = glimpse.bands(which, glimpse.whole)
        return (like, None, like) if whole else (glimpse.bands(which, self.part), self.part.place, like)

    def _looked(self, rows: tuple[float, float], columns: tuple[float, float]) -> None:
        """Read a large scene again at the new resolution after a pan or zoom."""
        if self.state.glimpse is not None and (part := self.state.glimpse.part(rows, columns)) != self.part:
            self.part = part
            self.draw()

    def draw_mask(self) -> None:
        """Draw the flagged pixels on the image, if switched on."""
        mask = self.state.flagged()
        self.image.flag(mask if self.state.masked else None, grain=self.state.grain())
        self.masks.disabled = mask is None

    def outline(self, *_: Any) -> None:
        """Draw or remove the outline of the truth."""
        self.state.frame.outline_truth(self.state.mask_of_truth if self.state.outline else None)
        self.outlines.disabled = self.state.mask_of_truth is None

    def draw_picks(self) -> None:
        """Draw marks on the images and lines in the plots."""
        picked = self.state.picked
        self.state.frame.mark_all(list(picked.values()), [str(n) for n in picked], [PICKS[n - 1] for n in picked])
        self.draw_spectra()

    def draw_spectra(self, *_: Any) -> None:
        """Draw the spectra of all picks."""
        state = self.state
        colours = {n: PICKS[n - 1] for n in state.picked}
        hsi = state.data["hsi"]
        self.spectra.show(_pixels(hsi, state.picked, lazy=state.large), colours)
        if self._quiet.visible:
            self.quiet.draw(state.result, state.picked, colours)

    def quieten(self, result: xr.Dataset | None) -> None:
        """Show spectra of the suppressed cube beside the original spectra; None hides them."""
        available = result is not None and all(name in result for name in QUIET.values())
        if available:
            if self.quiet is None:
                self.quiet = Quiet(self)
                self._quiet.objects = [self.quiet.panel]
            self.quiet.take(self.state.axis, result)
        self._quiet.visible, self._no_quiet.visible = available, not available and not self.state.large
        if available:
            self.draw_spectra()

    def draw_rows(self) -> None:
        """Update the table of picks."""
        state = self.state
        self.table.show(
            [
                {
                    "number": n,
                    "colour": PICKS[n - 1],
                    "cells": [
                        f"{r}, {c}",
                        _coordinates(state.data, r, c),
                        _truth_of(state.data, r, c),
                        *_place(state, r, c),
                    ],
                }
                for n, (r, c) in sorted(state.picked.items())
            ]
        )
        self._keep.visible = bool(state.picked)
        title = escape(state.title(state.detector))
        self._hint.object = (
            f"<b>Picked pixels</b> &ensp; <span style='opacity:.75'>score and rank by {title}; click a pixel again to remove it</span>"
            if state.picked
            else "<b>Click pixels in any image</b> to collect their spectra. "
            "<span style='opacity:.75'>Grey: mean of the scene, ± one standard deviation.</span>"
        )

    def _csv(self) -> Any:
        state, hsi = self.state, self.state.data["hsi"]
        columns: dict[str, Any] = {"band": np.arange(hsi.sizes["band"])}
        if state.axis.known:
            columns["wavelength_nm"] = state.axis.at
        columns["good"] = state.axis.good.astype(int)
        for name in ("hsi", *(QUIET.values() if self._quiet.visible else ())):
            cube = hsi if name == "hsi" else state.result[name]
            for r, c in state.picked.values():
                columns[f"{name}_row{r}_column{c}"] = cube[:, r, c].values
        return save.spectra_csv(columns)


class Quiet:
    """Spectra of the suppressed cube. Built when the cube exists: this figure adds a third to the load time of the page."""

    def __init__(self, explore: Explore) -> None:
        self.view = SpectraView("suppressed value", height=232, x_range=explore.spectra.x_range)
        self.which = pmui.RadioButtonGroup(options=QUIET, value="suppressed_first", size="small", width=260, margin=(2, 4))
        self.relative = pmui.Switch(label="minus the mean, in σ", value=True, size="small", margin=(4, 8))
        title = html("<b>Suppressed cube</b>", width=120, margin=(8, 4, 0, 8))
        self.panel = pn.Column(
            wrapped(title, self.which, self.relative), self.view.panel, sizing_mode="stretch_width", margin=0
        )
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for widget in (self.which, self.relative):
            widget.param.watch(batched(explore.draw_spectra), "value")

    def take(self, axis: Axis, result: xr.Dataset) -> None:
        """Show the result of a run on a scene with this axis."""
        self.moments = {name: mean_and_spread(result[name].values) for name in QUIET.values()}
        self.view.set_axis(axis)

    def draw(self, result: xr.Dataset, picked: Mapping[int, tuple[int, int]], colours: Mapping[int, str]) -> None:
        """Show the spectra of the picked pixels."""
        name = self.which.value
        mean, spread = self.moments[name]
        lines = _pixels(result[name], picked, lazy=result[name].chunks is not None)
        if self.relative.value:  # all spectra share the network's pattern; RX scores the deviation from it
            scale = np.where(spread > 0, spread, np.nan)
            lines = {n: (line - mean) / scale for n, line in lines.items()}
            mean, spread = 0 * mean, spread / scale
        self.view.figure.yaxis.axis_label = "deviation (σ of band)" if self.relative.value else "suppressed value"
        self.view.backdrop(mean, spread)
        self.view.show(lines, colours)


def _pixels(cube: xr.DataArray, picked: Mapping[int, tuple[int, int]], *, lazy: bool) -> dict[int, np.ndarray]:
    """Spectra of these pixels; of a cube in memory from its array, which is cut in a tenth of the time."""
    values = cube if lazy else cube.values
    return {n: np.asarray(values[:, r, c]) for n, (r, c) in picked.items()}


def _coordinates(data: xr.Dataset, row: int, column: int) -> str:
    if "spatial_ref" not in data.coords:
        return "not georeferenced"
    return f"{float(data['x'].values[column]):.8g}, {float(data['y'].values[row]):.8g}"


def _truth_of(data: xr.Dataset, row: int, column: int) -> str:
    if "truth" not in data:
        return "none"
    value = int(data["truth"].values[row, column])
    return "anomaly" if value > 0 else "background" if value == 0 else "unlabelled"


def _place(state: AnomalyState, row: int, column: int) -> tuple[str, str]:
    """Score of a pixel, and its rank: pixels that score higher, plus one."""
    if state.detector not in state.scores:
        return "none yet", ""
    score = state.scores[state.detector].values
    fine = state.fine.get(state.detector)
    value = score[row, column] if fine is None else float(fine[row, column])
    if not np.isfinite(value):
        return "missing pixel", ""
    if fine is not None:
        return f"{value:.5g}", ""
    higher, total = int((score > value).sum()), int(np.isfinite(score).sum())
    return f"{value:.5g}", f"{higher + 1:,} of {total:,}"
