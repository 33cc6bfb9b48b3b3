"""A slider through the steps of something that grows, and the switch that keeps it at the newest one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import panel_material_ui as pmui

from workbench.views.plots import held

ECHO = 1.5  # seconds in which a browser may still send back a position that it was sent


class Stepper:
    """`fit(count)` says how many steps there are and calls `then`, which draws the one at position `at`, from 0.

    While `follow` is on, the slider goes along with the newest step; whoever drags it back stays where they are.
    `slider` and `follow` are the two widgets, for a page to place. The slider counts from 1.

    Positions that come in quick succession overtake one another in a busy browser, whose slider then sends back one that has
    been passed: that is no visitor who drags.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self.count = 0
        self._then = then
        self._fitting = False
        self._sent: deque[tuple[float, int]] = deque(maxlen=100)  # when which position was sent to the browser
        self.follow = pmui.Switch(label="Follow the newest", value=True, margin=(10, 8))
        self.slider = pmui.IntSlider(
            label="", start=1, end=2, value=1, show_value=False, sizing_mode="stretch_width", margin=(12, 16)
        )
        self.slider.param.watch(held(self._dragged), "value")
        self.follow.param.watch(held(lambda _: self.fit(self.count)), "value")

    @property
    def at(self) -> int:
        """Position of the step to draw, from 0; of what has no steps yet, too."""
        return min(max(self.slider.value, 1), max(self.count, 1)) - 1

    def fit(self, count: int) -> None:
        """There are this many steps now: move on to the newest where it is followed, and draw."""
        self.count = count
        self._place()
        self._then()

    def _place(self) -> None:
        at = max(self.count if self.follow.value else min(self.slider.value, self.count), 1)
        self._fitting = True
        try:
            self.slider.param.update(end=max(self.count, 2), value=at, disabled=self.count < 2)
        finally:
            self._fitting = False
        self._sent.append((time.monotonic(), at))

    def _dragged(self, _: object) -> None:
        if self._fitting:
            return
        if self.follow.value and self.slider.value < self.count:
            since = time.monotonic() - ECHO
            if any(when > since and at == self.slider.value for when, at in self._sent):
                self._place()
            else:
                self.follow.value = False  # which draws
        else:
            self._then()
