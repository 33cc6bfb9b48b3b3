"""The page of the runs: table, filters, comparison, replay, and a run that another process is still writing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.unit.test_collection import make
from workbench import runs
from workbench.event import Event, Outcome, drain
from workbench.pages.runs.page import Runs
from workbench.runs.collection import tag, tags


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
    page.which.value = ["bsdm.steps"]
    assert not page.alert.visible
    assert sorted(page.table.value["bsdm.steps"]) == [10, 20]
    assert (page.method, page.status, page.columns) == ("bsdm", "finished", "bsdm.steps")
    page.by_method.value = page.by_status.value = "any"
    page.with_inner.value = True
    assert "one/inner" in names(page)


def test_compare_tells_what_differs_and_overlays_curves(page: Runs) -> None:
    assert page._none.visible
    page.table.selection = [names(page).index("two")]
    page.table.selection = [names(page).index("two"), names(page).index("one")]
    assert page.picks() == ["two", "one"]  # in the order in which they were ticked
    assert page.comparison.curves.lines.data["name"] == ["two", "one"]
    assert list(page.comparison.curves.lines.data["ys"][0]) == [1.0, 0.5, 1 / 3]
    text = page.comparison.differences.object
    assert ">steps<" in text
    assert ">20<" in text
    assert ">seed<" not in text
    page.by_method.value = "rx"  # what is ticked stays so, also where a filter hides it
    assert page.picks() == ["two", "one"]
    page.table.selection = []
    page.by_method.value = "any"


def test_an_address_restores_the_view(root: Path) -> None:
    page = Runs(root, method="bsdm", picked="two", columns="auc,bsdm.steps", tab=1)
    assert page.tabs.active == 1
    page.tabs.active = 0  # the table is filled when it is seen
    assert page.by_method.value == "bsdm"
    assert page.table.selection == [names(page).index("two")]
    assert list(page.table.value.columns[5:7]) == ["auc", "bsdm.steps"]
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
    assert page.comparison.curves.lines.data["xs"][0].tolist() == [1, 2, 3]
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


def test_compare_opens_on_the_headline_metric(tmp_path: Path) -> None:
    """A run of one detector has one value of it, drawn as a level; `rows`, a counter, is what came first."""
    for name, method, values in (("detector", "rx", [0.7]), ("network", "bsdm", [0.5, 0.8])):

        def trace(values: list[float] = values):  # noqa: ANN202
            for n in (1, 2):
                yield Event(n, {"rows": 100.0 * n, "loss": 1.0 / n}, of=3)
            for n, value in enumerate(values, 3):
                yield Event(n, {"auc": value}, of=4)
            return Outcome(xr.Dataset({"loss": ((), 0.5), "auc": ((), values[-1])}))

        runs.create(tmp_path / name, {"method": method, "headline": ["auc"], "config": {}, "scene": {"id": "sim-x"}})
        drain(runs.record(trace(), tmp_path / name))
    page = Runs(tmp_path, picked="detector|network")
    comparison = page.comparison
    assert list(comparison.scalar.options) == ["auc", "loss", "rows"]
    assert comparison.scalar.value == "auc"
    assert comparison.curves.lines.data["name"] == ["network"]
    assert comparison.curves.levels.data["y"] == [0.7]
    assert comparison.differences.object.index(">auc<") < comparison.differences.object.index(">loss<")
    comparison.scalar.value = "rows"
    page.poll()
    assert comparison.scalar.value == "rows"  # what the visitor chose stays
    page.close()


def test_a_setting_is_named_with_its_method_and_explained(tmp_path: Path) -> None:
    make(tmp_path / "ring", 0.9, method="local-rx", inner=5)
    make(tmp_path / "network", 0.8, inner=200)
    page = Runs(tmp_path, picked="ring|network")
    text = page.comparison.differences.object
    assert ">local-rx.inner<" in text
    assert 'title="width in pixels of the guard window' in text
    assert 'title="hidden width of the outer blocks"' in text
    page.which.value = ["local-rx.inner"]
    values = dict(zip(page.table.value["run"], page.table.value["local-rx.inner"], strict=True))
    assert values["ring"] == 5
    assert values["network"] != 200
    page.close()


def test_a_mixed_list_shows_the_main_metric_of_each_run(tmp_path: Path) -> None:
    for name, headline in (("a", "f1"), ("b", "accuracy_tdds")):
        runs.create(tmp_path / name, {"method": name, "headline": [headline], "config": {}, "scene": {}})
        (tmp_path / name / "metrics.json").write_text(f'{{"aurc": 0.1, "{headline}": 0.48341}}')
    page = Runs(tmp_path)
    assert dict(zip(page.table.value["run"], page.table.value["main metric"], strict=True)) == {
        "a": "f1 0.4834",
        "b": "accuracy_tdds 0.4834",
    }
    page.by_method.value = "a"
    assert list(page.table.value.columns[5:7]) == ["f1", "aurc"]
    assert page.columns == ""  # a filter does not fix the columns
    page.close()


class TestManage:
    def tick(self, page: Runs, *names_: str) -> None:
        page.table.selection = [names(page).index(name) for name in names_]

    def test_tags(self, root: Path, page: Runs) -> None:
        assert not page.manage.panel.visible
        self.tick(page, "one", "two")
        page.manage.text.value = "talk"
        page.manage.adder.clicks += 1
        assert tags(root / "one") == tags(root / "two") == ["talk"]
        assert dict(zip(page.table.value["run"], page.table.value["tags"], strict=True))["one"] == "talk"
        tag(root / "other", add=["shell"])  # by the command line
        page.poll()
        assert page.by_tag.options == ["any", "shell", "talk"]
        page.by_tag.value = "talk"
        assert sorted(names(page)) == ["one", "two"]
        page.manage.taker.clicks += 1
        assert names(page) == []
        page.manage.text.value = "a,b"
        page.manage.adder.clicks += 1
        assert page.manage.refusal.visible
        assert "1 to 40 characters" in page.manage.refusal.object

    def test_delete_asks_first(self, root: Path, page: Runs) -> None:
        self.tick(page, "one", "broken")
        page.manage.deleter.clicks += 1
        assert page.manage.asking.visible
        assert "<b>one</b> (finished" in page.manage.question.object
        page.manage.no.clicks += 1
        assert not page.manage.asking.visible
        page.manage.deleter.clicks += 1
        self.tick(page, "one")  # the question named two runs
        assert not page.manage.asking.visible
        page.manage.yes.clicks += 1
        assert (root / "one").exists()
        page.manage.deleter.clicks += 1
        page.manage.yes.clicks += 1
        assert not (root / "one").exists()
        assert sorted(names(page)) == ["broken", "other", "two"]
        assert page.picks() == []

    def test_a_run_in_progress_and_a_part_of_a_run_are_refused(self, root: Path, page: Runs) -> None:
        runs.create(root / "going", {"method": "bsdm", "config": {}, "scene": {}})  # by this very process
        page.with_inner.value = True
        for name, says in (("going", "in progress"), ("one/inner", "part of one")):
            page.refresh()
            self.tick(page, name)
            page.manage.deleter.clicks += 1
            page.manage.yes.clicks += 1
            assert page.manage.refusal.visible
            assert says in page.manage.refusal.object
        assert (root / "going").exists()
        assert (root / "one" / "inner").exists()

    def test_an_index_outside_the_table_ticks_nothing(self, page: Runs) -> None:
        page.table.selection = [-1]  # -1 would be the last run
        assert page.picks() == []

    def test_a_name_in_the_address_outside_the_root_is_no_run(self, root: Path) -> None:
        outside = make(root.parent / "precious", 0.9)
        page = Runs(root, picked="../precious")
        page.manage.deleter.clicks += 1
        page.manage.yes.clicks += 1
        assert outside.exists()
        page.close()


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    page = Runs(tmp_path / "none")
    assert page._empty.visible
    assert not page.table.visible
    make(tmp_path / "none" / "first", 0.9)
    page.poll()
    assert page.table.visible
    page.close()


def test_a_server_of_this_page_alone_links_only_this_page(tmp_path, monkeypatch):
    make(tmp_path / "one", 0.9)
    about = json.loads((tmp_path / "one" / "run.json").read_text())
    about["scene"] = {"id": "sim-coast-town"}
    (tmp_path / "one" / "run.json").write_text(json.dumps(about))
    for words, label in (
        (["python", "-m", "pytest"], "anomaly"),
        (["python", "-m", "panel", "serve", "a/runs.py", "a/anomaly.py", "--port", "1"], "anomaly"),
        (["python", "-m", "panel", "serve", "a/runs.py", "--port", "1"], "runs"),
    ):
        monkeypatch.setattr("sys.orig_argv", words)
        page = Runs(tmp_path)
        (link,) = page.table.value["open"]
        assert f'href="{label}?' in link
        assert f">{label}</a>" in link
        page.close()


def test_no_rows_are_sent_while_the_browser_builds_the_table(page, root):
    page._settled = time.monotonic() + 60  # as after the page has loaded
    make(root / "late", 0.6)
    page.poll()
    assert "late" in [e.name for e in page.shown]
    assert "late" not in names(page)
    page._settled = 0.1
    page.poll()
    assert "late" in names(page)
    page.tabs.active = 1
    page.tabs.active = 0  # now the browser builds it again
    make(root / "later", 0.6)
    page.poll()
    assert "later" not in names(page)
    page._settled = 0.1
    page.poll()
    assert "later" in names(page)
