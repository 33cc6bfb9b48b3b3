"""notebooks/anomaly.ipynb executed on simulated scenes, through `report`, through plain Papermill, and without truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.notebooks.page import Page, assert_whole
from workbench import runs
from workbench.reports.claims import METRICS, VERDICTS
from workbench.reports.notebook import report
from workbench.resources import folder as resource

NOTEBOOK = resource("notebooks") / "anomaly.ipynb"


@pytest.fixture(scope="module")
def made(forked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of BSDM on a simulated scene, a smoke run."""
    folder = tmp_path_factory.mktemp("report") / "bsdm"
    assert report("bsdm", "sim-dry-airfield", {}, folder, smoke=True, progress=False) == folder / "report.html"
    return folder


def test_folder_is_a_run_with_runs_inside(made: Path) -> None:
    about = runs.read(made)
    assert (about["status"], about["method"], about["smoke"]) == ("finished", "report-bsdm", True)
    assert about["scene"]["id"] == "sim-dry-airfield"
    wanted = ["rx", "ridge-rx", "pca-rx", "rp-rx-seed0", "rp-rx-seed1", "bsdm-seed0", "bsdm-seed1"]
    assert {f.name: a["status"] for f, a in runs.iter_status(made)} == dict.fromkeys(wanted, "finished")
    assert {line["step"] for line in runs.events(made)} == set(range(len(runs.events(made))))


def test_metrics_are_those_of_the_runs(made: Path) -> None:
    numbers = runs.metrics(made)
    assert numbers["auc_rx"] == runs.metrics(made / "rx")["auc"]
    assert numbers["auc_affine_oracle"] == pytest.approx(numbers["auc_rx"], abs=1e-9)  # RX does not notice affine maps
    trained = [runs.metrics(made / f"bsdm-seed{s}")["auc"] for s in (0, 1)]
    untrained = [runs.metrics(made / f"bsdm-seed{s}")["auc_untrained"] for s in (0, 1)]
    assert numbers["auc_trained_mean"] == pytest.approx(np.mean(trained))
    assert numbers["auc_trained_std"] == pytest.approx(np.std(trained, ddof=1))
    assert numbers["gain_of_training_mean"] == pytest.approx(np.mean(trained) - np.mean(untrained))
    for who in ("rx", "ridge_rx", "pca_rx", "affine_oracle"):  # every control, not only the trained network
        assert {f"{m}_{who}" for m in METRICS} <= set(numbers)
    assert {f"{m}_trained_mean" for m in METRICS} <= set(numbers)
    assert {"auc_f_tau_rx", "auc_d_tau_rx", "pd_at_pf_001_rx", "pd_at_pf_0001_rx", "auc_rp_rx_std"} <= set(numbers)


def test_page_has_an_interval_over_blocks_for_every_detector(made: Path) -> None:
    page = Page(made / "report.html")
    head = page.rows.index(["detector", "AUC(D,F)", "AP", "PD at PF 0.01", "AUC(D,F) minus RX"])
    rows = {row[0]: row[1:] for row in page.rows[head + 1 : head + 8]}
    assert set(rows) == {"RX", "ridge-RX", "PCA-RX", "RP-RX", "affine oracle", "BSDM untrained", "BSDM trained"}
    numbers = runs.metrics(made)
    for title, name in (("RX", "auc_rx"), ("BSDM trained", "auc_trained_mean")):
        value, low, high = (float(v) for v in re.findall(r"[0-9.]+", rows[title][0]))
        assert value == pytest.approx(numbers[name], abs=6e-5)
        assert low < value < high
    assert rows["RX"][3] == "–"
    assert rows["affine oracle"][3].replace("−", "+") == "+0.0000 [+0.0000, +0.0000]"


def test_page_tells_claims_with_their_controls(made: Path) -> None:
    page = Page(made / "report.html")
    head = page.rows.index(["claim", "ours", "control", "gain [95 %]", "verdict"])
    claims = page.rows[head + 1 : head + 5]
    for words, row in zip(("beats RX", "untrained", "ridge-RX and PCA-RX", "random projections"), claims, strict=True):
        assert words in row[0]
        assert row[4] in VERDICTS
    numbers = runs.metrics(made)
    assert claims[0][2] == f"{numbers['auc_rx']:.4f}"
    assert claims[1][2] == f"{numbers['auc_untrained_mean']:.4f} ± {numbers['auc_untrained_std']:.4f}"
    detectors = {row[0] for row in page.rows}
    assert {"RX", "ridge-RX", "PCA-RX", "RP-RX", "affine oracle", "BSDM untrained", "BSDM trained"} <= detectors
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert re.match("[0-9a-f]{64} ", facts["fingerprint"])
    assert facts["anomalous pixels"].endswith("of 10,000 labelled")
    assert "Simulated scene." in page.source
    assert "smoke run" in page.source
    assert "RX of random projections of the spectra" in page.source
    assert "a ring around each pixel" not in page.source  # local RX is not run in a smoke run


def test_page_and_notebook_are_whole(made: Path) -> None:
    assert_whole(made, figures=8)


def test_plain_papermill(tmp_path: Path) -> None:
    """By hand: papermill notebooks/anomaly.ipynb out.ipynb -p smoke True."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOK),
        str(tmp_path / "out.ipynb"),
        "-k",
        "python3",
        "-p",
        "smoke",
        "True",
    ]
    command += ["-p", "method", "ridge-rx", "-p", "run_dir", str(tmp_path / "runs"), "--no-progress-bar"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    numbers = runs.metrics(tmp_path / "runs")
    assert {"auc_rx", "auc_ridge_rx", "auc_rp_rx_mean"} <= set(numbers)
    assert not [n for n in numbers if "trained" in n]  # BSDM was not asked for
    text = (tmp_path / "out.ipynb").read_text()
    assert "ridge-RX beats RX" in text
    import nbformat

    assert "BSDM + RX" not in "".join(
        str(o) for c in nbformat.reads(text, 4).cells if c.cell_type == "code" for o in c.outputs
    )


def test_scene_without_truth(forked: None, tmp_path: Path, small_scene) -> None:  # noqa: ANN001
    file = tmp_path / "mine.nc"
    small_scene.drop_vars(["truth", "fraction"], errors="ignore").to_netcdf(file, engine="h5netcdf")
    page = Page(report("bsdm", file, {}, tmp_path / "out", smoke=True, progress=False))
    assert "no truth" in page.source
    assert not [name for name in runs.metrics(tmp_path / "out") if name.startswith("auc")]
    assert [row[4] for row in page.rows if len(row) == 5 and row[0] != "claim"] == ["cannot be tested: no truth"] * 4


@pytest.mark.parametrize("path", sorted(resource("notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_committed_without_outputs(path: Path) -> None:
    import nbformat

    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    assert kept.metadata.kernelspec.name == "python3"
    assert set(kept.metadata) <= {"kernelspec", "language_info", "title"}
    for cell in kept.cells:
        if cell.cell_type == "code":
            assert cell.execution_count is None
            assert not cell.outputs
        assert set(cell.metadata) <= {"tags", "name"}
    assert sum("parameters" in c.metadata.get("tags", []) for c in kept.cells) == 1
