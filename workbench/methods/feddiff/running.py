"""The run: each owner trains its diffusion network; then federations and networks on pooled data train on the frozen banks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import xarray as xr

from workbench.baselines.bank_rows import probe
from workbench.data.sensor_patches import Patches, patches_of
from workbench.event import Event, Outcome, Trace
from workbench.methods.feddiff.banks import Banks
from workbench.methods.feddiff.owners import owners_of
from workbench.methods.feddiff.result import OWN, result_of
from workbench.methods.feddiff.rival import fedfusion
from workbench.methods.feddiff.rounds import Federation
from workbench.methods.feddiff.settings import CodecName, Config
from workbench.parts.bank_training import ZERO, Classifier, Denoiser
from workbench.parts.denoised import film
from workbench.parts.feature_exchange import Exchange
from workbench.parts.features import checkpoint_hash
from workbench.parts.federation import Codec
from workbench.parts.training import about, in_turn, weights

PROBED = 300  # test pixels
JOINT = "joint"  # the diffusion network of the row mdfl
Learner = Denoiser | Federation | Classifier | Exchange


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train at each owner, exchange and fuse, compare.

    One event for each step: `loss/OWNER` of the diffusion networks, then `head_loss` of the federation and `head_loss/ROW` of its
    rivals. Every `show_every` steps of a diffusion network also `probe_oa/OWNER`, and `clean`, `noisy`, `denoised (band, y, x)`.
    With a round of the federation also `megabytes/...` and `apart`, every `show_every` rounds `owner_oa/OWNER`.
    docs/methods/feddiff.md lists the result.
    """
    patches = patches_of(scene, config, "feddiff")
    owners = owners_of(patches)
    networks: dict[str, Denoiser] = {}
    hashes: dict[str, str] = {}
    made: dict[str, Federation | Classifier | Exchange] = {}

    def trained(name: str, learner: Learner) -> None:
        if isinstance(learner, Denoiser):
            networks[name], hashes[name] = learner, checkpoint_hash(learner.networks[name])
        else:
            made[name] = learner

    banks = Banks(patches, config, networks)
    probed = np.random.default_rng(config.seed).permutation(patches.test)[:PROBED]
    place, truth = patches.place[probed], patches.label[probed]
    plan = _plan(patches, config, banks)
    total = sum(config.steps if name in (*owners, JOINT) else config.head_steps for name in plan)
    turns = in_turn("feddiff", about(patches.fingerprint, config), plan, trained, state)
    for name, learner, numbers, done, saved in turns:
        arrays = {}
        if isinstance(learner, Denoiser):
            numbers = {"loss_of_zero": ZERO, f"loss/{name}": numbers["loss"]}
            if learner.done % config.show_every == 0 or learner.done in (1, config.steps):
                numbers[f"probe_oa/{name}"] = probe(learner, patches)
                arrays = {f"{n}/{name}": picture for n, picture in film(learner, patches).items()}
        elif isinstance(learner, Exchange):
            losses = [v for n, v in numbers.items() if n.startswith("loss/")]
            numbers = {f"head_loss/{name}": sum(losses) / len(losses)}
        elif name != OWN:
            numbers = {f"head_loss/{name}": numbers["head_loss"]}
        elif isinstance(learner, Federation) and (
            learner.done % config.show_every == 0 or learner.done in (1, learner.total)
        ):
            told = learner.answers(patches, place, banks.at("trained", place)).fused
            numbers |= {f"owner_oa/{o}": float((p.argmax(1) == truth).mean()) for o, p in zip(owners, told, strict=True)}
        yield Event(done, numbers, arrays, total, saved)
    result = result_of(scene, patches, config, banks, made, hashes)
    return Outcome(result, _weights(networks, made))


def _plan(patches: Patches, config: Config, banks: Banks) -> dict[str, Callable[[], Learner]]:
    """Name -> what makes its learner, in the order of the training: diffusion networks first."""
    owners = owners_of(patches)
    plan: dict[str, Callable[[], Learner]] = {
        name: partial(Denoiser, patches, {name: sensors}, config, owner=i)
        for i, (name, sensors) in enumerate(owners.items())
    }
    if "mdfl" in config.pooled:
        plan[JOINT] = partial(Denoiser, patches, {JOINT: patches.sensors}, config)
    for row in (OWN, *config.rivals):
        codec = Codec(row if row in get_args(CodecName) else config.codec, config.rank)  # type: ignore[arg-type]
        kind = _carried(config) if row == OWN else Federation
        if row == "fedfusion":
            plan[row] = partial(fedfusion, patches, config)
            continue
        plan[row] = partial(_federation, kind, patches, config, banks, row, codec)
    for row, sensors in [(f"only_{name}", s) for name, s in owners.items()] + [(row, []) for row in config.pooled]:
        plan[row] = partial(_pooled, patches, config, banks, row, sensors)
    return plan


def _federation(
    kind: type[Federation], patches: Patches, config: Config, banks: Banks, row: str, codec: Codec
) -> Federation:
    return kind(patches, config, banks.of(row), codec)


def _pooled(patches: Patches, config: Config, banks: Banks, row: str, sensors: Sequence[str]) -> Classifier:
    return Classifier(patches, config, banks.of(row), sensors)


def _carried(config: Config) -> type[Federation]:
    """The federation on the engine of the settings. Raises InputError where Flower is not installed."""
    if config.engine == "direct":
        return Federation
    from workbench.methods.feddiff.flower import FlowerFederation

    return FlowerFederation


def _weights(networks: Mapping[str, Denoiser], made: Mapping[str, Federation | Classifier | Exchange]) -> dict[str, Any]:
    kept = {f"diffusion-{name}": weights(learner.networks[name]) for name, learner in networks.items()}
    for name, learner in made.items():
        if isinstance(learner, Federation):
            kept |= {f"{name}-{'_'.join(o.sensors)}": weights(o.network) for o in learner.owners}
        elif isinstance(learner, Exchange):
            kept |= {f"{name}-{s}": weights(o.encoder) for s, o in zip(learner.sensors, learner.owners, strict=True)}
            kept[f"{name}-shared"] = weights(learner.owners[0].shared)
        else:
            kept[name] = weights(learner.network)
    return kept
