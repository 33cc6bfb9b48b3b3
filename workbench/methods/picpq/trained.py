"""PIC-PQ on a network that is trained already, of any room or of your own: a detector, a network for change.

    from workbench.methods import sarnet
    from workbench.methods.picpq import Config, compress

    result = compress(sarnet.compressible("runs/ships", scene), Config(target=0.5, steps=20))
    result["ap50_picpq"], result["ap50_lsq4"], result["bits"]

The result has the names of a run of `picpq`, with the measure of the network (`ap50`, `f1`) in place of `accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import nn

from workbench.errors import InputError, did_you_mean
from workbench.methods.picpq.arms import Found, arm_of
from workbench.methods.picpq.bits import bops_of, cost_of, input_bits, limit_of
from workbench.methods.picpq.result import compared
from workbench.methods.picpq.settings import RIVALS, Config
from workbench.methods.picpq.training import Arm
from workbench.parts.compressible import Compressible
from workbench.parts.evolution import Cached
from workbench.parts.filter_properties import feature_ranks
from workbench.parts.pruning import Plan, choose, counts_of, sliced
from workbench.parts.quantize import fit, quantize, refresh_norms
from workbench.parts.seeding import Seeded
from workbench.parts.training import weights

ARMS = tuple(name for name in RIVALS if name not in ("greedy", "ptq8"))  # those two need samples with labels
SHORT = ("hrank", "uniform_l1", "random", "lsq8", "lsq4", "lsq3")


def compress(
    given: Compressible,
    config: Config,
    rivals: Sequence[str] = SHORT,
    progress: Callable[[str, float], None] = lambda what, value: None,
) -> xr.Dataset:
    """Prune and quantise a trained network by PIC-PQ and by each of `rivals`; their qualities and costs.

    Of `config` the settings of the choice, the bits and the trainings count (`recover`, `quantize_epochs` in passes through the data of
    `given`); those of the data and of the network do not. progress: called with what was done and its loss or quality.

    Raises InputError for a rival that does not exist or needs labelled samples, for a network whose channels cannot be followed, and for
    a target that cannot be reached.
    """
    for name in rivals:
        if name not in ARMS:
            raise InputError(f"{name!r} is no rival here; there are {', '.join(ARMS)}.{did_you_mean(name, ARMS)}")
    network, example = given.network.eval(), given.example
    plan = Plan.of(network, example, keep=given.keep, answer=given.answer)
    unknown = [n for n in given.ends if n not in {layer.name for layer in plan.layers}]
    if unknown:
        raise InputError(f"ends names {', '.join(unknown)}; the network has no such layer.")
    layers = [n.name for n in plan.layers if n.group is not None]
    found = Found(network, plan, feature_ranks(network, example, layers, config.property_at), cast(Any, None), config)
    least = [np.zeros(g.count) for g in plan.groups]
    choose(plan, least, limit_of(plan, config), lambda n: cost_of(plan, n, config), config.safeguard, config.round_to)
    searches = {"picpq": found.search(found.properties)}
    if "legr" in rivals:
        searches["legr"] = found.search(found.norms())
    fitness = Cached(lambda kept: _fitness(given, found, kept))
    for name, search in searches.items():
        properties = found.properties if name == "picpq" else found.norms()
        while not search.done:
            a, b = search.ask()
            search.tell(a, b, fitness(found.chosen(found.by(properties, a, b))))
            progress(f"candidate {len(search.history)}, {name}", search.history[-1].loss)
    best = {name: (search.best.a, search.best.b) for name, search in searches.items()}
    finished: dict[str, dict[str, Any]] = {}
    ours: Arm | None = None
    for name in ("picpq", *rivals):
        with Seeded(config.seed):
            arm = arm_of(name, found, best, ours)
        arm = Arm(name, arm.kept, {**arm.bits, **dict.fromkeys(given.ends, config.ends)})
        ours = arm if name == "picpq" else ours
        finished[name] = _finished(given, found, arm)
        progress(name, finished[name][given.measure])
    assert ours is not None
    result = compared(found, searches["picpq"], finished, ours, given.measure, given.quality(found.dense.eval()))
    return result.assign_attrs(split=given.split)


def _small(given: Compressible, found: Found, kept: Sequence[np.ndarray]) -> nn.Module:
    """The cut network with moments of its batch normalisations taken anew."""
    small = sliced(found.dense, found.plan, kept, given.example)
    if any(len(k) < g.count for k, g in zip(kept, found.plan.groups, strict=True)):
        refresh_norms(small, given.example)
    return small


def _fitness(given: Compressible, found: Found, kept: list[np.ndarray]) -> float:
    small, c = _small(given, found, kept), found.config
    if c.steps:
        given.train(small, c.steps, (c.seed + 500) % 2**32)
    return given.judge(small.eval())


def _finished(given: Compressible, found: Found, arm: Arm) -> dict[str, Any]:
    """The network of an arm, trained after each step, and its numbers."""
    c, counts = found.config, counts_of(arm.kept)
    small = _small(given, found, arm.kept)
    if c.recover and (counts < found.plan.full()).any():
        given.train(small, c.recover * given.epoch, (c.seed + 1000) % 2**32)
    in_float = given.quality(small.eval())
    quantize(small, arm.bits, c.quantizer, input_bits(arm.bits, c))
    with torch.no_grad():
        fit(small.eval(), given.example)
    if c.quantize_epochs:
        given.train(small, c.quantize_epochs * given.epoch, (c.seed + 1001) % 2**32)
    return {
        given.measure: given.quality(small.eval()),
        f"{given.measure}_float": in_float,
        "macs": found.plan.cost(counts),
        "bops": bops_of(found.plan, counts, arm.bits, c),
        "bits": arm.bits,
        "weights": weights(small),
    }
