"""The result of a TDDS run as a labelled dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench.baselines.coresets import jaccard
from workbench.data.samples import Samples
from workbench.methods.tdds.choosing import budgets_of, coreset_name, length_of
from workbench.methods.tdds.labelled import accuracy_of, painted, provenance
from workbench.methods.tdds.settings import Config
from workbench.methods.tdds.training import Scoring
from workbench.metrics.leak import leak_meter


def result_of(
    scene: xr.Dataset,
    samples: Samples,
    config: Config,
    scoring: Scoring,
    scores: xr.Dataset,
    kept_at: Mapping[float, xr.Dataset],
    finished: Mapping[str, Mapping[str, Any]],
) -> xr.Dataset:
    """The result of a run as one Dataset; docs/methods/tdds.md lists its variables."""
    train, label = samples.train, samples.label.numpy()[samples.train]
    kept, T = kept_at[config.keep], length_of(config.keep, config)
    epochs, names = scoring.recorder.epochs, list(map(str, kept.data_vars))
    result = xr.Dataset(
        {
            "score": scores["tdds"].assign_attrs(long_name=f"TDDS score, T = {T}, J = {config.J}"),
            "kept": kept["tdds"].assign_attrs(long_name=f"kept at {config.keep:g}"),
            "label": ("sample", label, {"names": samples.names, "long_name": "class trained with"}),
            "easy": scores["easy"].assign_attrs(long_name="mean probability of the label over the run"),
            "score_by_T": (("T", "sample"), torch.stack(scoring.by_T).numpy(), {"long_name": "TDDS score of every T"}),
            "per_class": (
                ("selector", "class"),
                np.stack([np.bincount(label[kept[n].values], minlength=samples.classes) for n in names]),
                {"long_name": "samples kept"},
            ),
            "overlap": jaccard(kept),
            "test_sample": ("test", samples.ids[samples.test], {"long_name": "identifiers of the test samples"}),
        },
        coords={
            "T": np.arange(config.J, epochs + 1),
            "selector": names,
            "class": samples.names,
            "label_total": ("class", np.bincount(label, minlength=samples.classes), {"long_name": "training samples"}),
        },
        attrs=provenance(scene, config, samples),
    )
    for name in names[1:]:
        result[f"kept_{name}"] = kept[name].assign_attrs(long_name=f"kept by {name}")
        if name in scores:
            result[f"score_{name}"] = scores[name].assign_attrs(long_name=f"{name} score")
    if samples.flipped.any():
        result["flipped"] = ("sample", samples.flipped[train], {"long_name": "label changed to a wrong one on purpose"})
    if config.trajectories:
        result["p_label"] = (
            ("epoch", "sample"),
            torch.stack(scoring.p_label).numpy(),
            {"long_name": "probability of the label"},
        )
        result["contribution"] = (("change", "sample"), torch.stack(scoring.changes).numpy(), {"long_name": "change d"})
        result = result.assign_coords(epoch=np.arange(1, epochs + 1), change=np.arange(2, epochs + 1))
    if samples.position is not None:
        place = samples.position[train]
        result = result.assign_coords(sample_y=("sample", place[:, 0]), sample_x=("sample", place[:, 1]))
        result["score_map"] = painted(scene, samples, result["score"])
        result["kept_map"] = painted(scene, samples, result["kept"]).assign_attrs(long_name="1 kept, 0 dropped")
    result = result.assign(accuracy_of("full", scoring.accuracy))
    if len(samples.test):
        about = {"long_name": "test accuracy of each class after training on all samples, last epoch"}
        result["class_accuracy_full"] = ("class", scoring.training.class_accuracy(), about)
    for name, training in finished.items():
        result = result.assign(accuracy_of(name, training["accuracies"]))
    result = result.assign(_by_budget(samples, config, kept_at, finished))
    if config.networks and len(samples.test):
        result["accuracy_by_network"] = _by_network(config, finished)
    numbers = {
        "keep": (config.keep, "share of training samples kept"),
        "pruned": (1 - config.keep, "share of training samples pruned"),
    }
    numbers["T"] = (T, "trajectory length used")
    if samples.flipped.any():
        flipped = samples.flipped[train]
        for name in names:
            share = float(flipped[kept[name].values].mean())
            text = f"share of wrong labels in the coreset of {name}; {flipped.mean():.3g} by chance"
            numbers[f"noise_share_{name}"] = (share, text)
    for name, training in finished.items():
        if math.isfinite(training["factor"]):
            text = f"mean factor on the loss in the last phase of {name}: scales the learning rate"
            numbers[f"loss_factor_{name}"] = (training["factor"], text)
    if samples.position is not None and len(samples.test):
        values = np.nan_to_num(samples.only.flatten(1).numpy())
        leak = leak_meter(values, samples.label.numpy(), train, samples.test, config.seed)
        text = "accuracy of the nearest neighbour"
        numbers["leak_random"] = (leak.random, f"{text} under random pixels: how alike neighbours are")
        numbers["leak_split"] = (leak.honest, f"{text} under the split that was used")
    for name, (value, text) in numbers.items():
        result["trajectory_length" if name == "T" else name] = ((), float(value), {"long_name": text})
    return result


def _by_network(config: Config, finished: Mapping[str, Mapping[str, Any]]) -> xr.DataArray:
    """`(network, budget, trained)`: last-epoch accuracies of the further networks, which did not choose the samples."""
    keeps = sorted(budgets_of(config))
    values = [
        [[finished[f"{coreset_name(n, k, config)}_on_{w}"]["accuracies"][-1] for n in config.compare] for k in keeps]
        for w in config.networks
    ]
    return xr.DataArray(
        np.array(values, float).reshape(len(config.networks), len(keeps), len(config.compare)),
        {"network": list(config.networks), "budget": keeps, "trained": list(config.compare)},
        ("network", "budget", "trained"),
        attrs={"long_name": "test accuracy of a further network after training on the coreset, last epoch"},
    )


def _by_budget(
    samples: Samples, config: Config, kept_at: Mapping[float, xr.Dataset], finished: Mapping[str, Mapping[str, Any]]
) -> xr.Dataset:
    """`budget_T (budget)`; `accuracy (budget, trained)` of coresets, `class_accuracy (budget, trained, class)` and, with wrong
    labels, `noise_share (budget, selector)`."""
    keeps = sorted(kept_at)
    result = xr.Dataset(
        {
            "budget_T": (
                "budget",
                [length_of(k, config) for k in keeps],
                {"long_name": "trajectory length used at the budget"},
            )
        },
        coords={"budget": keeps},
    )
    if config.compare and len(samples.test):
        last = [[finished[coreset_name(n, k, config)]["accuracies"][-1] for n in config.compare] for k in keeps]
        text = {"long_name": "test accuracy after training on the coreset, last epoch"}
        result["accuracy"] = xr.DataArray(last, {"budget": keeps, "trained": list(config.compare)}, ("budget", "trained"))
        result["accuracy"].attrs = text
        unknown = [math.nan] * samples.classes  # of coresets that were finished before this was recorded
        each = [[finished[coreset_name(n, k, config)].get("by_class", unknown) for n in config.compare] for k in keeps]
        by_class = {"long_name": "test accuracy of each class after training on the coreset, last epoch"}
        result["class_accuracy"] = (("budget", "trained", "class"), each, by_class)
    if samples.flipped.any():
        flipped = samples.flipped[samples.train]
        share = xr.concat([kept_at[k].to_array("selector") for k in keeps], "budget").transpose("budget", "selector", ...)
        result["noise_share"] = (
            ("budget", "selector"),
            (share.values & flipped).sum(-1) / share.values.sum(-1),
            {"long_name": "share of wrong labels in the coreset"},
        )
    return result
