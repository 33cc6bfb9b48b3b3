"""How pages fit every screen: rows that wrap, maps that grow with the window, text that grows on a projector, and the side bar.

    beside(image, spectra, least=(430, 380))    # below each other where one would be narrower than that
    grid(*maps, least=250)                      # columns of equal width, as many as fit
    wrapped(button, slider)                     # widgets of their own width

The browser does all this with CSS: nothing is sent when a window changes its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn

NARROW = 1000  # pixels of the window; below it, the side bar is folded when the page opens
# height of the frame of a map at most: one map, or two rows of maps, fit into the window
WHOLE, HALF = "max(66vh, 260px)", "max(38vh, 180px)"
WRAP = ":host { flex-wrap: wrap; }"
STRETCH: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": 0}
# 1 rem is 16 pixels in a window of 1400 pixels, 18 at 1920 and 20 from 2500; plots have nine tenths of it
TEXT = """
:root { font-size: clamp(16px, 11px + 0.36vw, 20px); --bokeh-font-size: 0.9rem !important; }
"""
CONTAINER = {"container-type": "inline-size"}  # of the place of a map: its width is `100cqw`
# Folds the side bar in a narrow window, and unfolds it when the window becomes wide; the button in the title bar does both too.
FOLD = f"""
    const page = Bokeh.documents.flatMap(d => d.roots()).find(r => r.data != null && "sidebar_open" in r.data.attributes)
    const wide = window.matchMedia("(min-width: {NARROW}px)")
    const fold = () => {{ page.data.sidebar_open = wide.matches }}
    if (page != null && !wide.matches) fold()
    if (page != null) wide.addEventListener("change", fold)
"""


def height(pixels: int) -> dict[str, str]:
    """CSS of the height of a plot: `pixels`, and more in a window of more than 1040 pixels."""
    return {"flex": "none", "height": f"max({pixels}px, {pixels / 10.4:.1f}vh)"}


def shape(rows: float, columns: float, *, sides: int, ends: int, tall: str) -> str:
    """CSS of the figure of a map of this shape: as wide as its place, with a frame at most `tall` high and square pixels.

    sides, ends: pixels that axes, title and colour bar need at left and right, and above and below.
    """
    height = f"calc({_frame(rows, columns, sides, tall)} * {rows / columns:.8g} + {ends}px)"
    return f":host {{ flex: none !important; height: {height} !important; }}\n" + breadth(
        rows, columns, sides=sides, tall=tall
    )


def breadth(rows: float, columns: float, *, sides: int, tall: str) -> str:
    """CSS of something that is as wide as such a map, and in the same place."""
    return f":host {{ width: calc({_frame(rows, columns, sides, tall)} + {sides}px) !important; }}"


def _frame(rows: float, columns: float, sides: int, tall: str) -> str:
    """CSS length: width of the frame of the map."""
    return f"min(100cqw - {sides}px, {tall} * {columns / rows:.8g})"


class _Wrapping(pn.Row):
    """A row whose least width is that of its widest part; Panel would use the sum, and cut a narrow page."""

    _direction = None


def wrapped(*parts: Any, **options: Any) -> pn.Row:
    """Widgets of their own width in a line, which wraps; their middles are at one height."""
    css = f"{WRAP}\ndiv {{ align-self: center !important; }}"
    return _Wrapping(*parts, stylesheets=[css], **{**STRETCH, **options})


def beside(*parts: Any, least: Sequence[int], **options: Any) -> pn.Row:
    """Parts side by side; one is put below the others where it would be narrower than its `least` pixels.

    A wider row is divided in the proportion of `least`. A hidden part takes no room.
    """
    for part, pixels in zip(parts, least, strict=True):
        part.styles = {**part.styles, "flex": f"{pixels} 1 {pixels}px", "min-width": f"min({pixels}px, 100%)"}
    return _Wrapping(*parts, stylesheets=[WRAP], **{**STRETCH, **options})


def grid(*parts: Any, least: int, most: int = 12, gap: int = 0) -> pn.Column:
    """Parts in columns of equal width: as many as fit if each is at least `least` pixels wide, and at most `most`.

    gap: pixels between the columns. A hidden part takes no room. The grid itself cannot be hidden, because its CSS overrides
    that: put it into a column.
    """
    track = f"minmax(max(min({least}px, 100%), 100% / {most}), 1fr)"
    css = f":host {{ display: grid; grid-template-columns: repeat(auto-fit, {track}); align-items: start; column-gap: {gap}px; }}"
    css += "\n.scroll-button { display: none; }"  # an empty part of every column of Panel
    return pn.Column(*parts, stylesheets=[css], **STRETCH)


def map_pane(figure: Any) -> pn.Column:
    """The pane of a map: as wide as its place."""
    return pn.Column(pn.pane.Bokeh(figure, margin=0), styles=CONTAINER, **STRETCH)
