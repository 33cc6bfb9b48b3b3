"""Second tab: the diffusion networks and the classifiers while they learn, and test patches as the network sees them."""

from __future__ import annotations

from workbench.event import Curves, Film
from workbench.methods.mdfl.settings import SHOWS
from workbench.pages.frame.training import Training

INVITATION = (
    "Press <b>Start</b> in the side bar. A diffusion network of each sensor learns from patches without labels, in a separate process that "
    "continues when this page is closed; then classifiers learn from its features and from raw values. Here you see the losses, the "
    "accuracy of the features while they are learnt, and test patches as the network sees them."
)
STEPS = " of all networks and classifiers; the steps of each curve start at 1"


class Learning(Training):
    """The curves that the method declares, and the film of test patches."""

    def __init__(self) -> None:
        super().__init__("Watch it learn", INVITATION, STEPS, [show for show in SHOWS if isinstance(show, Curves | Film)])
