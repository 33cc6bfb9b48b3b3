"""notebooks/gradients.ipynb executed on the embedded digits, through `report`: real ranks, a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.notebooks.page import Page, assert_whole
from workbench import runs
from workbench.baselines.compression import RIVALS
from workbench.errors import InputError
from workbench.methods.rsdgc import RECONSTRUCTION
from workbench.reports.claims import VERDICTS
from workbench.reports.notebook import report

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(scope="module")
def made(forked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all compressors on the digits, a smoke run."""
    folder = tmp_path_factory.mktemp("report") / "rsdgc"
    page = report("rsdgc", "digits", {"density": 0.02}, folder, smoke=True, progress=False)
    assert page == folder / "report.html"
    return folder


def test_folder_is_a_run_with_runs_inside(made: Path) -> None:
    about = runs.read(made)
    assert (about["status"], about["method"], about["smoke"]) == ("finished", "report-rsdgc", True)
    inside = dict(runs.iter_status(made))
    assert {f.name: a["status"] for f, a in inside.items()} == dict.fromkeys(["rsdgc-seed0", "rsdgc-seed1"], "finished")
    assert {a["config"]["density"] for a in inside.values()} == {0.02}


def test_metrics_are_those_of_the_runs(made: Path) -> None:
    numbers = runs.metrics(made)
    for rival in RIVALS:
        for name in ("accuracy", "bytes_sent", "ratio_wire", "ratio_counted"):
            seen = [runs.metrics(made / f"rsdgc-seed{s}")[f"{name}_{rival}"] for s in (0, 1)]
            assert numbers[f"{name}_{rival}_mean"] == pytest.approx(np.mean(seen))
            assert numbers[f"{name}_{rival}_std"] == pytest.approx(np.std(seen, ddof=1))
    assert numbers["seeds"] == 2


def test_table_names_every_compressor_with_its_bytes_and_ratios(made: Path) -> None:
    page = Page(made / "report.html")
    head = next(n for n, row in enumerate(page.rows) if row[:2] == ["compressor", "what it sends"])
    assert page.rows[head][6:] == ["ratio_counted", "measured_ratio", "ratio_upload", "ratio_entries"]
    table = {row[0]: row[2:] for row in page.rows[head + 1 : head + 1 + len(RIVALS)]}
    assert tuple(table) == RIVALS
    result = runs.result(made / "rsdgc-seed0")
    dense = result.sel(rival="dense")
    assert float(table["dense"][1]) == pytest.approx(float(dense["bytes_sent"]) / 1e6, abs=5e-4)
    assert float(table["dense"][2]) == pytest.approx(float(dense["bytes_sent"] + dense["bytes_headers"]) / 1e6, abs=5e-4)
    assert table["dense"][6:] == ["–", "–"]
    assert float(table["rsdgc"][4]) == pytest.approx(float(result["ratio_counted_rsdgc"]), abs=0.05)
    assert all(float(ratio) > 10 for ratio in table["topk"][6:])


def test_page_tells_claims_with_their_controls(made: Path) -> None:
    page = Page(made / "report.html")
    numbers = runs.metrics(made)
    head = page.rows.index(["claim", "ours", "control", "gain [95 %]", "verdict"])
    claims = page.rows[head + 1 : head + 9]
    told = [row[0].split(" (")[0] for row in claims]
    assert told == [
        "rsdgc is at most 0.01 below dense",
        *(f"rsdgc beats {n}" for n in ("magnitude-dynamic", "rsdgc-uniform", "topk", "randomk", "dgc", "no-feedback")),
        "magnitude-dynamic beats magnitude-uniform",
    ]
    assert all(row[4] in VERDICTS for row in claims)
    mean, std = numbers["accuracy_dense_mean"], numbers["accuracy_dense_std"]
    assert claims[0][2] == f"{mean - 0.01:.4f} ± {std:.4f}"
    mean, std = numbers["accuracy_randomk_mean"], numbers["accuracy_randomk_std"]
    assert claims[4][2] == f"{mean:.4f} ± {std:.4f}"


def test_page_says_what_is_a_reconstruction_what_was_set_and_what_is_predicted(made: Path) -> None:
    page = Page(made / "report.html")
    assert page.source.count("reconstruction") > 2
    assert RECONSTRUCTION.replace("'", "&#39;") in page.source or RECONSTRUCTION in page.source
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["chips"].endswith("for testing") or "split drawn by the seed" in facts["chips"]
    assert (facts["density"], facts["workers"], facts["steps"]) == ("0.02", "2", "6")
    assert "smoke run" in page.source
    assert "A prediction, not a measurement" in page.source
    assert "whoever sent it" in page.source


def test_page_and_notebook_are_whole(made: Path) -> None:
    assert_whole(made, figures=6)


def test_without_rivals_or_without_rsdgc_nothing_is_claimed(tmp_path: Path) -> None:
    overrides = {"rivals": ["dense"], "steps": 2, "eval_every": 1}
    page = Page(report("rsdgc", "digits", overrides, tmp_path / "out", smoke=True, progress=False))
    assert "there is no claim to test" in page.source
    assert "nothing to look into" in page.source
    assert_whole(tmp_path / "out", figures=4)


def test_one_worker_sends_nothing_and_that_is_said(tmp_path: Path) -> None:
    overrides = {"workers": 1, "rivals": ["rsdgc", "dense"], "steps": 2}
    page = Page(report("rsdgc", "digits", overrides, tmp_path / "out", smoke=True, progress=False))
    assert "One worker sends nothing" in page.source
    assert_whole(tmp_path / "out", figures=4)


def test_data_without_chips_are_refused_before_anything_is_written(tmp_path: Path, small_scene) -> None:  # noqa: ANN001
    file = tmp_path / "mine.nc"
    small_scene.to_netcdf(file, engine="h5netcdf")
    with pytest.raises(InputError, match="rsdgc needs"):
        report("rsdgc", file, {}, tmp_path / "out", smoke=True, progress=False)
    assert not (tmp_path / "out").exists()
