"""The toy on the watch page: drawn live in a real browser, followed to its end, and gone through again, from its declaration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.chromium import LENGTHS, browser, chromium, visit
from tests.browser.serving import served
from workbench import execution, runs
from workbench.event import drain
from workbench.pages.watch import Watch

pytestmark = [
    # a session that is closed while something is under way leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
# points of the longest line on the page
LONGEST = """() => Math.max(0, ...[...Bokeh.documents[0].all_models]
    .filter(m => m.type == "ColumnDataSource" && "xs" in m.data)
    .flatMap(m => m.data.xs.map(x => x.length)))"""


def test_an_earlier_run_is_drawn_from_its_declaration(tmp_path: Path) -> None:
    """Without a browser: every kind of picture, at every step."""
    drain(execution.start("toy", "sim-coast-town", {"steps": 6}, tmp_path / "runs" / "earlier"))
    page = Watch("sim-coast-town", root=tmp_path / "runs", method="toy", run="earlier")
    try:
        drawn = page.declared
        assert drawn.curves[0].lines.lines.data["name"] == ["toy", "guess"]
        assert [len(x) for x in drawn.curves[0].lines.lines.data["xs"]] == [6, 6]
        assert list(drawn.curves[0].lines.levels.data["y"]) == [pytest.approx(1 / 6)]
        film = drawn.films[0]
        assert film.steps == [1, 2, 3, 4, 5, 6]
        film.stepper.slider.value = 2
        shown = film.views["score"].picture.array.values
        assert shown == pytest.approx(
            next(e for e in runs.replay(tmp_path / "runs" / "earlier") if e.step == 2).arrays["score"]
        )
        assert [s.view.picture.kind for s in drawn.stills] == ["classes", "boxes", "bars", "matrix"]
        assert [s.view.picture.title for s in drawn.stills][2:] == [
            "Bits of each layer",
            "How often one class becomes another",
        ]
        names = list(page.outcome.sides[0].which.options)
        assert [n.partition(":")[0] for n in names] == ["score", "labels", "probability", "box", "bits", "kept"]
        kinds = []
        for name in names:
            page.outcome.sides[0].which.value = name
            kinds.append(page.outcome.sides[0].view.picture.kind)
        assert kinds == ["map", "classes", "map", "boxes", "bars", "kept"]
        assert page.outcome.metrics.object.index("contrast") < page.outcome.metrics.object.index("error")
        assert "steps 6" in next(text for text in page.runner.earlier.options if "UTC" in text)
    finally:
        page.close()


@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="needs a Chromium: install one with `make browser`")
def test_a_visitor_starts_pauses_and_stops_it_and_looks_at_the_result(tmp_path: Path) -> None:
    with served(tmp_path, "watch") as server, browser() as opened:
        page, watch = visit(opened, server.address("watch") + "?method=toy&scene=sim-coast-town")
        page.get_by_text("Press Start at the left").wait_for()
        page.get_by_text("wait", exact=True).first.wait_for()  # the form is made from Config
        for name, value in {"steps": 9000, "wait": 0.3}.items():
            field = page.get_by_label(name, exact=True)
            field.fill(str(value))
            field.press("Enter")
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_text("Running", exact=True).wait_for()
        page.wait_for_function(f"n => ({LONGEST})() > n", arg=5)
        page.wait_for_function(f"name => ({LENGTHS})(name).filter(n => n == 1).length >= 4", arg="image")  # film and stills
        for text in ("Brightness, and what is left of the cube", "The brightest square", "How often one class"):
            page.get_by_text(text).first.wait_for()
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_text("Paused", exact=True).wait_for()
        page.get_by_role("button", name="Resume", exact=True).click()
        page.get_by_text("Running", exact=True).wait_for()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_text("Stopped", exact=True).wait_for()

        page.get_by_role("button", name="Small settings").click()
        page.get_by_role("button", name="Start anew", exact=True).click()
        page.get_by_text("Finished", exact=True).wait_for()
        page.get_by_role("tab", name="Result").click()
        page.get_by_text("largest minus mean score").wait_for()
        page.get_by_text("score: sharpened brightness").wait_for()
        page.get_by_label("Toggle theme").click()
        page.get_by_role("tab", name="Method").click()
        page.get_by_text("exponent of one sharpening").wait_for()
        page.wait_for_function("() => location.search.includes('run=') && location.search.includes('tab=2')")

        again, second = visit(opened, page.url)  # the address holds method, scene, run and tab
        again.get_by_text("exponent of one sharpening").wait_for()
        again.get_by_role("tab", name="Live").click()
        again.wait_for_function(f"n => ({LONGEST})() == n", arg=4)
        assert (watch.errors, second.errors, watch.foreign, second.foreign) == ([], [], [], [])
        states = sorted(json.loads((f / "run.json").read_text())["status"] for f in (tmp_path / "runs").glob("*-toy-*"))
        assert states == ["finished", "stopped"]
        assert server.complaints() == ""
