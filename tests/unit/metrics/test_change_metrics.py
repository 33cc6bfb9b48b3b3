"""Scores of a change map on counts worked out by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from sklearn import metrics as sk

from workbench.errors import InputError
from workbench.metrics.change import Confusion, add_metrics, confusion


def test_scores_by_hand():
    # 50 found, 10 false, 20 missed of 1000: 50/60, 50/70, 100/130, 50/80
    c = Confusion(tp=50, fp=10, fn=20, tn=920)
    assert (c.precision, c.recall, c.f1, c.iou) == (50 / 60, 50 / 70, 100 / 130, 0.625)
    assert round(c.precision, 4) == 0.8333
    assert round(c.recall, 4) == 0.7143
    assert round(c.f1, 4) == 0.7692
    assert c.iou == pytest.approx(c.f1 / (2 - c.f1))
    # agreed .97; by chance .06 * .07 + .94 * .93 = .8784
    assert c.kappa == pytest.approx((0.97 - 0.8784) / (1 - 0.8784))
    assert c.error_rate == 0.03


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    change = np.clip(0.3 * truth + rng.random(500), 0, 1)
    c = confusion(change, truth)
    called = change > 0.5
    assert c.kappa == pytest.approx(sk.cohen_kappa_score(truth, called))
    assert c.f1 == pytest.approx(sk.f1_score(truth, called))
    assert c.iou == pytest.approx(sk.jaccard_score(truth, called))
    assert c.precision == pytest.approx(sk.precision_score(truth, called))
    assert c.recall == pytest.approx(sk.recall_score(truth, called))
    assert c.accuracy == pytest.approx(sk.accuracy_score(truth, called))


def test_masked_pixels_do_not_count():
    whole = confusion([0.9, 0.2, 0.6], [1, 1, 0])
    masked = confusion([0.9, 0.2, 0.6, np.nan, 0.9, np.nan], [1, 1, 0, 1, -1, -1])
    assert masked == whole == Confusion(1, 1, 1, 0)


def test_the_threshold_itself_is_not_above_it():
    assert confusion([0.5], [1]) == Confusion(fn=1)
    assert confusion([0.5], [1], threshold=0.4) == Confusion(tp=1)


def test_sets_are_pooled_not_averaged():
    # F1 of the two images: 1 and 0 (mean 1/2); pooled 2 / (2 + 3)
    images = [confusion([1.0], [1]), confusion([0.0, 0.0, 0.0], [1, 1, 1])]
    assert sum(images, Confusion()).f1 == pytest.approx(2 / 5)
    assert confusion([1.0, 0.0, 0.0, 0.0], [1, 1, 1, 1]) == images[0] + images[1]


def test_what_is_undefined_is_nan():
    nothing = confusion(np.zeros(4), np.zeros(4, int))
    assert math.isnan(nothing.f1)
    assert math.isnan(nothing.kappa)
    assert nothing.accuracy == 1
    assert math.isnan(Confusion().accuracy)


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"\(4, 1\).*\(4,\)"):
        confusion(np.zeros((4, 1)), np.zeros(4))


def test_metrics_of_a_result():
    truth = xr.DataArray([[1, 0, -1]], dims=("y", "x"))
    result = xr.Dataset({"change": (("x", "y"), [[0.8], [0.9], [0.1]])})  # in another order of dims
    judged = add_metrics(result, truth)
    assert float(judged["f1"]) == pytest.approx(2 / 3)
    assert float(judged["error_rate"]) == 0.5
    assert all(judged[n].attrs["long_name"] for n in ("f1", "iou", "kappa", "precision", "recall"))
    assert add_metrics(result, None) is result
    assert "f1" not in add_metrics(result, truth * 0 - 1)
