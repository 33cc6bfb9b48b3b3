"""Second tab: training and search while they run, and the scales and shifts of all candidates as heat strips."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.event import Curves, Film, Matrix, Shows
from workbench.pages.frame.training import Training

INVITATION = (
    "Press <b>Start</b> in the side bar. The network is trained in float; then it is made smaller and trained again, and so is every "
    "rival. The run is a separate process that continues when this page is closed."
)
STEPS = " of all trainings, one after the other"


class Learning(Training):
    """Of what a method declares, its curves and its matrices of candidates."""

    def __init__(self, shows: Sequence[Shows]) -> None:
        super().__init__("Watch it shrink", INVITATION, STEPS, _drawn(shows))

    def show(self, shows: Sequence[Shows]) -> None:
        """Draw another method, by what it declares."""
        super().show(_drawn(shows))


def _drawn(shows: Sequence[Shows]) -> list[Shows]:
    return [s for s in shows if isinstance(s, Curves | Film) or (isinstance(s, Matrix) and s.variable in ("scale", "shift"))]
