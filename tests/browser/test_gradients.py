"""The gradient page in a real browser: two real processes train, and the visitor looks on."""

from __future__ import annotations

import pytest

from tests.browser.chromium import wait

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_visitor_trains_two_processes_and_looks_on(server, visit):
    page, watch = visit(server.address("gradients"))
    for name, value in {"rivals": "rsdgc, dense", "steps": 20, "width": 2}.items():
        field = page.get_by_label(name, exact=True)
        field.fill(str(value))
        field.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Finished", exact=True).wait_for()
    page.get_by_role("tab", name="Traffic").click()
    page.get_by_text("MB of messages").wait_for()
    page.get_by_role("tab", name="Budget").click()
    page.get_by_text("hover over a line for its name").wait_for()
    page.get_by_label("Toggle theme").click()
    wait(page, "() => location.search.includes('run=')")
    assert watch.errors == []
    assert watch.foreign == []
    assert server.complaints() == ""
