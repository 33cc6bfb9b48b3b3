"""The table of docs/methods/change_rivals.md is what the rivals give on the files of the catalogue's checksums."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from workbench.baselines.change import detect
from workbench.data.catalog import open_scene
from workbench.metrics.change import confusion

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "change_rivals.md"
QUICK = ("landsat-taizhou", "sar-ottawa", "sar-san-francisco", "sim-change-town", "sim-change-sar")


def table() -> dict[tuple[str, bool, str], list[float]]:
    """(entry, whether only its test pairs, rival) -> precision, recall, F1, IoU, kappa, error rate."""
    rows, name, test = {}, "", False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) == 8 and cells[1] in ("cva", "pca_kmeans", "log_ratio"):
            if cells[0]:
                name = next(iter(re.findall(r"`([a-z0-9-]+-[a-z0-9-]+)`", cells[0])), name)
                test = "test" in cells[0]
            rows[name, test, cells[1]] = [float(c) for c in cells[2:]]
    return rows


ROWS = table()


def test_the_table_is_there():
    assert len(ROWS) == 25
    assert {n for n, _, _ in ROWS} >= {*QUICK, "levir-cd-256", "dsifn-256", "levir-cd-512-sample", "sim-change-tiles"}


@pytest.mark.parametrize(
    ("name", "test", "rival"),
    [pytest.param(*key, marks=[] if key[0] in QUICK else pytest.mark.slow) for key in ROWS],
)
def test_a_row_of_the_table(name, test, rival, request):
    if not name.startswith("sim-"):
        request.getfixturevalue("real_data")
    scene = open_scene(name)
    if test:
        scene = scene.isel(sample=np.flatnonzero(scene["split"] == "test"))
    c = confusion(detect(rival, scene)["change"], scene["truth"])
    found = [c.precision, c.recall, c.f1, c.iou, c.kappa, c.error_rate]
    np.testing.assert_allclose(found, ROWS[name, test, rival], atol=0.002)
