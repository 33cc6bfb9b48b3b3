"""The page for any method as a served page: `panel serve dashboards/watch.py`, or `workbench serve watch`."""

import panel as pn

from workbench.pages.watch import Watch

if pn.state.served:
    pn.extension()
    Watch().page().servable(title="Method workbench")
