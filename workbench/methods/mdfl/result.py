"""The result: accuracies of all rows on the test pixels, the class map, and what each noise level knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.baselines.fusion import TwoBranch, centre_and_mean, emap, fit, train_network
from workbench.methods.mdfl.patches import CENTRE, SIDE, Patches
from workbench.methods.mdfl.settings import Config
from workbench.methods.mdfl.training import OWN, Classifier, Denoiser
from workbench.metrics import classify
from workbench.parts.seeding import Seeded
from workbench.scene import PROVENANCE, TABLE

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
    raw_of = {s: centre_and_mean(patches.take(place, s).numpy(), CENTRE) for s in patches.sensors}
    raw = np.concatenate(list(raw_of.values()), 1)
    bank = made[OWN].bank(place)
    fresh = Denoiser(OWN, patches, config)
    fresh_bank = fresh.bank(place)
    deep = {OWN: _pooled(bank), "untrained": _pooled(fresh_bank)}
    deep |= {arm: _pooled(learner.bank(place)) for arm, learner in made.items() if arm != OWN}
    own, blank = deep[OWN], deep["untrained"]
    order = np.random.default_rng(config.seed).permutation(len(own))
    table: dict[str, np.ndarray] = {}
    models: dict[str, Callable[[np.ndarray], np.ndarray]] = {}

    def row(name: str, x: np.ndarray, model: str = "logistic") -> None:
        models[name] = fit(model, x[:cut], y, classes, config.seed, config.trees)
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
        table[rival] = _network(patches, place, cut, y, sensors, classes, config.seed)

    result = xr.Dataset()
    for name, probability in table.items():
        _accuracies(result, name, classify.confusion(truth, probability.argmax(1), classes), patches)
    _details(result, table[""], truth, patches)
    _tested(result, scene, table, patches)
    _noise_levels(result, {"trained": bank, "untrained": fresh_bank}, y, truth, cut, config)
    _leak(result, patches)
    if config.map:
        _map(
            result,
            scene,
            patches,
            config,
            made[OWN],
            heads,
            models["bank"],
            classify.confusion(truth, table[""].argmax(1), classes),
        )
    result["loss_final"] = _scalar(made[OWN].recent, "diffusion loss, mean of the last 20 steps")
    result["first_loss"] = _scalar(
        _first_loss(patches, config), "diffusion loss of the untrained network; exactly 0.798 is expected", "1"
    )
    result.attrs = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    result.attrs |= {
        "split": f"{patches.split}: {len(train)} pixels for training, {len(test)} for testing",
        "split_warning": patches.warning,
        "diffusion_data": f"{len(patches.free)} patches"
        + (", the training pixels" if patches.warning else ", none overlaps a test patch"),
    }
    return result


def _scalar(value: float, text: str, units: str = "1") -> tuple:
    return ((), float(value), {"long_name": text, "units": units})


def _pooled(bank: Mapping[str, Tensor]) -> np.ndarray:
    """(n, features): the mean of each channel of the bank over its places."""
    return torch.cat(list(bank.values()), 1).mean((2, 3)).numpy()


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


def _network(
    patches: Patches, place: np.ndarray, cut: int, y: np.ndarray, sensors: Sequence[str], classes: int, seed: int
) -> np.ndarray:
    x = {s: patches.take(place, s) for s in sensors}
    with Seeded(seed):
        network = TwoBranch({s: v.shape[1] for s, v in x.items()}, classes, SIDE)
    train_network(network, {s: v[:cut] for s, v in x.items()}, torch.from_numpy(y), seed=seed)
    with torch.no_grad():
        return network({s: v[cut:] for s, v in x.items()}).softmax(1).double().numpy()


def _accuracies(result: xr.Dataset, name: str, counts: np.ndarray, patches: Patches) -> None:
    ending = f"_{name}" if name else ""
    who = ROWS.get(name, name.replace("_", " ").strip())
    for quantity, function, text in (
        ("oa", classify.overall, "overall accuracy"),
        ("aa", classify.average, "average accuracy of the classes"),
        ("kappa", classify.kappa, "kappa"),
    ):
        result[quantity + ending] = _scalar(function(counts), f"{text} on test pixels, {who}; split: {patches.split}")


def _details(result: xr.Dataset, probability: np.ndarray, truth: np.ndarray, patches: Patches) -> None:
    counts = classify.confusion(truth, probability.argmax(1), len(patches.names))
    result["confusion"] = (("true", "predicted"), counts, {"long_name": "test pixels", "units": "pixel"})
    result.coords["true"] = patches.names
    result.coords["predicted"] = patches.names
    result["recall"] = (
        "true",
        np.nan_to_num(classify.recall(counts)),
        {"long_name": "share of a class that is found", "units": "1"},
    )
    result["precision"] = (
        "predicted",
        np.nan_to_num(classify.precision(counts)),
        {"long_name": "share of what is called a class that is right", "units": "1"},
    )
    told = classify.calibration(probability, truth)
    result["calibration_error"] = _scalar(told.error, "expected calibration error of MDFL on test pixels")


def _tested(result: xr.Dataset, scene: xr.Dataset, table: Mapping[str, np.ndarray], patches: Patches) -> None:
    """Columns of a table of the test pixels: where each is, its class, and the class that every row of the comparison gives it."""
    place = patches.place[patches.test]
    for n, name in enumerate(("image", "row", "column")):
        result[f"test_{name}"] = ("test_pixel", place[:, n], {"long_name": f"{name} of a test pixel", TABLE: "test_pixel"})
    text = {"long_name": "class of a test pixel", "names": patches.names, TABLE: "test_pixel"}
    result["test_true"] = ("test_pixel", patches.label[patches.test].astype(np.int16), text)
    given = np.stack([p.argmax(1) for p in table.values()]).astype(np.int16)
    result["test_given"] = (("classifier", "test_pixel"), given, text | {"long_name": "class that a classifier gives"})
    result.coords["classifier"] = [name or OWN for name in table]


def _noise_levels(
    result: xr.Dataset, banks: Mapping[str, Mapping[str, Tensor]], y: np.ndarray, truth: np.ndarray, cut: int, config: Config
) -> None:
    """`oa_by_time (bank, time)`: logistic regression on the bank of one noise level, of the trained and of an untrained network."""
    values = np.zeros((len(banks), len(config.times)))
    for i, bank in enumerate(banks.values()):
        for j in range(len(config.times)):
            parts = [b.unflatten(1, (len(config.times), -1))[:, j] for b in bank.values()]
            x = torch.cat(parts, 1).mean((2, 3)).numpy()
            model = fit("logistic", x[:cut], y, int(max(y.max(), truth.max())) + 1, config.seed)
            values[i, j] = (model(x[cut:]).argmax(1) == truth).mean()
    result["oa_by_time"] = (("bank", "time"), values, {"long_name": "overall accuracy of one noise level", "units": "1"})
    result.coords["bank"] = list(banks)
    result.coords["time"] = [f"t {t}" for t in config.times]


def _leak(result: xr.Dataset, patches: Patches) -> None:
    text = "accuracy of the nearest neighbour"
    result["leak_random"] = _scalar(patches.leak.random, f"{text} under random pixels: how alike neighbours are")
    result["leak_split"] = _scalar(patches.leak.honest, f"{text} under the split: {patches.split}")


def _first_loss(patches: Patches, config: Config) -> float:
    """Of one large batch: a new network predicts 0, so the loss is E|eps|."""
    return Denoiser(OWN, patches, config.model_copy(update={"batch": 512})).step()["loss"]


def _map(
    result: xr.Dataset,
    scene: xr.Dataset,
    patches: Patches,
    config: Config,
    own: Denoiser,
    heads: Mapping[str, Classifier],
    on_bank: Callable[[np.ndarray], np.ndarray],
    counts: np.ndarray,
) -> None:
    """`labels`, `probability` and `uncertainty` of every pixel of the tested images, of MDFL and of two of its parts; areas; and the
    bank of the first of these images as colours.

    on_bank: the classifier of the pooled bank, features (n, d) -> (n, classes). counts: confusion of MDFL on the test pixels.
    """
    shape, classes = patches.usable.shape, len(patches.names)
    several = "sample" in scene["truth"].dims
    tested = np.unique(patches.place[patches.test, 0])
    where = np.argwhere(patches.usable & np.isin(np.arange(shape[0]), tested)[:, None, None])
    maps = {name: np.full((classes, *shape), np.nan, np.float32) for name in MAPPED}
    for begin in range(0, len(where), 2048):
        part = where[begin : begin + 2048]
        bank, at = own.bank(part), (slice(None), *part.T)
        maps[""][at] = heads["reuse"].probability(patches, part, bank).T
        maps["raw_only"][at] = heads["raw_only"].probability(patches, part, None).T
        maps["bank"][at] = on_bank(_pooled(bank)).T
    result.coords["class"] = patches.names
    for coord in ("y", "x", "spatial_ref"):
        if coord in scene.coords:
            result.coords[coord] = scene[coord]
    if several:
        names = scene["sample"].values.astype(str) if "sample" in scene.coords else np.arange(shape[0]).astype(str)
        result.coords["sample"] = names[tested]
    for name, probability in maps.items():
        shown = probability[:, tested].transpose(1, 0, 2, 3) if several else probability[:, 0]
        _class_map(result, name, shown, patches.names)
    first = where[where[:, 0] == tested[0]]
    colours = [_rgb(own.means(first, t), first, shape[1:]) for t in config.times]
    result["bank_rgb"] = (
        ("time", "feature_band", "y", "x"),
        np.stack(colours).astype(np.float32),
        {"long_name": "bank of the first tested image, three principal components"},
    )
    labels = result["labels"].values
    mapped = np.bincount(labels[labels >= 0], minlength=classes)
    areas = classify.mapped_areas(counts, mapped)
    result["area"] = (
        ("class", "estimate"),
        np.nan_to_num(np.stack([mapped, areas.area, areas.half_width], 1)),
        {"long_name": "area: mapped, estimated, half of the 95 % interval", "units": "pixel"},
    )
    result.coords["estimate"] = ["mapped", "estimated", "half interval"]


def _class_map(result: xr.Dataset, name: str, probability: np.ndarray, names: list[str]) -> None:
    """Class, probabilities and entropy of each pixel of one row of ROWS; probability ([sample,] class, y, x)."""
    ending, who = (f"_{name}", ROWS[name]) if name else ("", "MDFL")
    whole = ("sample", "class", "y", "x") if probability.ndim == 4 else ("class", "y", "x")
    dims = tuple(d for d in whole if d != "class")
    known = np.isfinite(probability).all(-3)
    labels = np.where(known, np.nan_to_num(probability).argmax(-3), -1).astype(np.int16)
    result[f"labels{ending}"] = (dims, labels, {"long_name": f"class of each pixel, {who}", "names": names})
    result[f"probability{ending}"] = (whole, probability, {"long_name": f"class probability, {who}", "units": "1"})
    spread = classify.entropy(probability, -3).astype(np.float32)
    told = f"entropy, 1 = all classes alike{f': {who}' if name else ''}"
    result[f"uncertainty{ending}"] = (dims, spread, {"long_name": told, "units": "1"})


def _rgb(x: np.ndarray, place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(3, y, x) in [0, 1]: three principal components of features (n, d), cut at the 2nd and 98th percentile."""
    x = x - x.mean(0)
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    y = x @ axes[:3].T
    low, high = np.percentile(y, [2, 98], axis=0)
    out = np.zeros((3, *shape))
    out[:, place[:, 1], place[:, 2]] = np.clip((y - low) / np.maximum(high - low, 1e-12), 0, 1).T
    return out
