"""Stylesheets from our own server only, also where Panel would name those of its public host."""

from __future__ import annotations

import panel as pn
from panel.io.resources import LOCAL_DIST


def own_stylesheets() -> None:
    """Call before the models of a served page are made.

    Panel sets the place of its stylesheets when it renders the HTML of a session. A session that was dropped before the browser
    opened its socket (15 s on a busy machine, or a restarted server) is made again without HTML, and its models name Panel's
    public host.
    """
    if pn.state.curdoc and pn.state.curdoc.session_context:
        pn.state.curdoc.template_variables.setdefault("dist_url", LOCAL_DIST)
