"""The anomaly workbench as a served page: `panel serve dashboards/anomaly.py`, or `workbench serve anomaly`."""

import panel as pn

from workbench.pages.anomaly.page import Explorer

if pn.state.served:
    pn.extension()
    Explorer().page().servable(title="Anomaly workbench")
