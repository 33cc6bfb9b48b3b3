"""BSDM on real scenes: the claim, the controls beside it, three seeds (100 full-image steps of the 500-step cosine).

Fifteen runs of a minute or two each. The table of docs/methods/bsdm.md is of all scenes, from recipes/long/bsdm_scenes.yml.
"""

import numpy as np
import pytest
import torch

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods import bsdm
from workbench.methods.bsdm.settings import Config
from workbench.parts.training import weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

SCENES = ("san-diego-134", "hydice-urban-162", "hydice-urban-175", "abu-airport-2", "abu-urban-4")
SEEDS = (0, 1, 2)
STEPS = 100


def measure(name, seed):
    scene = open_scene(name).load()
    outcome = drain(bsdm.run(scene, Config(steps=STEPS, seed=seed, show_every=STEPS)))
    result = outcome.result
    numbers = {n: float(v) for n, v in result.data_vars.items() if v.ndim == 0}
    x0 = bsdm.scaled(torch.from_numpy(bsdm.spectra_of(scene)[0]), "global")
    start = weights(bsdm.Training(x0, Config(seed=seed)).network)
    moved = min(float((start[n] - w).abs().max()) for n, w in outcome.weights["denoiser"].items())
    return {**numbers, "auc_k": result["auc_k"].values.tolist(), "moved": moved}


@pytest.fixture(scope="module")
def runs(real_data):
    return {name: [measure(name, seed) for seed in SEEDS] for name in SCENES}


def mean(runs, key):
    return float(np.mean([run[key] for run in runs]))


# San Diego here is another crop than the one the claim was first replicated on: its RX is 0.940, not 0.874; less to gain.
@pytest.mark.parametrize(("name", "gain"), [("san-diego-134", 0.02), ("abu-airport-2", 0.08), ("hydice-urban-175", 0.005)])
def test_claim_suppression_lifts_rx(runs, name, gain):
    assert mean(runs[name], "auc") > mean(runs[name], "auc_rx") + gain


def test_on_hydice_162_suppression_and_rx_are_level(runs):
    # this copy's mask has 17 pixels, for which plain RX is 0.993 already (0.982 for the copy with 19): nothing to gain
    assert mean(runs["hydice-urban-162"], "auc") == pytest.approx(mean(runs["hydice-urban-162"], "auc_rx"), abs=0.005)


def test_negative_control_urban_4_comes_out_below_rx(runs):
    assert mean(runs["abu-urban-4"], "auc") < mean(runs["abu-urban-4"], "auc_rx")


@pytest.mark.parametrize("name", SCENES)
def test_controls_stand_beside_the_claim(runs, name):
    for run in runs[name]:
        for control in ("untrained", "rx", "ridge_rx", "pca_rx", "rp_rx", "oracle"):
            assert 0.5 < run[f"auc_{control}"] <= 1
        assert run["auc_oracle"] == pytest.approx(run["auc_rx"], abs=1e-6)
        assert run["auc_k"][0] == pytest.approx(run["auc_rx"], abs=1e-6)


@pytest.mark.parametrize("name", SCENES)
def test_the_network_did_learn(runs, name):
    for run in runs[name]:
        assert run["loss_final"] < run["loss_initial"] / 5
        assert run["moved"] > 0
    assert len({run["loss_final"] for run in runs[name]}) == len(SEEDS)


def test_san_diego_loss_is_near_the_noise_floor_after_100_steps(runs):
    for run in runs["san-diego-134"]:
        assert run["loss_final"] < 1.1 * run["sigma2"]
