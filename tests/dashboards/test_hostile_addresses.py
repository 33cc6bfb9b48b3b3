"""Addresses that a visitor makes up: every page opens or says what is wrong, nothing else is read, and the log has no traceback."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from bokeh.application.handlers.document_lifecycle import DocumentLifecycleHandler
from bokeh.server.contexts import ApplicationContext
from bokeh.util.token import generate_jwt_token
from panel.command.serve import build_single_handler_applications
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.ioloop import IOLoop

from tests.properties.fuzzing import CASES
from workbench.pages.frame.address import Addressed, query_of
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.policy import Policy, environment
from workbench.pages.landing.serving import dashboards

VALUES = (
    "²", "٣", "9" * 5000, "99999999999999999999", "-1", "1e999", "nan", "-inf", "1.5", "[", "[" * 500, '{"a":1}', "true", "null", "a\0b",
    "\x1b[2J", "\u202e", "../../etc/passwd", "/etc/passwd", "..", ".", "~", "one/../../x", "<script>alert(1)</script>", "A" * 3000,
    "é" * 300, "%00", "0,0;1,1", "-1,-1", "999999,999999", "0:0", "0:nan", "1:999999,", "|||", ";;;", "{0}", "%s", "\ud800",
)  # fmt: skip


def address(stem: str, given: dict[str, str]) -> str:
    return f"/{stem}?" + "&".join(f"{quote(n)}={quote(v, errors='replace')}" for n, v in given.items())


async def visit(application: Any, made: list[Addressed], uri: str) -> tuple[str, str, tuple[str, ...]]:
    """(document as text, what the page complains about, names of its parameters) of one visit at an address."""
    context = ApplicationContext(application, io_loop=IOLoop.current(), url=uri.partition("?")[0])
    asked = HTTPServerRequest(
        start_line=RequestStartLine("GET", uri, "HTTP/1.1"), headers=HTTPHeaders({"Host": "localhost:5006"})
    )
    session = await context.create_session_if_needed("one", asked, generate_jwt_token("one"))
    failed = [handler.error_detail for handler in application.handlers if handler.failed]
    assert not failed, failed
    assert session.document.roots
    page = made.pop()
    await asyncio.to_thread(SharedResults.wait_for_all)
    for _ in range(20):
        await asyncio.sleep(0.01)
    text = str(session.document.to_json())
    alert = getattr(page, "alert", None)
    await context._discard_session(session, lambda _: True)
    return text, str(alert.object) if alert is not None and alert.visible else "", page.ADDRESS


@pytest.mark.long
@pytest.mark.parametrize("stem", [*dashboards()])
def test_a_page_opens_at_any_address(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file outside of the folders that visitors may open, then parameters of the page with the values in turn; more by `make fuzz`."""
    (tmp_path / "data").mkdir()
    secret = tmp_path / "secret.npy"
    np.save(secret, np.full((6, 7, 4), 5.0))
    for name, value in environment(Policy(), [tmp_path / "data"], tmp_path / "runs").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    made: list[Addressed] = []
    init = Addressed.__init__
    monkeypatch.setattr(Addressed, "__init__", lambda self, **params: (made.append(self), init(self, **params))[1])
    (application,) = build_single_handler_applications([str(dashboards()[stem])], {}).values()
    application.add(DocumentLifecycleHandler())

    async def one(given: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        text, alert, names = await visit(application, made, address(stem, given))
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert not errors, (given, errors)
        assert "Traceback (most recent" not in text, given
        return alert, names

    async def all_of_them() -> None:
        alert, names = await one({"x": "²", "": "9" * 5000, "scene": str(secret)})
        assert stem == "runs" or "is not in a folder from which this server opens files" in alert
        for n in range((CASES and 4) or 1):
            given = {name: VALUES[(n * len(names) + k * 3 + n) % len(VALUES)] for k, name in enumerate(names)}
            await one(given)
            if CASES:  # at the scene that the page opens by itself
                await one({name: value for name, value in given.items() if name not in ("scene", "truth", "keys")})
        for path in (tmp_path / "nothing.npy", Path("../secret.npy")) if CASES and stem != "runs" else ():
            alert, _ = await one({"scene": str(path)})
            assert "is not in a folder from which this server opens files" in alert

    asyncio.run(all_of_them())


def test_parameters_are_texts() -> None:
    assert query_of("?tab=2&run=007&run=008&scene=&x=%C2%B2") == {"tab": "2", "run": "008", "scene": "", "x": "²"}
    assert query_of("") == {}
