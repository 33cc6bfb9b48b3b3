"""Gradient workbench: watch which gradient entries are sent between training processes, and what that saves.

A served page: `workbench serve gradients`, or `panel serve dashboards/gradients.py`.
"""

import panel as pn

from workbench.pages.gradients.page import Gradients

if pn.state.served:
    pn.extension()
    Gradients().page().servable(title="Gradient workbench")
