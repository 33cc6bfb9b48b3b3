"""The result: accuracies of all rows on the test pixels, the class map, and what each noise level knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from torch import Tensor

from workbench.baselines.bank_rows import network_row, noise_levels, pooled, raw_values
from workbench.baselines.fusion import emap, fit
from workbench.data.sensor_patches import CENTRE, Patches
from workbench.methods.mdfl.arms import OWN, denoiser_of
from workbench.methods.mdfl.settings import Config
from workbench.metrics import classify
from workbench.metrics.class_maps import accuracies, attributes, class_map, details, leaks, pixel_table, scalar, tested
from workbench.parts.bank_training import Classifier, Denoiser

ROWS = {  # row -> what it is; the accuracies of a row end with its name
    "": "MDFL",
    "raw_only": "the same classifier without the bank",
    "raw": "logistic regression on raw values",
    "bank": "logistic regression on the trained bank",
    "untrained": "logistic regression on the bank of an untrained network",
    "raw_bank": "logistic regression on raw values and trained bank",
    "raw_untrained": "logistic regression on raw values and untrained bank",
    "raw_shuffled": "logistic regression on raw values and a bank of other pixels",
    "raw_pca": "logistic regression on raw values and as many principal components of the patches",
    "svm": "SVM on raw values",
    "forest": "random forest on raw values",
    "forest_emap": "random forest on morphological profiles (EMAP)",
    "cnn": "2-D CNN of the first sensor",
    "two_branch": "two-branch CNN",
}
MAPPED = ("", "raw_only", "bank")  # rows that also classify every pixel: both paths, raw values alone, the bank alone


def result_of(
    scene: xr.Dataset, patches: Patches, config: Config, made: Mapping[str, Denoiser], heads: Mapping[str, Classifier]
) -> xr.Dataset:
    """made: arm -> its trained diffusion networks. heads: `reuse` and `raw_only`, trained."""
    train, test = patches.train, patches.test
    both = np.concatenate([train, test])
    place, y, cut = patches.place[both], patches.label[train], len(train)
    classes, truth = len(patches.names), patches.label[test]
    raw_of = raw_values(patches, place)
    raw = np.concatenate(list(raw_of.values()), 1)
    bank = made[OWN].bank(place)
    fresh = denoiser_of(OWN, patches, config)
    fresh_bank = fresh.bank(place)
    deep = {OWN: pooled(bank), "untrained": pooled(fresh_bank)}
    deep |= {arm: pooled(learner.bank(place)) for arm, learner in made.items() if arm != OWN}
    own, blank = deep[OWN], deep["untrained"]
    order = np.random.default_rng(config.seed).permutation(len(own))
    table: dict[str, np.ndarray] = {}
    models: dict[str, Callable[[np.ndarray], np.ndarray]] = {}

    def row(name: str, x: np.ndarray, model: str = "logistic") -> None:
        c = {"logistic": config.logistic_c, "svm": config.svm_c}.get(model)
        models[name] = fit(model, x[:cut], y, classes, config.seed, config.trees, c)
        table[name] = models[name](x[cut:])

    table[""] = heads["reuse"].probability(patches, place[cut:], {n: b[cut:] for n, b in bank.items()})
    table["raw_only"] = heads["raw_only"].probability(patches, place[cut:], None)
    row("raw", raw)
    row("bank", own)
    row("untrained", blank)
    row("raw_bank", np.concatenate([raw, own], 1))
    row("raw_untrained", np.concatenate([raw, blank], 1))
    row("raw_shuffled", np.concatenate([raw, own[order]], 1))
    row("raw_pca", np.concatenate([raw, _components(patches, place, cut, own.shape[1])], 1))
    for arm in deep:
        if arm not in (OWN, "untrained"):
            row(f"bank_{arm}", deep[arm])
            row(f"raw_bank_{arm}", np.concatenate([raw, deep[arm]], 1))
    if len(patches.sensors) > 1:
        for sensor, x in raw_of.items():
            row(f"only_{sensor}", x)
    row("svm", raw, "svm")
    row("forest", raw, "forest")
    row("forest_emap", _profiles(patches)[place[:, 0], :, place[:, 1], place[:, 2]], "forest")
    for rival in config.networks:
        sensors = patches.sensors if rival == "two_branch" else patches.sensors[:1]
        table[rival] = network_row(patches, place, cut, y, sensors, classes, config.seed)

    result = xr.Dataset()
    for name, probability in table.items():
        who = ROWS.get(name, name.replace("_", " ").strip())
        accuracies(result, name, classify.confusion(truth, probability.argmax(1), classes), who, patches.split)
    details(result, table[""], truth, patches.names, "MDFL")
    pixel_table(result, patches, {name or OWN: probability for name, probability in table.items()})
    both_banks = {"trained": bank, "untrained": fresh_bank}
    result["oa_by_time"] = noise_levels(both_banks, y, truth, config.times, config.seed, config.logistic_c)
    leaks(result, patches, config.seed)
    if config.map:
        counts = classify.confusion(truth, table[""].argmax(1), classes)
        bank_of = _Remembered(made[OWN])
        further = {
            "raw_only": (ROWS["raw_only"], lambda p: heads["raw_only"].probability(patches, p, None)),
            "bank": (ROWS["bank"], lambda p: models["bank"](pooled(bank_of(p)))),
        }
        predict = lambda p: heads["reuse"].probability(patches, p, bank_of(p))  # noqa: E731
        class_map(result, scene, patches, predict, counts, "MDFL", further)
        _colours(result, patches, config, made[OWN])
    result["loss_final"] = scalar(made[OWN].recent, "diffusion loss, mean of the last 20 steps")
    result["first_loss"] = scalar(
        _first_loss(patches, config), "diffusion loss of the untrained network; exactly 0.798 is expected"
    )
    result.attrs = attributes(scene, patches)
    return result


class _Remembered:
    """The bank of the places that were asked for last: two classifiers read it."""

    def __init__(self, own: Denoiser) -> None:
        self.own = own
        self.place: np.ndarray | None = None
        self.bank: Mapping[str, Tensor] = {}

    def __call__(self, place: np.ndarray) -> Mapping[str, Tensor]:
        if place is not self.place:
            self.place, self.bank = place, self.own.bank(place)
        return self.bank


def _components(patches: Patches, place: np.ndarray, cut: int, width: int) -> np.ndarray:
    """(n, width): principal components of whole patches, fitted on training pixels: a control of equal width."""
    from sklearn.decomposition import PCA

    flat = np.concatenate([patches.take(place, s).flatten(1).numpy() for s in patches.sensors], 1)
    return PCA(min(width, cut, flat.shape[1]), random_state=0).fit(flat[:cut]).transform(flat)


def _profiles(patches: Patches) -> np.ndarray:
    """(images, layers, y, x): EMAP of the first three channels of each sensor."""
    inner = slice(CENTRE, -(CENTRE - 1))
    images = []
    for i in range(patches.usable.shape[0]):
        images.append(np.concatenate([emap(cube[i, :3, inner, inner]) for cube in patches.cubes.values()]))
    return np.stack(images)


def _first_loss(patches: Patches, config: Config) -> float:
    """Of one large batch: a new network predicts 0, so the loss is E|eps|."""
    return denoiser_of(OWN, patches, config.model_copy(update={"batch": 512})).step()["loss"]


def _colours(result: xr.Dataset, patches: Patches, config: Config, own: Denoiser) -> None:
    """`bank_rgb (time, feature_band, y, x)`: the bank of the first tested image as colours."""
    images, where = tested(patches)
    first = where[where[:, 0] == images[0]]
    result["bank_rgb"] = (
        ("time", "feature_band", "y", "x"),
        np.stack([_rgb(own.means(first, t), first, patches.usable.shape[1:]) for t in config.times]).astype(np.float32),
        {"long_name": "bank of the first tested image, three principal components"},
    )


def _rgb(x: np.ndarray, place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(3, y, x) in [0, 1]: three principal components of features (n, d), cut at the 2nd and 98th percentile."""
    x = x - x.mean(0)
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    y = x @ axes[:3].T
    low, high = np.percentile(y, [2, 98], axis=0)
    out = np.zeros((3, *shape))
    out[:, place[:, 1], place[:, 2]] = np.clip((y - low) / np.maximum(high - low, 1e-12), 0, 1).T
    return out
