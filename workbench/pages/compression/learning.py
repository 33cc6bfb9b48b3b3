"""Second tab: training and search while they run, and the scales and shifts of all candidates as heat strips."""

from __future__ import annotations

import panel as pn
import xarray as xr

from workbench.event import Curves, Matrix, Shows
from workbench.pages.compression.state import CompressionState
from workbench.runs.watch import Live
from workbench.views.card import explain, html
from workbench.views.declared import Declared
from workbench.views.plots import theme_later

INVITATION = (
    "Press <b>Start</b> on the left. The network is trained, its filters are ranked, and candidates of scales a and shifts b are tried; "
    "then it is pruned, quantised and trained again, and so is every rival. The run is a separate process that continues when this page "
    "is closed."
)


class Learning:
    """What the method declares of its training and search."""

    def __init__(self, state: CompressionState) -> None:
        self.state = state
        self.text = html(margin=(4, 8))
        self.place = pn.Column(sizing_mode="stretch_width", margin=0)
        self.declared = Declared([])
        self._watch = pn.Column(self.text, self.place, sizing_mode="stretch_width", margin=0, visible=False)
        self._invite = explain("Watch it shrink", INVITATION, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))

    def show(self, shows: tuple[Shows, ...]) -> None:
        """Draw another method, by what it declares: its curves, and its matrices of candidates."""
        drawn = [s for s in shows if isinstance(s, Curves) or (isinstance(s, Matrix) and s.variable in ("scale", "shift"))]
        self.declared = Declared(drawn)
        self.place.objects = [self.declared.panel]
        theme_later(self.place)

    def invite(self, inviting: bool) -> None:
        """Show the invitation, or the plots."""
        self._invite.visible, self._watch.visible = inviting, not inviting

    def clear(self) -> None:
        """Empty the plots; no run is followed."""
        self.declared.clear()
        self.text.object = ""
        self.invite(True)

    def take(self, live: Live) -> None:
        """Draw the events so far."""
        self.declared.take(live)
        step = max((steps[-1] for steps, _ in live.history.values() if steps), default=0)
        self.text.object = f"<b>Step {step:,}</b>: epochs and candidates, one after the other"

    def end(self, result: xr.Dataset) -> None:
        """Draw the heat strips of the finished run."""
        self.declared.end(result)
