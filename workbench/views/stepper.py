"""A slider through a growing list of steps, and a switch that keeps it at the newest step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import panel_material_ui as pmui
from param.parameterized import Event

from workbench.views.plots import batched

ECHO = 15.0  # seconds in which a busy browser may echo an old position


class Stepper:
    """`fit(count)` sets the number of steps and calls `then`, which draws the step at position `at`, from 0.

    While `follow` is on, the slider moves to the newest step; dragging it back turns `follow` off.
    The page places the two widgets, `slider` and `follow`. The slider counts from 1.

    Ignores stale positions: a busy browser that receives many positions quickly echoes older ones. What the visitor leaves the
    slider at is never taken for such an echo: a browser sends `value_throttled` only when the slider is released.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self.count = 0
        self._then = then
        self._fitting = False
        self._sent: deque[tuple[float, int]] = deque(maxlen=100)  # (time, position) sent to the browser
        self.follow = pmui.Switch(label="Follow the newest", value=True, margin=(10, 8))
        self.slider = pmui.IntSlider(
            label="", start=1, end=2, value=1, show_value=False, sizing_mode="stretch_width", min_width=240, margin=(12, 16)
        )
        self.slider.param.watch(batched(self._dragged), "value")
        self.slider.param.watch(batched(self._released), "value_throttled")
        self.follow.param.watch(batched(lambda _: self.fit(self.count)), "value")

    @property
    def at(self) -> int:
        """Position of the step to draw, from 0; also 0 while there are no steps."""
        return min(max(self.slider.value, 1), max(self.count, 1)) - 1

    def fit(self, count: int) -> None:
        """Set the number of steps, move to the newest if `follow` is on, and draw."""
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
                self.follow.value = False  # its listener draws
        else:
            self._then()

    def _released(self, event: Event) -> None:
        if self.follow.value and event.new < self.count:
            self._fitting = True
            try:
                self.slider.value = event.new
            finally:
                self._fitting = False
            self.follow.value = False  # its listener draws
