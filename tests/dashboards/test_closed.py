"""What a visitor leaves in the server's memory: nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from bokeh.plotting import figure
from bokeh.server.contexts import ApplicationContext
from panel.command.serve import build_single_handler_applications

from workbench.pages.frame.address import Addressed
from workbench.pages.landing.serving import dashboards


@pytest.mark.parametrize("name", [*dashboards()])
def test_nothing_of_a_closed_page_is_kept(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept: dict[str, list[weakref.ref]] = {"page": [], "document": [], "figure": []}
    init = Addressed.__init__
    monkeypatch.setattr(
        Addressed, "__init__", lambda self, **p: (kept["page"].append(weakref.ref(self)), init(self, **p))[1]
    )
    (application,) = build_single_handler_applications([str(dashboards()[name])], {}).values()

    async def visit() -> None:
        """A visitor comes, reads the document and leaves, as Bokeh's server ends a session."""
        context = ApplicationContext(application, io_loop=None)
        session = await context.create_session_if_needed("one")
        session.document.to_json()
        kept["document"] += [weakref.ref(session.document)]
        kept["figure"] += [weakref.ref(m) for root in session.document.roots for m in root.select({"type": figure})]
        await context._discard_session(session, lambda _: True)

    asyncio.run(visit())
    gc.collect()
    assert len(kept["page"]) == 1
    assert [kind for kind, made in kept.items() for one in made if one() is not None] == []
