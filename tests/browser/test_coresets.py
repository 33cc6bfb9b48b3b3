"""The coreset page in a real browser: start a run, see scores move, draw a lasso, choose a budget, take the coreset."""

from __future__ import annotations

import json
import time

import pytest

from tests.browser.chromium import LENGTHS, frame, wait
from workbench import runs

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_visitor_scores_selects_and_takes_a_coreset(server, visit):
    page, watch = visit(server.address("coresets"))
    page.get_by_text("See which samples matter").wait_for()
    for name, value in {"epochs": 12, "budgets": "0.1"}.items():
        field = page.get_by_label(name, exact=True)
        field.fill(str(value))
        field.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    wait(page, f"n => ({LENGTHS})('wrong').includes(n)", arg=1347)  # every training sample is a point
    page.get_by_text("S uses epochs 1 to").wait_for()  # scores from epoch 5 on
    page.get_by_text("Finished", exact=True).wait_for()
    wait(page, "() => location.search.includes('run=')")
    folder = next((server.folder / "runs").glob("*-tdds-digits"))
    about = json.loads((folder / "run.json").read_text())
    assert (about["config"]["epochs"], about["config"]["budgets"]) == (12, [0.1])

    # a lasso around much of the map lists pictures of what is in it
    place = frame(page, "mean probability")
    corners = [(0.55, 0.05), (0.98, 0.05), (0.98, 0.97), (0.55, 0.97), (0.55, 0.06)]
    page.mouse.move(place["x"] + corners[0][0] * place["width"], place["y"] + corners[0][1] * place["height"])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(place["x"] + x * place["width"], place["y"] + y * place["height"], steps=8)
    page.mouse.up()
    page.get_by_text("are shown").wait_for()
    wait(page, "() => location.search.includes('picks=')")

    page.get_by_role("tab", name="Coreset").click()
    page.get_by_text("404 of 1,347 kept").wait_for()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Index list, CSV").click()
    assert len(taken.value.path().read_text().splitlines()) == 1348
    page.get_by_label("Toggle theme").click()
    page.get_by_role("tab", name="Accuracy").click()
    page.get_by_text("1 finished run").wait_for()
    wait(page, "() => location.search.includes('tab=2')")

    again, second = visit(page.url)
    again.get_by_text("1 finished run").wait_for()
    page.get_by_role("tab", name="Coreset").click()
    page.get_by_role("button", name="Open this coreset").click()
    wait(page, "() => location.search.includes('.yml')")
    deadline = time.monotonic() + 30
    while not list((server.folder / "runs" / "coresets").glob("digits-tdds-0.3-*.yml")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert list((server.folder / "runs" / "coresets").glob("digits-tdds-0.3-*.yml"))
    assert runs.read(folder)["status"] == "finished"
    assert watch.errors == []
    assert second.errors == []
    assert watch.foreign == []
    assert server.complaints() == ""
