"""PIC-PQ on trained networks: a detector, a network for change, and one of one's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from workbench.config import override
from workbench.data.catalog import open_scene
from workbench.data.synth_ships import small
from workbench.errors import InputError
from workbench.execution import execute
from workbench.methods import arcdnet, sarnet
from workbench.methods.picpq import Config, compress
from workbench.parts.compressible import Compressible, mean_loss, trainer
from workbench.parts.quantize import layers

pytest.importorskip("torch_pruning")
QUICK = override(
    Config(),
    {"generations": 3, "population": 2, "tournament": 1, "steps": 1, "recover": 1, "quantize_epochs": 1, "target": 0.6},
)


def own() -> Compressible:
    """A network of two convolutions that tells which half of an image is brighter."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 2),
    )  # fmt: skip
    x = torch.rand(96, 1, 8, 8)
    y = torch.arange(96) % 2
    x[y == 1, :, :4] += 1
    x[y == 0, :, 4:] += 1

    def train(net: nn.Module, steps: int, seed: int) -> None:
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net.train()(x[:48]), y[:48]).backward()
            optimiser.step()

    def right(net: nn.Module, rows: slice) -> float:
        with torch.no_grad():
            return float((net(x[rows]).argmax(1) == y[rows]).float().mean())

    train(network, 60, 0)
    judge = lambda net: 1 - right(net, slice(48, 72))  # noqa: E731
    return Compressible(
        network, x[:48], train, judge, lambda net: right(net, slice(72, 96)), "accuracy", 5, "halves of noise"
    )


def test_a_network_of_ones_own():
    given = own()
    before = {k: v.clone() for k, v in given.network.state_dict().items()}
    said = []
    result = compress(given, QUICK, ["hrank", "lsq8", "lsq3"], lambda what, value: said.append(what))
    assert float(result["accuracy_dense"]) > 0.9
    assert float(result["accuracy_lsq8"]) > 0.8
    assert 0 <= float(result["accuracy_picpq"]) <= 1
    assert float(result["macs_left_picpq"]) <= 0.6
    assert "macs_left_lsq8" not in result
    assert float(result["search_loss_best"]) <= float(result["search_loss_identity"])
    whole, left = (
        float(result["macs"].sum()) * 1024,
        float((result["macs_left"] * result["bits"] * result["input_bits"]).sum()),
    )
    assert float(result["bops_ratio_picpq"]) == pytest.approx(whole / left)
    assert said[:3] == ["candidate 1, picpq", "candidate 2, picpq", "candidate 3, picpq"]
    assert said[3:] == ["picpq", "hrank", "lsq8", "lsq3"]
    for name, value in given.network.state_dict().items():
        torch.testing.assert_close(value, before[name])  # the given network is left alone
    with pytest.raises(InputError, match="'greedy' is no rival here"):
        compress(given, QUICK, ["greedy"])
    with pytest.raises(InputError, match="The target is"):
        compress(given, override(QUICK, {"target": 0.01}), [])


def test_a_trainer_draws_from_its_seed_and_a_judge_takes_the_mean():
    def loss_of(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return (network(batch) - 1).square().mean()

    train = trainer(lambda: torch.randn(4, 2), loss_of, rate=0.1, weight_decay=0.0, clip=1.0)
    torch.manual_seed(0)
    first, state = nn.Linear(2, 1), torch.get_rng_state()
    trained = [copy.deepcopy(first).eval() for _ in range(3)]
    for network, seed in zip(trained, (7, 7, 8), strict=True):
        train(network, 20, seed)
        assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(trained[0].weight, trained[1].weight)
    assert not torch.equal(trained[0].weight, trained[2].weight)
    judge = mean_loss([torch.zeros(1, 2), torch.full((3, 2), 5.0)], loss_of)
    with torch.no_grad():
        first.weight.fill_(0.2)
        first.bias.fill_(0.0)
        trained[0].weight.fill_(0.0)
    assert judge(first) == pytest.approx((1 + 1) / 2)  # 0 and 2, both 1 away
    assert judge(trained[0]) == pytest.approx(float((trained[0].bias.detach() - 1).square()))


@pytest.mark.long
def test_a_detector_by_its_ap50(tmp_path):
    ships = small(seed=0).compute()
    settings = {
        "steps": 3,
        "width": 4,
        "crop": 64,
        "batch": 4,
        "show_every": 3,
        "rivals": [],
        "threshold": 0.01,
        "most": 40,
        "controls": False,
    }
    outcome = execute("sarnet", ships, settings, tmp_path / "run")
    given = sarnet.compressible(tmp_path / "run", ships)
    result = compress(given, override(QUICK, {"generations": 2, "recover": 0, "quantize_epochs": 0}), ["lsq8"])
    assert float(result["ap50_dense"]) == pytest.approx(float(outcome.result["ap50"]))
    assert 0 <= float(result["ap50_picpq"]) <= 1
    assert float(result["macs_left_picpq"]) <= 0.6
    ends = [str(n) for n in result["layer"].values if str(n).startswith("head.") and str(n).endswith(".1")]
    assert len(ends) == 3
    assert (result["arm_bits"].sel(layer=ends) == 8).all()
    assert "test images" in result.attrs["split"]


@pytest.mark.long
def test_a_network_for_change_by_its_f1(tmp_path):
    scene = open_scene("sim-change-town").isel(y=slice(0, 192), x=slice(0, 192)).compute()
    settings = {"steps": 3, "width": 4, "batch": 2, "show_every": 3, "rivals": [], "controls": False, "block": 32}
    outcome = execute("arcdnet", scene, settings, tmp_path / "run")
    given = arcdnet.compressible(tmp_path / "run", scene)
    assert len(given.keep) > 0
    result = compress(
        given, override(QUICK, {"generations": 2, "target": 0.75, "recover": 0, "quantize_epochs": 0}), ["lsq8"]
    )
    assert float(result["f1_dense"]) == pytest.approx(float(outcome.result["f1"]), abs=1e-6)
    assert float(result["macs_left_picpq"]) <= 0.75
    assert 0 <= float(result["f1_picpq"]) <= 1
    assert set(layers(given.network)) >= set(map(str, result["layer"].values))
    assert np.isfinite(float(result["search_loss_best"]))
