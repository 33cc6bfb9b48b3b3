"""Classifiers of pixels: they learn what can be learnt; EMAP by hand; scikit-learn's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.baselines import fusion
from workbench.baselines.fusion import NAMES, TwoBranch, area_opening, centre_and_mean, emap, estimator, fit, train_network
from workbench.errors import InputError
from workbench.parts.seeding import Seeded


@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_learns_and_gives_probabilities(name):
    draw = np.random.default_rng(0)
    y = np.repeat([0, 1, 3], 30)  # class 2 has no samples
    x = draw.standard_normal((90, 4)) + 3 * np.eye(4)[y]
    found = fit(name, x, y, 4)(x)
    assert found.shape == (90, 4)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found[:, 2] == 0).all()
    assert (found.argmax(1) == y).mean() > 0.95
    np.testing.assert_array_equal(found.argmax(1), estimator(name).fit(x, y).predict(x))


def test_a_logistic_regression_that_has_not_converged_is_used_without_a_warning(monkeypatch):
    """Warnings are errors in these tests."""
    monkeypatch.setattr(fusion, "ITERATIONS", 1)
    draw = np.random.default_rng(0)
    assert fit("logistic", draw.standard_normal((40, 9)), np.arange(40) % 2, 2)(np.ones((1, 9))).shape == (1, 2)


def test_unknown_classifiers_are_refused():
    with pytest.raises(InputError, match="Did you mean 'forest'"):
        fit("forrest", np.zeros((2, 1)), np.array([0, 1]), 2)


def test_area_opening_by_hand():
    grey = np.array([[0, 3, 0, 0], [0, 3, 0, 2], [0, 0, 0, 0]])
    assert area_opening(grey, 2).tolist() == [[0, 3, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]]
    assert (area_opening(grey, 3) == 0).all()
    assert (area_opening(grey, 1) == grey).all()
    step = np.array([[1, 1, 5, 1, 1]])
    assert area_opening(step, 2).tolist() == [[1, 1, 1, 1, 1]]
    layers = emap(grey[None].astype(float), areas=(2,))
    assert layers.shape == (3, 3, 4)
    np.testing.assert_array_equal(layers[0], grey)
    assert (layers[1] <= grey + 0.05).all()
    assert (layers[2] >= grey - 0.05).all()


def test_features_of_a_patch():
    patch = np.arange(16, dtype=float).reshape(1, 1, 4, 4)
    assert centre_and_mean(patch, 2).tolist() == [[10, 7.5]]


def test_two_branches_need_both_sensors():
    """The class is one of four pairs of signs, one sign in each sensor."""
    draw = np.random.default_rng(0)
    signs = draw.choice([-1.0, 1.0], (2, 240))
    y = torch.from_numpy((2 * (signs[0] > 0) + (signs[1] > 0)).astype(np.int64))
    x = {
        n: torch.from_numpy(s[:, None, None, None] + 0.1 * draw.standard_normal((240, 2, 8, 8))).float()
        for n, s in zip("ab", signs, strict=True)
    }
    accuracy = {}
    for sensors in ("a", "ab"):
        with Seeded(0):
            network = TwoBranch(dict.fromkeys(sensors, 2), 4, 8)
        train_network(network, {s: x[s] for s in sensors}, y, epochs=12, lr=5e-3)
        with torch.no_grad():
            accuracy[sensors] = float((network({s: x[s] for s in sensors}).argmax(1) == y).float().mean())
    assert accuracy["ab"] > 0.9
    assert accuracy["a"] < 0.65
