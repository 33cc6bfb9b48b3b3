"""The run: train the diffusion networks of each arm, then the classifiers on their frozen bank, then compare all on the test pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from torch import Tensor

from workbench.baselines.bank_rows import probe
from workbench.data.sensor_patches import patches_of
from workbench.event import Event, Outcome, Trace
from workbench.methods.mdfl.arms import OWN, denoiser_of
from workbench.methods.mdfl.result import result_of
from workbench.methods.mdfl.settings import Config
from workbench.parts.bank_training import ZERO, Classifier, Denoiser
from workbench.parts.denoised import film
from workbench.parts.training import about, same_run, weights

HEADS = ("reuse", "raw_only")  # classifiers: with the bank, and without


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train, classify, compare.

    One event for each step: `loss` and `loss/ARM` of the diffusion networks, then `head_loss` and `head_loss/raw_only` of the classifiers.
    Every `show_every` steps of the own arm also `probe_oa`, and `clean`, `noisy`, `denoised (band, y, x)`. docs/methods/mdfl.md lists
    the result.
    """
    patches = patches_of(scene, config, "mdfl")
    identity = about(patches.fingerprint, config)
    arms = [OWN, *(a for a in config.rivals if a != config.parser)]
    total = config.steps * len(arms) + config.head_steps * len(HEADS)
    finished: dict[str, Any] = {}
    unfinished = None
    if state is not None:
        same_run("mdfl", state["about"], identity)
        finished, unfinished = dict(state["finished"]), state["going"]
    made: dict[str, Denoiser] = {}
    heads: dict[str, Classifier] = {}
    banks: dict[str, Tensor] = {}
    before = 0
    for name in [*arms, *HEADS]:
        if name in HEADS and not banks:
            banks = made[OWN].bank(patches.place[patches.train])
        learner: Denoiser | Classifier = (
            Classifier(patches, config, banks if name == HEADS[0] else None)
            if name in HEADS
            else denoiser_of(name, patches, config)
        )
        if name in finished:
            learner.load(finished[name])
        elif unfinished is not None:
            learner.load(unfinished)
            unfinished = None

        def saved(learner: Denoiser | Classifier = learner) -> dict[str, Any]:
            return {"about": identity, "finished": dict(finished), "going": learner.state()}

        while learner.done < learner.total:
            numbers = learner.step()
            arrays = {}
            if name == OWN:
                numbers["loss_of_zero"] = ZERO
                if learner.done % config.show_every == 0 or learner.done in (1, config.steps):
                    assert isinstance(learner, Denoiser)
                    numbers["probe_oa"] = probe(learner, patches)
                    arrays = film(learner, patches)
            elif name != HEADS[0]:
                numbers = {f"{quantity}/{name}": value for quantity, value in numbers.items()}
            yield Event(before + learner.done, numbers, arrays, total, saved)
        finished[name] = learner.state()
        before += learner.total
        if isinstance(learner, Denoiser):
            made[name] = learner
        else:
            heads[name] = learner
    result = result_of(scene, patches, config, made, heads)
    kept = {f"{arm}-{group}": weights(net) for arm, learner in made.items() for group, net in learner.networks.items()}
    return Outcome(result, kept | {name: weights(learner.network) for name, learner in heads.items()})
