"""The run: train the diffusion networks of each arm, then the classifiers on their frozen bank, then compare all on the test pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import xarray as xr

from workbench.baselines.bank_rows import probe
from workbench.data.sensor_patches import patches_of
from workbench.event import Event, Outcome, Trace
from workbench.methods.mdfl.arms import OWN, denoiser_of
from workbench.methods.mdfl.result import result_of
from workbench.methods.mdfl.settings import Config
from workbench.parts.bank_training import ZERO, Classifier, Denoiser
from workbench.parts.denoised import film
from workbench.parts.training import about, in_turn, weights

HEADS = ("reuse", "raw_only")  # classifiers: with the bank, and without
Learner = Denoiser | Classifier


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train, classify, compare.

    One event for each step: `loss` and `loss/ARM` of the diffusion networks, then `head_loss` and `head_loss/raw_only` of the classifiers.
    Every `show_every` steps of the own arm also `probe_oa`, and `clean`, `noisy`, `denoised (band, y, x)`. docs/methods/mdfl.md lists
    the result.
    """
    patches = patches_of(scene, config, "mdfl")
    arms = [OWN, *(a for a in config.rivals if a != config.parser)]
    total = config.steps * len(arms) + config.head_steps * len(HEADS)
    made: dict[str, Denoiser] = {}
    heads: dict[str, Classifier] = {}

    def trained(name: str, learner: Learner) -> None:
        if isinstance(learner, Denoiser):
            made[name] = learner
        else:
            heads[name] = learner

    def classifier(name: str) -> Classifier:
        return Classifier(patches, config, made[OWN].bank(patches.place[patches.train]) if name == HEADS[0] else None)

    plan: dict[str, Callable[[], Learner]] = {arm: partial(denoiser_of, arm, patches, config) for arm in arms}
    plan |= {name: partial(classifier, name) for name in HEADS}
    turns = in_turn("mdfl", about(patches.fingerprint, config), plan, trained, state)
    for name, learner, numbers, done, saved in turns:
        arrays = {}
        if name == OWN:
            numbers["loss_of_zero"] = ZERO
            if learner.done % config.show_every == 0 or learner.done in (1, config.steps):
                assert isinstance(learner, Denoiser)
                numbers["probe_oa"] = probe(learner, patches)
                arrays = film(learner, patches)
        elif name != HEADS[0]:
            numbers = {f"{quantity}/{name}": value for quantity, value in numbers.items()}
        yield Event(done, numbers, arrays, total, saved)
    result = result_of(scene, patches, config, made, heads)
    kept = {f"{arm}-{group}": weights(net) for arm, learner in made.items() for group, net in learner.networks.items()}
    return Outcome(result, kept | {name: weights(learner.network) for name, learner in heads.items()})
