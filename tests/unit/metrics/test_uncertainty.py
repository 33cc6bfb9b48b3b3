"""Trust in an uncertainty: rankings, curves and calibration worked out by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from workbench.errors import InputError
from workbench.metrics import uncertainty as m

# the card's worked example: P, y, and the residual T = |y - P|
P, Y = np.array([0.9, 0.2, 0.6, 0.5]), np.array([1, 0, 0, 1])
T = np.array([0.1, 0.2, 0.6, 0.5])


def drawn(seed=0, n=2000):
    """A calibrated P with its truth, and three uncertainties: the right one, a noisy one, none."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.5, n)
    y = (rng.random(n) < p).astype(int)
    return p, y, m.variance(p), m.variance(p) + rng.normal(0, 0.1, n), rng.random(n)


def test_auroc_by_hand():
    # decisions 1, 0, 1, 0 (0.5 is not above 0.5): the last two are wrong. T ranks both above both right ones: 1.
    assert m.error_auroc(T, P, Y) == 1.0
    # U = .3 .2 .3 .1: pairs (wrong, right): .3 against .3 and .2 -> .5 + 1; .1 against both -> 0. 1.5 of 4
    assert m.error_auroc([0.3, 0.2, 0.3, 0.1], P, Y) == pytest.approx(1.5 / 4)
    assert math.isnan(m.error_auroc(T, P, [1, 0, 1, 0]))


def test_auroc_against_scikit_learn():
    p, y, *us = drawn()
    for u in us:
        assert m.error_auroc(u, p, y) == pytest.approx(roc_auc_score((p > 0.5) != y, u))


def test_a_random_uncertainty_is_at_chance_and_the_right_one_is_not():
    p, y, right, noisy, none = drawn(n=20000)
    assert abs(m.error_auroc(none, p, y) - 0.5) < 0.02
    assert m.error_auroc(right, p, y) > m.error_auroc(noisy, p, y) > 0.6


def test_entropy_variance_and_max_probability_rank_alike():
    p, y, right, *_ = drawn()
    expected = m.error_auroc(right, p, y)
    assert m.error_auroc(m.entropy(p), p, y) == pytest.approx(expected, abs=1e-12)
    assert m.error_auroc(m.max_probability(p), p, y) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(m.entropy([0, 0.25, 0.5, 1]), [0, 0.811278, 1, 0], atol=1e-6)
    np.testing.assert_allclose(m.max_probability([0.1, 0.7]), [0.1, 0.3])
    np.testing.assert_allclose(m.variance([0.1, 0.5]), [0.18, 0.5])


def test_risk_coverage_by_hand():
    # surest first: right, right, wrong, wrong -> risks 0, 0, 1/3, 2/4; AURC their mean
    curve = m.risk_coverage([0.1, 0.2, 0.3, 0.4], P, Y)
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((1 / 3 + 1 / 2) / 4)
    np.testing.assert_allclose(curve.threshold, [0.1, 0.2, 0.3, 0.4])
    # called changed are the 1st and 3rd, changed the 1st and 4th
    np.testing.assert_allclose(curve.precision, [1, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1, 1, 1, 1 / 2])


def test_ties_are_kept_or_dropped_in_whole():
    curve = m.risk_coverage([0.1, 0.3, 0.3, 0.3], P, Y)
    np.testing.assert_allclose(curve.coverage, [0.25, 1])
    # within the tie errors grow evenly: after 2, 3, 4 pixels 2/3, 4/3, 2 errors
    assert curve.area == pytest.approx((0 + (2 / 3) / 2 + (4 / 3) / 3 + 2 / 4) / 4)


def test_an_uninformative_uncertainty_has_the_error_rate_at_every_coverage():
    p, y, *_ = drawn()
    error = float(((p > 0.5) != y).mean())
    assert m.aurc(np.ones_like(p), p, y) == pytest.approx(error)
    assert m.risk_at(np.ones_like(p), p, y, 0.3) == pytest.approx(error)


def test_the_best_ranking_reaches_the_least_area():
    p, y, right, *_ = drawn(n=20000)
    wrong = (p > 0.5) != y
    assert m.aurc(wrong.astype(float) + np.random.default_rng(0).random(len(p)) / 2, p, y) == pytest.approx(
        m.least_aurc(wrong.mean()), abs=1e-4
    )
    assert m.least_aurc(0.1) < m.aurc(right, p, y) < wrong.mean()
    assert m.least_aurc(0.0) == 0
    assert m.least_aurc(1.0) == 1


def test_the_curve_has_at_most_a_thousand_points_and_both_ends():
    p, y, _, noisy, _ = drawn(n=5000)
    curve = m.risk_coverage(noisy, p, y)
    assert len(curve.coverage) == 1000
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(float(((p > 0.5) != y).mean()))


def test_risk_at_a_coverage():
    assert m.risk_at([0.1, 0.2, 0.3, 0.4], P, Y, 0.5) == 0
    assert m.risk_at([0.1, 0.2, 0.3, 0.4], P, Y, 0.75) == pytest.approx(1 / 3)
    assert m.risk_at([0.4, 0.3, 0.2, 0.1], P, Y, 0.5) == 1
    with pytest.raises(InputError, match="coverage"):
        m.risk_at(T, P, Y, 0)


def test_reliability_by_hand():
    # U .05 .15 | .65 .75 in two bins of [0, 1]: mean U .1 and .7; mean T .15 and .55; ECE (.05 * 2 + .15 * 2) / 4
    found = m.reliability([0.05, 0.15, 0.65, 0.75], P, Y, bins=2)
    np.testing.assert_allclose(found.edges, [0, 0.5, 1])
    np.testing.assert_allclose(found.count, [2, 2])
    np.testing.assert_allclose(found.uncertainty, [0.1, 0.7])
    np.testing.assert_allclose(found.error, [0.15, 0.55])
    assert found.calibration_error == pytest.approx(0.1)
    assert m.calibration_error(T, P, Y) == pytest.approx(0, abs=1e-12)
    mean, error = m.mean_gap([0.05, 0.15, 0.65, 0.75], P, Y)
    assert (mean, error) == pytest.approx((0.4, 0.35))


def test_reliability_against_scikit_learn():
    # with P = 0 everywhere the residual is the truth, and U a probability of it
    rng = np.random.default_rng(1)
    u = rng.random(3000)
    y = (rng.random(3000) < u**1.5).astype(int)
    share, mean = calibration_curve(y, u, n_bins=10)
    found = m.reliability(u, np.zeros(3000), y, bins=10)
    np.testing.assert_allclose(found.error, share)
    np.testing.assert_allclose(found.uncertainty, mean)


def test_values_at_the_edges_and_above_the_top_have_a_bin():
    found = m.reliability([0.0, 1.0, 0.5, 0.5], P, Y, bins=2, top=0.5)
    assert found.count.tolist() == [1, 3]
    assert np.isnan(m.reliability([0.1, 0.1, 0.1, 0.1], P, Y, bins=3).error[2])


def test_the_expected_residual_of_a_calibrated_p_is_its_variance():
    p, y, right, *_ = drawn(n=50000)
    assert m.calibration_error(right, p, y) < 0.01
    assert m.calibration_error(2 * right, p, y) > 0.05


def test_masked_pixels_do_not_count():
    extra = ([*T, 9.0, np.nan, 0.3], [*P, 0.4, 0.4, np.nan], [*Y, -1, 1, 1])
    for number in (m.error_auroc, m.aurc, m.calibration_error, m.risk_at):
        assert number(*extra) == number(T, P, Y)
    with pytest.raises(InputError, match="No pixel"):
        m.aurc(T, P, np.full(4, -1))
    with pytest.raises(InputError, match="shapes"):
        m.aurc(T[:3], P, Y)


def test_temperature_is_found_again():
    rng = np.random.default_rng(2)
    z = rng.normal(0, 2, 40000)
    y = (rng.random(40000) < 1 / (1 + np.exp(-z))).astype(int)
    assert m.fit_temperature(3 * z, y) == pytest.approx(3, rel=0.03)
    assert m.fit_temperature(z, y) == pytest.approx(1, rel=0.03)
    # one weight without intercept is the inverse temperature
    weight = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(z[:, None] * 3, y).coef_[0, 0]
    assert m.fit_temperature(3 * z, y) == pytest.approx(1 / weight, rel=1e-4)
    masked = np.r_[3 * z, np.nan, 50.0], np.r_[y, 1, -1]
    assert m.fit_temperature(*masked) == m.fit_temperature(3 * z, y)
    with pytest.raises(InputError, match="labelled"):
        m.fit_temperature(z, np.full(len(z), -1))


def test_metrics_of_a_result():
    truth = xr.DataArray(Y[None], dims=("y", "x"))
    result = xr.Dataset({"change": (("y", "x"), P[None]), "uncertainty": (("y", "x"), T[None])})
    judged = m.add_metrics(result, truth)
    assert float(judged["error_auroc"]) == 1
    assert float(judged["mean_error"]) == pytest.approx(0.35)
    assert judged["aurc"].attrs["long_name"]
    assert m.add_metrics(result, None) is result
    assert "aurc" not in m.add_metrics(result, truth * 0 - 1)


def test_auroc_given_counts_pairs_within_groups_only():
    # given 0: U .1 (wrong), .9 (right): 0 of 1; given 1: U .9 (wrong), .2, .9 (right): 1 + 1/2 of 2. 1.5 of 3 pairs.
    u, given = [0.1, 0.9, 0.9, 0.2, 0.9], [0, 0, 1, 1, 1]
    p, y = [0.1, 0.9, 0.1, 0.9, 0.9], [1, 1, 1, 1, 1]
    assert m.auroc_given(u, given, p, y) == 0.5
    assert m.auroc_given([0.9, 0.1, 0.9, 0.2, 0.1], given, p, y) == 1
    # labels and values that do not count
    assert (
        m.auroc_given([*u, 5, 5, np.nan, 5], [*given, 0, np.nan, 0, 0], [*p, 0.9, 0.9, 0.9, np.nan], [*y, -1, 1, 1, 1])
        == 0.5
    )
    assert np.isnan(m.auroc_given([1, 2], [0, 1], [0.9, 0.1], [1, 1]))  # no group has both
    with pytest.raises(InputError, match="at least 1 bin"):
        m.auroc_given(u, given, p, y, bins=0)
    with pytest.raises(InputError, match="that is given"):
        m.auroc_given(u, [1.0], p, y)


def test_what_adds_nothing_to_p_is_told_from_what_does():
    """Errors are likelier above P = 0.5, and in a region that P does not know. U1 = f(P) + noise knows P only, U2 the region."""
    rng = np.random.default_rng(0)
    n = 20_000
    p, region = rng.random(n), rng.random(n) < 0.3
    chance = np.where(p > 0.5, 0.05 + 0.5 * (1 - p), 0.02) + 0.3 * region
    wrong = rng.random(n) < chance
    y = (p > 0.5) != wrong
    only_p, knows = chance - 0.3 * region + 0.01 * rng.normal(size=n), chance + 0.01 * rng.normal(size=n)
    half = slice(0, n // 2), slice(n // 2, n)
    given = m.fit_wrongness(p[half[0]], y[half[0]])(p[half[1]])
    p, y = p[half[1]], y[half[1]]
    assert m.error_auroc(only_p[half[1]], p, y) > 0.6  # looks like knowledge
    assert m.auroc_given(only_p[half[1]], given, p, y) == pytest.approx(0.5, abs=0.03)
    assert m.auroc_given(knows[half[1]], given, p, y) > 0.6


def test_wrongness_is_isotonic_regression_and_can_be_asymmetric():
    from sklearn.isotonic import isotonic_regression

    p = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    y = np.array([0, 1, 0, 1, 0, 1])
    changed = isotonic_regression(y.astype(float))
    assert changed.tolist() == [0, 0.5, 0.5, 0.5, 0.5, 1]
    wrongness = m.fit_wrongness(p, y)
    assert wrongness(p).tolist() == [0, 0.5, 0.5, 0.5, 0.5, 0]
    assert wrongness([[0.0, 1.0], [np.nan, 0.15]])[0].tolist() == [0, 0]  # beyond the range: the nearest
    assert np.isnan(wrongness([np.nan])).all()
    # one changed pixel in three at every P: entropy calls P = .01 sure, this does not
    p, y = np.repeat([0.01, 0.99], 300), np.tile([0, 0, 1], 200)
    low, high = m.fit_wrongness(p, y)([0.01, 0.99])
    assert (low, high) == pytest.approx((1 / 3, 2 / 3))
    with pytest.raises(InputError, match="there are none"):
        m.fit_wrongness([0.5], [-1])
