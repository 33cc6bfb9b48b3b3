"""MDFL's gates: on real plots training makes the bank better, alone and beside raw values; on simulated sensors fusion beats each alone.

The comparison of all rows is in docs/methods/mdfl.md. CPU time of one thread: about a minute a seed for each test. Whether the bank helps
beside raw values alone, without any bank, is no gate: its sign changes with the seed.
"""

import numpy as np
import pytest

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.mdfl import Config, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]


def test_training_makes_the_bank_better_on_real_plots():
    """IDTReeS by plots, five seeds: diffusion loss below .37 after 400 steps, average accuracy of the bank at least .04 higher."""
    scene = open_scene("idtrees").compute()
    config = Config(joint=True, steps=400, rivals=(), networks=(), head_steps=20, map=False)
    results = [drain(run(scene, config.model_copy(update={"seed": seed}))).result for seed in range(5)]
    assert max(float(r["loss_final"]) for r in results) < 0.37
    assert np.mean([float(r["aa_bank"] - r["aa_untrained"]) for r in results]) >= 0.04
    assert all("whole images (plots)" in r.attrs["split"] for r in results)


def test_training_makes_raw_values_with_the_bank_better_on_real_plots():
    """IDTReeS by plots, a network of 0.38 million weights, five seeds: average accuracy of raw values and trained bank at least .03
    above that of raw values and untrained bank.
    """
    scene = open_scene("idtrees").compute()
    config = Config(joint=True, width=24, steps=400, rivals=(), networks=(), head_steps=20, map=False)
    results = [drain(run(scene, config.model_copy(update={"seed": seed}))).result for seed in range(5)]
    assert np.mean([float(r["aa_raw_bank"] - r["aa_raw_untrained"]) for r in results]) >= 0.03


def test_two_sensors_beat_each_alone():
    """Simulated, halves with a guard band: the classifier on both is at least .25 above logistic regression on the best single sensor."""
    scene = open_scene("sim-two-sensors")
    for seed in range(3):
        result = drain(run(scene, Config(seed=seed, split="halves", steps=200, rivals=(), networks=()))).result
        assert float(result["oa"]) > max(float(result["oa_only_hsi"]), float(result["oa_only_lidar"])) + 0.25
