"""A visitor comes to a served page, gets its document and leaves, as Bokeh's server does it: what is sent, and what stays behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, NamedTuple

import panel as pn
import pytest
from bokeh.application.handlers.document_lifecycle import DocumentLifecycleHandler
from bokeh.models import ImportedStyleSheet
from bokeh.plotting import figure
from bokeh.server.contexts import ApplicationContext
from bokeh.util.token import generate_jwt_token
from panel.command.serve import build_single_handler_applications
from tornado.httputil import HTTPServerRequest, RequestStartLine
from tornado.ioloop import IOLoop

from workbench.pages.frame.address import Addressed
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.memory import spare_imports
from workbench.pages.landing.serving import dashboards


class Visit(NamedTuple):
    """sheets: addresses of the stylesheets. linked: watchers of Panel's state "busy" before, during and after. made, kept: how
    many pages, documents and figures were made, and which of them are still in memory.
    """

    sheets: set[str]
    linked: list[int]
    made: dict[str, int]
    kept: list[str]


@pytest.fixture(scope="module", params=[*dashboards()])
def visit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """One visit of each page."""
    seen: dict[str, list[weakref.ref]] = {"page": [], "document": [], "figure": []}
    sheets: set[str] = set()
    linked: list[int] = []
    init = Addressed.__init__

    def noted(self: Addressed, **params: Any) -> None:
        seen["page"].append(weakref.ref(self))
        init(self, **params)

    def count() -> None:
        linked.append(len(pn.state.param.watchers.get("busy", {}).get("value", [])))

    async def come_and_go(application: Any) -> None:
        application.add(DocumentLifecycleHandler())  # as the server does
        context = ApplicationContext(application, io_loop=IOLoop.current(), url=f"/{request.param}")
        asked = HTTPServerRequest(start_line=RequestStartLine("GET", f"/{request.param}", "HTTP/1.0"))
        session = await context.create_session_if_needed("one", asked, generate_jwt_token("one"))
        document = session.document
        assert document.roots, [handler.error_detail for handler in application.handlers]
        await asyncio.to_thread(lambda: SharedResults._worker.submit(int).result())  # until the scene has been read
        document.to_json()
        count()
        seen["document"].append(weakref.ref(document))
        for root in document.roots:
            seen["figure"] += [weakref.ref(model) for model in root.select({"type": figure})]
            sheets.update(str(sheet.url) for sheet in root.select({"type": ImportedStyleSheet}))
        await context._discard_session(session, lambda _: True)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("visited"))
        patch.setattr(Addressed, "__init__", noted)
        (application,) = build_single_handler_applications([str(dashboards()[request.param])], {}).values()
        spare_imports()  # what the first page of a server does, which stays
        count()
        asyncio.run(come_and_go(application))
        count()
    gc.collect()
    kept = [kind for kind, made in seen.items() for one in made if one() is not None]
    return Visit(sheets, linked, {kind: len(made) for kind, made in seen.items()}, kept)


def test_nothing_of_a_closed_page_is_kept(visit: Visit) -> None:
    assert (visit.made["page"], visit.made["document"]) == (1, 1)
    assert visit.kept == []


def test_a_page_is_not_linked_to_the_state_that_every_callback_changes(visit: Visit) -> None:
    """Panel links every Page to its global state and never unlinks it: a server would keep every page it ever showed."""
    before, open_, after = visit.linked
    assert before == open_ == after


def test_stylesheets_are_ours_although_no_html_was_asked_for(visit: Visit) -> None:
    """So is a session that was dropped and made again, for which Panel would name its public host."""
    assert visit.sheets
    assert all(url.startswith("static/extensions/panel/") for url in visit.sheets), visit.sheets
