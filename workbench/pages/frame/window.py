"""The window of a served page: its theme, title bar and side bar, and what Panel would do in it that slows a server down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui
from bokeh.models import CustomJS
from bokeh.settings import settings

from workbench.pages.frame.memory import give_back_later
from workbench.views.screen import FOLD as FOLD_SIDE
from workbench.views.screen import NARROW
from workbench.views.screen import TEXT as TEXT_SIZE

TEXT = {"fontSize": 12.5, "button": {"textTransform": "none"}}
BAR = {"MuiAppBar": {"styleOverrides": {"root": {"backgroundColor": "#24527F", "backgroundImage": "none", "color": "#fff"}}}}
# buttons of number fields, whose colour cannot be seen in Panel's dark mode
ICON = {"props": {"color": "default"}, "style": {"color": "var(--mui-palette-text-secondary)"}}
COMPONENTS = {**BAR, "MuiIconButton": {"styleOverrides": {"root": {"variants": [ICON]}}}}
# a side bar that slides would lay out all figures of the page in each frame
AT_ONCE = {"duration": {"enteringScreen": 0, "leavingScreen": 0}}
THEME = {
    mode: {
        "chart_style": "standard",
        "typography": TEXT,
        "components": COMPONENTS,
        "transitions": AT_ONCE,
        "palette": {"primary": {"main": colour}},
        "breakpoints": {
            "values": {"xs": 0, "sm": NARROW, "md": 1200, "lg": 1536, "xl": 1920}
        },  # below sm the side bar is a drawer
    }
    for mode, colour in {"light": "#2F6FB0", "dark": "#6CAEEE"}.items()
}


def framed(title: str, side: Any, *main: Any, header: Sequence[Any] = ()) -> pmui.Page:
    """A page with title bar, side bar and light and dark mode. In a narrow window the side bar is folded, and opens over the page."""
    if pn.state.curdoc is not None:
        pn.state.curdoc.js_on_event("document_ready", CustomJS(code=FOLD_SIDE))
        if pn.state.curdoc.session_context:
            pn.state.on_session_destroyed(lambda _: give_back_later())
    page = pmui.Page(
        title=title,
        header=list(header),
        sidebar=[side],
        main=list(main),
        sidebar_width=320,
        sidebar_variant="auto",
        theme_config=THEME,
        raw_css=[TEXT_SIZE],
        busy_indicator=None,
    )
    unlink_busy(page)
    tag_itself(page)
    settings.perform_document_validation = False  # a tenth of the time in which a page is made
    settings.perform_error_diagnostics = False  # another seventh: the signature of each callback, some 600 a page
    return page


def tag_itself(part: Any) -> None:
    """Tag only the model of `part` with the page's root, and not each time all models inside it.

    Panel tags them so that they can be removed with the page; each part inside has already tagged its own.
    """

    def tag(model: Any, ref: str) -> None:
        if f"__ref:{ref}" not in model.tags:
            model.tags.append(f"__ref:{ref}")

    part._patch_datamodel_ref = tag


def unlink_busy(page: pmui.Page) -> None:
    """Unlink the page from Panel's global `state.busy`.

    Each callback of any visitor changes it, and each change would walk all models of every open page. Panel would also keep the
    page in memory until the server stops.
    """
    for watcher in list(pn.state.param.watchers.get("busy", {}).get("value", [])):
        if getattr(getattr(watcher.fn, "__self__", None), "self", None) is page:
            pn.state.param.unwatch(watcher)
