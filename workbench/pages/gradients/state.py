"""Shared state of the tabs of the gradient page: the visible layer, the other score, and the followed run."""

from __future__ import annotations

import param

from workbench.pages.frame.one_run import OneRun
from workbench.parts.indicators import INDICATORS


class GradientState(OneRun):
    """State of the gradient page. Its parameters are in the address; tabs watch them and set them.

    runner: the followed run (`runner.live`) and its settings (`runner.config`).
    """

    ADDRESS = ("scene", "truth", "keys", "run", "tab", "layer", "indicator", "p")

    layer = param.String("", doc="layer of the visible gradient; empty for the middle layer")
    indicator = param.Selector(default="magnitude", objects=list(INDICATORS), doc="the other score")
    p = param.Selector(default=3, objects=[3, 5, 7, 9], doc="side of its neighbourhood")
