"""The toy reported and swept by the notebook that runs any method."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.page import Page, assert_whole
from workbench import runs
from workbench.reports.notebook import report
from workbench.reports.sweep import sweep

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "toy"
    assert report("toy", "sim-coast-town", {}, folder, smoke=True, progress=False) == folder / "report.html"
    return folder


def test_the_folder_has_a_run_for_each_seed(made: Path) -> None:
    assert {f.name: a["status"] for f, a in runs.iter_status(made)} == {"toy-seed0": "finished", "toy-seed1": "finished"}
    assert runs.read(made / "toy-seed1")["config"]["steps"] == 4  # SMOKE
    assert runs.read(made)["notebook"]["name"] == "method"


def test_the_numbers_are_mean_and_spread_over_seeds(made: Path) -> None:
    numbers = runs.metrics(made)
    each = [runs.metrics(made / f"toy-seed{seed}")["contrast"] for seed in (0, 1)]
    assert numbers["contrast_mean"] == pytest.approx(sum(each) / 2)
    assert numbers["seeds"] == 2
    page = Page(made / "report.html")
    row = next(row for row in page.rows if row[0] == "error")
    assert row[1:] == ["0.2500", "error after the last step (dB)"]
    assert page.rows.index(row) > page.rows.index(next(r for r in page.rows if r[0] == "contrast"))


def test_the_page_draws_all_that_the_toy_declares(made: Path) -> None:
    assert_whole(made, figures=5)
    page = Page(made / "report.html")
    assert "Brightness, and what is left of the cube" in page.source
    assert "Simulated scene." in page.source
    assert "smoke run" in page.source


def test_a_sweep_with_the_same_notebook(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yml"
    grid.write_text(
        "title: toy\nparameters: {method: toy, scene: sim-coast-town, smoke: true, seeds: 1}\n"
        "grid: {overrides.power: [1.2, 1.5]}\n"
    )
    done = sweep("method", grid, tmp_path / "sweep", progress=False)
    assert [row["status"] for row in done.rows] == ["finished", "finished"], [row["error"] for row in done.rows]
    low, high = (row["metrics"]["contrast_mean"] for row in done.rows)
    assert low < high
    assert sweep("method", grid, tmp_path / "sweep", progress=False).made == 0
