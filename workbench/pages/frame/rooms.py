"""Tabs that are built when a visitor first turns to them, or when the page asks for them: so a page opens faster.

self.rooms = Rooms({Trust: "How sure?", Inside: "Inside"}, lambda tab: tab(self), self.furnished)
self.rooms[Trust]                  # the tab, built now if it is not yet
self.rooms.each("draw", Trust)     # only if it is built
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import panel as pn

from workbench.views.card import explain

BUILDING = ("This tab is being built", "It takes about a second, longer while a run computes on this machine.")


def place() -> pn.Column:
    """The place of a tab, which says that it is being built."""
    return pn.Column(explain(*BUILDING, height=300), sizing_mode="stretch_width", margin=0)


class Rooms:
    """titles: kind of tab -> its title. make: makes a tab, an object with `panel`. fill: draws in it what came before."""

    def __init__(self, titles: Mapping[type, str], make: Callable[[type], Any], fill: Callable[[Any], None]) -> None:
        self.titles = dict(titles)
        self.built: dict[type, Any] = {}
        self.places = {kind: place() for kind in titles}
        self._make, self._fill = make, fill

    @property
    def tabs(self) -> list[tuple[str, pn.Column]]:
        """Title and place of each."""
        return [(title, self.places[kind]) for kind, title in self.titles.items()]

    def __getitem__(self, kind: type) -> Any:
        if kind not in self.built:
            built = self.built[kind] = self._make(kind)
            with pn.io.hold():
                self.places[kind].objects = [built.panel]
                self._fill(built)
        return self.built[kind]

    def show(self, title: str) -> None:
        """Build the tab of this title, if it is one of these."""
        for kind, its in self.titles.items():
            if its == title:
                _ = self[kind]

    def each(self, do: str, *kinds: type, **given: Any) -> None:
        """Call the method `do` of those tabs that are built; others are filled when they are."""
        for kind in kinds:
            if kind in self.built:
                getattr(self.built[kind], do)(**given)
