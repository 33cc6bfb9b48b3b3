"""Classifiers to compare with, on sensor patches and on banks of diffusion features: how much a noise level knows, rivals on pixels.

noise_levels({"trained": bank, "untrained": other}, label_train, label_test, times, seed)  # (bank, time) accuracies
raw = raw_values(patches, place)                                                         # sensor -> (n, 2 channels)
probability = network_row(patches, place, cut, y, ["hsi"], classes, seed)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.baselines.fusion import TwoBranch, centre_and_mean, fit, train_network
from workbench.data.sensor_patches import CENTRE, SIDE, Patches
from workbench.parts.bank_training import Denoiser
from workbench.parts.seeding import Seeded

PROBE = 40  # pixels of each class that the probe trains on, and twice as many that it is tested on
PROBE_TIME = 50


def raw_values(patches: Patches, place: np.ndarray) -> dict[str, np.ndarray]:
    """Sensor -> (n, 2 channels): the pixel and the mean of its patch."""
    return {s: centre_and_mean(patches.take(place, s).numpy(), CENTRE) for s in patches.sensors}


def pooled(bank: Mapping[str, Tensor]) -> np.ndarray:
    """(n, features): the mean of each channel of the bank over its places."""
    return torch.cat(list(bank.values()), 1).mean((2, 3)).numpy()


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


def noise_levels(
    banks: Mapping[str, Mapping[str, Tensor]],
    y: np.ndarray,
    truth: np.ndarray,
    times: Sequence[int],
    seed: int,
    c: float | None = None,
) -> xr.DataArray:
    """(bank, time): accuracy of logistic regression on the bank of one noise level.

    banks: name -> network -> (n, d * times, h, w), the training pixels first. y, truth: their labels, and those of the test pixels. c: of
    `fusion.estimator`.
    """
    values, cut = np.zeros((len(banks), len(times))), len(y)
    for i, bank in enumerate(banks.values()):
        for j in range(len(times)):
            x = pooled({name: b.unflatten(1, (len(times), -1))[:, j] for name, b in bank.items()})
            model = fit("logistic", x[:cut], y, int(max(y.max(), truth.max())) + 1, seed, c=c)
            values[i, j] = (model(x[cut:]).argmax(1) == truth).mean()
    coords = {"bank": list(banks), "time": [f"t {t}" for t in times]}
    about = {"long_name": "overall accuracy of one noise level", "units": "1"}
    return xr.DataArray(values, coords, ("bank", "time"), attrs=about)


def network_row(
    patches: Patches, place: np.ndarray, cut: int, y: np.ndarray, sensors: Sequence[str], classes: int, seed: int
) -> np.ndarray:
    """(n - cut, classes): a CNN with a branch for each of these sensors, trained on the first `cut` places."""
    x = {s: patches.take(place, s) for s in sensors}
    with Seeded(seed):
        network = TwoBranch({s: v.shape[1] for s, v in x.items()}, classes, SIDE)
    train_network(network, {s: v[:cut] for s, v in x.items()}, torch.from_numpy(y), seed=seed)
    with torch.no_grad():
        return network({s: v[cut:] for s, v in x.items()}).softmax(1).double().numpy()
