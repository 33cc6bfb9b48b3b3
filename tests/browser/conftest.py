"""One server of all dashboards and one Chromium for all visits; a page that a test opens is closed with the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.browser.serving import Served, served

HERE = Path(__file__).parent
TESTS = HERE.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder belong to `make visits`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server; the toy of tests/toy is in its table of methods, and in that of the runs that it starts."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # for the server alone: other tests start processes without the toy
            places = [str(TESTS / "toy" / "site"), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
            running = stack.enter_context(served(tmp_path_factory.mktemp("served")))
        yield running


class _Chromium:
    """The one browser, open while tests of this folder run."""

    stack, running = ExitStack(), None


@pytest.fixture
def opened() -> Any:
    if chromium.chromium() is None:
        pytest.skip("needs a Chromium: install one with `make browser`")
    if _Chromium.running is None:
        _Chromium.running = _Chromium.stack.enter_context(chromium.browser())
    return _Chromium.running


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Close the browser behind the last test of this folder: Playwright keeps an event loop, and others start their own."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        _Chromium.stack.close()
        _Chromium.running = None


@pytest.fixture
def visit(opened: Any) -> Iterator[Callable[..., tuple[Any, chromium.Watch]]]:
    """`visit(address)` opens a page and waits until it is idle; gives the page and a watch on what it does."""
    pages = []

    def go(address: str, **size: int) -> tuple[Any, chromium.Watch]:
        page, watch = chromium.visit(opened, address, **size)
        pages.append(page)
        return page, watch

    yield go
    for page in pages:
        page.context.close()
