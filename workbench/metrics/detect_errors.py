"""Why a detector loses average precision: the six kinds of errors of TIDE (D. Bolya et al., ECCV 2020, arXiv 2008.08115).

    kinds = errors(found, true, classes=1)
    kinds.number["missed"], kinds.lost["missed"]       # how many, and the AP50 gained if exactly these were mended

Detections are matched at IoU `high`, best score first. A false one has the first of these kinds that fits: `duplicate`, it is on a
true box of its class that is taken; `class`, on a true box of another class; `location`, between `low` and `high` on one of its
class; `both`, the same on one of another class; `background`, on nothing. `missed`: true boxes that no detection takes, and that no
class or location error is on; they are mended by not asking for them, so a class of which all are missed does not count then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workbench.metrics.detect import MOST, Boxes, average_precision, iou

KINDS = ("class", "location", "both", "duplicate", "background", "missed")


class Errors(NamedTuple):
    """number: errors of each kind. lost: AP50 that mending this kind alone would add. ap50: as it is."""

    number: dict[str, int]
    lost: dict[str, float]
    ap50: float


class _Sorted(NamedTuple):
    """Detections by falling score: score, label, kind ("" for true ones) and the true box that each is on, -1 for none."""

    score: np.ndarray
    label: np.ndarray
    kind: np.ndarray
    on: np.ndarray


def errors(found: Boxes, true: Boxes, classes: int = 1, low: float = 0.1, high: float = 0.5, most: int = MOST) -> Errors:
    """The errors of detections. Ignored true boxes and detections on them are left out. See the module."""
    wanted = np.ones(len(true.box), bool) if true.ignored is None else ~true.ignored.astype(bool)
    table = _sorted(found, true, wanted, low, high, most)
    taken = np.zeros(len(true.box), bool)
    taken[table.on[np.isin(table.kind, ("", "class", "location"))]] = True
    missed = wanted & ~taken
    count = {kind: int((table.kind == kind).sum()) for kind in KINDS if kind != "missed"} | {"missed": int(missed.sum())}
    truth = [int(((true.label == c) & wanted).sum()) for c in range(classes)]
    present = [c for c in range(classes) if truth[c]]

    def ap50(score: np.ndarray, label: np.ndarray, hit: np.ndarray, number: list[int]) -> float:
        order = np.argsort(-score, kind="stable")
        values = [average_precision(hit[order][label[order] == c], number[c])[0] for c in present if number[c]]
        return float(np.mean(values)) if values else float("nan")

    base = ap50(table.score, table.label, table.kind == "", truth)
    lost = {}
    for kind in ("both", "duplicate", "background"):
        kept = table.kind != kind
        lost[kind] = ap50(table.score[kept], table.label[kept], table.kind[kept] == "", truth) - base
    for kind in ("class", "location"):
        mended = np.flatnonzero((table.kind == kind) | (table.kind == ""))  # each true box goes to the best of those on it
        _, first = np.unique(table.on[mended], return_index=True)
        hit = np.zeros(len(table.score), bool)
        hit[mended[first]] = True
        label = np.where(hit, true.label[table.on] if len(true.box) else table.label, table.label)
        kept = hit | ~np.isin(table.kind, (kind, ""))
        lost[kind] = ap50(table.score[kept], label[kept], hit[kept], truth) - base
    fewer = [n - int((missed & (true.label == c)).sum()) for c, n in enumerate(truth)]
    lost["missed"] = ap50(table.score, table.label, table.kind == "", fewer) - base
    return Errors({k: count[k] for k in KINDS}, {k: lost[k] for k in KINDS}, base)


def _sorted(found: Boxes, true: Boxes, wanted: np.ndarray, low: float, high: float, most: int) -> _Sorted:
    """The kind of each detection, image by image."""
    assert found.score is not None
    position, kinds, ons = [], [], []
    for image in np.unique(found.image):
        own = np.flatnonzero(found.image == image)
        own = own[np.argsort(-found.score[own], kind="stable")]
        rank = np.zeros(len(own), int)  # among the detections of its class
        for c in np.unique(found.label[own]):
            rank[found.label[own] == c] = np.arange((found.label[own] == c).sum())
        own = own[rank < most]
        theirs = np.flatnonzero(true.image == image)
        overlap = iou(found.box[own], true.box[theirs])
        free = np.ones(len(theirs), bool)
        for d, at in zip(own, overlap, strict=True):
            same = true.label[theirs] == found.label[d]
            kind, on = _kind(at, same, free, wanted[theirs], low, high)
            if kind == "ignored":
                continue
            if kind == "":
                free[on] = False
            position.append(d)
            kinds.append(kind)
            ons.append(theirs[on] if on >= 0 else -1)
    if not position:
        return _Sorted(np.zeros(0), np.zeros(0, int), np.zeros(0, "U10"), np.zeros(0, int))
    order = np.argsort(-found.score[position], kind="stable")
    at = np.array(position)[order]
    return _Sorted(found.score[at], found.label[at], np.array(kinds, "U10")[order], np.array(ons)[order])


def _kind(
    overlap: np.ndarray, same: np.ndarray, free: np.ndarray, wanted: np.ndarray, low: float, high: float
) -> tuple[str, int]:
    """(kind, position of the true box that it is on) of one detection; "" if it is true."""

    def best(which: np.ndarray, least: float) -> int:
        candidates = np.flatnonzero(which & (overlap >= least))
        return int(candidates[::-1][overlap[candidates[::-1]].argmax()]) if len(candidates) else -1

    if (on := best(same & free & wanted, high)) >= 0:
        return "", on
    if best(same & ~wanted, high) >= 0:
        return "ignored", -1
    for kind, which, least in (
        ("duplicate", same & wanted, high),
        ("class", ~same & wanted, high),
        ("location", same & wanted, low),
        ("both", ~same & wanted, low),
    ):
        if (on := best(which, least)) >= 0:
            return kind, on
    return "background", -1
