"""Average precision and false alarms against cases worked by hand and a direct second computation."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.metrics.detect import Boxes, average_precision, best_f1, evaluate, false_alarms_at, iou, recall_at


def boxes(rows, score=None, image=None, label=None, ignored=None):
    rows = np.array(rows, float).reshape(-1, 4)
    image = np.zeros(len(rows), int) if image is None else np.array(image)
    label = np.zeros(len(rows), int) if label is None else np.array(label)
    return Boxes(
        rows, image, label, None if score is None else np.array(score), None if ignored is None else np.array(ignored)
    )


TRUE = [[0, 0, 10, 10], [20, 20, 30, 30]]
FOUND = [[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]]


def test_iou_of_the_worked_example():
    assert iou(np.array([[0.0, 0, 10, 10]]), np.array([[1.0, 1, 11, 11]]))[0, 0] == pytest.approx(81 / 119)
    assert iou(np.zeros((1, 4)), np.zeros((1, 4)))[0, 0] == 0


def test_ap_of_true_false_true_is_that_of_the_worked_example():
    scores = evaluate(boxes(FOUND, [0.9, 0.8, 0.7]), boxes(TRUE))
    assert scores.ap50 == pytest.approx(0.834983, abs=1e-6)
    assert scores.ap == pytest.approx(0.834983, abs=1e-6)
    assert scores.ap75 == pytest.approx(0.834983, abs=1e-6)
    assert scores.curve[[0, 50, 51, 100]].tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3])


def test_a_shifted_box_counts_at_low_thresholds_only():
    scores = evaluate(boxes([[0, 0, 10, 8]], [0.5]), boxes([[0, 0, 10, 10]]))  # IoU 0.8: true at 0.50 to 0.80
    assert scores.ap50 == 1
    assert scores.ap == pytest.approx(0.7)


def test_a_second_detection_of_a_box_and_one_of_another_image_are_false():
    twice = evaluate(boxes([TRUE[0], TRUE[0]], [0.9, 0.8]), boxes(TRUE[:1]))
    assert twice.matched[0].true[0].tolist() == [True, False]
    elsewhere = evaluate(boxes(TRUE[:1], [0.9], image=[1]), boxes(TRUE[:1]))
    assert elsewhere.ap50 == 0


def test_ignored_boxes_are_neither_true_nor_false():
    true = boxes(TRUE, ignored=[False, True])
    scores = evaluate(boxes([TRUE[1], TRUE[1], TRUE[0]], [0.9, 0.8, 0.7]), true)
    assert scores.ap50 == 1
    assert scores.matched[0].count == 1


def test_classes_are_matched_apart_and_those_without_truth_do_not_count():
    found = boxes([TRUE[0], TRUE[1]], [0.9, 0.8], label=[0, 1])
    scores = evaluate(found, boxes([TRUE[0], TRUE[1]], label=[0, 0]), classes=3)
    assert scores.by_class[:, 1].tolist() == pytest.approx([51 / 101, np.nan, np.nan], nan_ok=True)
    assert scores.ap50 == pytest.approx(51 / 101)


def test_only_the_best_of_an_image_count():
    found = boxes([[50, 50, 60, 60]] * 3 + [TRUE[0]], [0.9, 0.8, 0.7, 0.6])
    assert evaluate(found, boxes(TRUE[:1]), most=3).ap50 == 0
    assert evaluate(found, boxes(TRUE[:1]), most=4).ap50 == pytest.approx(0.25)


def test_nothing_found_and_nothing_to_find():
    assert evaluate(boxes([], []), boxes(TRUE)).ap50 == 0
    assert np.isnan(evaluate(boxes(TRUE, [0.5, 0.5]), boxes([])).ap50)
    assert np.isnan(average_precision(np.zeros(0, bool), 0)[0])


def test_wrong_tables_are_refused():
    with pytest.raises(InputError, match="label outside 0 to 0"):
        evaluate(boxes(TRUE, [0.5, 0.5], label=[0, 1]), boxes(TRUE))
    with pytest.raises(InputError, match="missing or infinite"):
        boxes(TRUE, [0.5, np.nan])
    with pytest.raises(InputError, match="need scores"):
        evaluate(boxes(TRUE), boxes(TRUE))


def slow_ap(found, true, threshold):
    """COCO's AP of one class by definition: for every recall, the best precision at that recall or beyond."""
    order = np.argsort(-found.score, kind="stable")
    taken, hits = set(), []
    for d in order:
        best, which = threshold, None
        for g in range(len(true.box)):
            overlap = iou(found.box[d][None], true.box[g][None])[0, 0]
            if true.image[g] == found.image[d] and g not in taken and overlap >= best:
                best, which = overlap, g
        taken.add(which)
        hits.append(which is not None)
    points = [(sum(hits[: n + 1]) / len(true.box), sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
    return np.mean([max((p for r, p in points if r >= at - 1e-12), default=0) for at in np.linspace(0, 1, 101)])


@pytest.mark.parametrize("seed", range(5))
def test_ap_equals_its_definition_on_random_boxes(seed):
    draw = np.random.default_rng(seed)
    corner = draw.uniform(0, 60, (31, 2))  # no recall n / 31 is a multiple of 0.01, where rounding would decide
    true = boxes(np.hstack([corner, corner + draw.uniform(8, 20, (31, 2))]), image=draw.integers(0, 4, 31))
    moved = np.vstack([true.box + draw.normal(0, 2, (31, 4)), true.box[:10] + 25])
    found = boxes(moved, draw.random(41), image=np.concatenate([true.image, true.image[:10]]))
    scores = evaluate(found, true)
    expected = [slow_ap(found, true, t) for t in np.arange(0.5, 1, 0.05).round(2)]
    assert scores.ap50 == pytest.approx(expected[0])
    assert scores.ap == pytest.approx(np.mean(expected))
    assert 0.05 < scores.ap < scores.ap50 < 0.99


def test_recall_false_alarms_and_the_best_f1():
    true = boxes([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
    found = boxes([*TRUE, [60, 60, 70, 70], [80, 80, 90, 90], [40, 40, 50, 50]], [0.9, 0.8, 0.7, 0.6, 0.6])
    (matched,) = evaluate(found, true).matched
    assert recall_at([matched], 0) == pytest.approx(2 / 3)
    assert recall_at([matched], 1) == pytest.approx(2 / 3)  # 0.6 is reached by a true and a false one together
    assert recall_at([matched], 2) == 1
    assert false_alarms_at([matched], 2 / 3) == 0
    assert false_alarms_at([matched], 1.0) == 2
    assert false_alarms_at([matched], 1.0, np.array([False, False, True, False, False])) == 1
    assert np.isnan(false_alarms_at([evaluate(boxes([], []), true).matched[0]], 0.5))
    best = best_f1([matched])
    assert (best.threshold, best.precision, best.recall, best.f1) == pytest.approx((0.8, 1, 2 / 3, 0.8))
