"""What every page promises, whichever scene it shows."""

from __future__ import annotations

import panel as pn
import pytest

from workbench.pages.anomaly.page import Explorer
from workbench.pages.coresets.page import Coresets
from workbench.pages.gradients.page import Gradients


def links() -> list:
    """What Panel's global state tells when the server is busy."""
    return list(pn.state.param.watchers.get("busy", {}).get("value", []))


@pytest.mark.parametrize(("kind", "scene"), [(Explorer, "sim-coast-town"), (Coresets, "digits"), (Gradients, "digits")])
def test_a_closed_page_is_not_held_by_the_server(kind, scene, tmp_path):
    """Panel links every Page to its global state and never unlinks it: a server would keep every page it ever showed."""
    before = links()
    session = kind(scene, root=tmp_path)
    session.page()
    assert len(links()) == len(before) + 1
    session.close()
    assert links() == before
