"""The page of the runs in a real browser: a run that another process writes is watched and stopped."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.browser.chromium import wait
from tests.unit.test_collection import make
from workbench import runs

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

WRITER = """
import sys, time
import numpy as np, xarray as xr
from workbench import runs
from workbench.event import Event, Outcome, drain

def trace():
    for n in range(1, 400):
        time.sleep(0.1)
        yield Event(n, {"loss": 1 / n}, {"score": xr.DataArray(np.random.rand(8, 8), dims=("y", "x"))}, of=400)
    return Outcome(xr.Dataset())

runs.create(sys.argv[1], {"method": "bsdm", "config": {}, "scene": {"id": "sim-x"}})
try:
    drain(runs.record(trace(), sys.argv[1]))
except runs.Stopped:
    pass
"""


def test_a_visitor_watches_a_run_of_another_process_and_stops_it(server, visit):
    root = server.folder / "runs"
    make(runs.unused(root / "old"), 0.9)  # at a second try there is one already
    several = len(runs.list_runs(root))  # other visits leave theirs
    page, watch = visit(server.address("runs"))
    page.get_by_text(f"{several} of {several} runs").wait_for()
    started = runs.unused(root / "from-a-terminal")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(started)])
    try:
        page.get_by_text("1 running").wait_for()
        page.get_by_role("gridcell", name=started.name).wait_for()
        page.wait_for_timeout(1000)
        page.locator(".tabulator-row").first.locator("input[type=checkbox]").check()
        wait(page, "() => location.search.includes('picked=from-a-terminal')")
        page.wait_for_timeout(1500)  # the table widget complains when it is hidden while it still draws
        page.get_by_role("tab", name="Replay and live").click()
        page.get_by_text("Running", exact=True).wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped", exact=True).wait_for()
    finally:
        writer.kill()
        writer.wait()
    assert runs.read(started)["status"] == "stopped"
    assert watch.errors == []
    assert watch.foreign == []
    assert server.complaints() == ""
