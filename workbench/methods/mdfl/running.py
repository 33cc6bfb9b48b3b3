"""The run: train the diffusion networks of each arm, then the classifiers on their frozen bank, then compare all on the test pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.baselines.fusion import fit
from workbench.event import Event, Outcome, Trace
from workbench.methods.mdfl.patches import Patches, patches_of
from workbench.methods.mdfl.result import result_of
from workbench.methods.mdfl.settings import Config
from workbench.methods.mdfl.training import OWN, ZERO, Classifier, Denoiser, stacked
from workbench.parts.features import noised_patches
from workbench.parts.training import about, same_run, weights

HEADS = ("reuse", "raw_only")  # classifiers: with the bank, and without
PROBE = 40  # pixels of each class that the probe trains on, and twice as many that it is tested on
PROBE_TIME = 50
SHOWN_TIME = 100
SHOWN = 4  # rows and columns of test patches in the film


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train, classify, compare.

    One event for each step: `loss` and `loss/ARM` of the diffusion networks, then `head_loss` and `head_loss/raw_only` of the classifiers.
    Every `show_every` steps of the own arm also `probe_oa`, and `clean`, `noisy`, `denoised (band, y, x)`. docs/methods/mdfl.md lists
    the result.
    """
    patches = patches_of(scene, config)
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
            else Denoiser(name, patches, config)
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


def probe(learner: Denoiser, patches: Patches) -> float:
    """Accuracy of a logistic regression on the bank of one noise level, of few training and test pixels; it steers nothing."""
    draw = np.random.default_rng(0)
    parts = []
    for rows, most in ((patches.train, PROBE), (patches.test, 2 * PROBE)):
        label = patches.label[rows]
        parts.append(np.concatenate([draw.permutation(rows[label == c])[:most] for c in np.unique(label)]))
    train, test = parts
    x = learner.means(patches.place[np.concatenate(parts)], PROBE_TIME)
    model = fit("logistic", x[: len(train)], patches.label[train], len(patches.names))
    return float((model(x[len(train) :]).argmax(1) == patches.label[test]).mean())


@torch.no_grad()
def film(learner: Denoiser, patches: Patches) -> dict[str, xr.DataArray]:
    """Test patches of the first sensor side by side, three channels: clean, at `SHOWN_TIME`, and with the predicted noise taken off."""
    place = patches.place[patches.test]
    place = place[np.linspace(0, len(place) - 1, min(SHOWN * SHOWN, len(place))).astype(int)]
    name, network = next(iter(learner.networks.items()))
    x = stacked(patches, place, learner.groups[name])
    noisy = noised_patches(x, patches.pixel(place), SHOWN_TIME, learner.products, 0)
    where = next(network.parameters()).device
    eps = network.eval()(noisy.to(where), torch.full((len(x),), SHOWN_TIME, device=where)).cpu()
    a = float(learner.products[SHOWN_TIME])
    made = {"clean": x, "noisy": noisy, "denoised": (noisy - (1 - a) ** 0.5 * eps) / a**0.5}
    text = {"clean": "clean", "noisy": f"at t = {SHOWN_TIME}", "denoised": "without the predicted noise"}
    return {n: xr.DataArray(_sheet(v), dims=("band", "y", "x"), attrs={"long_name": text[n]}) for n, v in made.items()}


def _sheet(patches: Tensor) -> np.ndarray:
    """(3, rows, columns): patches (n, channels, 8, 8) on a sheet, scaled to [0, 1]; with fewer than three channels the first."""
    n, channels, side, _ = patches.shape
    across = min(SHOWN, n)
    down = n // across
    chosen = patches[: down * across, list(range(3)) if channels >= 3 else [0, 0, 0]]
    sheet = chosen.unflatten(0, (down, across)).permute(2, 0, 3, 1, 4).reshape(3, down * side, across * side)
    return (sheet.clamp(-1, 1) / 2 + 0.5).numpy()
