"""What became of the detections of a run: matched with the true boxes at one IoU, in all images or a part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from workbench.baselines.detection import components, ratio
from workbench.data.boxed_images import Images
from workbench.metrics.detect import THRESHOLDS, Boxes, average_precision, match
from workbench.metrics.outcomes import judge

FACTORS = np.round(np.arange(1.2, 5.01, 0.2), 1)  # of CFAR's slider
PLACES = ("all images", "inshore", "offshore")
MOST_PIXELS = 64_000_000  # of the images on which CFAR's curve is computed; of larger sets, the first images


def precision_recall(hits: int, alarms: int, missed: int) -> tuple[float, float]:
    """(precision, recall); precision without a detection is 1, because nothing is false.

    >>> precision_recall(6, 2, 6)
    (0.75, 0.5)
    """
    return (hits / (hits + alarms) if hits + alarms else 1.0), (hits / (hits + missed) if hits + missed else 0.0)


def by_place(
    found: Boxes, true: Boxes, places: Mapping[str, Sequence[str]], classes: int, most: int
) -> dict[str, tuple[float, float]]:
    """place -> (AP50, AP) on its images, means over the classes with true boxes. Boxes are matched once: matching knows no other image.

    found, true: of all images. places: identifiers of the images of each place.
    """
    matched = [match(found, true, c, most=most) for c in range(classes)]
    wanted = np.ones(len(true.box), bool) if true.ignored is None else ~true.ignored.astype(bool)
    made = {}
    for place, ids in places.items():
        here, there = np.isin(found.image, list(ids)), np.isin(true.image, list(ids)) & wanted
        rows = []
        for c, one in enumerate(matched):
            count = int((there & (true.label == c)).sum())
            if count == 0:
                continue
            of_place = here[one.position]
            hits = [one.true[t][of_place & ~one.left_out[t]] for t in range(len(THRESHOLDS))]
            rows.append([average_precision(hit, count)[0] for hit in hits])
        means = np.mean(rows, 0) if rows else np.full(len(THRESHOLDS), np.nan)
        made[place] = (float(means[0]), float(means.mean()))
    return made


def of_images(boxes: Boxes, ids: Sequence[str]) -> Boxes:
    """The boxes of these images."""
    here = np.isin(boxes.image, list(ids))
    rest = [None if v is None else v[here] for v in (boxes.score, boxes.ignored)]
    return Boxes(boxes.box[here], boxes.image[here], boxes.label[here], *rest)


class Findings:
    """The detections of all detectors of one result, on its test images."""

    def __init__(self, result: xr.Dataset) -> None:
        self.result = result
        self.ids = [str(n) for n in result["tested"].values]
        names, of = result["detector"].values.astype(str), result["detection_of"].values
        image = np.array(self.ids)[result["detection_image"].values]
        columns = [result[f"detection_{n}"].values for n in ("box", "label", "score")]
        self.found: dict[str, Boxes] = {}
        for n, name in enumerate(names):
            here = of == n
            if here.any() or name == "sarnet":
                box, label, score = (c[here] for c in columns)
                self.found[name] = Boxes(box, image[here], label, score)


def reads(result: xr.Dataset) -> bool:
    """Whether a result has the tables that `Findings` needs; those of old runs do not."""
    return {"tested", "detection_box", "detection_of"} <= set(map(str, result.variables))


@dataclass(frozen=True)
class Sweep:
    """CFAR with every factor of FACTORS on some images: one set of boxes for each factor."""

    name: str
    found: tuple[Boxes, ...]

    def at(self, factor: float) -> Boxes:
        """The boxes with the nearest factor."""
        return self.found[int(np.abs(FACTORS - factor).argmin())]

    def curve(self, true: Boxes, ids: Sequence[str], classes: int, iou: float, most: int) -> tuple[np.ndarray, np.ndarray]:
        """(recall, precision) of each factor on the images `ids`. CFAR knows no classes; with several, only the boxes are compared."""
        points = []
        for found in self.found:
            judged = judge(of_images(found, ids), one_class(true) if classes > 1 else true, 1, iou, most)
            points.append(precision_recall(*judged.counts(-np.inf)))
        precision, recall = np.array(points).T
        return recall, precision


def one_class(boxes: Boxes) -> Boxes:
    """The same boxes, all of class 0."""
    return Boxes(boxes.box, boxes.image, np.zeros(len(boxes.box), int), boxes.score, boxes.ignored)


def swept(name: str, images: Images, ids: Sequence[str], guard: int, train: int) -> Sweep:
    """CFAR on these images with every factor; the clutter around each pixel is computed once."""
    position = {str(i): n for n, i in enumerate(images.ids)}
    rows: list[list[tuple[np.ndarray, np.ndarray, str]]] = [[] for _ in FACTORS]
    for i in ids:
        over = ratio(name, 255 * images.amplitude(position[i])[0].numpy(), guard, train)
        for n, factor in enumerate(FACTORS):
            rows[n].append((*components(over, float(factor)), i))
    made = []
    for row in rows:
        owner = np.repeat([i for *_, i in row], [len(box) for box, *_ in row])
        box, score = (np.concatenate([r[k] for r in row]) for k in range(2))
        made.append(Boxes(box.reshape(-1, 4), owner, np.zeros(len(owner), int), score))
    return Sweep(name, tuple(made))
