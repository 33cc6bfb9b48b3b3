"""The change page in a real browser: swipe between the dates, train, ask how sure, take the map."""

from __future__ import annotations

import pytest

from tests.browser.chromium import LENGTHS, frame, wait
from workbench import runs

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
SHARE = """name => [...Bokeh.documents[0].all_models].filter(m => m.type == "ColumnDataSource" && m.data.image && m.data.image.length
    && m.data.image[0].dtype == "uint32" && m.data.image[0].shape[1] == 256)
    .map(m => { const i = m.data.image[0]; const b = new Uint8Array(i.buffer, i.byteOffset, 4 * 256); let n = 0
        for (let c = 0; c < 256; c++) n += b[4 * c + 3] > 0; return n })"""


def test_a_visitor_swipes_trains_and_asks_how_sure(server, visit):
    page, watch = visit(server.address("change"))
    page.get_by_text("on this pair").wait_for()  # what takes a second is there
    for name, value in {"steps": 6, "rivals": "", "show every": 3}.items():
        field = page.get_by_label(name, exact=True)
        field.fill(str(value))
        field.press("Enter")

    # the line between the dates is dragged in the browser
    place = frame(page, "before | after")
    middle = place["y"] + place["height"] / 2
    wait(page, f"() => ({SHARE})().includes(128)")
    page.mouse.move(place["x"] + place["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.25, middle, steps=6)
    page.mouse.up()
    wait(page, f"() => ({SHARE})().some(n => n > 56 && n < 72)")

    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Training").click()
    page.get_by_text("validation square").wait_for()
    page.get_by_text("Finished", exact=True).wait_for()
    wait(page, "() => location.search.includes('run=')")
    page.get_by_role("tab", name="How sure?").click()
    page.get_by_text("surest 80 %, U of AR-CDNet").wait_for()
    page.get_by_label("Toggle theme").click()
    page.get_by_role("tab", name="Take it with you").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Change P, GeoTIFF").click()
    assert taken.value.path().stat().st_size > 1000

    again, second = visit(page.url)
    again.get_by_text("Areas of change", exact=True).wait_for()
    about = runs.read(next((server.folder / "runs").glob("*-arcdnet-sim-change-town")))
    assert (about["status"], about["config"]["steps"]) == ("finished", 6)
    assert max(again.evaluate(LENGTHS, "image")) == 1
    assert watch.errors == []
    assert second.errors == []
    assert watch.foreign == []
    assert server.complaints() == ""
