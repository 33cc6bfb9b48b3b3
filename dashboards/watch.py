"""Method workbench: run any method on any scene that it can use, and watch it live.

A served page: `workbench serve watch`, or `panel serve dashboards/watch.py`.
"""

import panel as pn

from workbench.pages.watch import Watch

if pn.state.served:
    pn.extension()
    Watch().page().servable(title="Method workbench")
