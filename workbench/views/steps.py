"""Three linked images under one step slider: the current cube, the background that is subtracted, and the score map.

There are two sequences: the training, and the K passes of the trained network. Every frame is stretched between its own
percentiles, because the range of the suppressed cube grows severalfold from pass to pass; the range is written above the
images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.views.card import html
from workbench.views.image import ImageView, composite
from workbench.views.maps import ScoreMap
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper


@dataclass(frozen=True)
class Still:
    """One position of the slider: its step, label, note, and a function that reads its arrays."""

    step: int
    label: str
    note: str
    arrays: Callable[[], Mapping[str, xr.DataArray]]


class Steps:
    """`set(name, stills)` fills a sequence; `stepper.follow` shows its newest still. `on_move(then)` calls `then(name, index)`."""

    def __init__(self, frame: Frame, names: Mapping[str, str]) -> None:
        self.quiet = ImageView(frame, "Suppressed cube", axes=False, room=True)
        self.background = ImageView(frame, "Predicted background", axes=False, room=True)
        self.score = ScoreMap(frame, "RX score")
        self._titles = dict(names)
        self._stills: dict[str, Sequence[Still]] = dict.fromkeys(names, ())
        self._moved: list[Callable[[str, int], None]] = []
        self._shown: Still | None = None
        self.which = pmui.RadioButtonGroup(
            options={t: n for n, t in names.items()}, value=next(iter(names)), size="small", width=270, margin=(4, 8)
        )
        self.stepper = Stepper(self._draw)
        self.text = html(margin=(0, 8))
        self.which.param.watch(batched(lambda _: self._place()), "value")
        self.panel = pn.Column(
            wrapped(self.which, self.stepper.follow, self.stepper.slider),
            self.text,
            grid(self.quiet.panel, self.background.panel, self.score.panel, least=250),
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
        if not stills:
            self._shown = None
            self.text.object = f"<i>{self._titles[self.which.value]}: nothing yet.</i>"
            self.quiet.clear()
            self.background.clear()
            self.score.show(None)
            return
        still = stills[min(self.stepper.at, len(stills) - 1)]
        if still is not self._shown:
            arrays = still.arrays()
            for image, name in ((self.quiet, "quiet"), (self.background, "background")):
                if name in arrays:
                    image.show(composite(arrays[name]))
                else:
                    image.clear()
            self.score.show(np.asarray(arrays["score"], float) if "score" in arrays else None)
            self._shown = still
        self.text.object = f"<b>{still.label}</b> &ensp; {still.note}"
        for then in self._moved:
            then(self.which.value, self.stepper.at)
