"""The run: the exchange of the settings, its rivals with other messages, single sensors, pooled data, FedAvg and its rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from workbench.event import Event, Outcome, Trace
from workbench.methods.fedfusion.horizontal import Rounds
from workbench.methods.fedfusion.pixels import Pixels, pixels_of
from workbench.methods.fedfusion.result import OWN, result_of
from workbench.methods.fedfusion.settings import Config, parsed
from workbench.methods.fedfusion.shown import pictures
from workbench.parts.feature_exchange import Exchange, Together
from workbench.parts.training import about, in_turn, weights

PROBED = 300  # test pixels
Learner = Exchange | Together | Rounds


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Exchange, fuse, compare.

    One event for each step: `loss/SENSOR`, `megabytes/...`, and after an average `apart/before`, `apart/after`; then `loss/ROW` of
    each rival, and `round_loss/CLIENT`, `round_oa/LEARNER` and `failed` of FedAvg. Every `show_every` steps also `probe_oa`, and of
    the own exchange `owner_oa/SENSOR`, `feature`, `rebuilt`, `difference (y, x)` and `kept_energy (sensor, rank)`.
    docs/methods/fedfusion.md lists the result.
    """
    pixels = pixels_of(scene, config)
    plan = _plan(pixels, config)
    made: dict[str, Learner] = {}
    total = sum(config.rounds if name in config.horizontal else config.steps for name in plan)
    probed = np.random.default_rng(config.seed).permutation(pixels.test)[:PROBED]
    windows, truth = {s: pixels.take(probed, s) for s in pixels.sensors}, pixels.label[probed]
    stacked = pixels.stacked(probed, config.network == "mlp")
    turns = in_turn("fedfusion", about(pixels.fingerprint, config), plan, made.__setitem__, state)
    for name, learner, numbers, done, saved in turns:
        arrays = {}
        shown = learner.done % config.show_every == 0 or learner.done in (1, learner.total)
        if isinstance(learner, Rounds):
            numbers |= {f"round_oa/{name}": _right(learner.probabilities(stacked), truth)}
            if learner.traffic.total:
                numbers[f"megabytes/{name}"] = learner.traffic.total / 1e6
        else:
            if name != OWN:
                numbers = {f"loss/{name}": float(np.mean([v for n, v in numbers.items() if n.startswith("loss")]))}
            if shown:
                told = (
                    learner.probabilities(windows)
                    if isinstance(learner, Together)
                    else [h[0] for h in learner.told(windows, "probe")]
                )
                numbers["probe_oa" if name == OWN else f"probe_oa/{name}"] = oa = _right(told, truth)
                if isinstance(learner, Exchange) and len(learner.sensors) > 1:
                    learner.reached.append((sum(learner.trained.values()), oa))
            if shown and name == OWN:
                assert isinstance(learner, Exchange)
                numbers |= {f"owner_oa/{s}": _right([p], truth) for s, p in zip(learner.sensors, told, strict=True)}
                arrays = pictures(learner, {s: w[: config.batch] for s, w in windows.items()})
        yield Event(done, numbers, arrays, total, saved)
    return Outcome(result_of(scene, pixels, config, made), _weights(made))


def _plan(pixels: Pixels, config: Config) -> dict[str, Callable[[], Learner]]:
    """Name -> what makes its learner, in the order of the training."""
    plan: dict[str, Callable[[], Learner]] = {
        OWN: partial(Exchange, pixels, config, pixels.sensors, config.message, config.rank)
    }
    for rival in config.rivals:
        kind, rank = parsed(rival, config.rank)
        if (kind, rank) != (config.message, config.rank):
            plan[rival.replace(":", "_")] = partial(Exchange, pixels, config, pixels.sensors, kind, rank)
    for sensor in pixels.sensors:
        plan[f"only_{sensor}"] = partial(Exchange, pixels, config, [sensor])
    plan["centralised"] = partial(Together, pixels, config)
    for kind in config.horizontal:
        plan[kind] = partial(Rounds, pixels, config, kind)
    return plan


def _right(told: Sequence[np.ndarray], truth: np.ndarray) -> float:
    """Overall accuracy, the mean over several tables of probabilities (n, classes)."""
    return float(np.mean([(p.argmax(1) == truth).mean() for p in told]))


def _weights(made: Mapping[str, Learner]) -> dict[str, dict[str, Tensor]]:
    own = made[OWN]
    assert isinstance(own, Exchange)
    kept = {f"encoder-{s}": weights(o.encoder) for s, o in zip(own.sensors, own.groups[0], strict=True)}
    kept["shared"] = weights(own.owners[0].shared)
    return kept | {kind: learner.mean_state() for kind, learner in made.items() if isinstance(learner, Rounds)}
