"""Anomaly workbench: find what does not belong to a hyperspectral scene, compare detectors, and watch BSDM suppress the background.

A served page: `workbench serve anomaly`, or `panel serve dashboards/anomaly.py`.
"""

import panel as pn

from workbench.pages.anomaly.page import Explorer

if pn.state.served:
    pn.extension()
    Explorer().page().servable(title="Anomaly workbench")
