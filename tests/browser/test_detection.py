"""The detection page in a real browser: CFAR before any run, training, the score slider, a click in the gallery, the inside."""

from __future__ import annotations

import pytest

from tests.browser.chromium import LENGTHS, frame, wait
from workbench import runs

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_visitor_trains_moves_the_slider_and_clicks_through_the_gallery(server, visit):
    page, watch = visit(server.address("detection"))
    page.get_by_text("factor 2.0").wait_for()  # CFAR's numbers, without any training
    for name, value in {"steps": 6, "rivals": "", "width": 4, "show every": 3}.items():
        field = page.get_by_label(name, exact=True)
        field.fill(str(value))
        field.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Training").click()
    page.get_by_text("validation image").first.wait_for()
    page.get_by_text("Finished", exact=True).wait_for()
    wait(page, "() => location.search.includes('run=')")
    page.get_by_role("tab", name="Boxes").click()
    page.get_by_text("maxDets").first.wait_for()
    page.get_by_role("button", name="Missed").click()
    page.get_by_text("Missed, smallest first").wait_for()
    wait(page, f"() => ({LENGTHS})('cx').some(n => n > 0)")

    # a click on the first thumbnail shows its box in its image
    place = page.evaluate("""() => { for (const view of Bokeh.index.all_views()) {
        if (view.model.type.endsWith("Figure") && view.frame && view.model.renderers.some(r => "cx" in r.data_source.data)) {
            const box = view.el.getBoundingClientRect(); return {x: box.x, y: box.y, width: box.width} } } return null }""")
    page.mouse.click(place["x"] + place["width"] / 24, place["y"] + place["width"] / 24)
    page.get_by_text("columns").first.wait_for()
    wait(page, "() => location.search.includes('sample=')")
    assert frame(page, "chip-")["width"] > 100

    page.get_by_label("Toggle theme").click()
    page.get_by_role("tab", name="Errors").click()
    page.get_by_text("errors of each kind").first.wait_for()
    page.get_by_role("tab", name="Inside").click()
    page.get_by_text("The strips beside the image are the gates").wait_for()
    page.get_by_role("tab", name="Take it with you").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="COCO").click()
    assert '"annotations"' in taken.value.path().read_text()

    again, second = visit(page.url)
    again.get_by_text("The same as code").wait_for()
    about = runs.read(next((server.folder / "runs").glob("*-sarnet-sim-ships")))
    assert (about["status"], about["config"]["steps"]) == ("finished", 6)
    assert watch.errors == []
    assert second.errors == []
    assert watch.foreign == []
    assert server.complaints() == ""
