"""Runs: find, compare and replay all runs; follow one that is still running.

A served page: `workbench serve runs`, or `panel serve dashboards/runs.py`.
"""

import panel as pn

from workbench.pages.runs.page import Runs

if pn.state.served:
    pn.extension("tabulator")
    Runs().page().servable(title="Runs")
