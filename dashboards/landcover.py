"""Land cover workbench: map classes from several sensors under a named split, and see which noise level of a diffusion model knows them.

A served page: `workbench serve landcover`, or `panel serve dashboards/landcover.py`.
"""

import panel as pn

from workbench.pages.landcover.page import Landcover

if pn.state.served:
    pn.extension()
    Landcover().page().servable(title="Land cover workbench")
