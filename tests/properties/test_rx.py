"""What must hold for RX on any cube."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from workbench.baselines.anomaly import local_rx, rx
from workbench.metrics.anomaly import auc, pd_at_pf, roc

seeds = st.integers(0, 2**32 - 1)


def cube_of(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("band", "y", "x"))


def draw(seed: int, bands: int, rows: int = 11, cols: int = 13) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cube, an invertible matrix (singular values 0.1 to 10), an offset."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(bands, bands)))
    right, _ = np.linalg.qr(rng.normal(size=(bands, bands)))
    matrix = left * 10 ** rng.uniform(-1, 1, bands) @ right
    return rng.gamma(2.0, size=(bands, rows, cols)), matrix, rng.normal(size=(bands, 1, 1)) * 100


@given(seeds, st.integers(1, 8))
def test_invariant_under_any_invertible_affine_map(seed, bands):
    values, matrix, offset = draw(seed, bands)
    moved = np.tensordot(matrix, values, 1) + offset
    np.testing.assert_allclose(rx(cube_of(moved)), rx(cube_of(values)), rtol=1e-6)


@pytest.mark.long
@given(seeds, st.integers(1, 6))
def test_local_rx_too(seed, bands):
    values, matrix, offset = draw(seed, bands)
    moved = np.tensordot(matrix, values, 1) + offset
    np.testing.assert_allclose(local_rx(cube_of(moved), 1, 7), local_rx(cube_of(values), 1, 7), rtol=1e-6)


@given(seeds, st.integers(1, 8))
def test_pixels_may_change_places_and_the_mean_scores_zero(seed, bands):
    values, _, _ = draw(seed, bands)
    flat = values.reshape(bands, -1)
    flat[:, 0] = flat[:, 1:].mean(1)  # now the mean of all is the first pixel
    order = np.random.default_rng(seed).permutation(flat.shape[1])
    score = rx(cube_of(flat[:, None, :])).values[0]
    assert score[0] < 1e-12
    np.testing.assert_allclose(rx(cube_of(flat[:, None, order])).values[0], score[order], rtol=1e-9, atol=1e-12)


@given(seeds, st.integers(1, 8))
def test_the_mean_score_is_bands_times_n_minus_1_over_n(seed, bands):
    values, _, _ = draw(seed, bands)
    n = values[0].size
    np.testing.assert_allclose(float(rx(cube_of(values)).mean()), bands * (n - 1) / n, rtol=1e-9)


@pytest.mark.long
@pytest.mark.long
@given(seeds, st.integers(1, 5), st.integers(1, 11), st.integers(1, 13))
def test_blocks_do_not_matter(seed, bands, high, wide):
    values, _, _ = draw(seed, bands)
    cube = cube_of(values)
    np.testing.assert_allclose(rx(cube.chunk(y=high, x=wide)).compute(), rx(cube), rtol=1e-9)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_the_exact_curve_and_the_ranks_have_the_same_area(pixels):
    score = np.array([s for s, _ in pixels], float)
    truth = np.array([t for _, t in pixels], int)
    truth[:2] = 0, 1
    curve = roc(score, truth)
    np.testing.assert_allclose(np.trapezoid(curve.pd, curve.pf), auc(score, truth), atol=1e-12)
    assert (np.diff(curve.pf) >= 0).all()
    assert (np.diff(curve.pd) >= 0).all()
    assert pd_at_pf(score, truth, 1.0) == 1
