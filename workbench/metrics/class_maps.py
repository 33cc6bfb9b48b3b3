"""What a classifier of pixels gives as a result: accuracies of its rows, confusion, and the class map with areas, as variables.

accuracies(result, "svm", counts, "SVM on raw values", patches.split)      # oa_svm, aa_svm, kappa_svm
details(result, probability, truth, patches.names, "SVM")                  # confusion, recall, precision, calibration_error
class_map(result, scene, patches, predict, counts, "SVM")                  # labels, probability, uncertainty, area
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from workbench.data.sensor_patches import Patches
from workbench.metrics import classify
from workbench.metrics.leak import leak_meter

AT_ONCE = 2048  # pixels


def scalar(value: float, text: str, units: str = "1") -> tuple:
    """A metric, ready to be assigned to a result."""
    return ((), float(value), {"long_name": text, "units": units})


def accuracies(result: xr.Dataset, name: str, counts: np.ndarray, who: str, split: str) -> None:
    """`oa`, `aa` and `kappa`, followed by `_name` unless it is empty. counts: `classify.confusion`; who, split: in words."""
    ending = f"_{name}" if name else ""
    for quantity, function, text in (
        ("oa", classify.overall, "overall accuracy"),
        ("aa", classify.average, "average accuracy of the classes"),
        ("kappa", classify.kappa, "kappa"),
    ):
        result[quantity + ending] = scalar(function(counts), f"{text} on test pixels, {who}; split: {split}")


def details(result: xr.Dataset, probability: np.ndarray, truth: np.ndarray, names: Sequence[str], who: str) -> None:
    """`confusion (true, predicted)`, `recall`, `precision`, `calibration_error` of probabilities (n, classes)."""
    counts = classify.confusion(truth, probability.argmax(1), len(names))
    result["confusion"] = (("true", "predicted"), counts, {"long_name": "test pixels", "units": "pixel"})
    result.coords["true"] = names
    result.coords["predicted"] = names
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
    result["calibration_error"] = scalar(told.error, f"expected calibration error of {who} on test pixels")


def leaks(result: xr.Dataset, patches: Patches, seed: int) -> None:
    """`leak_random` and `leak_split`, the leak meter."""
    text = "accuracy of the nearest neighbour"
    leak = leak_meter(patches.spectra, patches.label, patches.train, patches.test, seed)
    result["leak_random"] = scalar(leak.random, f"{text} under random pixels: how alike neighbours are")
    result["leak_split"] = scalar(leak.honest, f"{text} under the split: {patches.split}")


def tested(patches: Patches) -> tuple[np.ndarray, np.ndarray]:
    """The images with test pixels (k,), and the places (n, 3) of all of their usable pixels."""
    images = np.unique(patches.place[patches.test, 0])
    return images, np.argwhere(patches.usable & np.isin(np.arange(len(patches.usable)), images)[:, None, None])


def class_map(
    result: xr.Dataset,
    scene: xr.Dataset,
    patches: Patches,
    predict: Callable[[np.ndarray], np.ndarray],
    counts: np.ndarray,
    who: str,
) -> None:
    """`labels`, `probability`, `uncertainty` of every pixel of the tested images, and `area`.

    predict: places (n, 3) -> (n, classes). counts: `classify.confusion` of the test pixels. who: the method in words.
    """
    shape, classes = patches.usable.shape, len(patches.names)
    images, where = tested(patches)
    probability = np.full((classes, *shape), np.nan, np.float32)
    for begin in range(0, len(where), AT_ONCE):
        part = where[begin : begin + AT_ONCE]
        probability[(slice(None), *part.T)] = predict(part).T
    labels = np.where(np.isfinite(probability[0]), np.nan_to_num(probability).argmax(0), -1).astype(np.int16)
    dims = ("sample", "y", "x") if "sample" in scene["truth"].dims else ("y", "x")
    several = "sample" in dims
    labels = labels[images] if several else labels[0]
    probability = probability[:, images].transpose(1, 0, 2, 3) if several else probability[:, 0]
    result["labels"] = (dims, labels, {"long_name": f"class of each pixel, {who}", "names": patches.names})
    leading = ("sample", "class", "y", "x") if several else ("class", "y", "x")
    result["probability"] = (leading, probability, {"long_name": f"class probability, {who}", "units": "1"})
    spread = classify.entropy(probability, -3)
    result["uncertainty"] = (dims, spread.astype(np.float32), {"long_name": "entropy, 1 = all classes alike", "units": "1"})
    result.coords["class"] = patches.names
    for coord in ("y", "x", "spatial_ref"):
        if coord in scene.coords:
            result.coords[coord] = scene[coord]
    if several:
        names = scene["sample"].values.astype(str) if "sample" in scene.coords else np.arange(shape[0]).astype(str)
        result.coords["sample"] = names[images]
    mapped = np.bincount(labels[labels >= 0], minlength=classes)
    areas = classify.mapped_areas(counts, mapped)
    result["area"] = (
        ("class", "estimate"),
        np.nan_to_num(np.stack([mapped, areas.area, areas.half_width], 1)),
        {"long_name": "area: mapped, estimated, half of the 95 % interval", "units": "pixel"},
    )
    result.coords["estimate"] = ["mapped", "estimated", "half interval"]
