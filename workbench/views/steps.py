"""Linked images under one step slider: the current cube, the background that is subtracted, the score map, and the scene.

There are two sequences: the training, and the K passes of the trained network. The cube and the background have three bands,
which are named above the images; the scene is shown in the same bands. Every frame has its own scale (`image.departures`),
because the range of the suppressed cube grows severalfold from pass to pass; the range is written above the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.views.card import html
from workbench.views.image import ImageView, composite, departures, equal_share
from workbench.views.maps import ScoreMap
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper
from workbench.views.waiting import Waiting

SEEN = (
    "Grey: the median pixel of this picture. Colour: how far a pixel is from it, in robust standard deviations of each band; "
    "not a reflectance. The scale is that of this picture alone."
)


@dataclass(frozen=True)
class Still:
    """One position of the slider: its step, label, note, and a function that reads its arrays."""

    step: int
    label: str
    note: str
    arrays: Callable[[], Mapping[str, xr.DataArray]]


class Steps:
    """`set(name, stills)` fills a sequence; `stepper.follow` shows its newest still. `on_move(then)` calls `then(name, index)`.

    scene: bands (band, row, column) of the scene at these positions. Arrays of a still: `quiet` and `background`
    (quiet_band, y, x), `score` (y, x).
    """

    def __init__(self, frame: Frame, names: Mapping[str, str], scene: Callable[[Sequence[int]], np.ndarray]) -> None:
        self.quiet = ImageView(frame, "Suppressed cube", axes=False, room=True)
        self.background = ImageView(frame, "Predicted background", axes=False, room=True)
        self.scene = ImageView(frame, "Scene, same bands", axes=False, room=True)
        self.score = ScoreMap(frame, "RX score")
        self._titles = dict(names)
        self._stills: dict[str, Sequence[Still]] = dict.fromkeys(names, ())
        self._moved: list[Callable[[str, int], None]] = []
        self._shown: Still | None = None
        self._read_scene = scene
        self._bands: tuple[int, ...] = ()  # those of the visible scene
        self._seen = ""  # what is seen in the visible still
        self.which = pmui.RadioButtonGroup(
            options={t: n for n, t in names.items()}, value=next(iter(names)), size="small", width=270, margin=(4, 8)
        )
        self.stepper = Stepper(self._draw)
        self.text = html(margin=(0, 8))
        self.which.param.watch(batched(lambda _: self._place()), "value")
        images = grid(self.quiet.panel, self.background.panel, self.score.panel, self.scene.panel, least=250, most=2)
        self._waiting = Waiting(images, title="Maps", words="Drawn at the first step that is shown.", height=250)
        self.panel = pn.Column(
            wrapped(self.which, self.stepper.follow, self.stepper.slider),
            self.text,
            self._waiting.panel,
            sizing_mode="stretch_width",
            margin=0,
        )

    def on_move(self, then: Callable[[str, int], None]) -> None:
        """Call `then(name, index)` after each change of the visible still."""
        self._moved.append(then)

    @property
    def empty(self) -> bool:
        """Whether no sequence has a still."""
        return not any(self._stills.values())

    def stills(self, name: str) -> Sequence[Still]:
        """The stills of one sequence."""
        return self._stills[name]

    def set(self, name: str, stills: Sequence[Still]) -> None:
        """Replace one sequence; if it is visible, redraw it."""
        if len(stills) == len(self._stills[name]) and all(a is b for a, b in zip(stills, self._stills[name], strict=True)):
            return
        self._stills[name] = stills
        if name == self.which.value:
            self._place()

    def choose(self, name: str) -> None:
        """Make one sequence visible."""
        self.which.value = name

    def clear(self) -> None:
        """Empty all sequences."""
        for name in self._stills:
            self._stills[name] = ()
        self._shown = None
        self._place()

    def _place(self) -> None:
        """Fit the slider to the sequence and draw its current position."""
        self.stepper.fit(len(self._stills[self.which.value]))

    def _draw(self) -> None:
        stills = self._stills[self.which.value]
        self._waiting.drawn(bool(stills))
        if not stills:
            self._shown, self._bands = None, ()
            self.text.object = f"<i>{self._titles[self.which.value]}: nothing yet.</i>"
            self.quiet.clear()
            self.background.clear()
            self.scene.clear()
            self.score.show(None)
            return
        still = stills[min(self.stepper.at, len(stills) - 1)]
        if still is not self._shown:
            arrays = still.arrays()
            for image, name in ((self.quiet, "quiet"), (self.background, "background")):
                if name in arrays:
                    image.show(departures(arrays[name].values))
                else:
                    image.clear()
            self._seen = self._show_scene(arrays.get("quiet"), arrays.get("background"))
            self.score.show(np.asarray(arrays["score"], float) if "score" in arrays else None)
            self._shown = still
        self.text.object = f"<b>{still.label}</b> &ensp; {still.note}{self._seen}"
        for then in self._moved:
            then(self.which.value, self.stepper.at)

    def _show_scene(self, quiet: xr.DataArray | None, background: xr.DataArray | None) -> str:
        """Show the scene in the bands of this picture; returns what is seen in it, as HTML."""
        if quiet is None or "quiet_band" not in quiet.coords:
            self.scene.clear()
            self._bands = ()
            return ""
        bands = tuple(int(b) for b in quiet["quiet_band"].values)
        if bands != self._bands:
            self._bands = bands
            self.scene.show(composite(self._read_scene(bands)))
        if "quiet_wavelength" in quiet.coords:
            named = " / ".join(f"{nm:.0f}" for nm in quiet["quiet_wavelength"].values) + " nm"
        else:
            named = "bands " + " / ".join(map(str, bands))
        alike = 0.0 if background is None else equal_share(background.values)
        flat = f" The predicted background is one and the same for {alike:.0%} of the pixels." if alike > 0.5 else ""
        return f'<div style="opacity:.8;font-size:.78rem">Red, green and blue: {named}. {SEEN}{flat}</div>'
