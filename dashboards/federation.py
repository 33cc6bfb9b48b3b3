"""Federation workbench: watch what clients send, byte by byte, what is left of the features at each rank, and where owners disagree.

A served page: `workbench serve federation`, or `panel serve dashboards/federation.py`.
"""

import panel as pn

from workbench.pages.federation.page import Federation

if pn.state.served:
    pn.extension()
    Federation().page().servable(title="Federation workbench")
