"""notebooks/coresets.ipynb executed on the embedded digits and on a small scene, through `report`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.notebooks.page import Page, assert_whole
from workbench import runs
from workbench.errors import InputError
from workbench.reports.claims import VERDICTS
from workbench.reports.notebook import report

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(scope="module")
def made(forked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of TDDS on the digits with wrong labels, a smoke run."""
    folder = tmp_path_factory.mktemp("report") / "tdds"
    page = report("tdds", "digits", {"label_noise": 0.2}, folder, smoke=True, progress=False)
    assert page == folder / "report.html"
    return folder


def test_folder_is_a_run_with_runs_inside(made: Path) -> None:
    about = runs.read(made)
    assert (about["status"], about["method"], about["smoke"]) == ("finished", "report-tdds", True)
    assert {f.name: a["status"] for f, a in runs.iter_status(made)} == dict.fromkeys(
        ["tdds-seed0", "tdds-seed1"], "finished"
    )


def test_metrics_are_those_of_the_runs(made: Path) -> None:
    numbers = runs.metrics(made)
    for keep, name in ((0.3, "accuracy_tdds"), (0.5, "accuracy_tdds_at_0.5"), (0.1, "accuracy_tdds_at_0.1")):
        seen = [runs.metrics(made / f"tdds-seed{s}")[name] for s in (0, 1)]
        assert numbers[f"accuracy_tdds_at_{keep:g}_mean"] == pytest.approx(np.mean(seen))
        assert numbers[f"accuracy_tdds_at_{keep:g}_std"] == pytest.approx(np.std(seen, ddof=1))
    wrong = [float(runs.result(made / f"tdds-seed{s}")["noise_share_el2n"]) for s in (0, 1)]
    assert numbers["noise_share_el2n_at_0.3_mean"] == pytest.approx(np.mean(wrong))
    assert {"accuracy_full_mean", "accuracy_random_at_0.1_mean", "accuracy_ccs_at_0.5_std"} <= set(numbers)


def test_page_tells_claims_with_their_controls(made: Path) -> None:
    page = Page(made / "report.html")
    numbers = runs.metrics(made)
    head = page.rows.index(["claim", "ours", "control", "gain [95 %]", "verdict"])
    claims = page.rows[head + 1 : head + 8]
    assert [row[0] for row in claims[:3]] == [f"keep {k:g}: TDDS beats random" for k in (0.5, 0.3, 0.1)]
    assert all(row[4] in VERDICTS for row in claims)
    mean, std = numbers["accuracy_random_at_0.1_mean"], numbers["accuracy_random_at_0.1_std"]
    assert claims[2][2] == f"{mean:.4f} ± {std:.4f}"
    told = " ".join(row[0] for row in claims)
    assert all(words in told for words in ("right labels", "all samples", "EL2N", "CCS"))
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["samples"].startswith("1,347 for training, 450 for testing")
    assert facts["wrong labels"].startswith("20 %")
    assert facts["notebook"].startswith("notebooks/coresets.ipynb; SHA-256")
    assert not facts["command"].startswith("cells of")  # it names the process that asked for the report
    selectors = page.rows.index(next(row for row in page.rows if row[0] == "selector"))
    assert [column[:8] for column in page.rows[selectors][1:]] == ["keep 0.5", "keep 0.3", "keep 0.1"]
    assert [row[0] for row in page.rows[selectors + 1 : selectors + 5]] == ["TDDS", "random", "EL2N", "CCS"]
    assert "± 0.0000" not in page.source
    assert "smoke run" in page.source
    assert "A coreset of" in page.source


def test_page_and_notebook_are_whole(made: Path) -> None:
    assert_whole(made, figures=8)


def test_a_scene_gets_its_score_painted_back_and_nothing_compared_is_said(tmp_path: Path, small_scene) -> None:  # noqa: ANN001
    file = tmp_path / "mine.nc"
    small_scene.to_netcdf(file, engine="h5netcdf")
    page = Page(report("tdds", file, {"block": 6, "compare": []}, tmp_path / "out", smoke=True, progress=False))
    assert "painted back on the scene" in page.source
    assert "there is no claim to test" in page.source
    assert set(runs.metrics(tmp_path / "out")) == {"accuracy_full_mean", "accuracy_full_std", "seeds"}


def test_data_without_labels_are_refused_before_anything_is_written(tmp_path: Path, small_scene) -> None:  # noqa: ANN001
    file = tmp_path / "mine.nc"
    small_scene.drop_vars(["truth", "fraction"], errors="ignore").to_netcdf(file, engine="h5netcdf")
    with pytest.raises(InputError, match="tdds needs 'label'"):
        report("tdds", file, {}, tmp_path / "out", smoke=True, progress=False)
    assert not (tmp_path / "out").exists()
