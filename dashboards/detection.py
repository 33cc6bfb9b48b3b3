"""Detection workbench: find ships and aircraft in SAR images, and see what was found, missed and mistaken.

A served page: `workbench serve detection`, or `panel serve dashboards/detection.py`.
"""

import panel as pn

from workbench.pages.detection.page import Detections

if pn.state.served:
    pn.extension()
    Detections().page().servable(title="Detection workbench")
