"""Global RX on the real anomaly scenes equals the AUC in the catalogue, by name and by bare path.

The numbers in `reference.rx_auc` were computed once outside this package, from files of the same checksum: one mean and
one covariance over all pixels, float64, no band scaling, n-1, Moore-Penrose inverse, AUC by ranks with ties averaged. They
are given to six digits; 1e-4 leaves room for the float32 cube.
"""

from __future__ import annotations

import pytest

from workbench.baselines.anomaly import rx
from workbench.data.catalog import entries, open_scene
from workbench.data.checks import check_cube
from workbench.metrics.anomaly import auc

SCENES = [e for e in entries() if e.kind == "hyperspectral" and e.reference is not None]


def test_the_table_is_whole():
    assert len(SCENES) == 14


@pytest.mark.parametrize("entry", SCENES, ids=lambda e: e.id)
def test_rx_auc(entry, real_data):
    cube, truth = entry.file("cube"), entry.file("truth")
    by_name = open_scene(entry.id)
    by_path = open_scene(real_data / cube.path, truth=real_data / truth.path if truth else None)
    for scene in (by_name, by_path):
        check_cube(scene)
        assert scene.attrs["sha256"] == cube.sha256
        assert scene.attrs["anomalous_pixels"] == entry.anomalous_pixels
        found = float(auc(rx(scene["hsi"]), scene["truth"]))
        assert found == pytest.approx(entry.reference.rx_auc, abs=1e-4)
    assert f"catalogue entry {entry.id}" in by_path.attrs["notes"]
