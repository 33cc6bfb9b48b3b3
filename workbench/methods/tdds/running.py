"""TDDS as a trace: train once, choose, and train on the coresets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from workbench.event import Event, Outcome, Trace
from workbench.methods.tdds.choosing import budgets_of, chosen, coresets_of, length_of
from workbench.methods.tdds.result import result_of
from workbench.methods.tdds.samples import samples_of
from workbench.methods.tdds.settings import Config
from workbench.methods.tdds.training import Scoring, Training, iterations_of, official_weight, phase_lengths, train_phase
from workbench.parts.training import about, same_run, weights


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train once and score every sample; choose with TDDS and its rivals; train on the coresets of `config.compare`, at the
    budget `config.keep` and at each of `config.budgets`.

    Events 1..epochs belong to the scoring run: `loss`, `accuracy`, `test_accuracy`, `lr`; arrays `p_label (sample)`, from the
    second epoch `contribution (sample, window)`, the changes d in the newest window, from epoch J on `score (sample)`, S of
    the trajectory up to this epoch, and for pixels of a scene `score_map (y, x)`. After them at most `epochs` events for each
    coreset: `loss/NAME`, `accuracy/NAME`, `test_accuracy/NAME`; NAME ends in `@0.1` for a further budget of 0.1.
    `_on_vgg` for a further network of `config.networks`. docs/methods/tdds.md describes the result.
    """
    samples = samples_of(scene, config)
    # without further networks as before there were any: older checkpoints continue
    identity = about(samples.fingerprint, config, ("show_every",) if config.networks else ("show_every", "networks"))
    scoring, unfinished = Scoring(samples, config), None
    finished: dict[str, dict[str, Any]] = {}  # coreset -> accuracies, factor, weights
    if state is not None:
        same_run("tdds", state["about"], identity)
        scoring.load(state["scoring"])
        finished, unfinished = dict(state["finished"]), state["going"]
    phases = phase_lengths(iterations_of(samples, config), config.epochs)
    keeps = budgets_of(config)
    coresets = coresets_of(config)
    total = config.epochs + len(coresets) * len(phases)

    # 1. one training on all samples
    def saved() -> dict[str, Any]:
        return {
            "about": identity,
            "scoring": scoring.state(),
            "finished": dict(finished),
            "going": None,
        }

    for step in range(scoring.recorder.epochs + 1, config.epochs + 1):
        numbers = scoring.epoch()
        shown = step % config.show_every == 0 or step == config.epochs
        yield Event(step, numbers, scoring.arrays(scene) if shown else {}, total, saved)

    # 2. choose; 3. train on each coreset, from the same initial weights and for the same number of steps
    scores = {keep: scoring.scores(length_of(keep, config)) for keep in keeps}
    kept = {keep: chosen(scores[keep], samples, config, keep) for keep in keeps}
    step = config.epochs + sum(len(v["accuracies"]) for v in finished.values())
    for coreset in coresets:
        keep, name = coreset.keep, coreset.name
        if name in finished:
            continue
        everything = coreset.selector == "full"
        official = config.loss_scale == "official" and not everything
        weight = official_weight(scores[keep]["tdds"], samples) if official else None
        rows = samples.train if everything else samples.train[kept[keep][coreset.selector].values]
        training = Training(samples, rows, config, sum(phases), config.seed + 1, weight, coreset.network)
        accuracies: list[float] = []
        if unfinished is not None:
            training.load(unfinished["training"])
            accuracies, unfinished = list(unfinished["accuracies"]), None
            step += len(accuracies)

        def saved_here(training: Training = training, accuracies: list[float] = accuracies) -> dict[str, Any]:
            return {**saved(), "going": {"training": training.state(), "accuracies": list(accuracies)}}

        for steps in phases[len(accuracies) :]:
            numbers = train_phase(training, steps, accuracies)
            step += 1
            last = len(accuracies) == len(phases)
            if last:
                trained = weights(training.network) if keep == config.keep and not coreset.network else {}
                finished[name] = {
                    "accuracies": accuracies,
                    "by_class": training.class_accuracy(),
                    "factor": training.factor,
                    "weights": trained,
                }
            series = {f"{quantity}/{coreset.series}": value for quantity, value in numbers.items()}
            yield Event(step, series, {}, total, saved if last else saved_here)
    outcome = {"full": weights(scoring.training.network)} | {
        name: f["weights"] for name, f in finished.items() if f["weights"]
    }
    return Outcome(result_of(scene, samples, config, scoring, scores[config.keep], kept, finished), outcome)
