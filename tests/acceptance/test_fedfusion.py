"""FedFusion's gates, on the mean of three seeds: fusion, rank and basis on Houston; fusion on simulated sensors; FedAvg on two sites.

The comparison of all rows is in docs/methods/fedfusion.md. CPU time of one thread: about a minute a seed for each test.
"""

import numpy as np
import pytest

from workbench.config import override
from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.fedfusion import Config, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]


def means(scene, **changes):
    """Metric -> its mean over seeds 2, 3, 4; every divergence must be 0."""
    results = [drain(run(scene, override(Config(), {**changes, "map": False, "seed": s}))).result for s in (2, 3, 4)]
    assert all(float(r["divergence"]) == 0 for r in results)
    return {n: float(np.mean([float(r[n]) for r in results])) for n in results[0].data_vars if results[0][n].ndim == 0}


def test_houston_by_halves_of_its_rows():
    scene = open_scene("houston2013-two-sensors").compute()
    rivals = ["dense", "low_rank:1", "random_basis:1"]
    found = means(scene, split="halves", per_class=40, steps=100, rivals=rivals, horizontal=[])
    assert found["oa"] > found["oa_only_best"] + 0.06
    assert found["oa"] >= found["oa_dense"] - 0.04
    assert found["oa_low_rank_1"] > found["oa_random_basis_1"] + 0.04
    assert found["ratio_features"] == pytest.approx(3.984, abs=0.001)


def test_two_simulated_sensors_beat_each_alone():
    found = means(open_scene("sim-two-sensors"), split="halves", rivals=[], horizontal=[])
    assert found["oa"] > found["oa_only_best"] + 0.25


def test_fedavg_on_two_sites_beats_each_site_alone():
    scene = open_scene("idtrees").compute()
    found = means(scene, split="image", partition="site", per_class=100, steps=1, rivals=[], horizontal=["fedavg", "local"])
    assert found["oa_fedavg"] > found["oa_local"] + 0.10
