"""The toy of tests/toy on the watch page in a real browser: started, paused, stopped, drawn and gone through, from its declaration."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import LENGTHS, wait

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
# points of the longest line on the page
LONGEST = """() => Math.max(0, ...[...Bokeh.documents[0].all_models]
    .filter(m => m.type == "ColumnDataSource" && "xs" in m.data)
    .flatMap(m => m.data.xs.map(x => x.length)))"""


def test_a_visitor_starts_pauses_and_stops_it_and_looks_at_the_result(server, visit):
    page, watch = visit(f"{server.address('watch')}?method=toy&scene=sim-coast-town")
    page.get_by_text("Press Start in the side bar").wait_for()
    page.get_by_text("wait", exact=True).first.wait_for()  # the form is made from Config
    for name, value in {"steps": 9000, "wait": 0.3}.items():
        field = page.get_by_label(name, exact=True)
        field.fill(str(value))
        field.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Running", exact=True).wait_for()
    wait(page, f"n => ({LONGEST})() > n", arg=5)
    wait(page, f"name => ({LENGTHS})(name).filter(n => n == 1).length >= 4", arg="image")  # film and stills
    for text in ("Brightness, and what is left of the cube", "The brightest square", "How often one class"):
        page.get_by_text(text).first.wait_for()
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("Paused", exact=True).wait_for()
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_text("Running", exact=True).wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("Stopped", exact=True).wait_for()

    page.get_by_role("button", name="Small settings").click()
    page.get_by_role("button", name="Start a new run", exact=True).click()
    page.get_by_text("Finished", exact=True).wait_for()
    page.get_by_role("tab", name="Result").click()
    page.get_by_text("largest minus mean score").wait_for()
    page.get_by_text("score: sharpened brightness").wait_for()
    page.get_by_label("Toggle theme").click()
    page.get_by_role("tab", name="Method").click()
    page.get_by_text("exponent of one sharpening").wait_for()
    wait(page, "() => location.search.includes('run=') && location.search.includes('tab=2')")

    again, second = visit(page.url)  # the address holds method, scene, run and tab
    again.get_by_text("exponent of one sharpening").wait_for()
    again.get_by_role("tab", name="Live").click()
    wait(again, f"n => ({LONGEST})() == n", arg=4)
    assert (watch.errors, second.errors, watch.foreign, second.foreign) == ([], [], [], [])
    states = sorted(json.loads((f / "run.json").read_text())["status"] for f in (server.folder / "runs").glob("*-toy-*"))
    assert states == ["finished", "stopped"]
    assert server.complaints() == ""
