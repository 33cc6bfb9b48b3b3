"""The block bootstrap: weights against scikit-learn, widths against what is known, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from workbench.errors import InputError
from workbench.metrics import anomaly
from workbench.metrics.blocks import METRICS, _weighted, block_bootstrap, interval


def scene(seed: int, size: int = 60, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((size, size)) < share).astype(int)
    return rng.normal(size=truth.shape) + truth, truth


def test_weighted_metrics_are_those_of_repeated_pixels():
    rng = np.random.default_rng(0)
    score = np.round(rng.normal(size=400), 1)  # many ties
    truth = (rng.random(400) < 0.2).astype(int)
    weight = rng.integers(0, 4, 400)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    found = dict(zip(METRICS, _weighted(weight[order], truth[order] > 0, last), strict=True))
    assert found["auc"] == pytest.approx(roc_auc_score(truth, score, sample_weight=weight), rel=1e-12)
    assert found["average_precision"] == pytest.approx(
        average_precision_score(truth, score, sample_weight=weight), rel=1e-12
    )
    again = np.repeat(score, weight), np.repeat(truth, weight)
    for name, pf in anomaly.FALSE_ALARMS.items():
        assert found[name] == pytest.approx(anomaly.pd_at_pf(*again, pf), rel=1e-12)


def test_width_for_independent_pixels_is_that_of_delong():
    score, truth = scene(1)
    found = block_bootstrap({"a": score}, truth, block=1, draws=400)["a"]["auc"]
    above = score[truth == 1][:, None] > score[truth == 0][None]
    a = anomaly.auc(score, truth)
    known = np.sqrt(sum(above.mean(axis).var(ddof=1) / above.shape[1 - axis] for axis in (0, 1)))
    assert found.std() == pytest.approx(known, rel=0.15)
    low, high = interval(found)
    assert low < a < high


def test_blocks_see_that_neighbours_are_alike():
    """Every 5 x 5 square is one pixel repeated: 144 independent numbers look like 3600 to a bootstrap of single pixels."""
    score, truth = (np.kron(values, np.ones((5, 5))) for values in scene(2, 12, 0.25))
    by_pixel, by_block = (block_bootstrap({"a": score}, truth, block=b, draws=300)["a"]["auc"].std() for b in (1, 5))
    assert by_block / by_pixel == pytest.approx(5, rel=0.25)  # sqrt(25)


def test_maps_of_one_call_get_the_same_squares():
    score, truth = scene(3)
    found = block_bootstrap({"a": score, "b": 3 * score + 1, "c": -score}, truth, draws=50)
    np.testing.assert_array_equal(found["a"]["auc"], found["b"]["auc"])
    np.testing.assert_allclose(found["a"]["auc"] + found["c"]["auc"], 1, atol=1e-12)
    again = block_bootstrap({"a": score}, truth, draws=50)
    np.testing.assert_array_equal(found["a"]["auc"], again["a"]["auc"])
    assert not np.array_equal(found["a"]["auc"], block_bootstrap({"a": score}, truth, draws=50, seed=1)["a"]["auc"])


def test_what_does_not_count_and_draws_without_anomalies():
    score, truth = scene(4, 20)
    truth[:] = 0
    truth[3, 3] = 1
    truth[:, 10:] = -1
    score[0] = np.nan
    found = block_bootstrap({"a": score}, truth, block=5, draws=200)["a"]["auc"]
    assert 0 < np.isnan(found).sum() < 200  # the only anomaly is in one of eight squares
    assert all(np.isfinite(interval(found)))
    assert np.isnan(interval(np.array([np.nan]))).all()


def test_refusals():
    score, truth = scene(5, 20)
    with pytest.raises(InputError, match="of one shape"):
        block_bootstrap({"a": score[1:]}, truth)
    with pytest.raises(InputError, match="at least 1 pixel"):
        block_bootstrap({"a": score}, truth, block=0)
    with pytest.raises(InputError, match="there are 1 squares of 20"):
        block_bootstrap({"a": score}, truth, block=20)
    with pytest.raises(InputError, match="0 anomalous"):
        block_bootstrap({"a": score}, truth * 0)
