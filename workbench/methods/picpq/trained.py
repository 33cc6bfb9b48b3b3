"""PIC-PQ on a network that is trained already, of any room or of your own: a detector, a network for change.

    from workbench.methods import sarnet
    from workbench.methods.picpq import Config, compress

    result = compress(sarnet.compressible("runs/ships", scene), Config(target=0.5, steps=20))
    result["ap50_picpq"], result["ap50_lsq4"], result["bits"]

The result has the names of a run of `picpq`, with the measure of the network (`ap50`, `f1`) in place of `accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import nn

from workbench.errors import InputError, did_you_mean
from workbench.methods.picpq.arms import Found, arm_of
from workbench.methods.picpq.bits import bops_of, caps_of, cost_of, input_bits, limit_of
from workbench.methods.picpq.result import CALLED, filters_of, kilobytes_of, plan_table, shown_arm, shown_search
from workbench.methods.picpq.settings import RIVALS, Config
from workbench.methods.picpq.training import Arm
from workbench.parts.compressible import Compressible
from workbench.parts.evolution import Cached, Search
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
        progress(name, finished[name]["quality"])
    assert ours is not None
    return _result(given, found, searches["picpq"], finished, ours)


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
    pruned = bool((counts < found.plan.full()).any())
    if pruned and c.recover:
        given.train(small, c.recover * given.epoch, (c.seed + 1000) % 2**32)
    in_float = given.quality(small.eval())
    quantize(small, arm.bits, c.quantizer, input_bits(arm.bits, c))
    with torch.no_grad():
        fit(small.eval(), given.example)
    if c.quantize_epochs:
        given.train(small, c.quantize_epochs * given.epoch, (c.seed + 1001) % 2**32)
    return {
        "quality": given.quality(small.eval()),
        "in_float": in_float,
        "macs": found.plan.cost(counts),
        "bops": bops_of(found.plan, counts, arm.bits, c),
        "bits": arm.bits,
        "weights": weights(small),
        "pruned": pruned,
    }


def _result(
    given: Compressible, found: Found, search: Search, finished: Mapping[str, Mapping[str, Any]], ours: Arm
) -> xr.Dataset:
    plan, config = found.plan, found.config
    names, whole = [n.name for n in plan.layers], plan.cost() * 32 * 32
    own, counts = finished["picpq"], counts_of(ours.kept)
    result = xr.Dataset(
        {
            **shown_arm(found, ours),
            **shown_search(found, search),
            "arm_bits": (("arm", "layer"), [[f["bits"][n] for n in names] for f in finished.values()], {"long_name": "bits per weight"}),
            "cap": ("layer", [caps_of(plan, config)[n] for n in names], {"long_name": "largest bits of the layer"}),
            "input_bits": ("layer", [input_bits(own["bits"], config)[n] for n in names], {"long_name": "bits of the layer's input"}),
            "macs": ("layer", plan.macs(), {"long_name": "multiply-accumulates of the float network"}),
            "macs_left": ("layer", plan.macs(counts), {"long_name": "multiply-accumulates left"}),
            "search_loss": ("candidate", [m.loss for m in search.history], {"long_name": "validation loss of each candidate"}),
            "waterfall": (
                "stage",
                [whole / 1e9, own["macs"] * 1024 / 1e9, own["bops"] / 1e9],
                {"long_name": "bit operations, convention input-act", "units": "G"},
            ),
        },
        coords={"layer": names, "arm": list(finished), "stage": ["float", "pruned", "pruned and quantised"]},
        attrs={
            "split": given.split,
            "convention": "input-act",
            "safeguard": config.safeguard,
            "round_to": config.round_to,
            "group_score": config.group,
        },
    )  # fmt: skip
    result = result.assign(filters_of(found, ours.kept)).assign(plan_table(plan))
    measure = given.measure
    numbers = {f"{measure}_dense": (given.quality(found.dense.eval()), f"test {measure}, {CALLED['dense']}")}
    in_float = {"weights": found.dense.state_dict(), "bits": dict.fromkeys(names, 32)}
    numbers["kilobytes_weights_dense"] = (kilobytes_of(in_float), "kilobytes of the weights in float")
    for name, one in finished.items():
        key, text = name.replace("-", "_"), CALLED[name]
        numbers[f"{measure}_{key}"] = (one["quality"], f"test {measure}, {text}")
        numbers[f"bops_ratio_{key}"] = (
            whole / one["bops"],
            f"bit operations of the float network divided by those left, {text}",
        )
        numbers[f"kilobytes_weights_{key}"] = (kilobytes_of(one), f"kilobytes of the weights packed to their bits, {text}")
        if one["pruned"]:
            numbers[f"{measure}_float_{key}"] = (one["in_float"], f"test {measure} after pruning, in float, {text}")
            numbers[f"macs_left_{key}"] = (one["macs"] / plan.cost(), f"share of the multiply-accumulates left, {text}")
    numbers["search_loss_best"] = (search.best.loss, "validation loss of the best candidate")
    numbers["search_loss_identity"] = (
        search.history[search.first - 1].loss,
        "validation loss of the identity, a = 1 and b = 0",
    )
    for name, (value, text) in numbers.items():
        result[name] = ((), float(value), {"long_name": text})
    return result
