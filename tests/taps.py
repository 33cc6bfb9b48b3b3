"""How tests click on a figure without a browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def tap(figure: Any, x: float, y: float) -> None:
    """A click at these coordinates of a figure."""
    for then in figure._event_callbacks["tap"]:
        then(SimpleNamespace(x=x, y=y))
