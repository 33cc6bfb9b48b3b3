"""The tab `Training` of a page that draws what a method declares."""

from __future__ import annotations

from collections.abc import Sequence

import panel as pn
import xarray as xr

from workbench.event import Shows
from workbench.runs.watch import Live
from workbench.views.card import explain, html
from workbench.views.declared import Declared
from workbench.views.plots import theme_later


class Training:
    """An invitation; while a run is followed, the pictures that its method declares, below the number of the step.

    title, invitation: of the text while no run is followed. steps: what the steps count, after their number. shows: what is drawn.
    """

    def __init__(self, title: str, invitation: str, steps: str, shows: Sequence[Shows]) -> None:
        self.text = html(margin=(4, 8))
        self._steps = steps
        self.declared = Declared(shows)
        self._place = pn.Column(self.declared.panel, sizing_mode="stretch_width", margin=0)
        self._watch = pn.Column(self.text, self._place, sizing_mode="stretch_width", margin=0, visible=False)
        self._invite = explain(title, invitation, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))

    def show(self, shows: Sequence[Shows]) -> None:
        """Draw these from now on, as of another method."""
        self.declared = Declared(shows)
        self._place.objects = [self.declared.panel]
        theme_later(self._place)

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the pictures."""
        self._invite.visible, self._watch.visible = inviting, not inviting

    def clear(self) -> None:
        """Empty the pictures; no run is followed."""
        self.declared.clear()
        self.text.object = ""
        self.invite(True)

    def take(self, live: Live) -> None:
        """Draw the events so far."""
        self.declared.take(live)
        step = max((steps[-1] for steps, _ in live.history.values() if steps), default=0)
        self.text.object = f"<b>Step {step:,}</b>{self._steps}"

    def end(self, result: xr.Dataset) -> None:
        """Draw the declared variables of the result."""
        self.declared.end(result)
