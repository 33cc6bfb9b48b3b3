"""A slider through the steps of something that grows, and the switch that keeps it at the newest one."""

from __future__ import annotations

from collections.abc import Callable

import panel_material_ui as pmui

from workbench.views.plots import held


class Stepper:
    """`fit(count)` says how many steps there are and calls `then`, which draws the one at position `at`, from 0.

    While `follow` is on, the slider goes along with the newest step; whoever drags it back stays where they are.
    `slider` and `follow` are the two widgets, for a page to place. The slider counts from 1.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self.count = 0
        self._then = then
        self._fitting = False
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
        self._fitting = True
        try:
            at = count if self.follow.value else min(self.slider.value, count)
            self.slider.param.update(end=max(count, 2), value=max(at, 1), disabled=count < 2)
        finally:
            self._fitting = False
        self._then()

    def _dragged(self, _: object) -> None:
        if self._fitting:
            return
        if self.follow.value and self.slider.value < self.count:
            self.follow.value = False  # which draws
        else:
            self._then()
