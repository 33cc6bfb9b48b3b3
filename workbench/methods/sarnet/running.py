"""The run: train SAR-Net while watching one validation image, then its rivals, then score all on the test images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from workbench.data.boxed_images import images_of
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.methods.sarnet.result import operating_threshold, result_of, watched
from workbench.methods.sarnet.settings import Config
from workbench.methods.sarnet.tiles import load_network, packed
from workbench.methods.sarnet.training import Learner
from workbench.parts.training import about, same_run, weights


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train on the training images and score on the test images; with `config.weights` only apply and score.

    Event 0 shows the watched validation image before training; then one event for each step: `loss`, `loss_class`, `loss_box`,
    `lr`; at the first and every `show_every` steps `val_ap50`, boxes, heat and gates. Then `loss/NAME`, `val_ap50/NAME` of each rival.
    docs/methods/sarnet.md lists all of it.
    """
    if config.weights is not None:
        return (yield from apply_weights(scene, config))
    images = images_of(scene, config, who="sarnet")
    view = watched(images)
    identity = about(images.fingerprint, config)
    names, finished, unfinished = ["sarnet", *config.rivals], {}, None
    if state is not None:
        same_run("sarnet", state["about"], identity)
        finished, unfinished = dict(state["finished"]), state["going"]
    total = config.steps * len(names)
    if state is None:
        arrays = view.still(images, config) | view.found(Learner("sarnet", images, config).network, images, config)
        yield Event(0, {}, arrays, total)
    for n, name in enumerate(names):
        if name in finished:
            continue
        learner = Learner(name, images, config)
        if unfinished is not None:
            learner.load(unfinished)
            unfinished = None

        def saved(learner: Learner = learner) -> dict[str, Any]:
            return {"about": identity, "finished": dict(finished), "going": learner.state()}

        while learner.done < config.steps:
            numbers = learner.step()
            arrays = {}
            if learner.done % config.show_every == 0 or learner.done in (
                1,
                config.steps,
            ):  # at 1: curves start at their own first step
                score = view.score(learner.network, images, config)
                numbers |= {"val_ap50": float(score)} if np.isfinite(score) else {}
                arrays = view.found(learner.network, images, config) if name == "sarnet" else {}
            if name != "sarnet":
                numbers = {f"{quantity}/{name}": value for quantity, value in numbers.items()}
            yield Event(n * config.steps + learner.done, numbers, arrays, total, saved)
        finished[name] = weights(learner.network)
    networks = {}
    for name in names:
        learner = Learner(name, images, config)
        learner.network.load_state_dict(finished[name])
        networks[name] = learner.network.eval()
    operating = operating_threshold(networks["sarnet"], images, config)
    result = result_of(scene, images, config, networks, operating)
    others = {name: finished[name] for name in names if name != "sarnet"}
    return Outcome(result, packed(networks["sarnet"], config, images.names, operating) | others)


def apply_weights(scene: xr.Dataset, config: Config) -> Trace:
    """Boxes of a trained network on every image of this scene, and their scores; one event."""
    assert config.weights is not None
    trained = load_network(config.weights)
    images = images_of(scene, config, whole=True, who="sarnet")
    if images.names != trained.names and max(len(trained.names), len(images.names)) > 1:
        raise InputError(
            f"The network knows the classes {', '.join(trained.names)}; this scene has {', '.join(images.names)}. "
            "Give a scene with the same."
        )
    view = watched(images)
    used = trained.config.model_copy(
        update={
            n: getattr(config, n) for n in ("threshold", "overlap", "most", "margin", "tile", "controls", "weights", "seed")
        }
    )
    used = used.model_copy(update={"tile": config.tile or trained.config.side})
    arrays = view.still(images, used) | view.found(trained.network, images, used)
    yield Event(1, {"images": float(len(images.ids))}, arrays, 1)
    result = result_of(scene, images, used, {"sarnet": trained.network}, trained.operating)
    return Outcome(result, packed(trained.network, trained.config, trained.names, trained.operating))
