"""Fourth tab: the image at any noise level, what the network makes of it, spectra of a pixel, and what each noise level knows."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.errors import InputError
from workbench.methods.mdfl.inside import Trained, frequency_view, load_networks, noise_view, spectra
from workbench.pages.landcover.state import NAMES, LandcoverState
from workbench.views.card import explain, heading, html, problem
from workbench.views.classes import ClassMap
from workbench.views.image import ImageView, coloured, composite
from workbench.views.lines import Lines
from workbench.views.looks import BLUE, GREY, ORANGE, PICKS, RED, Look
from workbench.views.plots import Frame
from workbench.views.screen import grid, wrapped

INVITATION = (
    "When a run has finished, this tab shows the scene at any noise level t, what the diffusion network makes of it in one look, the "
    "spectrum of a pixel at each level, the features of the network as colours, and how much of the classes each level knows."
)
UNASKED = "Round the picked pixel, or in the middle of the image. The high frequencies are texture; the zero frequency is the mean."
LEVELS = "OA of one noise level alone, logistic regression"
PARTS = {"clean": "Clean", "noisy": "At noise level t", "denoised": "What the network makes of it"}
LOOKS = {"trained": Look("trained network", ORANGE), "untrained": Look("untrained network, the control", BLUE, "dashed")}


class Inside:
    """Slider, three linked images, spectra, and small multiples of the bank."""

    def __init__(self, state: LandcoverState) -> None:
        self.state = state
        self._drawn: Any = None
        self._made: xr.Dataset | None = None
        self._filtered: Any = None
        self.time = pmui.IntSlider.from_param(
            state.param.time, label="Noise level t of 500", step=1, size="small", sizing_mode="stretch_width",
            min_width=240, margin=(4, 24, 4, 16),
        )  # fmt: skip
        self.text = html(margin=(2, 8))
        self.frame = Frame()
        self.views = {name: ImageView(self.frame, title, axes=False) for name, title in PARTS.items()}
        self.spectra = Lines("band", "value of the sensor", height=280, words="Click a pixel of an image above.")
        self.levels = Lines("noise level t", "OA on test pixels", height=280, dots=True)
        self.bank_frame = Frame()
        self.bank = [ImageView(self.bank_frame, "", axes=False, tall="200px") for _ in range(10)]
        self._levels_title = heading(LEVELS)
        self.annulus = pmui.RangeSlider(
            label="Frequencies that are removed, cycles per pixel", start=0.0, end=0.72, step=0.02, value=(0.3, 0.72), size="small",
            sizing_mode="stretch_width", min_width=240, margin=(4, 24, 4, 16),
        )  # fmt: skip
        self.ask = pmui.Button(
            label="Classify without them", icon="blur_on", variant="outlined", size="small", margin=(8, 8)
        )
        self.changed = html(UNASKED, margin=(12, 8))
        self.class_frame, self.spectrum_frame = Frame(), Frame()
        self.labels = ClassMap(self.class_frame, "Classes with all frequencies")
        self.without = ClassMap(self.class_frame, "Classes without the removed ones")
        self.before = ImageView(self.spectrum_frame, "log|FFT| before the first parser", axes=False)
        self.after = ImageView(self.spectrum_frame, "log|FFT| behind it", axes=False)
        self._frequencies = pn.Column(
            grid(self.labels.panel, self.without.panel, self.before.panel, self.after.panel, least=220, most=4),
            sizing_mode="stretch_width",
            margin=0,
            visible=False,
        )
        self._content = pn.Column(
            self.time,
            self.text,
            grid(*(v.panel for v in self.views.values()), least=260, most=3),
            grid(
                pn.Column(
                    heading("Spectrum of the picked pixel"), self.spectra.panel, sizing_mode="stretch_width", margin=0
                ),
                pn.Column(self._levels_title, self.levels.panel, sizing_mode="stretch_width", margin=0),
                least=380,
            ),
            heading("The bank as colours: three principal components of its features, each level on its own scale"),
            grid(*(v.panel for v in self.bank), least=170, most=5),
            heading("Spatial frequencies: what the classes owe to them"),
            self.annulus,
            wrapped(self.ask, self.changed),
            self._frequencies,
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("What does each noise level know?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        for view in self.views.values():
            view.on_tap(self._tapped)
        self.ask.on_click(lambda _: self.filter())

    def take(self) -> None:
        """Reset for another result, or for none."""
        self._drawn = self._made = self._filtered = None
        self._frequencies.visible, self.changed.object = False, UNASKED
        findings, result = self.state.findings, self.state.result
        self._content.visible, self._invite.visible = findings is not None, findings is None
        if result is None or findings is None:
            return
        levels = [int(str(t).removeprefix("t ")) for t in result["time"].values]
        self.levels.show(
            (LOOKS[str(b)], levels, row) for b, row in zip(result["bank"].values, result["oa_by_time"].values, strict=True)
        )
        self._bank(result, levels)
        self.draw()

    def _bank(self, result: xr.Dataset, levels: list[int]) -> None:
        """One small picture for each noise level of the bank."""
        known = "bank_rgb" in result
        if known:
            shape = result["bank_rgb"].shape[-2:]
            if self.bank_frame.shape != shape:
                self.bank_frame.fit(*shape)
        for n, view in enumerate(self.bank):
            view.panel.visible = known and n < len(levels)
            if view.panel.visible:
                colours = np.moveaxis(result["bank_rgb"].values[n], 0, -1)
                view.show((255 * colours).astype(np.uint8), f"t = {levels[n]}")

    def draw(self) -> None:
        """Ask for the image at the noise level, when the tab is visible."""
        state, live = self.state, self.state.runner.live
        if state.findings is None or live is None or state.data is None or state.tab != 3:
            return
        now = (str(live.folder), state.shown, state.picked, state.time)
        if now == self._drawn:
            return
        self._drawn = now
        if self._made is None:
            self.text.object = "Computing …"
        data, key, image, picked, time = state.data, state.key, state.shown, state.picked, state.time
        times = sorted({*(int(t) for t in state.runner.config.get("times", ())), time})

        def make() -> tuple[xr.Dataset, xr.Dataset | None]:
            trained = _networks(live.folder, key, data)
            view = noise_view(trained, image, time, picked)
            return view, None if picked is None else spectra(trained, image, *picked, times)

        state.later(("noise", *now), make, lambda future: self._show(future, now, times))

    def _show(self, future: Future, asked: Any, times: list[int]) -> None:
        if asked != self._drawn:
            return
        try:
            made, lines = future.result()
        except InputError as error:
            self.text.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
            return
        state = self.state
        self._made = made
        clean = made["clean"].values
        which = (0, 1, 2) if len(clean) >= 3 else (0, 0, 0)
        if self.frame.shape != clean.shape[1:]:
            self.frame.fit(*clean.shape[1:])
        for name, view in self.views.items():
            view.show(
                composite(made[name].values, which, like=clean), PARTS[name].replace("level t", f"level t = {state.time}")
            )
        row, column, signal = (made.attrs[n] for n in ("row", "column", "signal"))
        error = float(np.abs(made["denoised"] - made["clean"]).mean())
        image = state.images[state.shown]
        self.text.object = (
            f"{f'Image <b>{image}</b>, rows' if image else 'Rows'} from {row}, columns from {column}; first channels of "
            f"{NAMES[made.attrs['sensor']]}, in tiles of 8 × 8 pixels. At t = {state.time} the image is {signal:.3f} of its size, and the "
            f"noise {(1 - signal**2) ** 0.5:.3f}; mean absolute error of the estimate {error:.3f}."
        )
        picked = state.picked
        self.frame.mark(None if picked is None else (picked[0] - row, picked[1] - column))
        self._spectra(lines, times)

    def filter(self) -> None:
        """Ask for the classes without a band of frequencies, round the picked pixel."""
        state, live = self.state, self.state.runner.live
        if state.findings is None or live is None or state.data is None:
            return
        low, high = (round(float(v), 2) for v in self.annulus.value)
        data, key, image, picked, time = state.data, state.key, state.shown, state.picked, state.time
        now = self._filtered = (str(live.folder), image, picked, time, low, high)
        self.changed.object = "Computing …"

        def make() -> xr.Dataset:
            return frequency_view(_networks(live.folder, key, data), image, time, low, high, picked)

        state.later(("frequencies", *now), make, lambda future: self._show_filtered(future, now))

    def _show_filtered(self, future: Future, asked: Any) -> None:
        if asked != self._filtered:
            return
        try:
            made = future.result()
        except InputError as error:
            self.changed.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
            return
        assert self.state.findings is not None
        names, (*_, low, high) = self.state.findings.names, asked
        for frame, name in ((self.class_frame, "labels"), (self.spectrum_frame, "before")):
            if frame.shape != made[name].shape:
                frame.fit(*made[name].shape)
        self.labels.show(made["labels"].values, names)
        self.without.show(made["without"].values, names)
        both = np.stack([made[n].values for n in ("before", "after")])
        for view, values in ((self.before, both[0]), (self.after, both[1])):
            view.show(coloured(values, "Viridis", like=both))
        self._frequencies.visible = True
        row, column = made.attrs["row"], made.attrs["column"]
        self.changed.object = (
            f"Without {low:g} to {high:g} cycles per pixel <b>{made.attrs['changed']:.1%}</b> of the pixels have another class (rows "
            f"from {row}, columns from {column}; all sensors, raw values and bank; the noise is the same)."
        )

    def _spectra(self, lines: xr.Dataset | None, times: list[int]) -> None:
        if lines is None:
            self.spectra.show([])
            return
        state = self.state
        assert state.data is not None
        array = state.data[lines.attrs["sensor"]]
        known = "wavelength" in array.coords
        at = array["wavelength"].values.astype(float) if known else np.arange(lines.sizes["band"], dtype=float)
        order = np.argsort(at, kind="stable")
        lines, x = lines.isel(band=order), at[order]
        self.spectra.figure.xaxis.axis_label = "wavelength (nm)" if known else "band"
        drawn = [(Look("clean, as the channels hold it", GREY, "dashed"), x, lines["clean"].values)]
        drawn.append((Look(f"noisy, t = {state.time}", RED, "dotted"), x, lines["noisy"].sel(time=state.time).values))
        for n, t in enumerate(times):
            look = Look(f"estimate, t = {t}", PICKS[n % len(PICKS)])
            drawn.append((look, x, lines["denoised"].sel(time=t).values))
        self.spectra.show(drawn)

    def _tapped(self, row: int, column: int) -> None:
        if self._made is not None:
            self.state.pick(row + self._made.attrs["row"], column + self._made.attrs["column"])


_NEWEST: dict[tuple[str, Any], Trained] = {}  # of the run that was looked at last; used in the worker thread only


def _networks(folder: Any, key: Any, data: xr.Dataset) -> Trained:
    """The networks of a run on the scene `data`, whose cache key is `key`."""
    if (str(folder), key) not in _NEWEST:
        made = load_networks(folder, data)
        _NEWEST.clear()
        _NEWEST[str(folder), key] = made
    return _NEWEST[str(folder), key]
