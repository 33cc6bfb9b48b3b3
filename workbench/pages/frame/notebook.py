"""A page in the cell of a notebook: Panel is loaded with the first page, and the cell has the icons that a served page has.

A served page gets the font of the icons from its server. A cell has no server of its own, so the font is written into the cell;
without it a button shows the first letters of the icon's name.
"""

from __future__ import annotations

import base64
import functools
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui

# In a cell the style sheet of the icons is missing too: the theme has its rule.
ICON = {
    "fontFamily": "'Material Icons'",
    "fontFeatureSettings": "'liga'",
    "fontWeight": 400,
    "lineHeight": 1,
    "letterSpacing": "normal",
    "textTransform": "none",
    "whiteSpace": "nowrap",
    "direction": "ltr",
}


def in_cell(*parts: pn.viewable.Viewable, theme: Mapping[str, Any]) -> pmui.Column:
    """These parts in one row for the cell of a notebook. theme: "light" and "dark", as of a served page."""
    named = {"MuiIcon": {"styleOverrides": {"root": ICON}}}
    with_icons = {mode: {**each, "components": {**each["components"], **named}} for mode, each in theme.items()}
    row = pn.Row(*parts, sizing_mode="stretch_width")
    return pmui.Column(row, theme_config=with_icons, sizing_mode="stretch_width", margin=0)


def load_panel() -> None:
    """Load Panel into the notebook, if this is a notebook and that was not done before.

    A widget that is made before takes its style sheets from the network.
    """
    if _in_notebook() and not pn.extension._loaded:
        pn.extension("tabulator", inline=True)


def show_icons() -> None:
    """Add the font of the icons to the output of this cell, if this is a notebook."""
    from IPython.display import HTML, display

    if _in_notebook():
        display(HTML(icon_font()))


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython.core.getipython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@functools.cache
def icon_font() -> str:
    """HTML: a style element with the font of the icons in it; nothing is loaded from elsewhere.

    >>> icon_font().count("@font-face")
    1
    """
    folder = Path(pmui.__file__).parent / "dist"
    named = re.search(r'"Material Icons";\s*src: url\("([^"]+)"', (folder / "material-icons.css").read_text())
    if named is None:
        return ""
    data = base64.b64encode((folder / named[1]).read_bytes()).decode()
    return f'<style>@font-face {{ font-family: "Material Icons"; src: url(data:font/woff2;base64,{data}) format("woff2"); }}</style>'
