"""The page as `panel serve` gives it: a real server, real sessions, and, where there is one, a real browser."""

from __future__ import annotations

import json
import time
import urllib.request

import panel_material_ui  # noqa: F401 - teaches Bokeh to read the models of the page, as does the table of picks
import psutil
import pytest
from bokeh.models import ColumnDataSource

from tests.browser.chromium import IDLE, LENGTHS, Watch, frame, wait
from tests.dashboards.conftest import TINY
from workbench import execution, runs
from workbench.views.picks import PickTable  # noqa: F401

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_the_page_is_served_with_what_it_needs(server):
    with urllib.request.urlopen(server.address("anomaly")) as answer:
        assert "Anomaly workbench" in answer.read().decode()
    assert server.complaints() == ""


def test_a_session_holds_image_spectra_and_address(server):
    for _ in range(30):  # a session begun while the server still reads the scene gets it a moment later
        session = server.pull("anomaly", "?picks=3,4;5,6")
        if any(
            "number" in s.data and len(s.data["number"]) == 2 for s in session.document.select({"type": ColumnDataSource})
        ):
            break
        session.close()
        time.sleep(1)
    try:
        sources = list(session.document.select({"type": ColumnDataSource}))
        spectra = [s for s in sources if "xs" in s.data and "number" in s.data and len(s.data["xs"]) == 2]
        images = [s for s in sources if "image" in s.data and len(s.data["image"]) == 1]
        assert len(spectra) == 1
        assert list(spectra[0].data["number"]) == [1, 2]
        assert images[0].data["image"][0].shape == (100, 100)
    finally:
        session.close()
    assert server.complaints() == ""


def test_sessions_leave_no_thread(server):
    process = psutil.Process(server.pid)
    server.pull("anomaly").close()
    time.sleep(3)
    before = process.num_threads()
    for _ in range(4):
        server.pull("anomaly").close()
    time.sleep(3)
    assert process.num_threads() <= before


def test_a_visitor_picks_a_pixel_trains_and_stops(server, visit):
    """Load, click a pixel, see its spectrum; start training, see loss points arrive, stop; nothing odd in the console."""
    page, watch = visit(server.address("anomaly"))
    place = frame(page, "column (pixels)")
    page.mouse.click(place["x"] + 0.305 * place["width"], place["y"] + 0.205 * place["height"])
    wait(page, f"name => ({LENGTHS})(name).includes(1)", arg="number")
    page.get_by_text("Picked pixels").wait_for()
    page.get_by_text("20, 30").wait_for()
    wait(page, "() => location.search.includes('picks=20,30')")

    page.get_by_role("tab", name="BSDM live").click()
    for name, value in {"steps": 4000, "show every": 2, "passes": 2}.items():
        field = page.get_by_label(name, exact=True)
        field.fill(str(value))
        field.press("Enter")
    page.get_by_text("more settings").click()
    for name in ("embed", "inner", "width", "code", "time width"):
        field = page.get_by_label(name, exact=True)
        field.fill(str(TINY[name.replace(" ", "_")]))
        field.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Running", exact=True).wait_for()
    grown = f"n => Math.max(...({LENGTHS})('x')) > n"
    wait(page, grown, arg=3)
    wait(page, grown, arg=12)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("Stopped", exact=True).wait_for()
    wait(page, "() => location.search.includes('run=')")
    folder = next((server.folder / "runs").glob("*-bsdm-sim-coast-town"))
    assert json.loads((folder / "run.json").read_text())["config"]["embed"] == TINY["embed"]
    deadline = time.monotonic() + 60
    while runs.read(folder)["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert runs.read(folder)["status"] == "stopped"

    # every control that changes a plot without a new score
    page.get_by_role("button", name="Pass by pass").click()
    page.get_by_role("button", name="While training").click()
    page.get_by_label("Follow the newest").click()
    page.get_by_label("Toggle theme").click()
    page.get_by_role("tab", name="Detectors").click()
    page.get_by_text("false alarms").wait_for()
    page.get_by_role("button", name="Own units").click()
    page.get_by_role("combobox", name="Detector whose pixels are flagged").click()
    page.locator("li.MuiMenuItem-root", has_text="PCA-RX").click()
    page.get_by_label("Log false-alarm axis").click()
    wait(page, "() => location.search.includes('detector=pca-rx')")
    page.get_by_role("tab", name="Explore").click()
    wait(page, "() => !location.search.includes('tab=')")
    address = page.url
    again, second = visit(address)
    again.get_by_text("20, 30").wait_for()
    assert watch.errors == []
    assert second.errors == []
    assert watch.foreign == []
    assert second.foreign == []
    assert server.complaints() == ""


# the range of the passes plot, and the k of all curves in it
PASSES = """() => { const [plot] = [...Bokeh.index.all_views()].filter(v => v.model.type.endsWith("Figure") && v.frame
        && v.model.below.some(axis => axis.axis_label == "passes k"))
    return plot && {end: plot.model.x_range.end, start: plot.model.x_range.start, drawn: plot.model.renderers
        .filter(r => r.glyph.type == "Line").map(r => [...r.data_source.data.x])} }"""


def test_what_a_run_adds_while_the_page_loads_is_drawn(server, visit, opened):
    """The browser has fetched the page and has not yet drawn it: what the server changes then must not be lost."""
    visit(server.address("anomaly"))  # from now on the server has the scene, and follows a run at once
    folder = server.folder / "runs" / "grows-while-loading"
    trace = execution.start("bsdm", "sim-coast-town", {**TINY, "steps": 2, "passes": 10}, folder)
    while next(trace).scalars.get("pass") != 1:
        pass

    page = opened.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    watch = Watch(page)
    held: list | None = []  # what the browser says once it has the document
    sockets = []

    def between(browser):
        answers = browser.connect_to_server()
        sockets.append(answers)
        fetched = [False, 0]  # whether it has asked for the document; frames of its question so far

        def said(message):
            if held is not None and fetched[1] >= 3:
                held.append(message)
                return
            fetched[0] = fetched[0] or "PULL-DOC-REQ" in str(message)
            fetched[1] += fetched[0]
            answers.send(message)

        browser.on_message(said)

    page.route_web_socket("**/ws*", between)
    try:
        page.goto(f"{server.address('anomaly')}?run={folder.name}&tab=2")
        wait(page, "() => window.Bokeh && Bokeh.documents.length")
        list(trace)  # the other nine passes
        page.wait_for_timeout(1500)  # six ticks of the server's timer
        late, held = held, None
        assert late  # the page was not ready yet
        for message in late:
            sockets[0].send(message)
        page.get_by_text("Finished", exact=True).wait_for()
        wait(page, IDLE)  # also the plots that were hidden behind their words
        wait(page, f"() => ({PASSES})()?.drawn.length == 2")
        page.wait_for_timeout(1000)
        shown = page.evaluate(PASSES)
        assert shown["drawn"] == [list(range(11)), list(range(11))]
        assert shown["start"] < 0 < 10 < shown["end"] < 11
        assert watch.errors == []
    finally:
        page.context.close()
