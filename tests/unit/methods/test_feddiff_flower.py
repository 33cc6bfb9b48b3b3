"""FedDiff over Flower in one process: the same numbers, and what happens when a node fails."""

from __future__ import annotations

import numpy as np
import pytest

from tests.driving import played
from workbench.config import override
from workbench.data.sensor_patches import patches_of
from workbench.data.synth_sensors import simulate
from workbench.errors import InputError
from workbench.methods.feddiff import SMOKE, Config, run
from workbench.methods.feddiff.banks import Banks
from workbench.methods.feddiff.rounds import Federation
from workbench.parts.federation import Codec, divergence, fingerprint

pytest.importorskip("flwr", reason="federations on Flower need the extra federated")

QUICK = override(Config(), {**SMOKE, "split": "class", "rivals": [], "pooled": [], "map": False, "head_steps": 6})


@pytest.fixture(scope="module")
def scene():
    return simulate("sim-two-sensors", 28, bands=6, seed=3)


@pytest.fixture(scope="module")
def banks(scene):
    return Banks(patches_of(scene, QUICK, "feddiff"), QUICK, {})


def over_flower(banks, config=QUICK, codec="low_rank"):
    from workbench.methods.feddiff.flower import FlowerFederation

    return FlowerFederation(banks.patches, config, banks.of("untrained"), Codec(codec, config.rank))


@pytest.mark.parametrize("codec", ["low_rank", "int8", "top_k", "random_basis", "dense"])
def test_the_same_numbers_as_by_calls(banks, codec):
    """To the last bit: losses, bytes, and the weights of both owners; also with steps apart."""
    config = override(QUICK, {"average_every": 2, "away": 0.3})
    fed = over_flower(banks, config, codec)
    calls = Federation(banks.patches, config, banks.of("untrained"), Codec(codec, config.rank))
    for _ in range(6):
        assert fed.step() == calls.step()
    for a, b in zip(fed.owners, calls.owners, strict=True):
        assert fingerprint(a.network.state_dict()) == fingerprint(b.network.state_dict())
    assert fed.missed == 0


def test_a_node_that_fails_is_away_and_comes_back(banks):
    fed = over_flower(banks)
    fed.step()
    hsi, lidar = fed.owners
    begin, before = lidar.begin, fingerprint(lidar.network.state_dict())
    lidar.begin = lambda rows: 1 / 0
    numbers = fed.step()
    assert np.isfinite(numbers["head_loss"])
    assert fed.missed == 1
    assert fingerprint(lidar.network.state_dict()) == before  # it missed the round
    assert divergence(fed.shared()) > 0  # the other learnt alone
    lidar.begin = begin
    fed.step()
    assert fed.missed == 1
    assert divergence(fed.shared()) == 0
    hsi.begin = lidar.begin = lambda rows: 1 / 0
    with pytest.raises(InputError, match="No owner answered in round 4.*division by zero"):
        fed.step()


def test_a_node_that_fails_while_it_learns_is_named(banks):
    fed = over_flower(banks)
    fed.owners[1].learn = lambda theirs, lr: 1 / 0
    with pytest.raises(InputError, match="lidar did not answer 'train.learn' in round 1: .*division by zero"):
        fed.step()


@pytest.mark.long
def test_a_run_over_flower_is_the_run_by_calls(scene):
    results = [played(run(scene, override(QUICK, {"engine": engine})))[1].result for engine in ("direct", "flower")]
    for name in ("oa", "oa_partner", "megabytes_features", "calibration_error"):
        assert float(results[0][name]) == float(results[1][name])
    assert float(results[1]["missed"]) == 0
