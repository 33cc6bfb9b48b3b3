"""Fourth tab of a method that removes filters: the maps of one filter, and the accuracy without it and others, before any training."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.errors import InputError
from workbench.methods import load
from workbench.pages.compression.findings import Findings
from workbench.pages.compression.state import CompressionState
from workbench.views.card import escape, heading, html, problem
from workbench.views.compression import FilterStrips
from workbench.views.image import ImageView, as_colours, coloured
from workbench.views.looks import RED
from workbench.views.plots import Frame
from workbench.views.screen import beside, grid, wrapped

TITLES = {"samples": "Validation samples", "maps": "The maps of the filter, on one scale"}
COLUMNS, SIDE, GAP = 3, 48, 2  # of a mosaic: samples in a row; pixels of a sample at least, and between two
NOTE = (
    "This is the float network before anything was removed. A filter that is removed is silent for all layers that read it, in every layer "
    "of its group; nothing is trained after it, so the drop may be larger than that of a network that was trained again."
)
WAITING = "Click a filter to see its maps."


class Filters:
    """Strips to pick from, the maps of the picked filter, and the accuracy without those that were removed."""

    def __init__(self, state: CompressionState) -> None:
        self.state = state
        self._drawn: Any = None
        small: dict[str, Any] = {"variant": "outlined", "size": "small", "margin": (8, 8)}
        self.remove = pmui.Button(label="Remove it", icon="content_cut", disabled=True, **small)
        self.back = pmui.Button(label="Put all back", icon="restart_alt", disabled=True, **small)
        self.text, self.worth = html(WAITING, margin=(10, 8)), html(margin=(4, 8))
        self.strips = FilterStrips()
        self.frames = {name: Frame() for name in ("samples", "maps")}
        self.views = {name: ImageView(frame, TITLES[name], axes=False) for name, frame in self.frames.items()}
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
        self.panel = pn.Column(
            heading("One filter: its maps, and the accuracy without it"),
            html(NOTE, margin=(2, 8)),
            beside(
                pn.Column(self.strips.panel, **stretch),
                pn.Column(
                    wrapped(self.remove, self.back),
                    self.worth,
                    self.text,
                    grid(*(v.panel for v in self.views.values()), least=200),
                    **stretch,
                ),
                least=(430, 400),
            ),
            visible=False,
            **stretch,
        )
        self.strips.on_pick(lambda group, number: state.param.update(filter=f"{group}:{number}"))
        self.remove.on_click(lambda _: self._toggle())
        self.back.on_click(lambda _: state.param.update(without=""))

    def take(self) -> None:
        """Reset for another result, or for none."""
        self._drawn = None
        findings, room = self.state.findings, load(self.state.runner.method)
        self.panel.visible = findings is not None and findings.plan is not None and hasattr(room, "open_float")
        self.worth.object = ""
        self.draw()

    def _toggle(self) -> None:
        """Remove the picked filter, or put it back."""
        state = self.state
        picked, gone = state.picked, state.removed_by_hand
        if picked is not None:
            gone = [g for g in gone if g != picked] if picked in gone else [*gone, picked]
            state.without = ",".join(f"{group}:{number}" for group, number in gone)

    def draw(self) -> None:
        """Draw the strips, and ask for maps and accuracy, when the tab is visible."""
        state, findings = self.state, self.state.findings
        folder = state.weights()
        if findings is None or findings.plan is None or folder is None or state.tab != 3 or not self.panel.visible:
            return
        now = (str(folder), state.key, state.filter, state.without)
        if now == self._drawn:
            return
        self._drawn = now
        picked, gone = state.picked, state.removed_by_hand
        self._strips(findings, picked, gone)
        self.remove.param.update(label="Put it back" if picked in gone else "Remove it", disabled=picked is None)
        self.back.disabled = not gone
        self.worth.object = self.worth.object or "Opening the network ..."
        room, data = load(state.runner.method), state.data

        def compute(opened: Any) -> tuple[Any, ...]:
            rows = opened.shown()
            maps = None if picked is None else opened.maps(*picked, rows)
            return opened.images(rows), maps, opened.without([]), opened.without(gone)

        def then(made: Future) -> None:
            try:
                opened = made.result()
            except InputError as error:
                self.worth.object = f'<span style="color:{RED}">{problem(str(error))}</span>'
                return
            state.later(("filters", *now), lambda: compute(opened), lambda made: self._show(made, now, gone))

        state.later(("float", *now[:2]), lambda: room.open_float(folder, data), then)

    def _strips(self, findings: Findings, picked: tuple[int, int] | None, gone: list[tuple[int, int]]) -> None:
        assert findings.plan is not None
        kept = [np.array([(k, n) not in gone for n in range(g.count)]) for k, g in enumerate(findings.plan.groups)]
        self.strips.show(findings.group_names, findings.scores(-1), kept, np.nan)
        self.strips.mark(*(picked or (-1, -1)))

    def _show(self, made: Future, asked: Any, gone: list[tuple[int, int]]) -> None:
        if asked != self._drawn or self.state.findings is None:
            return
        images, maps, whole, left = made.result()
        picked = self.state.picked
        self.worth.object = (
            f"Accuracy without <b>{len(gone)}</b> filters: <b>{left.validation:.3f}</b> on validation samples (whole network "
            f"{whole.validation:.3f}), <b>{left.test:.3f}</b> on test samples ({whole.test:.3f})"
        )
        self._picture("samples", np.stack([as_colours(xr.DataArray(i, dims=("band", "y", "x"))) for i in images]))
        self.views["maps"].panel.visible = maps is not None
        self.text.object = WAITING if picked is None else self._words(self.state.findings, *picked)
        if maps is not None:
            joined = coloured(np.concatenate(list(maps), 1), "Viridis")
            width = maps.shape[2]
            self._picture("maps", np.stack([joined[:, n * width : (n + 1) * width] for n in range(len(maps))]))

    def _picture(self, name: str, pictures: np.ndarray) -> None:
        """Pictures (N, y, x, 3) in rows, enlarged to at least SIDE pixels."""
        times = -(-SIDE // min(pictures.shape[1:3]))
        large = pictures.repeat(times, 1).repeat(times, 2)
        large = np.pad(large, ((0, -len(large) % COLUMNS), (0, GAP), (0, GAP), (0, 0)), constant_values=128)
        rows = [np.concatenate(list(large[n : n + COLUMNS]), 1) for n in range(0, len(large), COLUMNS)]
        mosaic = np.concatenate(rows)[:-GAP, :-GAP]
        if self.frames[name].shape != mosaic.shape[:2]:
            self.frames[name].fit(*mosaic.shape[:2])
        self.views[name].show(mosaic)

    def _words(self, findings: Findings, group: int, number: int) -> str:
        result = findings.result
        of = findings.plan.groups[group]  # type: ignore[union-attr]  # there is a plan where filters can be picked
        here = (result["filter_layer"].values.astype(str) == of.root) & (result["filter_index"].values == number)
        rank, kept = float(result["filter_rank"].values[here][0]), bool(result["filter_kept"].values[here][0])
        others = f", which goes together with that of {escape(', '.join(of.members[1:]))}" if len(of.members) > 1 else ""
        return (
            f"Filter <b>{number}</b> of <b>{escape(of.root)}</b>{others}: mean rank of its maps {rank:.2f}; the run "
            f"{'kept' if kept else 'removed'} it."
        )
