"""Weights files that were damaged or made by hand are refused with a reason, whatever they do to the code that rebuilds the network."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from workbench.errors import InputError
from workbench.methods import arcdnet, sarnet
from workbench.methods.arcdnet import tiles as pairs
from workbench.methods.arcdnet.network import ARCDNet
from workbench.methods.sarnet import tiles as chips
from workbench.parts.sarnet_network import SARNet
from workbench.parts.seeding import Seeded


def _arcdnet():
    config = arcdnet.Config(**arcdnet.SMOKE)
    with Seeded(0):
        return pairs.packed(ARCDNet(3, config), config, None), pairs.load_network


def _sarnet():
    config = sarnet.Config(**sarnet.SMOKE)
    with Seeded(0):
        return chips.packed(SARNet(1, config.width, "sarnet", config.aggregate), config, ["ship"], 0.5), chips.load_network


CHANGES = {
    "missing": lambda about: {},
    "no mapping": lambda about: [1, 2],
    "wrong types": lambda about: dict.fromkeys(about, "three"),
    "null": lambda about: dict.fromkeys(about),
    "other network": lambda about: about | {"bands": 7, "names": ["a", "b"]},
    "negative": lambda about: about | {"bands": -3, "names": []},
    "huge": lambda about: about | {"bands": 10**30, "names": 5},
    "out of range": lambda about: about | {"config": about["config"] | {"lr": -1, "batch": "many"}},
    "unknown setting": lambda about: about | {"config": about["config"] | {"code": "import os"}},
}


@pytest.fixture(scope="module", params=[_arcdnet, _sarnet])
def good(request):
    packed, load = request.param()
    return {f"{who}/{name}": value for who, state in packed.items() for name, value in state.items()}, load


def _written(path, tensors, text):
    save_file({**tensors, "settings/json": torch.tensor(list(text), dtype=torch.uint8)}, path)
    return path


def test_the_file_as_it_was_saved_is_read(good, tmp_path):
    tensors, load = good
    load(_written(tmp_path / "weights.safetensors", tensors, bytes(tensors["settings/json"].tolist())))


@pytest.mark.parametrize("change", CHANGES)
def test_strange_settings_are_refused(good, tmp_path, change):
    tensors, load = good
    about = CHANGES[change](json.loads(bytes(tensors["settings/json"].tolist())))
    with pytest.raises(InputError, match=r"Take the weights of a finished \w+ run"):
        load(_written(tmp_path / "weights.safetensors", tensors, json.dumps(about).encode()))


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[" * 200_000, b"{"])
def test_settings_that_are_no_json_are_refused(good, tmp_path, text):
    tensors, load = good
    with pytest.raises(InputError, match="cannot be made from its settings and weights"):
        load(_written(tmp_path / "weights.safetensors", tensors, text))


def test_weights_that_are_missing_or_of_another_shape_are_refused(good, tmp_path):
    tensors, load = good
    first = next(name for name in tensors if not name.startswith("settings"))
    text = bytes(tensors["settings/json"].tolist())
    for changed in ({n: v for n, v in tensors.items() if n != first}, {**tensors, first: torch.zeros(3, 5, 7)}):
        with pytest.raises(InputError, match="cannot be made from its settings and weights"):
            load(_written(tmp_path / "weights.safetensors", changed, text))
