"""Compression workbench: choose which filters of a network go and how many bits each layer keeps, and see what that costs beside rivals.

A served page: `workbench serve compression`, or `panel serve dashboards/compression.py`.
"""

import panel as pn

from workbench.pages.compression.page import Compression

if pn.state.served:
    pn.extension()
    Compression().page().servable(title="Compression workbench")
