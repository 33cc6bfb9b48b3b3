"""What every page promises, whichever scene it shows."""

from __future__ import annotations

import importlib.util
import threading
import time

import panel as pn
import pytest

from workbench.data.catalog import entries
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.pages.anomaly.page import Explorer
from workbench.pages.change.page import Changes
from workbench.pages.coresets.page import Coresets
from workbench.pages.gradients.page import Gradients
from workbench.resources import folder


@pytest.mark.parametrize("path", sorted(folder("dashboards").glob("*.py")), ids=lambda path: path.stem)
def test_importing_a_dashboard_does_nothing(path):
    spec = importlib.util.spec_from_file_location(f"served_{path.stem}", path)
    before = len(pn.state._views)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert len(pn.state._views) == before
    assert len(path.read_text().splitlines()) <= 15


def test_a_page_offers_what_provides_what_it_needs():
    """By what entries provide, never by their kind; the anomaly page shows one image and leaves tables of spectra out."""
    offered = {page: {e.id for e in entries() if page.offers(e)} for page in (Explorer, Changes, Coresets, Gradients)}
    assert {"sim-coast-town", "abu-airport-1", "gamsberg", "indian-pines", "idtrees-mlbs-12"} <= offered[Explorer]
    assert not {"digits", "houston2013-pixels", "levir-cd-256", "hrsid-24"} & offered[Explorer]
    assert {e.id for e in entries() if e.kind in ("pairs", "simulated-pairs")} == offered[Changes]
    assert {"digits", "houston2013-pixels", "abu-airport-1", "indian-pines", "sim-coast-town"} <= offered[Coresets]
    assert not {"gamsberg", "idtrees-mlbs-12", "houston2013-lidar", "vedai-512-3"} & offered[Coresets]
    assert {"digits", "eurosat-rgb-200"} <= offered[Gradients]
    assert not {"houston2013-pixels", "houston2013-lidar", "hrsid-24"} & offered[Gradients]


def test_a_scene_is_checked_where_it_is_opened_and_not_when_it_arrives(tmp_path, monkeypatch):
    """What reads pixels runs in the worker thread that opens the scene."""
    where = []
    checked = Changes.checked.__func__
    monkeypatch.setattr(
        Changes,
        "checked",
        classmethod(lambda cls, data: where.append(threading.current_thread().name) or checked(cls, data)),
    )
    monkeypatch.setattr(Changes, "SCENES", type(Changes.SCENES)(2))
    page = Changes("sim-change-town", root=tmp_path)
    try:
        assert page.data is not None or page.tabs.loading
        deadline = time.monotonic() + 60
        while page.data is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert page.data is not None
        assert len(where) == 1
        assert where[0].startswith("workbench-page")
        Changes(page.data, root=tmp_path).close()  # given in memory: checked by whoever gives it
        assert len(where) == 2
        assert where[1] == threading.current_thread().name
    finally:
        page.close()


def test_a_scene_given_in_memory_that_the_page_cannot_show_is_told(tmp_path, small_scene):
    page = Changes(small_scene, root=tmp_path)
    try:
        assert page.data is None
        assert "this scene has hsi, truth" in page.alert.object
    finally:
        page.close()


@pytest.mark.parametrize(("page", "role"), [(Explorer, "lidar"), (Explorer, "after"), (Changes, "sar")])
def test_a_file_that_a_page_cannot_open_is_refused_and_not_left_out(page, role, tmp_path):
    with pytest.raises(InputError, match=f"cannot open {role} beside flight.hdr"):
        page(Source("flight.hdr", beside={role: "other.tif"}), root=tmp_path)


def test_a_page_says_by_name_which_scene_it_opens(tmp_path, monkeypatch, scene_file):
    """Until it is there; today's scene stays on the page while another one is read."""
    waiting = []
    monkeypatch.setattr(Explorer, "when", lambda self, future, then: waiting.append((future, then)))
    page = Explorer("sim-coast-town", root=tmp_path)

    def arrive():
        while waiting:
            future, then = waiting.pop(0)
            future.exception(60)
            then(future)

    try:
        assert page._empty.visible
        assert "Opening sim-coast-town: Town on a coast" in page._empty.object
        assert "No scene is open" not in page._empty.object
        assert page.opening.visible
        seen = []  # what stands where there are no tabs, at each change
        page._empty.param.watch(lambda e: seen.append(page.tabs.visible or "No scene is open" not in e.new), "object")
        arrive()
        assert all(seen)
        assert seen
        assert page.tabs.visible
        assert not page.opening.visible
        page.open(str(scene_file))
        assert page.tabs.visible
        assert page.tabs.loading
        assert "Opening <b>little.nc</b>" in page.opening.object
        arrive()
        assert not page.opening.visible
        page.open(str(tmp_path / "gone.nc"))
        arrive()
        assert not page.opening.visible
        assert page.alert.visible
        assert page.data is not None
    finally:
        page.close()


def test_a_page_whose_scene_cannot_be_opened_says_that_none_is_open(tmp_path):
    page = Explorer(str(tmp_path / "gone.nc"), root=tmp_path)
    try:
        assert page._empty.visible
        assert "No scene is open" in page._empty.object
        assert not page.tabs.loading
    finally:
        page.close()


def test_a_tab_that_is_not_built_yet_is_not_blank(tmp_path, scene_file):
    page = Explorer(str(scene_file), root=tmp_path)
    try:
        assert "being built" in page._rooms[1].objects[0].object
        assert "being built" in page._rooms[2].objects[0].object
        page.tab = 1
        assert page._rooms[1].objects == [page.compare.panel]
    finally:
        page.close()


def test_a_list_of_runs_ignores_a_label_that_is_gone():
    from workbench.pages.frame.runner import Listed

    one = Listed(label="Earlier runs", options={"first, running": "a", "second": "b"}, value="a")
    one.options = {"first": "a", "second": "b"}  # the run has ended
    one._process_events({"value": "first, running"})  # a browser that has not heard of it yet
    assert one.value == "a"
    one._process_events({"value": "second"})
    assert one.value == "b"
