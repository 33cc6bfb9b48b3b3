"""The six kinds of errors on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.metrics.detect import Boxes, evaluate
from workbench.metrics.detect_errors import KINDS, errors

A, B, C = [0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]
NEAR_A = [4, 0, 14, 10]  # IoU with A: 60 / 140
NOTHING = [80, 80, 90, 90]


def boxes(rows, label=None, score=None, ignored=None):
    rows = np.array(rows, float).reshape(-1, 4)
    label = np.zeros(len(rows), int) if label is None else np.array(label)
    return Boxes(rows, np.zeros(len(rows), int), label, None if score is None else np.array(score), ignored)


@pytest.mark.parametrize(
    ("found", "label", "true_label", "kind", "missed"),
    [
        ([A, A], [0, 0], [0], "duplicate", 0),
        ([A, NOTHING], [0, 0], [0], "background", 0),
        ([NEAR_A], [0], [0], "location", 0),
        ([A], [1], [0], "class", 0),
        ([NEAR_A], [1], [0], "both", 1),
        ([NOTHING], [0], [0], "background", 1),
    ],
)
def test_each_kind(found, label, true_label, kind, missed):
    scores = [0.9 - 0.1 * n for n in range(len(found))]
    made = errors(boxes(found, label, scores), boxes([A], true_label), classes=2)
    assert made.number == dict.fromkeys(KINDS, 0) | {kind: 1} | {"missed": missed}


def test_mending_a_kind_gives_the_average_precision_without_it():
    true = boxes([A, B, C])
    found = boxes(
        [NOTHING, A, NEAR_A, B], score=[0.9, 0.8, 0.7, 0.6]
    )  # false, true, duplicate-near A (location), true; C is missed
    made = errors(found, true)
    assert made.ap50 == pytest.approx(evaluate(found, true).ap50)
    assert made.number == {"class": 0, "location": 1, "both": 0, "duplicate": 0, "background": 1, "missed": 1}
    without = evaluate(boxes([A, NEAR_A, B], score=[0.8, 0.7, 0.6]), true).ap50
    assert made.lost["background"] == pytest.approx(without - made.ap50)
    assert made.lost["missed"] == pytest.approx(evaluate(found, boxes([A, B])).ap50 - made.ap50)
    mended = evaluate(boxes([NOTHING, A, B], score=[0.9, 0.8, 0.6]), true).ap50  # on a box that is taken: suppressed
    assert made.lost["location"] == pytest.approx(mended - made.ap50)
    assert made.lost["class"] == made.lost["both"] == made.lost["duplicate"] == 0


def test_a_mended_location_or_class_is_a_true_detection():
    near = errors(boxes([NEAR_A], score=[0.5]), boxes([A]))
    assert (near.ap50, near.lost["location"], near.lost["missed"]) == (0, 1, 0)
    other = errors(boxes([A, B], [1, 1], [0.9, 0.5]), boxes([A, B], [0, 1]), classes=2)
    assert other.ap50 == pytest.approx(0.25)  # class 0: 0; class 1: false, true
    assert other.lost["class"] == pytest.approx(0.75)


def test_ignored_boxes_and_no_detections():
    true = boxes([A, B], ignored=np.array([True, False]))
    made = errors(boxes([A, B], score=[0.9, 0.8]), true)
    assert made.ap50 == 1
    assert sum(made.number.values()) == 0
    none = errors(boxes([], score=[]), true)
    assert none.number["missed"] == 1
    assert none.ap50 == 0
    assert np.isnan(none.lost["missed"])
    assert np.isnan(errors(boxes([A], score=[0.5]), boxes([])).ap50)


def test_kinds_add_up_on_random_boxes():
    draw = np.random.default_rng(0)
    corner = draw.uniform(0, 200, (40, 2))
    true = boxes(np.hstack([corner, corner + draw.uniform(8, 20, (40, 2))]), draw.integers(0, 3, 40))
    moved = np.vstack([true.box + draw.normal(0, 2.5, (40, 4)), true.box[:15], draw.uniform(0, 50, (5, 2)).repeat(2, 1)])
    moved[-5:, 2:] += 6
    found = boxes(moved, np.concatenate([true.label, true.label[:10], draw.integers(0, 3, 10)]), draw.random(60))
    made = errors(found, true, 3)
    assert made.ap50 == pytest.approx(evaluate(found, true, 3).ap50)
    scores = evaluate(found, true, 3)
    hits = sum(int(m.true[0].sum()) for m in scores.matched)
    assert hits + sum(n for kind, n in made.number.items() if kind != "missed") == 60
    assert all(value >= -1e-12 for value in made.lost.values())
    assert made.number["duplicate"] > 0 < made.number["class"]
