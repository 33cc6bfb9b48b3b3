"""The page of the runs as a served page: `panel serve dashboards/runs.py`, or `workbench serve runs`."""

import panel as pn

from workbench.pages.runs.page import Runs

if pn.state.served:
    pn.extension("tabulator")
    Runs().page().servable(title="Runs")
