"""Fifth tab: from noise to patches for each owner, the centre pixel on that way, and which noise level knows the classes."""

from __future__ import annotations

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.pages.federation.findings import Findings
from workbench.pages.federation.state import FederationState
from workbench.views.card import explain, heading, html
from workbench.views.image import ImageView
from workbench.views.lines import Lines
from workbench.views.looks import BLUE, GREY, ORANGE, Look, nth
from workbench.views.plots import Frame
from workbench.views.screen import grid

INVITATION = (
    "When a run of <b>feddiff</b> has finished, this tab shows how each owner's diffusion network makes patches from noise, the values of "
    "a pixel on that way beside real ones, and how much of the classes each noise level knows, trained and untrained."
)
GAP, PATCH, SHOWN = 2, 8, 8  # columns between the owners, side of a patch, patches of a strip


class Diffusion:
    """One slider for both owners."""

    def __init__(self, state: FederationState) -> None:
        self.state = state
        self.level = pmui.IntSlider.from_param(
            state.param.level, label="From noise (left) to patches (right)", step=1, size="small", sizing_mode="stretch_width",
            min_width=240, margin=(4, 24, 4, 16), show_value=False,
        )  # fmt: skip
        self.text = html(margin=(2, 8))
        self.strip_frame, self.sheet_frame = Frame(), Frame()
        self.strips = [ImageView(self.strip_frame, "", axes=False, tall="300px") for _ in range(2)]
        self.sheets = [ImageView(self.sheet_frame, "", axes=False, tall="320px") for _ in range(2)]
        self.centres = [Lines("channel", "value of the sensor", height=250, dots=True) for _ in range(2)]
        self.levels = Lines("noise level t", "OA on test pixels", height=280, dots=True)
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self._content = pn.Column(
            self.level,
            self.text,
            grid(*(v.panel for v in self.strips), least=420, most=2),
            grid(*(v.panel for v in self.sheets), least=280, most=2),
            heading(
                "Centre pixel of the first patch on its way; grey: mean of real test pixels, and one deviation to either side"
            ),
            grid(*(v.panel for v in self.centres), least=380, most=2),
            heading("Which noise level knows the classes? Logistic regression on one level of an owner's bank"),
            self.levels.panel,
            visible=False,
            **stretch,
        )
        self._invite = explain("From noise to patches", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        known = findings is not None and "strip" in findings.result
        self._content.visible, self._invite.visible = known, not known
        if findings is None or not known:
            return
        result = findings.result
        self.level.end = result.sizes["level"] - 1
        halves = _halves(result)
        for view, owner, half in zip(self.strips, findings.parties, halves, strict=True):
            strip = _strip(half)
            if self.strip_frame.shape != strip.shape[:2]:
                self.strip_frame.fit(*strip.shape[:2])
            view.show(strip, f"{owner}: {SHOWN} generated patches, from noise to the end")
        times = [int(str(t).removeprefix("t ")) for t in result["time"].values]
        lines = []
        for bank, row in zip(result["bank"].values, result["oa_by_time"].values, strict=True):
            owner, _, kind = str(bank).rpartition(" ")
            look = nth(findings.parties.index(owner), str(bank))
            lines.append((look if kind == "trained" else Look(look.title, look.colour, "dashed"), times, row))
        self.levels.show(lines)
        self.draw()

    def draw(self) -> None:
        """Draw the chosen level."""
        state, findings = self.state, self.state.findings
        if findings is None or "strip" not in findings.result or state.tab != 4:
            return
        result = findings.result
        at = min(state.level, result.sizes["level"] - 1)
        name = str(result["level"].values[at])
        self.text.object = (
            f"<b>{'The end: new patches' if name == 'end' else f'Noise level {name} of 499'}</b>. Made from noise alone by each owner's "
            "network, without classes; three channels as colours."
        )
        for view, owner, half in zip(self.sheets, findings.parties, _halves(result), strict=True):
            sheet = _bytes(half[at])
            if self.sheet_frame.shape != sheet.shape[:2]:
                self.sheet_frame.fit(*sheet.shape[:2])
            view.show(sheet, f"{owner}, {name}")
        for n, plot in enumerate(self.centres):
            self._centre(plot, findings, findings.parties[n], at)

    def _centre(self, plot: Lines, findings: Findings, owner: str, at: int) -> None:
        result = findings.result
        plot.panel.visible = f"centre_{owner}" in result
        if not plot.panel.visible:
            return
        way, (mean, spread) = result[f"centre_{owner}"].values, result[f"real_{owner}"].values
        x = result[f"channel_{owner}"].values.astype(float)
        plot.figure.xaxis.axis_label = f"channel of {owner}"
        plot.show(
            [
                (Look("real: mean", GREY), x, mean),
                (Look("one deviation", GREY, "dotted"), np.r_[x, x[::-1]], np.r_[mean - spread, (mean + spread)[::-1]]),
                (Look(f"generated, {result['level'].values[at]}", ORANGE if at == len(way) - 1 else BLUE), x, way[at]),
            ]
        )


def _halves(result: xr.Dataset) -> list[np.ndarray]:
    """(level, 3, y, x) of each owner."""
    strip = result["strip"].values
    wide = (strip.shape[-1] - GAP) // 2
    return [strip[..., :wide], strip[..., wide + GAP :]]


def _strip(half: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) uint8: the first two columns of patches, one below the other, at each level, side by side."""
    levels, _, high, _ = half.shape
    parts = []
    for n in range(levels):
        two = [_bytes(half[n, :, :, at : at + PATCH]) for at in (0, PATCH)]
        parts += [np.concatenate(two), np.full((2 * high, 1, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], 1)


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (255 * np.moveaxis(np.clip(colours, 0, 1), 0, -1)).astype(np.uint8)
