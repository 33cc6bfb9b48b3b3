"""RS-DGC as a trace: all compressors in turn, on every rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from workbench.baselines.compression import Sparse
from workbench.data.samples import Samples
from workbench.engines.processes import ranks
from workbench.event import Event, Trace
from workbench.methods.rsdgc.chips import chips_of
from workbench.methods.rsdgc.result import outcome
from workbench.methods.rsdgc.settings import Config
from workbench.methods.rsdgc.showing import views
from workbench.methods.rsdgc.training import Training, ratios
from workbench.parts.training import about, same_run, weights


def run(scene: xr.Dataset, config: Config | None = None, state: Mapping[str, Any] | None = None) -> Trace:
    """Train every compressor on the scene's chips, with `config.workers` ranks; docs/methods/rsdgc.md describes the result.

    state: from an event of an interrupted run. Raises InputError for a scene that cannot be used; `RankLost` (from
    `workbench.engines.processes`) when a rank dies.
    """
    config = config or Config()
    chips = chips_of(scene, config)
    identity = about(chips.fingerprint, config, ("show_every", "timeout"))
    if state is not None and "about" in state["ranks"][0]:  # older checkpoints have no identity of their run
        same_run("rsdgc", state["ranks"][0]["about"], identity)
    results = yield from ranks(
        worker,
        chips,
        config.model_dump(),
        identity,
        world=config.workers,
        state=state,
        timeout=config.timeout,
        threads=config.threads,
    )
    return outcome(scene, chips, config, results)


def worker(
    rank: int,
    world: int,
    chips: Samples,
    settings: dict[str, Any],
    identity: str,
    state: Mapping[str, Any] | None = None,
) -> Generator[Event, None, dict[str, Any]]:
    """All compressors in turn on one rank; rank 0's events have numbers and views. Returns the results of each."""
    config = Config.model_validate(settings)
    results: dict[str, dict[str, Any]] = {} if state is None else {k: dict(v) for k, v in state["results"].items()}
    last = len(config.rivals) * config.steps
    first_rival, first_step = (0, 0) if state is None else (int(state["rival"]), int(state["step"]))
    for number in range(first_rival, len(config.rivals)):
        rival = config.rivals[number]
        training = Training(rival, rank, chips, config)
        begin = 0
        if state is not None and number == first_rival:
            training.load(state["training"])
            begin = first_step
        result = results.setdefault(rival, {"at": [], "accuracy": [], "bytes": [], "budget": [], "signal": []})
        for step in range(begin, config.steps):
            loss = training.step(step)
            event_step = number * config.steps + step + 1
            scalars = {f"megabytes/{rival}": training.counted / 1e6}
            if loss is not None and math.isfinite(loss):
                scalars[f"loss/{rival}"] = loss
            if training.skipped:
                scalars[f"skipped/{rival}"] = float(training.skipped)
            if training.headers is not None:
                scalars[f"header_megabytes/{rival}"] = training.headers / 1e6
            if training.measured is not None:
                scalars[f"measured_megabytes/{rival}"] = training.measured / 1e6
            if (step + 1) % config.eval_every == 0 or step + 1 == config.steps:
                predicted = training.predicted()
                accuracy = float((predicted == chips.label[chips.test]).double().mean())
                scalars[f"accuracy/{rival}"] = accuracy
                scalars |= {f"{ratio}/{rival}": value for ratio, value in ratios(training, step + 1).items()}
                result["at"].append(step + 1)
                result["accuracy"].append(accuracy)
                result["bytes"].append(float(training.counted))
                if step + 1 == config.steps:
                    result |= conclusion(training, predicted)
            arrays = {}
            if isinstance(training.compressor, Sparse):
                report = training.compressor.report
                scalars[f"density/{rival}"] = report.density
                if rival == "rsdgc":
                    result["budget"].append(list(report.k.values()))
                    result["signal"].append(list(report.signal.values()))
                    if report.overlap:
                        scalars["overlap/ranks"] = float(np.mean(report.overlap))
                    if rank == 0 and (step % config.show_every == 0 or step + 1 == config.steps):
                        arrays = views(training)
            yield Event(
                event_step,
                scalars if rank == 0 else {},
                arrays,
                last,
                _saved(identity, number, step + 1, training, results),
            )
    return results


def _saved(
    identity: str, number: int, step: int, training: Training, results: dict[str, Any]
) -> Callable[[], dict[str, Any]]:
    return lambda: {"about": identity, "rival": number, "step": step, "training": training.state(), "results": results}


def conclusion(training: Training, predicted: Tensor) -> dict[str, Any]:
    """The final results of one compressor; plain values and tensors."""
    final: dict[str, Any] = {
        "predicted": predicted,
        "counted": float(training.counted),
        "sent": float(training.compressor.sent),
        "headers": None if training.headers is None else float(training.headers),
        "measured": None if training.measured is None else float(training.measured),
        "skipped": float(training.skipped),
        **ratios(training, training.config.steps),
    }
    if training.rival == training.config.rivals[0]:
        final["weights"] = weights(training.network)
    if isinstance(training.compressor, Sparse):
        layers = [la for la in training.compressor.layers.values() if la.compressed]
        final["layers"] = [la.name for la in layers]
        final["sizes"] = [la.n for la in layers]
    return final
