"""The result of a run of MDFL as the page needs it: the test pixels with their classes, and the maps of the classifiers that have one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from workbench.methods.mdfl.result import MAPPED, ROWS
from workbench.metrics import classify

OWN = "mdfl"  # the classifier of the method itself
LED = {  # beginnings of further classifiers
    "only_": "logistic regression on {} alone",
    "raw_bank_": "logistic regression on raw values and bank, parser: {}",
    "bank_": "logistic regression on the bank, parser: {}",
}


class Scores(NamedTuple):
    """Of one classifier on the test pixels; the areas are None where it has no map."""

    counts: np.ndarray
    oa: float
    aa: float
    kappa: float
    recall: np.ndarray
    precision: np.ndarray
    mapped: np.ndarray | None
    area: classify.Areas | None


class Pixel(NamedTuple):
    """A test pixel: image (its number in the scene), row, column, true class, given class."""

    image: int
    row: int
    column: int
    true: int
    given: int


class Findings:
    """Read from the result; the numbers of a classifier are computed when they are asked for."""

    def __init__(self, result: xr.Dataset) -> None:
        self.result = result
        self.names = [str(n) for n in result["true"].values]
        self.classifiers = [str(n) for n in result["classifier"].values]
        self._place = np.column_stack([result[f"test_{n}"].values for n in ("image", "row", "column")])
        self._true = result["test_true"].values.astype(int)
        self._made: dict[str, Scores] = {}
        self.images = [int(i) for i in np.unique(self._place[:, 0])]

    @property
    def mapped(self) -> list[str]:
        """The classifiers that have a map, that of the method first; empty where the run made none."""
        return [name or OWN for name in MAPPED if f"labels{_ending(name or OWN)}" in self.result]

    def title(self, classifier: str) -> str:
        """What a classifier is, in words."""
        if classifier == OWN:
            return "MDFL: raw values and bank"
        for lead, text in LED.items():
            if classifier not in ROWS and classifier.startswith(lead):
                return text.format(classifier.removeprefix(lead).replace("_", " "))
        return ROWS.get(classifier, classifier.replace("_", " "))

    def given(self, classifier: str) -> np.ndarray:
        """(test pixels,) the classes that a classifier gives."""
        return self.result["test_given"].values[self.classifiers.index(classifier)].astype(int)

    def layer(self, quantity: str, classifier: str, image: int) -> np.ndarray | None:
        """`labels` or `uncertainty` (row, column), or `probability` (class, row, column), of one image; None where there is no map."""
        name = f"{quantity}{_ending(classifier)}"
        if name not in self.result or image not in self.images:
            return None
        array = self.result[name]
        return array.values[self.images.index(image)] if "sample" in array.dims else array.values

    def scores(self, classifier: str) -> Scores:
        """All numbers of a classifier on the test pixels."""
        if classifier not in self._made:
            counts = classify.confusion(self._true, self.given(classifier), len(self.names))
            mapped = area = None
            if classifier in self.mapped:
                labels = self.result[f"labels{_ending(classifier)}"].values
                mapped = np.bincount(labels[labels >= 0].ravel(), minlength=len(self.names))
                area = classify.mapped_areas(counts, mapped)
            numbers = (classify.overall(counts), classify.average(counts), classify.kappa(counts))
            self._made[classifier] = Scores(
                counts, *numbers, classify.recall(counts), classify.precision(counts), mapped, area
            )
        return self._made[classifier]

    def pixels(self, classifier: str, true: int, given: int) -> list[Pixel]:
        """The test pixels of one cell of the confusion matrix, image by image, row by row."""
        called = self.given(classifier)
        here = np.flatnonzero((self._true == true) & (called == given))
        here = here[np.lexsort(self._place[here].T[::-1])]
        return [Pixel(*map(int, self._place[n]), true, given) for n in here]

    def tested(self, image: int, shape: tuple[int, int]) -> np.ndarray:
        """(row, column) bool: the test pixels of an image."""
        mask = np.zeros(shape, bool)
        _, rows, columns = self._place[self._place[:, 0] == image].T
        mask[rows, columns] = True
        return mask


def reads(result: xr.Dataset) -> bool:
    """Whether a result has the table that `Findings` needs; those of old runs do not."""
    return {"test_true", "test_given", "test_image"} <= set(map(str, result.variables))


def _ending(classifier: str) -> str:
    return "" if classifier == OWN else f"_{classifier}"
