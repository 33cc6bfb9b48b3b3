"""The gradient workbench as a served page: `panel serve dashboards/gradients.py`, or `workbench serve gradients`."""

import panel as pn

from workbench.pages.gradients.page import Gradients

if pn.state.served:
    pn.extension()
    Gradients().page().servable(title="Gradient workbench")
