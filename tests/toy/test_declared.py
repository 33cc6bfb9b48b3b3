"""A room that declares Config, NEEDS, run, SMOKE, HEADLINE and SHOWS, and nothing else: listed, run, resumed, replayed, exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import xarray as xr
from typer.testing import CliRunner

from tests.driving import played
from tests.notebooks.page import Page
from tests.toy import room
from workbench import execution, runs
from workbench.cli import app
from workbench.data.synth import small
from workbench.event import Boxes, Curves, Film, never_yielded
from workbench.methods import load, undeclared
from workbench.reports.export import write_page
from workbench.runs.collection import entries
from workbench.scene import other_dims


def apart(*words: str, cwd: Path) -> None:
    """The command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "workbench", *words, "--quiet"], capture_output=True, check=True, cwd=cwd)


def printed(*words: str) -> str:
    """What the command line prints."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the toy, made on the command line."""
    root = tmp_path_factory.mktemp("runs")
    apart("run", "toy", "sim-coast-town", "--set", "steps=5", "--out", str(root / "one"), cwd=root)
    return root / "one"


def test_it_is_complete_and_shows_what_it_yields() -> None:
    assert load("toy") is room
    assert undeclared(room) == []
    events, outcome = played(room.run(small(seed=0, size=24, bands=30), room.Config(steps=3)))
    scalars, arrays = ({n for e in events for n in getattr(e, kind)} for kind in ("scalars", "arrays"))
    assert never_yielded(room.SHOWS, scalars, arrays, outcome.result.data_vars) == []
    assert other_dims(outcome.result) == []


def test_it_is_listed_and_described() -> None:
    assert "toy" in printed("list")
    assert "how often the brightness is sharpened" in printed("describe", "toy")


@pytest.mark.process
def test_its_headline_comes_first(folder: Path) -> None:
    assert runs.read(folder)["headline"] == ["contrast", "error"]
    (entry,) = entries(folder.parent)
    assert entry.headline[:2] == ["contrast", "error"]
    row = next(line for line in printed("runs", "list", "--root", str(folder.parent)).splitlines() if "toy" in line)
    assert row.index("contrast") < row.index("error")


@pytest.mark.process
def test_it_is_resumed_to_the_same_numbers(folder: Path, tmp_path: Path) -> None:
    trace = execution.start("toy", "sim-coast-town", {"steps": 5}, tmp_path / "half")
    for _ in range(2):
        next(trace)
    trace.close()
    assert runs.read(tmp_path / "half")["status"] == "stopped"
    apart("run", "--resume", "half", cwd=tmp_path)
    assert runs.metrics(tmp_path / "half") == runs.metrics(folder)
    assert [line["step"] for line in runs.events(tmp_path / "half")] == [1, 2, 3, 4, 5]
    xr.testing.assert_equal(runs.result(tmp_path / "half"), runs.result(folder))


@pytest.mark.process
def test_it_is_replayed_from_its_folder(folder: Path) -> None:
    events = []
    trace = runs.replay(folder)
    for event in trace:
        events.append(event)
    assert [e.step for e in events] == [1, 2, 3, 4, 5]
    assert set(events[0].arrays) >= {"score", "labels", "box", "bits", "confusion"}


@pytest.mark.process
def test_its_exported_page_draws_the_result(folder: Path, tmp_path: Path) -> None:
    page = Page(write_page(folder, tmp_path / "page.html"))
    assert len(page.alts) == 2
    assert "Variables of the result" in page.alts[1]
    assert page.source.index("contrast 0.") < page.source.index("error 0.2")


def test_a_declaration_that_is_wrong_is_told() -> None:
    incomplete = SimpleNamespace(Config=room.Config, NEEDS=("hsi",), run=room.run, SMOKE={}, HEADLINE=("contrast",))
    assert undeclared(incomplete) == ["it has no SHOWS; see docs/add_a_method.md"]
    wrong = SimpleNamespace(
        Config=room.Config, NEEDS=("hsy",), run=room.run, SMOKE={"step": 3}, HEADLINE="contrast", SHOWS=("score",)
    )
    told = undeclared(wrong)
    assert ["'hsy'" in told[0], "Did you mean 'steps'" in told[1], "tuple" in told[2], "Curves" in told[3]] == [True] * 4
    shows = (Curves("loss", ("los",)), Film(("scores",)))
    missing = never_yielded(shows, ["loss"], ["score"], [])
    assert missing[0] == "Curves('loss') shows the scalar 'los', which the run did not yield; it yielded loss."
    assert "shows the array 'scores', which the run did not yield; it yielded score." in missing[1]
    boxes = never_yielded((Boxes("image"),), [], [], ["score"], ["image", "box"])  # those of the scene are the truth
    assert boxes == ["Boxes('image') shows the array or variable 'box', which the run did not yield; it yielded score."]
    assert other_dims(xr.Dataset({"score": ("x", [1.0])})) == ["the result's 'score' has the dims (x); it needs (y, x)."]


def test_nothing_in_the_package_names_it() -> None:
    root = Path(__file__).parents[2]
    for part in ("workbench", "notebooks", "dashboards"):
        for file in (*(root / part).rglob("*.py"), *(root / part).rglob("*.ipynb")):
            assert '"toy"' not in file.read_text(encoding="utf-8").replace('\\"', '"'), file
