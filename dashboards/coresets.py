"""The coreset workbench as a served page: `panel serve dashboards/coresets.py`, or `workbench serve coresets`."""

import panel as pn

from workbench.pages.coresets.page import Coresets

if pn.state.served:
    pn.extension()
    Coresets().page().servable(title="Coreset workbench")
