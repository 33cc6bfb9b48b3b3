"""Change workbench: map what changed between two dates, and see how sure the network is of each pixel.

A served page: `workbench serve change`, or `panel serve dashboards/change.py`.
"""

import panel as pn

from workbench.pages.change.page import Changes

if pn.state.served:
    pn.extension()
    Changes().page().servable(title="Change workbench")
