"""Classifiers of pixels to compare with: logistic regression, SVM, random forest; EMAP and neighbourhood means; small networks.

    model = fit("forest", x[train], y[train], seed=0)
    probability = model(x[test])                              # (N, classes)

A classifier takes rows of features, or for `cnn` and `two-branch` patches of each sensor. The first three are scikit-learn's own, with the
scaling of the training samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InputError, did_you_mean
from workbench.parts.networks import CNN
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded

NAMES = ("logistic", "svm", "forest")
ITERATIONS = 300  # of logistic regression; what has not converged by then, features by the thousand, is used as it is
Model = Callable[[np.ndarray], np.ndarray]  # features (N, d) -> probabilities (N, classes)


def estimator(name: str, seed: int = 0, trees: int = 200, c: float | None = None) -> object:
    """The scikit-learn pipeline of that name. c: C of logistic (default 1), which has at most ITERATIONS, and of svm
    (default 100), which has an RBF kernel, gamma 1/d. forest: of `trees`.

    Raises InputError for another name.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if name == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(C=c or 1.0, max_iter=ITERATIONS, random_state=seed))
    if name == "svm":
        return make_pipeline(StandardScaler(), SVC(C=c or 100.0, gamma="scale", random_state=seed))
    if name == "forest":
        return RandomForestClassifier(trees, random_state=seed, n_jobs=1)
    raise InputError(f"There is no classifier {name!r}; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")


def fit(
    name: str, x: np.ndarray, y: np.ndarray, classes: int, seed: int = 0, trees: int = 200, c: float | None = None
) -> Model:
    """A trained classifier of `estimator`. x (N, d); y (N,) whole numbers from 0. Classes without samples get probability 0.

    seed, trees, c: of `estimator`. The SVM gives 1 to its class and 0 to the others: it has no probabilities of its own.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ITERATIONS is part of the definition of the row
        model = estimator(name, seed, trees, c).fit(x, y)  # type: ignore[attr-defined]

    def probability(rows: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), classes))
        if hasattr(model, "predict_proba"):
            found[:, model.classes_] = model.predict_proba(rows)
        else:
            found[np.arange(len(rows)), model.predict(rows)] = 1
        return found

    return probability


# --- features ---------------------------------------------------------------------------------------------------------


def centre_and_mean(patch: np.ndarray, centre: int) -> np.ndarray:
    """(N, 2 bands): the pixel at (centre, centre) of patches (N, bands, h, w), and the mean of the patch."""
    return np.concatenate([patch[:, :, centre, centre], patch.mean((2, 3))], 1)


def emap(image: np.ndarray, areas: Sequence[int] = (10, 40, 150), levels: int = 48) -> np.ndarray:
    """(layers (1 + 2 areas), y, x): extended morphological attribute profiles of an image (layers, y, x).

    For each layer: the layer, and its area openings and closings, which remove bright and dark areas of fewer pixels. M. Dalla Mura
    et al., "Morphological attribute profiles for the analysis of very high resolution images", IEEE TGRS 48(10), 2010. The layer
    is rounded to `levels` grey levels for the openings.
    """
    out = []
    for layer in image:
        low, high = float(layer.min()), float(layer.max())
        grey = np.round((layer - low) / max(high - low, 1e-12) * (levels - 1)).astype(int)
        out.append(layer)
        for area in areas:
            opened = area_opening(grey, area)
            closed = levels - 1 - area_opening(levels - 1 - grey, area)
            out += [low + g / (levels - 1) * (high - low) for g in (opened, closed)]
    return np.stack(out).astype(np.float32)


def area_opening(grey: np.ndarray, area: int) -> np.ndarray:
    """Whole numbers (y, x) from 0: every bright region of fewer than `area` pixels (4-neighbours) is lowered to its surroundings."""
    from scipy.ndimage import label

    out = np.zeros_like(grey)
    for level in range(1, int(grey.max(initial=0)) + 1):
        region, _ = label(grey >= level)
        large = np.bincount(region.ravel()) >= area
        large[0] = False
        out[large[region]] = level
    return out


# --- networks ---------------------------------------------------------------------------------------------------------


class TwoBranch(nn.Module):
    """A `CNN` for each sensor, their features joined before the last layer. One sensor: the plain 2-D CNN.

    Each sensor has its own path and its own batch statistics. To leave a sensor out, leave its path out: zeros through shared batch
    statistics spoil the other one.
    """

    def __init__(self, bands: Mapping[str, int], classes: int, side: int) -> None:
        super().__init__()
        self.paths = nn.ModuleDict({name: CNN(n, classes, side).features for name, n in bands.items()})
        self.head = nn.Linear(48 * len(bands), classes)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Patches (N, bands, side, side) of each sensor -> logits (N, classes)."""
        return self.head(torch.cat([path(x[name]) for name, path in self.paths.items()], 1))


def train_network(
    network: nn.Module,
    x: Mapping[str, Tensor],
    y: Tensor,
    epochs: int = 30,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """The network trained with AdamW (weight decay 1e-4, half a cosine) on cross entropy; every class has the same weight."""
    count = torch.bincount(y).float()
    weight = torch.where(count > 0, count.sum() / (count > 0).sum() / count.clamp(min=1), 0.0)
    optimiser = torch.optim.AdamW(network.parameters(), lr, weight_decay=1e-4)
    total, done = epochs * max(1, len(y) // batch), 0
    with Seeded(seed):
        network.train()
        while done < total:
            for rows in torch.randperm(len(y)).split(batch):
                if done == total or len(rows) < 2:
                    break
                for group in optimiser.param_groups:
                    group["lr"] = cosine(done, total, lr)
                loss = F.cross_entropy(network({n: v[rows] for n, v in x.items()}), y[rows], weight)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                done += 1
    return network.eval()
