"""What became of the detections at one IoU: hits, false alarms and missed boxes, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench.metrics.detect import Boxes, average_precision, match


class Outcome(NamedTuple):
    """A box and what became of it. kind: hit, false alarm or missed. name: d7 is detection 7 of its image, t7 its true box 7."""

    kind: str
    edges: np.ndarray
    image: str
    score: float
    label: int
    name: str


@dataclass(frozen=True)
class Judged:
    """Detections of one detector at one IoU, by falling score.

    score, hit, position, on (N,): hit: whether it is true; position: in the given detections; on: the true box it has taken, or -1.
    count: true boxes that are asked for. ap: average precision, mean over the classes.
    """

    score: np.ndarray
    hit: np.ndarray
    position: np.ndarray
    on: np.ndarray
    count: int
    ap: float

    @property
    def recall(self) -> np.ndarray:
        """After each detection."""
        return np.cumsum(self.hit) / max(self.count, 1)

    @property
    def precision(self) -> np.ndarray:
        """After each detection."""
        return np.cumsum(self.hit) / np.arange(1, len(self.hit) + 1)

    def above(self, score: float) -> int:
        """Number of detections with at least this score."""
        return int((self.score >= score).sum())

    def counts(self, score: float) -> tuple[int, int, int]:
        """(hits, false alarms, missed) of the detections with at least this score."""
        n = self.above(score)
        hits = int(self.hit[:n].sum())
        return hits, n - hits, self.count - hits


def judge(found: Boxes, true: Boxes, classes: int, iou: float, most: int) -> Judged:
    """Match detections with true boxes, class by class, and order them all by score."""
    matched = [match(found, true, c, thresholds=(iou,), most=most) for c in range(classes)]
    values = [average_precision(m.at(0)[1], m.count)[0] for m in matched if m.count]
    used = [~m.left_out[0] for m in matched]
    columns = [
        np.concatenate([column[u] for column, u in zip(parts, used, strict=True)])
        for parts in (
            [m.score for m in matched], [m.true[0] for m in matched], [m.position for m in matched], [m.on[0] for m in matched],
        )
    ]  # fmt: skip
    order = np.argsort(-columns[0], kind="stable")
    score, hit, position, on = (c[order] for c in columns)
    return Judged(score, hit, position, on, sum(m.count for m in matched), float(np.mean(values)) if values else np.nan)


def outcomes(judged: Judged, found: Boxes, true: Boxes, score: float) -> list[Outcome]:
    """Hits and false alarms with at least this score, by falling score, then the true boxes that they leave."""
    made = []
    n, d_of, t_of = judged.above(score), ranks(found.image), ranks(true.image)
    for at in range(n):
        d = int(judged.position[at])
        kind, name = "hit" if judged.hit[at] else "false alarm", f"d{d_of[d]}"
        made.append(Outcome(kind, found.box[d], str(found.image[d]), float(judged.score[at]), int(found.label[d]), name))
    wanted = np.ones(len(true.box), bool) if true.ignored is None else ~true.ignored.astype(bool)
    wanted[judged.on[:n][judged.hit[:n]]] = False
    made += [
        Outcome("missed", true.box[t], str(true.image[t]), np.nan, int(true.label[t]), f"t{t_of[t]}")
        for t in np.flatnonzero(wanted)
    ]
    return made


def of_one(box: np.ndarray, score: np.ndarray, label: np.ndarray, true: Boxes, classes: int, iou: float) -> list[Outcome]:
    """What became of the detections of one image; true: its true boxes."""
    found = Boxes(box, np.full(len(box), "one"), label, score)
    image = Boxes(true.box, np.full(len(true.box), "one"), true.label, ignored=true.ignored)
    return outcomes(judge(found, image, classes, iou, max(len(box), 1)), found, image, -np.inf)


def ranks(image: np.ndarray) -> np.ndarray:
    """The number of each box within its image, from 0: the same in a table of fewer images.

    >>> ranks(np.array(["a", "b", "a"])).tolist()
    [0, 0, 1]
    """
    order = np.argsort(image, kind="stable")
    _, first, count = np.unique(image[order], return_index=True, return_counts=True)
    made = np.empty(len(image), int)
    made[order] = np.arange(len(image)) - np.repeat(first, count)
    return made
