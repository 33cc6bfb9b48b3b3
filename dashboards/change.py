"""The change workbench as a served page: `panel serve dashboards/change.py`, or `workbench serve change`."""

import panel as pn

from workbench.pages.change.page import Changes

if pn.state.served:
    pn.extension()
    Changes().page().servable(title="Change workbench")
