"""What a classifier of pixels gives as a result: accuracies of its rows, confusion, and the class map with areas, as variables.

accuracies(result, "svm", counts, "SVM on raw values", patches.split)      # oa_svm, aa_svm, kappa_svm
details(result, probability, truth, patches.names, "SVM")                  # confusion, recall, precision, calibration_error
class_map(result, scene, patches, predict, counts, "SVM")                  # labels, probability, uncertainty, area
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import xarray as xr

from workbench.data.sensor_patches import Patches
from workbench.metrics import classify
from workbench.metrics.leak import leak_meter
from workbench.scene import PROVENANCE, TABLE

AT_ONCE = 2048  # pixels
Predict = Callable[[np.ndarray], np.ndarray]  # places (n, 3) -> probabilities (n, classes)


class Divided(Protocol):
    """Labelled pixels and how they are split: `Patches`, and what else has the same names."""

    @property
    def spectra(self) -> np.ndarray:
        """(N, values) of the labelled pixels."""

    @property
    def label(self) -> np.ndarray:
        """(N,)"""

    @property
    def train(self) -> np.ndarray:
        """Positions in `label`."""

    @property
    def test(self) -> np.ndarray:
        """Positions in `label`."""

    @property
    def split(self) -> str:
        """In words."""


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


def leaks(result: xr.Dataset, patches: Divided, seed: int) -> None:
    """`leak_random` and `leak_split`, the leak meter."""
    text = "accuracy of the nearest neighbour"
    leak = leak_meter(patches.spectra, patches.label, patches.train, patches.test, seed)
    result["leak_random"] = scalar(leak.random, f"{text} under random pixels: how alike neighbours are")
    result["leak_split"] = scalar(leak.honest, f"{text} under the split: {patches.split}")


def attributes(scene: xr.Dataset, patches: Patches) -> dict[str, str]:
    """Attributes of the result: where the scene is from, `split`, `split_warning`, and `diffusion_data`, what diffusion networks saw."""
    seen = "the training pixels" if patches.warning else "none overlaps a test patch"
    return {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs} | {
        "split": f"{patches.split}: {len(patches.train):,} pixels for training, {len(patches.test):,} for testing",
        "split_warning": patches.warning,
        "diffusion_data": f"{len(patches.free)} patches, {seen}",
    }


def tested(patches: Patches) -> tuple[np.ndarray, np.ndarray]:
    """The images with test pixels (k,), and the places (n, 3) of all of their usable pixels."""
    images = np.unique(patches.place[patches.test, 0])
    return images, np.argwhere(patches.usable & np.isin(np.arange(len(patches.usable)), images)[:, None, None])


def pixel_table(result: xr.Dataset, patches: Patches, rows: Mapping[str, np.ndarray]) -> None:
    """Columns of a table of the test pixels: `test_image`, `test_row`, `test_column`, `test_true`, `test_given (classifier, test_pixel)`.

    rows: name of each classifier -> probabilities (n, classes) of the test pixels.
    """
    place = patches.place[patches.test]
    for n, name in enumerate(("image", "row", "column")):
        result[f"test_{name}"] = ("test_pixel", place[:, n], {"long_name": f"{name} of a test pixel", TABLE: "test_pixel"})
    text = {"long_name": "class of a test pixel", "names": patches.names, TABLE: "test_pixel"}
    result["test_true"] = ("test_pixel", patches.label[patches.test].astype(np.int16), text)
    given = np.stack([p.argmax(1) for p in rows.values()]).astype(np.int16)
    result["test_given"] = (("classifier", "test_pixel"), given, text | {"long_name": "class that a classifier gives"})
    result.coords["classifier"] = list(rows)


def class_map(
    result: xr.Dataset,
    scene: xr.Dataset,
    patches: Patches,
    predict: Predict,
    counts: np.ndarray,
    who: str,
    further: Mapping[str, tuple[str, Predict]] | None = None,
) -> None:
    """`labels`, `probability`, `uncertainty` of every pixel of the tested images, and `area`.

    counts: `classify.confusion` of the test pixels. who: the method in words. further: more classifiers, (in words, predict) by name;
    their variables end with `_name`. All of them are asked for the same places, one after the other.
    """
    shape, classes = patches.usable.shape, len(patches.names)
    images, where = tested(patches)
    rows = {"": (who, predict)} | {f"_{name}": row for name, row in (further or {}).items()}
    maps = {ending: np.full((classes, *shape), np.nan, np.float32) for ending in rows}
    for begin in range(0, len(where), AT_ONCE):
        part = where[begin : begin + AT_ONCE]
        for ending, (_, asked) in rows.items():
            maps[ending][(slice(None), *part.T)] = asked(part).T
    several = "sample" in scene["truth"].dims
    result.coords["class"] = patches.names
    for coord in ("y", "x", "spatial_ref"):
        if coord in scene.coords:
            result.coords[coord] = scene[coord]
    if several:
        names = scene["sample"].values.astype(str) if "sample" in scene.coords else np.arange(shape[0]).astype(str)
        result.coords["sample"] = names[images]
    for ending, (text, _) in rows.items():
        probability = maps[ending][:, images].transpose(1, 0, 2, 3) if several else maps[ending][:, 0]
        _one_map(result, ending, text, probability, patches.names)
    labels = result["labels"].values
    mapped = np.bincount(labels[labels >= 0], minlength=classes)
    areas = classify.mapped_areas(counts, mapped)
    result["area"] = (
        ("class", "estimate"),
        np.nan_to_num(np.stack([mapped, areas.area, areas.half_width], 1)),
        {"long_name": "area: mapped, estimated, half of the 95 % interval", "units": "pixel"},
    )
    result.coords["estimate"] = ["mapped", "estimated", "half interval"]


def _one_map(result: xr.Dataset, ending: str, who: str, probability: np.ndarray, names: list[str]) -> None:
    """Class, probability and entropy of each pixel; probability ([sample,] class, y, x), NaN where there is none."""
    whole = ("sample", "class", "y", "x") if probability.ndim == 4 else ("class", "y", "x")
    dims = tuple(d for d in whole if d != "class")
    known = np.isfinite(probability).all(-3)
    labels = np.where(known, np.nan_to_num(probability).argmax(-3), -1).astype(np.int16)
    result[f"labels{ending}"] = (dims, labels, {"long_name": f"class of each pixel, {who}", "names": names})
    result[f"probability{ending}"] = (whole, probability, {"long_name": f"class probability, {who}", "units": "1"})
    told = f"entropy, 1 = all classes alike{f': {who}' if ending else ''}"
    spread = classify.entropy(probability, -3).astype(np.float32)
    result[f"uncertainty{ending}"] = (dims, spread, {"long_name": told, "units": "1"})
