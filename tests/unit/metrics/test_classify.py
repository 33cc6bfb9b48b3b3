"""Accuracy of class maps, area and calibration, by hand; the leak meter on images whose neighbours are alike, and on noise."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.metrics.classify import (
    average,
    calibration,
    confusion,
    entropy,
    kappa,
    mapped_areas,
    overall,
    precision,
    recall,
)
from workbench.metrics.leak import leak_meter

COUNTS = np.array([[8, 2], [1, 9]])


def test_numbers_by_hand():
    truth = np.repeat([0, 0, 1, 1, -1], [8, 2, 1, 9, 5])
    predicted = np.concatenate([[0] * 8, [1] * 2, [0], [1] * 9, [1] * 5])
    np.testing.assert_array_equal(confusion(truth, predicted, 2), COUNTS)
    assert (overall(COUNTS), average(COUNTS), kappa(COUNTS)) == pytest.approx((0.85, 0.85, 0.7))
    assert recall(COUNTS).tolist() == pytest.approx([0.8, 0.9])
    assert precision(COUNTS).tolist() == pytest.approx([8 / 9, 9 / 11])
    lost = np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]])  # a class that is never found, and one without samples
    assert average(lost) == pytest.approx(0.5)
    assert np.isnan(recall(lost)[2])
    assert np.isnan(kappa(np.array([[4]])))


@pytest.mark.parametrize(
    ("truth", "predicted", "says"),
    [
        (np.array([0.5]), np.array([0]), "true classes are float64"),
        (np.array([0, 1]), np.array([0]), "same samples"),
        (np.array([2]), np.array([0]), "the last is 1"),
    ],
)
def test_classes_that_cannot_be_counted_are_refused(truth, predicted, says):
    with pytest.raises(InputError, match=says):
        confusion(truth, predicted, 2)


def test_mapped_area_by_hand():
    """Two strata of 900 and 100 pixels; 10 samples in each; 2 of the first are of the second class."""
    counts = np.array([[8, 0], [2, 10]])
    found = mapped_areas(counts, np.array([900, 100]))
    assert found.area.tolist() == pytest.approx([720, 280])
    assert found.half_width[0] == pytest.approx(1.96 * 1000 * np.sqrt(0.9**2 * 0.8 * 0.2 / 9))
    assert np.isnan(mapped_areas(np.zeros((2, 2), int), np.array([1, 1])).area).all()


def test_the_interval_of_the_area_covers_the_truth():
    """1000 samples of a known map: the interval has the true area in about 95 of 100."""
    draw, inside = np.random.default_rng(0), 0
    truth = draw.random(20_000) < 0.3
    mapped = np.where(draw.random(20_000) < 0.15, ~truth, truth)
    for _ in range(200):
        rows = draw.choice(20_000, 400, replace=False)
        found = mapped_areas(
            confusion(truth[rows].astype(int), mapped[rows].astype(int), 2), np.bincount(mapped.astype(int))
        )
        inside += abs(found.area[1] - truth.sum()) < found.half_width[1]
    assert 180 <= inside <= 199
    assert abs(mapped.sum() - truth.sum()) > 800  # counting pixels of the map is biased


def test_calibration_of_sure_and_of_right_probabilities():
    truth = np.array([0, 0, 0, 1])
    sure = np.tile([1.0, 0.0], (4, 1))
    assert calibration(sure, truth).error == pytest.approx(0.25)
    assert calibration(np.tile([0.75, 0.25], (4, 1)), truth).error == pytest.approx(0)
    assert entropy(np.array([[0.5, 0.5], [1, 0]])).tolist() == pytest.approx([1, 0], abs=1e-9)


def test_leak_meter_sees_alike_neighbours_only():
    """Fields of equal pixels whose values are no clue of the class: random pixels remember the field, halves cannot."""
    draw = np.random.default_rng(0)
    field = np.arange(1600) // 20
    label = draw.integers(0, 4, 80)[field]
    values = draw.standard_normal((80, 5))[field] + 0.01 * draw.standard_normal((1600, 5))
    train, test = np.flatnonzero(field < 40), np.flatnonzero(field >= 40)
    leak = leak_meter(values, label, train, test)
    assert leak.random > 0.9
    assert leak.honest < 0.5
    noise = leak_meter(draw.standard_normal((1600, 5)), label, train, test)
    assert abs(noise.random - noise.honest) < 0.1
