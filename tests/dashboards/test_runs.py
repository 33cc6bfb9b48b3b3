"""The page of the runs: table, filters, comparison, replay, and a run that another process is still writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.unit.test_collection import make
from workbench import runs
from workbench.event import Event, Outcome
from workbench.pages.runs.page import Runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    make(root / "one", 0.9, steps=10)
    make(root / "two", 0.8, steps=20)
    make(root / "other", 0.7, method="rx")
    make(root / "broken", 0.0, ends="failed")
    make(root / "one" / "inner", 0.5, method="rx")
    return root


@pytest.fixture
def page(root: Path) -> Iterator[Runs]:
    made = Runs(root)
    yield made
    made.close()


def names(page: Runs) -> list[str]:
    return list(page.table.value["run"])


def test_table_filters_and_columns(page: Runs) -> None:
    assert sorted(names(page)) == ["broken", "one", "other", "two"]
    assert dict(zip(page.table.value["run"], page.table.value["auc"], strict=True))["two"] == 0.8
    page.by_method.value = "bsdm"
    page.by_status.value = "finished"
    assert sorted(names(page)) == ["one", "two"]
    page.by_metric.value = "auc>0.85"
    assert names(page) == ["one"]
    page.by_metric.value = "acu>0.85"
    assert page.alert.visible
    assert "Did you mean" in page.alert.object
    page.by_metric.value = ""
    page.which.value = ["steps"]
    assert not page.alert.visible
    assert sorted(page.table.value["steps"]) == [10, 20]
    assert (page.method, page.status, page.columns) == ("bsdm", "finished", "steps")
    page.by_method.value = page.by_status.value = "any"
    page.with_inner.value = True
    assert "one/inner" in names(page)


def test_compare_tells_what_differs_and_overlays_curves(page: Runs) -> None:
    assert page._none.visible
    page.table.selection = [names(page).index("two")]
    page.table.selection = [names(page).index("two"), names(page).index("one")]
    assert page.picks() == ["two", "one"]  # in the order in which they were ticked
    assert page.curves.lines.data["name"] == ["two", "one"]
    assert list(page.curves.lines.data["ys"][0]) == [1.0, 0.5, 1 / 3]
    text = page.differences.object
    assert ">steps<" in text
    assert ">20<" in text
    assert ">seed<" not in text
    page.by_method.value = "rx"  # what is ticked stays so, also where a filter hides it
    assert page.picks() == ["two", "one"]
    page.table.selection = []
    page.by_method.value = "any"


def test_an_address_restores_the_view(root: Path) -> None:
    page = Runs(root, method="bsdm", picked="two", columns="auc,steps", tab=1)
    assert page.tabs.active == 1
    page.tabs.active = 0  # the table is filled when it is seen
    assert page.by_method.value == "bsdm"
    assert page.table.selection == [names(page).index("two")]
    assert list(page.table.value.columns[-2:]) == ["auc", "steps"]
    page.close()


def test_a_run_that_goes_on_is_followed_and_scrubbed(root: Path, page: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.views.stepper.ECHO", 0.0)  # the visitor of this test is quicker than any

    def trace():  # noqa: ANN202
        for n in range(1, 6):
            score = xr.DataArray(np.full((4, 5), float(n)) + np.arange(5), dims=("y", "x"))
            yield Event(n, {"loss": 1.0 / n}, {"score": score, "profile": score[0].rename(x="band")}, of=5)
        return Outcome(xr.Dataset({"auc": ((), 0.95)}))

    runs.create(root / "live", {"method": "bsdm", "config": {}, "scene": {"id": "sim-x"}})
    going = runs.record(trace(), root / "live")
    next(going)
    page.poll()
    page.table.selection = [names(page).index("live")]
    replay = page.replay
    assert "Running" in replay.player.text.object
    next(going)
    next(going)
    page.poll()
    assert "Step 3" in replay.text.object
    assert replay.picture.picture.kind == "map"
    assert replay.stepper.slider.end == 3
    assert page.curves.lines.data["xs"][0].tolist() == [1, 2, 3]
    replay.stepper.slider.value = 1
    assert not replay.stepper.follow.value
    assert "Step 1" in replay.text.object
    next(going)
    page.poll()
    assert "Step 1" in replay.text.object  # whoever scrubs back stays there
    replay.array.value = "profile"
    assert replay.picture.picture.kind == "lines"
    list(going)
    page.poll()
    assert "Finished" in replay.player.text.object
    assert set(page.table.value["status"]) == {"finished", "failed"}


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    page = Runs(tmp_path / "none")
    assert page._empty.visible
    assert not page.table.visible
    make(tmp_path / "none" / "first", 0.9)
    page.poll()
    assert page.table.visible
    page.close()
