"""notebooks/change.ipynb executed on a small folder of pairs, and on one pair without a reference, through `report`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.notebooks.page import Page, assert_whole
from workbench import execution, runs
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.methods.arcdnet import SMOKE
from workbench.reports.claims import VERDICTS
from workbench.reports.notebook import report

pytestmark = pytest.mark.usefixtures("forked")


def _picture(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pairs of 32 x 32 pixels, two of them for testing: a bright roof appears."""
    top = tmp_path_factory.mktemp("pairs")
    for n in range(8):
        random = np.random.default_rng(n)
        before = random.integers(60, 120, (32, 32, 3))
        mask = np.zeros((32, 32), bool)
        mask[4 + n : 15 + n, 6:18] = True
        part = top / ("test" if n > 5 else "train")
        _picture(part / "A" / f"{n}.png", before)
        _picture(part / "B" / f"{n}.png", np.where(mask[..., None], 210, before * 0.9))
        _picture(part / "label" / f"{n}.png", 255 * mask)
    return top


@pytest.fixture(scope="module")
def made(forked: None, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of AR-CDNet on the pairs, a smoke run."""
    folder = tmp_path_factory.mktemp("report") / "arcdnet"
    page = report("arcdnet", pairs, {}, folder, smoke=True, progress=False)
    assert page == folder / "report.html"
    return folder


def test_folder_is_a_run_with_runs_inside(made: Path) -> None:
    about = runs.read(made)
    assert (about["status"], about["method"], about["smoke"]) == ("finished", "report-arcdnet", True)
    assert {f.name: a["status"] for f, a in runs.iter_status(made)} == dict.fromkeys(
        ["arcdnet-seed0", "arcdnet-seed1"], "finished"
    )


def test_metrics_are_those_of_the_runs(made: Path) -> None:
    numbers = runs.metrics(made)
    results = [runs.result(made / f"arcdnet-seed{s}") for s in (0, 1)]
    f1 = [float(r["scores"].sel(rival="cva", metric="f1")) for r in results]
    assert numbers["f1_cva_mean"] == pytest.approx(np.mean(f1))
    for measure, name in (("uncertainty", "ours"), ("entropy", "entropy")):
        seen = [float(r["uncertainty_scores"].sel(measure=measure, quantity="error_auroc")) for r in results]
        assert numbers[f"error_auroc_{name}_mean"] == pytest.approx(np.mean(seen))
        assert numbers[f"error_auroc_{name}_std"] == pytest.approx(np.std(seen, ddof=1))
    assert numbers["parameters"] == float(results[0]["parameters"])
    assert {"aurc_ours_mean", "error_rate_kept_80_entropy_mean", "mean_error_ours_mean", "f1_fc_siam_diff_mean"} <= set(
        numbers
    )


def test_page_tells_claims_with_their_controls(made: Path) -> None:
    page = Page(made / "report.html")
    numbers = runs.metrics(made)
    head = page.rows.index(["claim", "ours", "control", "gain [95 %]", "verdict"])
    claims = {row[0]: row for row in page.rows[head + 1 :] if len(row) == 5}
    assert all(row[4] in VERDICTS for row in claims.values())
    against = claims["U detects wrong pixels better than entropy of P (AUROC)"]
    assert against[2] == f"{numbers['error_auroc_entropy_mean']:.4f} ± {numbers['error_auroc_entropy_std']:.4f}"
    cva = claims["F1: at least 0.15 above CVA + Otsu (control: its F1 + 0.15)"]
    assert cva[2].startswith(f"{numbers['f1_cva_mean'] + 0.15:.4f}")
    told = " ".join(claims)
    assert all(words in told for words in ("shuffled targets", "untrained branch", "surest 80 %", "FC-Siam-diff", "0.06"))
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["pairs"] == "8 of 32 × 32 pixels, 3 bands, optical"
    assert "smoke run" in page.source
    assert "test pairs" in page.source


def test_page_and_notebook_are_whole(made: Path) -> None:
    assert_whole(made, figures=5)


def test_a_pair_without_reference_is_mapped_by_a_trained_network(made: Path, pairs: Path, tmp_path: Path) -> None:
    first, second = pairs / "test" / "A" / "7.png", pairs / "test" / "B" / "7.png"
    pair = Source(first, beside={"after": second})
    network = str(made / "arcdnet-seed0")
    page = Page(report("arcdnet", pair, {"weights": network}, tmp_path / "out", smoke=True, progress=False))
    assert "without a reference nothing can be scored" in page.source
    assert "there is no claim to test" in page.source
    assert len(page.alts) == 1
    expected = execution.execute("arcdnet", pair, {"weights": network, **SMOKE})
    np.testing.assert_array_equal(runs.result(tmp_path / "out" / "arcdnet-seed0")["change"], expected.result["change"])


def test_what_cannot_be_learnt_from_is_refused_before_anything_is_written(pairs: Path, tmp_path: Path) -> None:
    first, second = pairs / "test" / "A" / "7.png", pairs / "test" / "B" / "7.png"
    with pytest.raises(InputError, match="learns from truth"):
        report("arcdnet", Source(first, beside={"after": second}), {}, tmp_path / "out", smoke=True, progress=False)
    assert not (tmp_path / "out").exists()
