"""Which page shows a run, and which report it belongs to; the landing page, without a browser."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from tornado.web import HTTPError

from tests.unit.test_collection import make
from workbench import runs
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import start
from workbench.methods import METHODS, page
from workbench.pages.frame.links import page_of, report_of, run_folder, run_name, ways
from workbench.pages.frame.runner import Runner
from workbench.pages.landing import routes
from workbench.pages.landing.page import PICTURES, cards, landing, recent
from workbench.pages.landing.serving import dashboards
from workbench.pages.watch import Watch
from workbench.runs.collection import Entry, entries

ALL = tuple(dashboards())
PAGES = {
    "anomaly": "Explorer",
    "change": "Changes",
    "compression": "Compression",
    "coresets": "Coresets",
    "detection": "Detections",
    "federation": "Federation",
    "gradients": "Gradients",
    "landcover": "Landcover",
}


def entry(root: Path, method: str = "bsdm", name: str = "one", **scene: object) -> Entry:
    """A run that is not on the disk."""
    return Entry(root / name, {"method": method, "scene": {"id": "sim-coast-town", **scene}, "status": "finished"})


def parts(address: str) -> tuple[str, dict[str, str]]:
    stem, _, query = address.partition("?")
    return stem, dict(parse_qsl(query))


@pytest.mark.parametrize("method", METHODS)
def test_the_page_of_a_method_has_a_dashboard_that_opens_scene_and_run(method: str) -> None:
    """Only `PAGE` of the room says which page it is."""
    stem, more = parts(page(method))
    module = importlib.import_module("workbench.pages.watch" if stem == "watch" else f"workbench.pages.{stem}.page")
    shown = getattr(module, PAGES.get(stem, "Watch"))
    assert stem in dashboards()
    assert {"scene", "run", *more} <= set(shown.ADDRESS)
    assert stem != "watch" or more == {"method": method}


@pytest.mark.parametrize("stem", PAGES)
def test_a_page_follows_the_method_that_names_it(stem, monkeypatch, tmp_path, scene_file) -> None:
    followed = []
    made = Runner.__init__
    monkeypatch.setattr(
        Runner, "__init__", lambda self, p, method, *a, **k: followed.append(method) or made(self, p, method, *a, **k)
    )
    shown = getattr(importlib.import_module(f"workbench.pages.{stem}.page"), PAGES[stem])
    page_ = shown(scene_file if stem == "anomaly" else "missing", root=tmp_path)  # without a scene it is made sooner
    page_.tab = 2
    page_.close()
    assert [m for m in METHODS if parts(page(m))[0] == stem] == followed


def test_a_run_opens_its_page(tmp_path: Path) -> None:
    assert page_of(entry(tmp_path), tmp_path) == "anomaly?tab=2&scene=sim-coast-town&run=one"
    assert parts(page_of(entry(tmp_path, "rsdgc", id="digits"), tmp_path)) == (
        "gradients",
        {"scene": "digits", "run": "one"},
    )
    expected = ("watch", {"method": "rx", "scene": "sim-coast-town", "run": "one"})
    assert parts(page_of(entry(tmp_path, "rx"), tmp_path)) == expected


def test_the_address_names_every_file_of_the_scene(tmp_path: Path) -> None:
    source = Source(
        "a.tif", truth="t & u.png", keys={"cube": "data", "truth": "map"}, beside={"after": "b.tif"}, resample=True
    )
    stem, given = parts(page_of(entry(tmp_path, "arcdnet", open=source.record()), tmp_path))
    assert stem == "change"
    named = {"scene": "a.tif", "truth": "t & u.png", "keys": "cube=data, truth=map", "after": "b.tif", "resample": "True"}
    assert given == {**named, "run": "one"}


def test_a_run_that_no_page_can_open_is_replayed(tmp_path: Path) -> None:
    replayed = ("runs", {"picked": "one", "tab": "2"})
    lidar = Source("a.tif", beside={"lidar": "h.tif"}).record()
    assert parts(page_of(entry(tmp_path, open=lidar), tmp_path)) == replayed
    assert parts(page_of(entry(tmp_path, id="made in memory"), tmp_path)) == replayed
    assert parts(page_of(entry(tmp_path, "a-method-of-old"), tmp_path)) == replayed


def test_only_pages_that_are_served_are_linked(tmp_path: Path) -> None:
    assert page_of(entry(tmp_path), tmp_path, ["watch", "runs"]).startswith("watch?method=bsdm&")
    assert page_of(entry(tmp_path), tmp_path, ["runs"]).startswith("runs?")
    assert page_of(entry(tmp_path), tmp_path, ["change"]) == ""


def test_a_run_within_a_report_opens_its_page_and_links_the_report(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make(root / "report", 0.9, method="report-bsdm")
    drain(start("rx", "sim-coast-town", None, root / "report" / "inner"))
    (root / "report" / "report.html").write_text("<p>numbers</p>")
    inner = next(e for e in entries(root, inside=True) if e.method == "rx")
    assert parts(page_of(inner, root))[1]["run"] == "report/inner"
    assert report_of(inner.folder, root) == report_of(root / "report", root) == "landing/report/report"
    shown = Watch("sim-coast-town", root=root, method="rx", run="report/inner")
    try:
        assert shown.runner.live.status == "finished"
        assert shown.run == "report/inner"
        assert 'href="landing/report/report"' in shown.ways.object
        assert 'href="./"' in shown.ways.object
        shown.runner.follow("../elsewhere")
        assert "../elsewhere" in shown.runner.player.text.object
        assert "report" not in shown.ways.object
    finally:
        shown.close()


def test_a_report_beside_the_runs_is_not_theirs(tmp_path: Path) -> None:
    make(tmp_path / "one", 0.9)
    (tmp_path / "report.html").write_text("of something else")
    assert report_of(tmp_path / "one", tmp_path) == ""
    assert "Report" not in ways("")


@pytest.mark.parametrize("name", ["", "..", "../a", "a/../../b", "/etc"])
def test_a_name_that_leaves_the_folder_of_runs_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the name of a run"):
        run_folder(tmp_path, name)


def test_names_and_folders_of_runs_are_inverse(tmp_path: Path) -> None:
    assert run_name(tmp_path, run_folder(tmp_path, "report/inner")) == "report/inner"


# --- the landing page -------------------------------------------------------------------------------------------------


def test_every_dashboard_has_a_card_with_a_sentence_and_two_small_pictures() -> None:
    assert [c.name for c in cards()] == list(dashboards())
    for card in cards():
        assert card.title
        assert card.sentence.endswith("."), card
        assert card.pictured, f"{card.name} has no pictures: `make pictures` takes them"
        for mode in ("light", "dark"):
            assert (PICTURES / f"{card.name}-{mode}.webp").stat().st_size < 40_000


def test_the_title_of_a_card_is_the_title_of_its_page() -> None:
    for card in cards():
        assert f'servable(title="{card.title}")' in dashboards()[card.name].read_text()


def test_the_landing_page_lists_the_pages_of_the_server_and_names_no_other_host(tmp_path: Path) -> None:
    text = landing(tmp_path / "runs", ["anomaly", "runs"])
    assert 'href="anomaly"' in text
    assert 'href="change"' not in text
    assert "No runs in" in text
    assert "://" not in text


def test_recent_runs_are_ten_running_ones_first(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make(root / "going", 0.0, ends="stopped")
    about = json.loads((root / "going" / "run.json").read_text())
    about |= {"status": "running", "pid": os.getpid(), "pid_start": None, "start": "2020-01-01T00:00:00+00:00"}
    (root / "going" / "run.json").write_text(json.dumps(about))
    for n in range(11):
        make(root / f"run{n:02}", 0.5 + n / 100)
    rows = recent(root, ALL).split("<tr>")[2:]
    assert len(rows) == 10
    assert "going" in rows[0]
    assert "step 1 of 3" in rows[0]
    assert "2020-01-01" in rows[0]
    assert "auc 0.6<" in rows[1]
    assert "12 runs" in rows[-1]
    assert "1 running" in rows[-1]
    assert "All runs" in rows[-1]


def test_a_report_opens_as_a_report_and_names_are_escaped(tmp_path: Path) -> None:
    make(tmp_path / "first", 0.9, method="report-bsdm")
    (tmp_path / "first" / "report.html").write_text("<p>numbers</p>")
    make(tmp_path / "second", 0.9, method="<b>x</b>")
    text = recent(tmp_path, ALL)
    assert '<a href="landing/report/first">first</a>' in text
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x" in text


def test_a_page_of_the_server_links_only_pages_of_it(tmp_path: Path) -> None:
    make(tmp_path / "one", 0.9)
    assert "<a href" not in recent(tmp_path, ["anomaly"])  # made in memory: only the page of the runs could show it


def test_only_reports_of_runs_are_handed_out(tmp_path: Path) -> None:
    make(tmp_path / "runs" / "first", 0.9, method="report-bsdm")
    (tmp_path / "runs" / "first" / "report.html").write_text("<p>numbers</p>")
    (tmp_path / "report.html").write_text("not of a run")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "report.html").write_text("not of a run")
    assert routes._report(tmp_path / "runs", "first") == "<p>numbers</p>"
    for name in ("../", "other", "missing", "first/run.json"):
        with pytest.raises(HTTPError, match="404"):
            routes._report(tmp_path / "runs", name)
    assert runs.read(tmp_path / "runs" / "first")["status"] == "finished"
