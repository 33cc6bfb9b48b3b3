"""GHOST's gates on simulated ships, five seeds: training beats calibration at 3 bits, and a taught copy attends where its teacher does.

Everything else is reported, never asserted: docs/methods/ghost.md. CPU time of one thread: about a minute and a half a seed.
"""

import numpy as np
import pytest

from workbench.data.catalog import open_scene
from workbench.event import drain
from workbench.methods.ghost import Config
from workbench.methods.ghost.running import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def results():
    scene = open_scene("sim-ships").compute()
    config = Config(rivals=("off",), uniform_bits=(), show_every=500)
    return [drain(run(scene, config.model_copy(update={"seed": seed}))).result for seed in range(5)]


def test_training_beats_calibration_at_three_bits(results):
    assert np.mean([float(r["ap50"] - r["ap50_ptq"]) for r in results]) >= 0.10


def test_a_taught_copy_attends_where_its_teacher_does(results):
    for r in results:
        assert float(r["attention"]) < float(r["attention_off"])
        assert (r["attention_distance"].sel(arm="ghost") < r["attention_distance"].sel(arm="off")).mean() > 0.5
