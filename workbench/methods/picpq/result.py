"""Accuracy and cost of PIC-PQ and every rival, and the arrays that show what was removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from workbench.methods.picpq.arms import Found, measured_sensitivity
from workbench.methods.picpq.bits import bops_of, caps_of, input_bits
from workbench.methods.picpq.training import Arm, Compression, judged
from workbench.parts.evolution import Search
from workbench.parts.pruning import Plan, counts_of
from workbench.parts.training import weights
from workbench.scene import PROVENANCE, TABLE, fingerprint

CALLED = {
    "picpq": "PIC-PQ",
    "hrank": "HRank: ranks alone, a = 1 and b = 0",
    "shuffled": "control: the ranks of other filters of the layer",
    "random": "random filters",
    "uniform_l1": "uniform L1",
    "global_l1": "global L1",
    "legr": "LeGR: norms of weights in the same search",
    "lsq8": "unpruned, 8 bit",
    "lsq6": "unpruned, 6 bit",
    "lsq4": "unpruned, 4 bit",
    "lsq3": "unpruned, 3 bit",
    "caps": "unpruned, with the caps",
    "cap-1": "unpruned, caps less 1 bit",
    "greedy": "unpruned, greedy mixed precision at the bit operations of PIC-PQ",
    "ptq8": "unpruned, int8 without training by onnxruntime, measured on the file",
    "dense": "not compressed",
}


def finished_arm(compression: Compression, found: Found) -> dict[str, Any]:
    """Numbers and weights of a compressed network; test samples are used here only."""
    chips, arm = found.chips, compression.arm
    before = compression.float_network(found.dense, found.plan).to(chips.values.device)
    counts = counts_of(arm.kept)
    return {
        "accuracy": judged(compression.network, chips, chips.test)[1],
        "accuracy_float": judged(before, chips, chips.test)[1],
        "val_accuracy": judged(compression.network, chips, chips.val)[1],
        "macs": found.plan.cost(counts),
        "bops": bops_of(found.plan, counts, arm.bits, found.config),
        "bits": dict(arm.bits),
        "kept": [k.tolist() for k in arm.kept],
        "weights": weights(compression.network),
    }


def shown_search(found: Found, search: Search) -> dict[str, xr.DataArray]:
    """`scale`, log a, and `shift`, b, of all candidates so far (candidate, convolution)."""
    coords = {"candidate": np.arange(1, len(search.history) + 1), "convolution": found.layers}
    scale = np.log(np.stack([m.a for m in search.history]))
    shift = np.stack([m.b for m in search.history])
    dims = ("candidate", "convolution")
    return {
        "scale": xr.DataArray(scale, coords, dims, attrs={"long_name": "log a"}),
        "shift": xr.DataArray(shift, coords, dims, attrs={"long_name": "b"}),
    }


def shown_arm(found: Found, arm: Arm) -> dict[str, xr.DataArray]:
    """`share (layer)` of filters kept, and `bits (layer)`."""
    names = [n.name for n in found.plan.layers]
    shares = found.plan.shares(counts_of(arm.kept))
    return {
        "share": xr.DataArray(shares, {"layer": names}, "layer", attrs={"long_name": "share of filters kept"}),
        "bits": xr.DataArray(
            [arm.bits[n] for n in names], {"layer": names}, "layer", attrs={"long_name": "bits per weight"}
        ),
    }


def result_of(
    scene: xr.Dataset, found: Found, searches: Mapping[str, Search], finished: Mapping[str, Mapping[str, Any]]
) -> xr.Dataset:
    """The result as one Dataset; docs/methods/picpq.md lists its variables."""
    chips, ours, search = found.chips, finished["picpq"], searches["picpq"]
    arm = Arm("picpq", [np.array(k) for k in ours["kept"]], ours["bits"])
    dense = judged(found.dense, chips, chips.test)[1]
    result = compared(found, search, finished, arm, "accuracy", dense).assign(_sensitivity(found))
    provenance = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    result.attrs = {
        **provenance,
        "scene_fingerprint": fingerprint(scene),
        "samples": chips.samples.fingerprint,
        "config": json.dumps(found.config.model_dump(mode="json"), sort_keys=True),
        "split": f"{len(chips.train)} training, {len(chips.val)} validation, {len(chips.test)} test samples",
        **result.attrs,
        "classes": [str(n) for n in chips.samples.names],
    }
    first = float(np.median([m.loss for m in search.history[: search.first]]))
    result["search_loss_first"] = ((), first, {"long_name": "median validation loss of the first candidates"})
    different = float(len({m.loss for m in search.history}))
    result["candidates"] = ((), different, {"long_name": "candidates with different losses"})
    return result


def compared(
    found: Found, search: Search, finished: Mapping[str, Mapping[str, Any]], ours: Arm, measure: str, dense: float
) -> xr.Dataset:
    """What the choices are, and what each method costs and reaches, of classifiers and of other networks.

    finished: of each method `bits`, `macs`, `bops`, `weights`, and by the name of the measure its quality on test data, with `_float`
    that after pruning, in float. ours: the arm of PIC-PQ. dense: quality of the float network.
    """
    plan, config, own = found.plan, found.config, finished["picpq"]
    names, whole, counts = [n.name for n in plan.layers], plan.cost() * 32 * 32, counts_of(ours.kept)
    by_layer = {"long_name": "bits per weight"}
    result = xr.Dataset(
        {
            **shown_arm(found, ours),
            **shown_search(found, search),
            "arm_bits": (("arm", "layer"), [[one["bits"][n] for n in names] for one in finished.values()], by_layer),
            "cap": ("layer", [caps_of(plan, config)[n] for n in names], {"long_name": "largest bits of the layer"}),
            "macs": ("layer", plan.macs(), {"long_name": "multiply-accumulates of the float network"}),
            "input_bits": (
                "layer",
                [input_bits(own["bits"], config)[n] for n in names],
                {"long_name": "bits of the layer's input"},
            ),
            "macs_left": ("layer", plan.macs(counts), {"long_name": "multiply-accumulates left"}),
            "search_loss": (
                "candidate",
                [m.loss for m in search.history],
                {"long_name": "validation loss of each candidate"},
            ),
            "waterfall": (
                "stage",
                [whole / 1e9, own["macs"] * 1024 / 1e9, own["bops"] / 1e9],
                {"long_name": "bit operations, convention input-act", "units": "G"},
            ),
        },
        coords={"layer": names, "arm": list(finished), "stage": ["float", "pruned", "pruned and quantised"]},
        attrs={
            "convention": "input-act",
            "safeguard": config.safeguard,
            "round_to": config.round_to,
            "group_score": config.group,
        },
    )
    result = result.assign(_filters(found, ours.kept)).assign(_plan_table(plan))
    for name, (value, text) in _numbers(found, search, finished, measure, dense).items():
        result[name] = ((), float(value), {"long_name": text})
    return result


def _filters(found: Found, kept: list[np.ndarray]) -> dict[str, xr.Variable | tuple[Any, ...]]:
    """`filter_rank (filter)` and `filter_kept (filter)`, of all layers one after another; `filter_layer` and `filter_index` say which."""
    layer, index, alive, rank = [], [], [], []
    for name in found.layers:
        count = len(found.properties[name])
        own = set(found.plan.of_layer(kept, name).tolist())
        layer += [name] * count
        index += list(range(count))
        alive += [i in own for i in range(count)]
        rank += found.properties[name].tolist()
    return {
        "filter_rank": ("filter", np.array(rank), {"long_name": "mean rank of the filter's maps"}),
        "filter_kept": ("filter", np.array(alive), {"long_name": "whether the filter is kept"}),
        "filter_layer": ("filter", np.array(layer), {"long_name": "layer of the filter"}),
        "filter_index": ("filter", np.array(index), {"long_name": "number of the filter in its layer"}),
    }


def _plan_table(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """Columns of a table, from which `Plan.from_table` computes costs for other choices of filters."""
    dims = {"reads": ("layer", "group")}
    return {
        f"plan_{name}": (dims.get(name, "layer"), values, {"long_name": f"plan of the network: {name}", TABLE: "plan"})
        for name, values in plan.table().items()
    }


def _kilobytes(one: Mapping[str, Any]) -> float:
    """Of the weights of the layers, packed to their bits."""
    state, total = one["weights"], 0
    for name, bits in one["bits"].items():
        key = next(k for k in (f"{name}.weight", f"{name}.parametrizations.weight.original") if k in state)
        total += state[key].numel() * bits
    return total / 8e3


def _sensitivity(found: Found) -> dict[str, tuple[Any, ...]]:
    """Rise of the validation loss when one layer alone has 3 bits; its standard error is that over four parts of the samples."""
    caps = caps_of(found.plan, found.config)
    names = [n for n in caps if caps[n] < 32]
    rises = measured_sensitivity(found, names, (3,))[:, 0]
    every = np.zeros((len(caps), rises.shape[1]))
    every[[list(caps).index(n) for n in names]] = rises
    text = "rise of the validation loss with 3 bits in this layer alone, without training"
    return {
        "sensitivity": ("layer", every.mean(1), {"long_name": text}),
        "sensitivity_error": ("layer", every.std(1, ddof=1) / 2, {"long_name": "standard error of it over four parts"}),
    }


def _numbers(
    found: Found, search: Search, finished: Mapping[str, Mapping[str, Any]], measure: str, dense: float
) -> dict[str, tuple[float, str]]:
    numbers, whole = {f"{measure}_dense": (dense, f"test {measure}, {CALLED['dense']}")}, found.plan.cost() * 32 * 32
    in_float = {"weights": found.dense.state_dict(), "bits": {n.name: 32 for n in found.plan.layers}}
    numbers["kilobytes_weights_dense"] = (_kilobytes(in_float), "kilobytes of the weights in float")
    for name, one in finished.items():
        key, text = name.replace("-", "_"), CALLED[name]
        numbers[f"{measure}_{key}"] = (one[measure], f"test {measure}, {text}")
        numbers[f"bops_ratio_{key}"] = (
            whole / one["bops"],
            f"bit operations of the float network divided by those left, input-act, {text}",
        )
        numbers[f"kilobytes_weights_{key}"] = (_kilobytes(one), f"kilobytes of the weights packed to their bits, {text}")
        if one["macs"] < found.plan.cost():
            numbers[f"{measure}_float_{key}"] = (one[f"{measure}_float"], f"test {measure} after pruning, in float, {text}")
            numbers[f"macs_left_{key}"] = (
                one["macs"] / found.plan.cost(),
                f"share of the multiply-accumulates left, {text}",
            )
    numbers["search_loss_best"] = (search.best.loss, "validation loss of the best candidate")
    numbers["search_loss_identity"] = (
        search.history[search.first - 1].loss,
        "validation loss of the identity, a = 1 and b = 0",
    )
    return numbers
