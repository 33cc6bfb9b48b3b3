"""Metrics by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.errors import InputError
from workbench.metrics import anomaly as m

# Scores of four background pixels and two anomalies; one unlabelled pixel and one without a score must not count.
SCORE = np.array([[0.0, 1.0, 2.0, 2.0], [2.0, 4.0, 100.0, np.nan]])
TRUTH = np.array([[0, 0, 0, 0], [1, 1, -1, 1]], dtype=np.int16)


def test_auc_by_hand():
    # Pairs (anomaly, background): 2 against 0, 1, 2, 2 gives 1 + 1 + 1/2 + 1/2; 4 gives 4. 7 of 8.
    assert m.auc(SCORE, TRUTH) == 7 / 8
    assert m.auc(-SCORE, TRUTH) == 1 / 8
    assert m.auc(np.zeros((2, 4)), TRUTH) == 0.5


def test_areas_over_tau_by_hand():
    # Scaled by 0..4: anomalies 0.5 and 1, background 0, 0.25, 0.5, 0.5.
    assert m.auc_d_tau(SCORE, TRUTH) == pytest.approx(0.75, rel=1e-15)
    assert m.auc_f_tau(SCORE, TRUTH) == pytest.approx(0.3125, rel=1e-15)


def test_area_over_tau_is_the_area_under_the_step_curve():
    rng = np.random.default_rng(1)
    score, truth = rng.gamma(2.0, size=500), (rng.random(500) < 0.1).astype(int)
    tau = np.linspace(0, 1, 200_001)
    scaled = (score - score.min()) / np.ptp(score)
    for found, values in ((m.auc_d_tau(score, truth), scaled[truth == 1]), (m.auc_f_tau(score, truth), scaled[truth == 0])):
        share = 1 - np.searchsorted(np.sort(values), tau) / len(values)  # share at or above tau
        assert found == pytest.approx(np.trapezoid(share, tau), abs=1e-5)


def test_roc_by_hand():
    curve = m.roc(SCORE, TRUTH)
    assert curve.threshold.tolist() == [np.inf, 4, 2, 1, 0]
    assert curve.pd.tolist() == [0, 0.5, 1, 1, 1]
    assert curve.pf.tolist() == [0, 0, 0.5, 0.75, 1]
    assert np.trapezoid(curve.pd, curve.pf) == m.auc(SCORE, TRUTH)


def test_pd_at_pf_does_not_interpolate():
    # PF 0.5 is reached at threshold 2; just below it, only threshold 4 is left.
    assert m.pd_at_pf(SCORE, TRUTH, 0.5) == 1
    assert m.pd_at_pf(SCORE, TRUTH, 0.499) == 0.5
    assert m.pd_at_pf(SCORE, TRUTH, 0) == 0.5
    with pytest.raises(InputError, match="from 0 to 1"):
        m.pd_at_pf(SCORE, TRUTH, 1.5)


def test_at_threshold_counts_ties_as_detected():
    assert m.at_threshold(SCORE, TRUTH, 2) == {"pd": 1, "pf": 0.5, "tp": 2, "fp": 2, "fn": 0, "tn": 2}
    assert m.at_threshold(SCORE, TRUTH, 2.1) == {"pd": 0.5, "pf": 0, "tp": 1, "fp": 0, "fn": 1, "tn": 4}


@pytest.mark.parametrize("levels", [5, 1000])
def test_agrees_with_scikit_learn(levels):
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    rng = np.random.default_rng(levels)
    truth = (rng.random(2000) < 0.05).astype(int)
    score = np.round((rng.normal(size=2000) + truth) * levels) / levels  # few levels: many ties
    assert m.auc(score, truth) == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
    assert m.average_precision(score, truth) == pytest.approx(average_precision_score(truth, score), rel=1e-12)
    pf, pd, threshold = roc_curve(truth, score, drop_intermediate=False)
    ours = m.roc(score, truth)
    np.testing.assert_allclose(ours.pf, pf, atol=1e-15)
    np.testing.assert_allclose(ours.pd, pd, atol=1e-15)
    np.testing.assert_array_equal(ours.threshold, threshold)


def result(score: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"score": (("y", "x"), score)})


def test_add_metrics_by_hand():
    found = m.add_metrics(result(SCORE), xr.DataArray(TRUTH, dims=("y", "x")))
    d, f, area = 0.75, 0.3125, 0.875
    # anomalies at 4 (precision 1/1) and 2 (2 of 4); one object of two scored pixels
    expected = {
        "auc": area,
        "average_precision": (1 + 0.5) / 2,
        "auc_d_tau": d,
        "auc_f_tau": f,
        "auc_td": area + d,
        "auc_bs": area - f,
        "auc_tdbs": d - f,
        "auc_od": area + d - f,
        "auc_odp": d + 1 - f,
        "pd_at_pf_01": 0.5,
        "pd_at_pf_001": 0.5,
        "pd_at_pf_0001": 0.5,
        "objects_at_pf_01": 1.0,
        "objects_at_pf_001": 1.0,
        "objects_at_pf_0001": 1.0,
    }
    numbers = {name: float(v) for name, v in found.data_vars.items() if v.ndim == 0}
    assert numbers == pytest.approx(expected, rel=1e-14)
    assert all(found[name].attrs["long_name"] for name in expected)
    np.testing.assert_array_equal(found["score"], SCORE)


def test_objects_are_8_connected_components():
    truth = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, -1], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]])
    score = np.array([[0, 0, 0, 0, 7], [0, 5, 0, 0, 9], [0, 0, 3, 0, np.nan], [1, 0, 0, 0, 0]], float)
    # four components: the diagonal pair, the pixel above the unlabelled one, the unscored one, the one below
    assert m.objects_at_pf(score, truth, 0) == (2, 3)  # threshold 5
    assert m.objects_at_pf(score, truth, 0.1) == (3, 3)  # 1 of 13 background pixels reaches 1
    assert m.objects_at_pf(score, truth, 0.1).share == 1
    assert m.objects_at_pf(-score, truth, 0) == (0, 3)
    with pytest.raises(InputError, match="truth map"):
        m.objects_at_pf(score.ravel(), truth.ravel(), 0.1)
    with pytest.raises(InputError, match="from 0 to 1"):
        m.objects_at_pf(score, truth, -0.1)


def test_controls_get_the_metrics_that_compare():
    both = result(SCORE).assign(score_rx=(("y", "x"), -SCORE, {"long_name": "RX"}))
    found = m.add_metrics(both, xr.DataArray(TRUTH, dims=("y", "x")), "score_rx")
    for metric in m.COMPARED:
        alone = m.add_metrics(result(-SCORE), xr.DataArray(TRUTH, dims=("y", "x")))
        assert float(found[f"{metric}_rx"]) == float(alone[metric])
        assert found[f"{metric}_rx"].attrs["long_name"].endswith(": RX")
    assert "auc_td_rx" not in found


@pytest.mark.parametrize("truth", [np.zeros((2, 4)), np.ones((2, 4)), np.full((2, 4), -1), None], ids=str)
def test_no_metrics_without_two_classes(truth):
    before = result(SCORE)
    found = m.add_metrics(before, None if truth is None else xr.DataArray(truth, dims=("y", "x")))
    assert list(found.data_vars) == ["score"]


def test_metrics_of_a_constant_map_are_finite():
    found = m.add_metrics(result(np.ones((2, 4))), xr.DataArray(TRUTH, dims=("y", "x")))
    assert float(found["auc"]) == 0.5
    assert float(found["auc_f_tau"]) == 0
    assert all(np.isfinite(v) for v in found.data_vars.values() if v.ndim == 0)


def test_wrong_truth_is_named():
    with pytest.raises(InputError, match=r"score has shape \(2, 4\), truth \(4, 2\)"):
        m.auc(SCORE, TRUTH.T)
    with pytest.raises(InputError, match="0 are anomalies"):
        m.roc(SCORE, np.zeros((2, 4)))


def test_needs_no_scikit_learn(importing):
    (modules,) = importing("import workbench.metrics.anomaly as m; m.auc([1, 2], [0, 1])")
    assert "sklearn" not in modules


def test_ranks_are_those_of_scipy():
    from scipy.stats import rankdata

    from workbench.metrics.anomaly import _ranks

    values = np.random.default_rng(0).integers(0, 40, 500) / 7
    np.testing.assert_array_equal(_ranks(values), rankdata(values))
