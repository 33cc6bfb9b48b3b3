"""Coreset workbench: score how much every sample changes the training, and keep the few that matter.

A served page: `workbench serve coresets`, or `panel serve dashboards/coresets.py`.
"""

import panel as pn

from workbench.pages.coresets.page import Coresets

if pn.state.served:
    pn.extension()
    Coresets().page().servable(title="Coreset workbench")
