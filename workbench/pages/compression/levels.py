"""Above the first tab, for bits that follow from weights: d(n) of each layer under a threshold T, and the weights of one layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.pages.compression.state import CompressionState
from workbench.parts.cluster_bits import LEVELS
from workbench.views.card import escape, heading, html
from workbench.views.levels import Distances, LevelHistogram
from workbench.views.plots import batched
from workbench.views.screen import grid, wrapped

ERROR = "d(n): 10⁶ × squared error"
NOTHING = 1e-8  # d of a layer with fewer weights than centres
STEPS = 400  # of the slider
NOTE = (
    "d(n) is the mean squared error when 2ⁿ cluster centres stand for the weights of a layer, times 10⁶. A layer gets the fewest bits n "
    "with d(n) < T, else 8; where there are no more weights than centres the error is 0, and the line "
    "ends. The levels are those of the trained copy, with the bits of the run."
)


class Levels:
    """Curves with the threshold on the left, a histogram on the right."""

    def __init__(self, state: CompressionState) -> None:
        self.state = state
        self._moving = False
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.slider = pmui.FloatSlider(
            label="Threshold T: log₁₀", start=-3, end=3, step=0.01, value=0, sizing_mode="stretch_width", min_width=260,
            margin=(4, 24, 4, 16), size="small",
        )  # fmt: skip
        self.layers = pmui.Select(label="Layer", options={"": -1}, value=-1, width=220, **small)
        self.text = html(margin=(2, 8))
        self.curves, self.histogram = Distances(ERROR), LevelHistogram()
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.panel = pn.Column(
            heading("Why each layer has its bits; move T, or click in the plot"),
            wrapped(self.slider, self.layers),
            self.text,
            grid(
                pn.Column(self.curves.panel, **stretch),
                pn.Column(self.histogram.panel, **stretch),
                least=400,
            ),
            html(NOTE, margin=(2, 8)),
            visible=False,
            **stretch,
        )
        self.slider.param.watch(batched(lambda e: self._moving or self._set(10.0**e.new)), "value")
        self.layers.param.watch(batched(lambda e: self._moving or state.param.update(layer=e.new)), "value")
        self.curves.on_set(self._set)

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        distances = None if findings is None else findings.distances
        self.panel.visible = distances is not None
        if findings is None or distances is None:
            return
        values = np.log10(np.stack(list(distances.values())))
        low, high = float(values.min()) - 0.1, float(values.max()) + 0.1
        self._moving = True
        self.slider.param.update(
            start=low, end=high, step=(high - low) / STEPS, value=float(np.clip(self._log(), low, high))
        )
        self.layers.param.update(options={name: n for n, name in enumerate(findings.layers)}, value=self._layer())
        self._moving = False
        self.draw()

    def _set(self, threshold: float) -> None:
        """Give the layers the bits of a threshold, and forget bits that were changed by hand."""
        self.state.param.update(threshold=float(f"{threshold:.6g}"), edited="")

    def _threshold(self) -> float:
        findings = self.state.findings
        assert findings is not None
        own = float(findings.result["distance_threshold"]) if "distance_threshold" in findings.result else 1.0
        return self.state.threshold if self.state.by_threshold() else own

    def _layer(self) -> int:
        assert self.state.findings is not None
        return min(self.state.layer, len(self.state.findings.layers) - 1)

    def _log(self) -> float:
        return float(np.log10(max(self._threshold(), 1e-12)))

    def draw(self) -> None:
        """Draw the curves at the threshold and the weights of the layer, when the tab is visible."""
        state, findings = self.state, self.state.findings
        if findings is None or findings.distances is None or state.tab != 0:
            return
        bits, layer, whole, now = state.bits(), self._layer(), findings.whole(), state.cost()
        self._moving = True
        self.slider.value = float(np.clip(self._log(), self.slider.start, self.slider.end))
        self.layers.value = layer
        self._moving = False
        values = np.stack(list(findings.distances.values()))
        values = np.where(values > NOTHING, values, np.nan)
        self.curves.show(findings.layers, np.array(LEVELS), values, bits.tolist(), self._threshold(), layer)
        own = "" if state.by_threshold() else " (that of the run)"
        changed = ", and by hand" if state.edited else ""
        self.text.object = (
            f"T = <b>{self._threshold():.4g}</b>{own}: {bits.mean():.2f} bits in the mean of the layers{changed} &ensp;·&ensp; BOPs "
            f"<b>{now.total / 1e9:,.3f} G</b> of {whole.total / 1e9:,.1f}"
            + (
                f" &ensp;·&ensp; weights <b>{now.kilobytes / 1e3:.4f} MB</b> of {whole.kilobytes / 1e3:.3f}"
                if now.kilobytes > 0
                else ""
            )
            + f" &ensp;·&ensp; <b>{escape(findings.layers[layer])}</b>: {bits[layer]} bits"
        )
        result = findings.result
        if "weight_share" in result:
            low, high = result["weight_ends"].values[layer]
            share, level, used = (result[n].values[layer] for n in ("weight_share", "level", "level_share"))
            known = np.isfinite(level)
            self.histogram.show(np.linspace(low, high, len(share) + 1), share, level[known], used[known])
        self.histogram.panel.visible = "weight_share" in result
