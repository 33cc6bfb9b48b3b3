"""FedDiff's gates, on simulated sensors only: the exchange beats each owner alone, training helps the banks, rank 4 is as good as exact.

On real plots nothing is a gate: docs/methods/feddiff.md has what was measured there. CPU time of one thread: about two minutes a seed.
"""

import numpy as np
import pytest

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.feddiff import Config, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]


@pytest.fixture(scope="module")
def results():
    """Three seeds; halves of the image, which change sides."""
    scene = open_scene("sim-two-sensors").compute()
    config = Config(split="halves", head_steps=200, rivals=("dense",), pooled=(), map=False)
    return [drain(run(scene, config.model_copy(update={"seed": seed}))).result for seed in range(3)]


def test_both_owners_gain_from_the_exchange(results):
    for result in results:
        assert float(result["oa"]) > float(result["oa_only_best"]) + 0.20
        assert float(result["oa_partner"]) > float(result["oa_only_best"]) + 0.20


def test_training_makes_the_banks_better(results):
    for result in results:
        assert float(result["oa_bank"]) > float(result["oa_untrained_bank"])
        assert float(result["gain_by_time_hsi"]) > 0
        assert float(result["gain_by_time_lidar"]) > 0
        assert max(float(result["loss_final_hsi"]), float(result["loss_final_lidar"])) < 0.40


def test_rank_four_is_as_good_as_exact_messages(results):
    assert np.mean([float(r["oa"] - r["oa_dense"]) for r in results]) >= -0.04


def test_nothing_of_the_diffusion_networks_moves(results):
    assert all(float(r["networks_changed"]) == 0 and float(r["apart"]) == 0 for r in results)
