"""The landing page, and the pages that no other file begins with, in a real browser on a server that has made none: nothing is asked
of another host, and no script fails. The second, warm visit of every page is in `test_screens`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.browser.chromium import IDLE, TURNED, Watch, wait
from tests.browser.serving import served
from workbench.event import drain
from workbench.execution import start
from workbench.pages.landing.serving import dashboards

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
# pages that the visit of another file begins with, cold; it looks for the same faults
BEGUN = ("anomaly", "change", "coresets", "detection", "gradients", "runs", "watch")
# how a page is recognised when it has opened what it opens first
SHOWN = {
    "compression": "Which filters, how many bits?",
    "federation": "Who sends what?",
    "landcover": "The class map and its accuracy",
}


def plain(opened, address: str):
    """The landing page, watched."""
    page = opened.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.set_default_timeout(120_000)
    watch = Watch(page)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page, watch


def test_cold_no_page_asks_anything_of_another_host(server, opened) -> None:
    """The server has not made these pages: no file before this one visits them. One visitor sees them, with one cache."""
    page, watch = plain(opened, server.base)
    assert {*SHOWN, *BEGUN} == set(dashboards())
    for name in SHOWN:
        page.goto(server.address(name))
        wait(page, IDLE)
        page.get_by_text(SHOWN[name]).first.wait_for()
        page.get_by_label("Toggle theme").click()
        wait(page, TURNED)
        assert (name, watch.foreign, watch.errors) == (name, [], [])
    page.goto(server.base)
    page.wait_for_load_state("networkidle")
    assert (watch.foreign, watch.errors) == ([], [])
    page.context.close()
    assert server.complaints() == ""


def test_from_the_landing_page_to_a_run_to_its_report_and_back(tmp_path: Path, opened) -> None:
    root = tmp_path / "elsewhere"
    drain(start("rx", "sim-coast-town", None, root / "report" / "inner"))
    shutil.copytree(root / "report" / "inner", root / "alone")
    shutil.copy(root / "alone" / "run.json", root / "report" / "run.json")
    (root / "report" / "report.html").write_text(
        "<!DOCTYPE html><title>r</title><h1>All numbers</h1><script>oops()</script>"
    )
    with served(tmp_path, "runs", "watch", root=root, warm=True) as server:
        page, watch = plain(opened, f"{server.base}/?theme=dark")
        assert page.locator("html.dark").count() == 1
        page.get_by_role("button", name="Light / dark").click()
        assert page.locator("html.dark").count() == 0
        assert page.locator(".cards img:visible").count() == 2
        wait(page, "() => [...document.images].filter(i => i.checkVisibility()).every(i => i.naturalWidth == 640)")
        page.get_by_role("link", name="alone").click()
        page.get_by_text("Finished", exact=True).wait_for()
        assert page.url.endswith("/watch?method=rx&scene=sim-coast-town&run=alone")
        assert page.get_by_text("Report of this run").count() == 0

        page.goto(f"{server.base}/runs?inside=True")
        page.get_by_text("3 of 3 runs").wait_for()
        row = page.locator(".tabulator-row", has_text="report/inner")
        with page.context.expect_page() as newer:
            row.get_by_role("link", name="watch").click()
        inner = newer.value
        seen = Watch(inner)
        with inner.context.expect_page() as newest:
            inner.get_by_role("link", name="Report of this run").click()
        newest.value.get_by_text("All numbers").wait_for()
        inner.get_by_role("link", name="All pages").click()
        inner.get_by_role("heading", name="Recent runs").wait_for()

        inner.get_by_role("button", name="Light / dark").click()
        inner.get_by_role("link", name="Runs:").or_(inner.locator("a[href=runs]").first).first.click()
        wait(inner, "() => location.search.includes('theme=dark')")
        page.context.close()
        assert (watch.errors, watch.foreign, seen.errors, seen.foreign) == ([], [], [], [])
        assert server.complaints() == ""
