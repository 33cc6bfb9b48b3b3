"""Second tab: the diffusion networks and the classifiers while they learn, and test patches as the network sees them."""

from __future__ import annotations

import panel as pn

from workbench.event import Curves, Film
from workbench.methods.mdfl.settings import SHOWS
from workbench.pages.landcover.state import LandcoverState
from workbench.runs.watch import Live
from workbench.views.card import explain, html
from workbench.views.declared import Declared

INVITATION = (
    "Press <b>Start</b> on the left. A diffusion network of each sensor learns from patches without labels, in a separate process that "
    "continues when this page is closed; then classifiers learn from its features and from raw values. Here you see the losses, the "
    "accuracy of the features while they are learnt, and test patches as the network sees them."
)


class Learning:
    """What the method declares of its training: curves, and the film of test patches."""

    def __init__(self, state: LandcoverState) -> None:
        self.state = state
        self.text = html(margin=(4, 8))
        self.declared = Declared([show for show in SHOWS if isinstance(show, Curves | Film)])
        self._watch = pn.Column(self.text, self.declared.panel, sizing_mode="stretch_width", margin=0, visible=False)
        self._invite = explain("Watch it learn", INVITATION, height=420)
        self.panel = pn.Column(self._watch, self._invite, sizing_mode="stretch_width", margin=(8, 4))

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
        self.text.object = f"<b>Step {step:,}</b> of all networks and classifiers; the steps of each curve start at 1"
