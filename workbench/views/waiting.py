"""Words in the place of a plot until it has something to draw: an empty plot looks like a plot of nothing between 0 and 1."""

from __future__ import annotations

from typing import Any

import panel as pn

from workbench.views.card import explain

NOTHING = "Nothing to draw yet."


class Waiting:
    """`panel` shows words, `height` screen pixels high; after `drawn(True)` it shows `parts`, one below the other.

    title: what the plot will show. words: when it will; may contain simple HTML.
    """

    def __init__(self, *parts: Any, title: str, words: str = NOTHING, height: int) -> None:
        self.words = explain(title, words, height=height - 8)
        self.parts = pn.Column(*parts, sizing_mode="stretch_width", margin=0, visible=False)
        self.panel = pn.Column(self.words, self.parts, sizing_mode="stretch_width", margin=0)

    def drawn(self, something: bool) -> None:
        """Show the plot if there is something to draw, else the words."""
        self.parts.visible, self.words.visible = something, not something
