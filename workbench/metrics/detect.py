"""How good detected boxes are: average precision, precision and recall, false alarms, and the kinds of errors.

    found = Boxes(box, image, label, score)
    true = Boxes(box, image, label)
    scores = evaluate(found, true)
    scores.ap50, scores.ap, scores.curve

Average precision is that of COCO (T.-Y. Lin et al., ECCV 2014, doi 10.1007/978-3-319-10602-1_48): greedy matching by falling score,
one detection for each true box, precision made monotone and read at 101 recalls; AP is the mean over the IoU thresholds 0.50, 0.55,
..., 0.95 and over the classes that have true boxes. `most` detections of an image and class count; COCO uses 100, here it is 300,
because SAR chips can hold more than 100 ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.errors import InputError

THRESHOLDS = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))  # IoU
RECALLS = np.linspace(0, 1, 101)
MOST = 300


@dataclass(frozen=True)
class Boxes:
    """Boxes of many images: box (N, 4) x0 y0 x1 y1, image (N,) identifiers, label (N,) int.

    score (N,): of detections; None for true boxes. ignored (N,) bool: true boxes that are neither asked for nor false, such as difficult
    ones; None: none.
    """

    box: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    ignored: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.box)
        if self.box.shape != (n, 4) or any(len(v) != n for v in (self.image, self.label)):
            raise InputError(f"Boxes need (N, 4) edges and N images and labels; got {self.box.shape} and {len(self.image)}.")
        if self.score is not None and not np.isfinite(self.score).all():
            raise InputError("A score of a detection is missing or infinite; leave that detection out.")


@dataclass(frozen=True)
class Matched:
    """Detections of one class by falling score, and whether each is true at each IoU threshold.

    score (N,); true, left_out (T, N) bool, left_out: matched to an ignored box. position (N,): in the given detections. on (T, N): position
    of the true box that a true detection has taken, in the given true boxes; -1 for others. count: true boxes.
    """

    score: np.ndarray
    true: np.ndarray
    left_out: np.ndarray
    position: np.ndarray
    on: np.ndarray
    count: int

    def at(self, threshold: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(score, true, position) at one threshold, without what is left out."""
        used = ~self.left_out[threshold]
        return self.score[used], self.true[threshold][used], self.position[used]


@dataclass(frozen=True)
class Scores:
    """ap, ap50, ap75: means over the classes. by_class (C, 2): AP and AP50 of each class, NaN without true boxes. curve (101,):
    precision at IoU 0.5 at the recalls 0, 0.01, ..., 1. matched: of each class.
    """

    ap: float
    ap50: float
    ap75: float
    by_class: np.ndarray
    curve: np.ndarray
    matched: tuple[Matched, ...]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    a, b = (
        np.asarray(a, np.float64),
        np.asarray(b, np.float64),
    )  # in float32 an overlap at a threshold may fall on either side
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    area = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
    union = area[0][:, None] + area[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def match(found: Boxes, true: Boxes, label: int, thresholds: Sequence[float] = THRESHOLDS, most: int = MOST) -> Matched:
    """Match the detections of one class with its true boxes, image by image, best score first."""
    if found.score is None:
        raise InputError("Detections need scores; these have none.")
    mine, theirs = np.flatnonzero(found.label == label), np.flatnonzero(true.label == label)
    ignored = np.zeros(len(true.box), bool) if true.ignored is None else true.ignored.astype(bool)
    images, code = np.unique(np.concatenate([found.image[mine], true.image[theirs]]), return_inverse=True)
    found_of, true_of = code[: len(mine)], code[len(mine) :]
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for n in range(len(images)):
        own = mine[found_of == n]
        own = own[np.argsort(-found.score[own], kind="stable")][:most]
        wanted = theirs[true_of == n]
        wanted = wanted[np.argsort(ignored[wanted], kind="stable")]
        hit, left_out, taken = _greedy(iou(found.box[own], true.box[wanted]), ignored[wanted], thresholds)
        rows.append((own, hit, left_out, np.where(hit, np.append(wanted, -1)[taken], -1)))
    if not rows:
        empty = np.zeros((len(thresholds), 0), bool)
        return Matched(np.zeros(0), empty, empty, np.zeros(0, int), empty.astype(int), 0)
    position = np.concatenate([r[0] for r in rows])
    order = np.argsort(-found.score[position], kind="stable")
    hits, left_out, on = (np.concatenate([r[i] for r in rows], 1)[:, order] for i in (1, 2, 3))
    return Matched(found.score[position][order], hits, left_out, position[order], on, int((~ignored[theirs]).sum()))


def _greedy(
    overlap: np.ndarray, ignored: np.ndarray, thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true, left out, box taken), each (T, N): every detection takes the free true box that it overlaps most; an ignored one only if
    no other fits; -1 where none is taken.
    """
    n, m = overlap.shape
    true, left_out = np.zeros((len(thresholds), n), bool), np.zeros((len(thresholds), n), bool)
    taken = np.full((len(thresholds), n), -1)
    for t, threshold in enumerate(thresholds):
        free = np.ones(m, bool)
        for d in range(n):
            fits = overlap[d] >= min(threshold, 1 - 1e-10)
            for kind, into in ((~ignored & free, true), (ignored, left_out)):
                candidates = np.flatnonzero(fits & kind)
                if len(candidates):
                    best = candidates[::-1][overlap[d, candidates[::-1]].argmax()]  # of equal ones the last, as in COCO
                    free[best] = False
                    into[t, d], taken[t, d] = True, best
                    break
    return true, left_out, taken


def average_precision(true: np.ndarray, count: int) -> tuple[float, np.ndarray]:
    """(AP, precision (101,)) of detections by falling score: true (N,) bool, count true boxes. NaN without true boxes.

    >>> round(average_precision(np.array([True, False, True]), 2)[0], 6)
    0.834983
    """
    if count == 0:
        return float("nan"), np.full(len(RECALLS), np.nan)
    hits = np.cumsum(true)
    precision = hits / np.arange(1, len(true) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    where = np.searchsorted(hits / count, RECALLS, side="left")
    curve = np.where(where < len(true), np.append(monotone, 0.0)[np.minimum(where, len(true))], 0.0)
    return float(curve.mean()), curve


def evaluate(found: Boxes, true: Boxes, classes: int = 1, most: int = MOST) -> Scores:
    """Scores of detections against true boxes; labels are 0 .. classes - 1.

    Raises InputError for labels out of range.
    """
    for name, boxes in (("detection", found), ("true box", true)):
        if len(boxes.label) and not 0 <= boxes.label.min() <= boxes.label.max() < classes:
            raise InputError(f"A {name} has a label outside 0 to {classes - 1}: {boxes.label.min()} to {boxes.label.max()}.")
    matched = tuple(match(found, true, c, most=most) for c in range(classes))
    values = np.full((classes, len(THRESHOLDS)), np.nan)
    curves = np.full((classes, len(RECALLS)), np.nan)
    for c, one in enumerate(matched):
        for t in range(len(THRESHOLDS)):
            _, hit, _ = one.at(t)
            values[c, t], curve = average_precision(hit, one.count)
            curves[c] = curve if t == 0 else curves[c]
    by_class = np.stack([values.mean(1), values[:, 0]], 1)
    present = [one.count > 0 for one in matched]
    if not any(present):
        return Scores(np.nan, np.nan, np.nan, by_class, np.full(len(RECALLS), np.nan), matched)
    means = values[present].mean(0)
    return Scores(float(means.mean()), float(means[0]), float(means[5]), by_class, curves[present].mean(0), matched)


# --- one threshold ----------------------------------------------------------------------------------------------------


def _pooled(matched: Sequence[Matched]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(score, true, position) of all classes by falling score at IoU 0.5, and the number of true boxes."""
    rows = [one.at(0) for one in matched]
    score, true, position = (np.concatenate([r[i] for r in rows]) for i in range(3))
    order = np.argsort(-score, kind="stable")
    return score[order], true[order].astype(bool), position[order].astype(int), sum(one.count for one in matched)


@dataclass(frozen=True)
class Point:
    """One point of the precision-recall curve: all detections with at least this score."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_f1(matched: Sequence[Matched]) -> Point:
    """The score threshold with the highest F1 at IoU 0.5; NaN without true boxes or detections."""
    score, true, _, count = _pooled(matched)
    if count == 0 or len(score) == 0:
        return Point(*[float("nan")] * 4)
    hits = np.cumsum(true)
    f1 = 2 * hits / (np.arange(1, len(true) + 1) + count)
    last = np.append(score[1:] != score[:-1], True)  # equal scores are above or below a threshold together
    best = int(np.where(last, f1, -1).argmax())
    return Point(float(score[best]), float(hits[best] / (best + 1)), float(hits[best] / count), float(f1[best]))


def recall_at(matched: Sequence[Matched], allowed: float) -> float:
    """Largest recall at IoU 0.5 with at most `allowed` false detections in all; NaN without true boxes.

    For a rate, multiply it by the number of scenes or by the area: `recall_at(m, 0.5 * scenes)`, `recall_at(m, 0.01 * square_km)`.
    """
    score, true, _, count = _pooled(matched)
    if count == 0:
        return float("nan")
    last = np.append(score[1:] != score[:-1], True) if len(score) else np.zeros(0, bool)
    usable = last & (np.cumsum(~true) <= allowed)
    return float(np.cumsum(true)[usable].max(initial=0) / count)


def false_alarms_at(matched: Sequence[Matched], recall: float, counted: np.ndarray | None = None) -> float:
    """Number of false detections at the highest threshold that reaches this recall at IoU 0.5; NaN if none does.

    counted: of all given detections (N,) bool, which false ones count, such as those on streaks; None: all.
    """
    score, true, position, count = _pooled(matched)
    reached = np.flatnonzero(np.cumsum(true) >= recall * count - 1e-9) if count else np.zeros(0, int)
    if len(reached) == 0:
        return float("nan")
    false = ~true & (score >= score[reached[0]])
    return float(false.sum() if counted is None else (false & counted[position]).sum())
