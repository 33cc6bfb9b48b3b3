"""Fourth tab: gates of rows and columns beside the image, the flow of maps through UCM, and boxes with parts switched off."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.errors import InputError
from workbench.methods.sarnet import inspect, load_network
from workbench.methods.sarnet.inside import GIVEN, SCALES, WIDE
from workbench.metrics.detect import Boxes
from workbench.metrics.outcomes import of_one
from workbench.pages.detection.state import DetectionState
from workbench.parts.sarnet_network import STRIDES
from workbench.views.boxes import LEGEND, Box, BoxView
from workbench.views.card import explain, heading, html, problem
from workbench.views.gates import Gates
from workbench.views.image import ImageView, coloured
from workbench.views.looks import RED
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid, wrapped

INVITATION = (
    "When a run has finished, this tab shows the inside of its network for one tile: the gates that weight each row and each column, the "
    "maps of all scales before and after they are fused, and what happens to the boxes when gates or scales are switched off."
)
NOTES = (
    "<b>C2</b> to <b>C5</b>: backbone, strides 4 to 32. <b>g3</b>, <b>g4</b>: all of them fused by convolutions, for texture. <b>h4</b>, "
    "<b>h5</b>: fused by attention over all places, for meaning. <b>P3</b>, <b>N4</b>, <b>N5</b>: given to the head, after the gates."
)
PLAIN = "all channels, mean"


class Inside:
    """Switches, the tile with its boxes and gates, and small multiples of the maps."""

    def __init__(self, state: DetectionState) -> None:
        self.state = state
        self._drawn: Any = None
        self._made: xr.Dataset | None = None
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.gates_on = pmui.Switch(label="Gates of DAM", value=True, margin=(14, 8))
        self.off = pmui.CheckButtonGroup(options={f"off: {n}": n for n in SCALES}, value=[], **small)
        self.level = pmui.Select(
            label="Gates of", options={f"stride {s}": s for s in STRIDES}, value=STRIDES[0], width=110, **small
        )
        self.channel = pmui.Select(label="Channel", options={PLAIN: -1}, value=-1, width=170, **small)
        self.text = html(margin=(2, 8))
        self.frame = Frame()
        self.whole = BoxView(self.frame, "As trained")
        self.changed = BoxView(self.frame, "With the switches")
        self.gates = Gates()
        self.flow_frame = Frame()
        self.maps = {name: ImageView(self.flow_frame, name, axes=False, tall="180px") for name in (*SCALES, *WIDE, *GIVEN)}
        self._content = pn.Column(
            self.text,
            wrapped(
                self.gates_on,
                html("Scales that UCM sees not:", width=160, margin=(16, 0, 0, 8)),
                self.off,
                self.level,
                self.channel,
            ),
            grid(self.whole.panel, self.changed.panel, self.gates.panel, least=270),
            html(LEGEND, margin=(2, 8)),
            heading(
                "From the backbone through UCM to the head: root mean square over the channels, each map on its own scale"
            ),
            html(NOTES, margin=(2, 8)),
            grid(*(v.panel for v in self.maps.values()), least=150, most=4),
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("Look inside", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        for widget in (self.gates_on, self.off):
            widget.param.watch(batched(lambda _: self.draw()), "value")
        for widget in (self.level, self.channel):
            widget.param.watch(batched(lambda _: self._draw_gates()), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        self._drawn = self._made = None
        known = self.state.weights() is not None
        self._content.visible, self._invite.visible = known, not known
        self.draw()

    def tile(self) -> tuple[np.ndarray, int, int]:
        """(amplitude, top, left): the tile of the network's size with most true boxes, or around the picked box."""
        state = self.state
        assert state.images is not None
        image, side = state.amplitude(state.sample), self._side()
        n = state.ids.index(state.sample)
        box = state.images.box[n]
        middle = (box[:, :2] + box[:, 2:]) / 2 if len(box) else np.array([[image.shape[1] / 2, image.shape[0] / 2]])
        best = max(middle, key=lambda m: int((np.abs(middle - m).max(1) < side / 2).sum()))
        left, top = (int(np.clip(best[a] - side / 2, 0, max(image.shape[1 - a] - side, 0))) for a in (0, 1))
        return image[top : top + side, left : left + side], top, left

    def _side(self) -> int:
        config = self.state.runner.config
        return int(config.get("tile") or config.get("crop") or 128)

    def draw(self) -> None:
        """Run the network on the tile, as trained and with the switches, when the tab is visible."""
        state, folder = self.state, self.state.weights()
        if folder is None or state.images is None or state.tab != 3 or state.sample not in state.ids:
            return
        now = (str(folder), state.sample, state.key, bool(self.gates_on.value), tuple(self.off.value), state.score)
        if now == self._drawn:
            return
        self._drawn = now
        if self._made is None:
            self.text.object = "Computing …"
        tile, top, left = self.tile()

        def make() -> tuple[xr.Dataset, xr.Dataset]:
            trained = load_network(folder)
            whole = inspect(trained, tile, threshold=max(state.score, 0.02))
            return whole, inspect(trained, tile, gates=now[3], without=now[4], threshold=max(state.score, 0.02))

        key = ("inside", *now, top, left)
        state.when(state.MADE.ask(key, make), lambda f: self._show(f, now, tile, top, left))

    def _show(self, future: Future, asked: Any, tile: np.ndarray, top: int, left: int) -> None:
        if asked != self._drawn:
            return
        try:
            whole, changed = future.result()
        except InputError as error:
            self.text.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
            return
        state = self.state
        high, wide = tile.shape
        picture = coloured(np.log1p(255 * tile))
        true = self._true_of(top, left, (high, wide))
        for view, found, title in (
            (self.whole, whole, "as trained"),
            (self.changed, changed, self._switches()),
        ):
            if view.frame.shape != (high, wide):
                view.frame.fit(high, wide)
            view.show(picture, f"{title}: {found.sizes['object']} boxes")
            columns = (found[n].values for n in ("box", "box_score", "box_label"))
            sorted_ = of_one(*columns, true, max(len(state.names), 1), float(state.iou))
            boxes = [Box(b, "true box") for b in true.box]
            view.draw_boxes(boxes + [Box(o.edges, o.kind, "" if np.isnan(o.score) else f"{o.score:.2f}") for o in sorted_])
        self._made = whole
        self._tile = picture
        if "row_gate" in whole:
            count = whole.sizes["channel"]
            options = {PLAIN: -1, **{f"channel {n}": n for n in range(count)}}
            if options != self.channel.options:
                self.channel.options = options
        self._draw_gates()
        if self.flow_frame.shape != (high, wide):
            self.flow_frame.fit(high, wide)
        for name, view in self.maps.items():
            view.panel.visible = name in changed["map"].values
            if view.panel.visible:
                off = name in asked[4]
                values = changed["flow"].sel(map=name).values
                view.show(coloured(values, "Viridis"), f"{name}, not seen by UCM" if off else name)
        self.text.object = (
            f"Tile of {high} × {wide} pixels of <b>{state.sample}</b>, rows from {top}, columns from {left}; boxes with a score of "
            f"at least {max(state.score, 0.02):.2f} (slider of the first tab). The strips beside the image are the gates: bright rows "
            "and columns pass."
        )

    def _true_of(self, top: int, left: int, size: tuple[int, int]) -> Boxes:
        """The true boxes whose centres are in the tile, cut at its borders, in its pixels."""
        every = self.state.true([self.state.sample])
        box = every.box - np.array([left, top] * 2, np.float32)
        middle, edge = (box[:, :2] + box[:, 2:]) / 2, np.array(size[::-1])
        here = ((middle >= 0) & (middle < edge)).all(1)
        box = np.clip(box[here], 0, [*edge, *edge]).astype(np.float32)
        return Boxes(
            box, every.image[here], every.label[here], ignored=None if every.ignored is None else every.ignored[here]
        )

    def _switches(self) -> str:
        parts = ([] if self.gates_on.value else ["gates flat"]) + [f"without {n}" for n in self.off.value]
        return ", ".join(parts) or "nothing switched off"

    def _draw_gates(self) -> None:
        made = self._made
        self.gates.panel.visible = made is not None and "row_gate" in made
        if made is None or "row_gate" not in made:
            return
        row, column = (made[n].sel(level=self.level.value) for n in ("row_gate", "column_gate"))
        pick = self.channel.value
        row, column = (g.mean("channel") if pick < 0 else g.isel(channel=pick) for g in (row, column))
        self.gates.show(self._tile, row.values, column.values, f"gates, stride {self.level.value}")
