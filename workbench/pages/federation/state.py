"""Shared state of the tabs of the federation page: the phase, the rank of a message, the partition that is tried, the noise level."""

from __future__ import annotations

from typing import Any

import param

from workbench.pages.federation.findings import Findings
from workbench.pages.frame.several import Several


class FederationState(Several):
    """State of the federation page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    findings: result of the followed run; None before it has finished. runner: controls of the followed run.
    """

    ADDRESS = ("method", "scene", "truth", "keys", "run", "tab", "phase", "rank", "alpha", "parties", "level", "image")

    method = param.String("", doc="name of the method")
    tab = param.Integer(0, bounds=(0, 4))
    phase = param.Selector(default="exchange", objects=["home", "exchange", "fedavg"], doc="whose rounds are shown")
    rank = param.Integer(4, bounds=(1, 16), doc="rank of the messages that are rebuilt")
    alpha = param.Number(0.3, bounds=(0.01, 100.0), doc="of the Dirichlet draw that is previewed")
    parties = param.Integer(4, bounds=(2, 20), doc="clients of that draw")
    level = param.Integer(8, bounds=(0, 8), doc="position on the way from noise to patches")
    image = param.Integer(0, bounds=(0, None), doc="position of the mapped image")

    findings: Findings | None

    def reset(self) -> dict[str, Any]:
        """The parameters of a view that shows the run as it is."""
        return {"level": 8, "image": 0}
