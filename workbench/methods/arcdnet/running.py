"""The run: train AR-CDNet while watching one validation pair, then train its rivals, then evaluate all on held-out pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from workbench.data.checks import check_pair
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.methods.arcdnet.network import shape_of
from workbench.methods.arcdnet.pairs import Pairs, pairs_of
from workbench.methods.arcdnet.result import Watched, applied, applied_result, training_result, watched
from workbench.methods.arcdnet.settings import NEEDS, Config
from workbench.methods.arcdnet.tiles import load_network, packed
from workbench.methods.arcdnet.training import Learner
from workbench.metrics.change import confusion
from workbench.metrics.uncertainty import entropy, error_auroc, mean_gap
from workbench.parts.training import about, same_run
from workbench.scene import fingerprint, require


def learners(config: Config) -> list[str]:
    """Names of the networks trained, in order: arcdnet first; each has `config.steps` steps."""
    names = ["arcdnet", *(r.replace("-", "_") for r in config.rivals)]
    if "mc-dropout" in config.measures:
        names.append("mc_dropout")
    if "ensemble" in config.measures:
        names += ["ensemble_2", "ensemble_3"]
    return names


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train on the scene's training part and evaluate on its test part; with `config.weights` only apply and evaluate.

    Event 0 shows the watched validation pair before training; then one event for each step of AR-CDNet: `loss`, `loss_change`,
    `loss_side_K`, `loss_uncertainty` with its `floor`, `lr`; every `show_every` steps the scores `val_...` and the maps `change`,
    `uncertainty`, `target` of the watched pair. Then `loss/NAME` and `val_f1/NAME` of each rival. docs/methods/arcdnet.md
    lists all of it, and the result.
    """
    require(scene, *NEEDS, who="arcdnet")
    check_pair(scene, who="arcdnet")
    if config.weights is not None:
        return (yield from apply_weights(scene, config))
    _check(scene, config)
    pairs = pairs_of(scene, config)
    view = watched(pairs)
    identity = about(fingerprint(scene), config)
    names, finished, unfinished = learners(config), {}, None
    if state is not None:
        same_run("arcdnet", state["about"], identity)
        finished, unfinished = dict(state["finished"]), state["going"]
    total = config.steps * len(names)
    first = Learner("arcdnet", pairs, config)
    if state is None:
        yield Event(0, *_validated(first, pairs, view, start=True), total)
    for n, name in enumerate(names):
        if name in finished:
            continue
        learner = first if name == "arcdnet" else Learner(name, pairs, config)
        if unfinished is not None:
            learner.load(unfinished)
            unfinished = None

        def saved(learner: Learner = learner) -> dict[str, Any]:
            return {"about": identity, "finished": dict(finished), "going": learner.state()}

        while learner.done < config.steps:
            numbers = learner.step()
            arrays: Mapping[str, xr.DataArray] = {}
            if learner.done % config.show_every == 0 or learner.done == config.steps:
                scores, arrays = _validated(learner, pairs, view)
                numbers |= scores
            if name != "arcdnet":
                numbers = {f"{quantity}/{name}": value for quantity, value in numbers.items()}
            yield Event(n * config.steps + learner.done, numbers, arrays, total, saved)
        finished[name] = learner.weights()
    trained = {}
    for name in names:
        learner = first if name == "arcdnet" else Learner(name, pairs, config)
        learner.put(finished[name])
        trained[name] = learner.evaluating()
    result = training_result(scene, pairs, config, trained, view)
    return Outcome(result, packed(first.trained.network, config, pairs.log) | _rivals(finished))


def _rivals(finished: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: weights["network"] for name, weights in finished.items() if name != "arcdnet"}


def apply_weights(scene: xr.Dataset, config: Config) -> Trace:
    """The maps of a trained network on this scene and, with truth, its scores; one event for each pair."""
    assert config.weights is not None
    trained = load_network(config.weights)
    single = "sample" not in scene["before"].dims
    chips = scene.expand_dims("sample") if single else scene
    maps = []
    for n in range(chips.sizes["sample"]):
        maps.append(applied(trained, chips.isel(sample=n), config))
        yield Event(n + 1, {"mean_change": float(np.nanmean(maps[-1]["change"]))}, {}, chips.sizes["sample"])
    return Outcome(applied_result(scene, maps, config, single), packed(trained.network, trained.config, trained.log))


def _validated(
    learner: Learner, pairs: Pairs, view: Watched, start: bool = False
) -> tuple[dict[str, float], dict[str, xr.DataArray]]:
    """Scores on the validation part and, for AR-CDNet, the maps of the watched pair."""
    truth, maps = view.validation(learner.evaluating(), pairs)
    matrix = confusion(maps["change"], truth)
    scores = {"val_f1": matrix.f1, "val_iou": matrix.iou}
    arrays: dict[str, xr.DataArray] = {}
    if learner.name == "arcdnet":
        p = maps["change"]
        scores["val_error_auroc_entropy"] = error_auroc(entropy(p), p, truth)
        if "uncertainty" in maps:
            scores["val_error_auroc"] = error_auroc(maps["uncertainty"], p, truth)
            scores["val_mean_uncertainty"], scores["val_mean_error"] = mean_gap(maps["uncertainty"], p, truth)
        arrays = view.maps(learner, pairs)
        if start:
            arrays |= view.images(pairs)
    return {k: float(v) for k, v in scores.items() if np.isfinite(v)}, arrays


def _check(scene: xr.Dataset, config: Config) -> None:
    if "truth" not in scene:
        raise InputError(
            "arcdnet learns from truth (y, x): above 0 changed, 0 not, -1 not labelled; this scene has none. Give truth=, or "
            "apply a trained network with weights=RUN_FOLDER."
        )
    if config.encoder is not None and config.network != "full":
        raise InputError(
            "encoder= needs the resnet18d encoder, which only network='full' has; set network='full', or leave encoder out."
        )
    if config.crop % shape_of(config).stride:
        raise InputError(f"crop={config.crop} is not a multiple of the network's stride, {shape_of(config).stride}.")
