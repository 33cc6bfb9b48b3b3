"""Neighbourhood statistics, scores, choice and budget: the card's exact numbers, limits, and slow references.

M is the matrix 1..9; its centre has the neighbourhood 1..9 with mean 5 and variance 60 / 9, its corner 1, 2, 4, 5 with
mean 3 and variance 10 / 4.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.parts import indicators
from workbench.parts.indicators import (
    INDICATORS,
    budget,
    largest,
    matrix,
    neighbourhood,
    sampled,
    score,
    tile_entries,
    tile_grid,
)

M = torch.arange(1.0, 10.0).view(3, 3)


def slow(A: torch.Tensor, p: int) -> tuple[np.ndarray, np.ndarray]:
    """(mu, sigma) cell by cell with NumPy's own mean and std."""
    A, h = A.double().numpy(), p // 2
    windows = [
        [A[max(0, i - h) : i + h + 1, max(0, j - h) : j + h + 1] for j in range(A.shape[1])] for i in range(A.shape[0])
    ]
    return tuple(np.array([[f(w) for w in row] for row in windows]) for f in (np.mean, np.std))


def test_statistics_by_hand():
    mu, sigma = neighbourhood(M, 3)
    assert float(mu[1, 1]) == pytest.approx(5)
    assert float(sigma[1, 1]) == pytest.approx(2.581989, abs=1e-6)
    assert float(mu[0, 0]) == pytest.approx(3)  # 12 / 9 if the padding were counted
    assert float(sigma[0, 0]) == pytest.approx(1.581139, abs=1e-6)


@pytest.mark.parametrize(
    ("indicator", "centre", "corner"),
    [
        ("mix", 37.909944, 4.581139),  # 5 (5 + 2.581989); 1 (3 + 1.581139)
        ("energy", 7.581989, 4.581139),
        ("contrast", 0.0, 2.0),
        ("zscore", 0.0, 1.264911),  # 2 / 1.581139
        ("magnitude", 5.0, 1.0),
    ],
)
def test_scores_by_hand(indicator, centre, corner):
    S = score(M, indicator, 3)
    assert float(S[1, 1]) == pytest.approx(centre, abs=1e-5)
    assert float(S[0, 0]) == pytest.approx(corner, abs=1e-5)


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    p=st.sampled_from([1, 3, 5, 7]),
    block=st.sampled_from([1, 20, 10**6]),
    seed=st.integers(0, 5),
)
def test_statistics_agree_with_numpy_for_every_shape(rows, columns, p, block, seed):
    A = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    mu, sigma = neighbourhood(A, p)
    mu_, sigma_ = slow(A, p)
    np.testing.assert_allclose(mu.numpy(), mu_, atol=1e-5)
    np.testing.assert_allclose(sigma.numpy(), sigma_, atol=2e-3)  # B(X X) - mu^2 near 0, in float32
    before, indicators.BLOCK = indicators.BLOCK, block
    try:
        np.testing.assert_allclose(score(A, "energy", p).numpy(), np.abs(mu_) + sigma_, atol=2e-3)
    finally:
        indicators.BLOCK = before


def test_a_constant_matrix_has_no_spread_not_even_at_its_border():
    for value in (0.0, 7.25, -0.1):
        mu, sigma = neighbourhood(torch.full((5, 6), value), 3)
        assert float(sigma.abs().max()) < 1e-6
        torch.testing.assert_close(mu, torch.full((5, 6), value))


def test_a_large_mean_does_not_drown_the_spread():
    """The same matrix on a hill of 1000: sigma would be lost in float32 had the mean not been taken out."""
    A = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(neighbourhood(A + 1000, 3)[1], neighbourhood(A, 3)[1], atol=1e-3, rtol=1e-3)


def test_a_window_of_one_is_magnitude():
    A = torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(score(A, "mix", 1), A * A)
    torch.testing.assert_close(score(A, "energy", 1), A.abs())
    assert torch.equal(largest(score(A, "mix", 1), 10), largest(A.abs(), 10))
    with pytest.raises(InputError, match="no surroundings"):
        score(A, "zscore", 1)


@pytest.mark.parametrize("indicator", ["mix", "contrast", "zscore", "energy", "magnitude", "tile"])
def test_scores_do_not_see_the_sign(indicator):
    A = torch.randn(7, 11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(score(A, indicator, 3), score(-A, indicator, 3))


def test_matrices_of_gradients():
    assert matrix(torch.zeros(4, 3, 2, 2)).shape == (4, 12)
    assert matrix(torch.zeros(5)).shape == (1, 5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: score(M, "mixx"), "Did you mean 'mix'"),
        (lambda: score(M, "mix", 4), "odd"),
        (lambda: neighbourhood(M, 0), "odd"),
        (lambda: score(M, lambda A, p: A.sum()), "one score per entry"),
        (lambda: score(M, lambda A, p: None), "NoneType"),
        (lambda: score(M, "random"), "generator"),
    ],
)
def test_what_cannot_be_scored(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_every_indicator_says_what_it_is():
    """The NSI formula is not known: whatever uses a neighbourhood is labelled a reconstruction."""
    for name, what in INDICATORS.items():
        assert ("reconstruction" in what) == (name not in ("magnitude", "random"))


# --- tiles -----------------------------------------------------------------------------------------------------------


def test_tiles_by_hand():
    """M in 2 x 2 tiles: 1 2 4 5 | 3 6 | 7 8 | 9. The first has mean 3, sigma 1.581139; the last 9 and 0."""
    assert tile_grid(3, 3, 2) == (2, 2)
    S = indicators._tile_energy(M, 2)
    assert S.tolist() == pytest.approx([4.581139, 4.5 + 1.5, 7.5 + 0.5, 9.0], abs=1e-5)
    at, valid = tile_entries(torch.tensor([1, 3]), 3, 3, 2)
    assert at[0][valid[0]].tolist() == [2, 5]
    assert at[1][valid[1]].tolist() == [8]
    assert at[~valid].eq(0).all()


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), p=st.sampled_from([1, 3, 5]))
def test_tiles_cover_every_entry_once(rows, columns, p):
    down, across = tile_grid(rows, columns, p)
    at, valid = tile_entries(torch.arange(down * across), rows, columns, p)
    assert sorted(at[valid].tolist()) == list(range(rows * columns))


# --- choosing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 20_000, 300_000])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.2, 1.0])
@pytest.mark.parametrize("kind", ["normal", "ties", "hidden"])
def test_the_k_largest_exactly(n, share, kind):
    """Also where a sample misleads: all large values between the sampled places."""
    g = torch.Generator().manual_seed(0)
    S = torch.rand(n, generator=g)
    if kind == "ties":
        S = (S * 4).round()
    if kind == "hidden":
        S[1::2] += 1
    k = max(1, round(share * n))
    chosen = largest(S, k)
    assert len(chosen.unique()) == k
    assert torch.equal(chosen, chosen.sort().values)
    assert torch.equal(S[chosen].sort().values, torch.topk(S, k).values.sort().values)


@pytest.mark.parametrize("kind", ["normal", "heavy", "equal", "zero"])
def test_sampled_choice_has_k_entries_that_are_nearly_the_largest(kind):
    g = torch.Generator().manual_seed(0)
    S = torch.randn(100_000, generator=g).abs()
    S = {"normal": S, "heavy": S**6, "equal": torch.ones(100_000), "zero": torch.zeros(100_000)}[kind]
    chosen = sampled(S, 1000)
    assert len(chosen.unique()) == 1000
    assert torch.equal(chosen, chosen.sort().values)
    if kind in ("normal", "heavy"):
        assert np.intersect1d(chosen, largest(S, 1000)).size >= 800


# --- budget ----------------------------------------------------------------------------------------------------------


def test_budget_by_hand():
    """Weights 0.9, 0.1; and half of that plus half of 900 / 1800, 900 / 1800: 0.7, 0.3. 8 would be the most for 100."""
    assert budget([900, 100], 10, [1, 1], 0.01) == [9, 1]
    assert budget([900, 100], 10, [1, 9], 0.01) == [7, 3]
    assert budget([900, 100], 10, [1, 9], 0.01, blend=0) == [9, 1]


def test_budget_is_bounded():
    """Layer 2's signal is enormous: at most 8 times its even share, 8 of 100."""
    assert budget([900, 100], 10, [1, 1e9], 0.01, blend=1) == [2, 8]


@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=12),
    rate=st.floats(1e-4, 1.0),
    blend=st.floats(0, 1),
    data=st.data(),
)
def test_shares_sum_to_the_budget_and_fit(sizes, rate, blend, data):
    signal = data.draw(st.lists(st.floats(0, 1e6), min_size=len(sizes), max_size=len(sizes)))
    K = round(rate * sum(sizes))
    shares = budget(sizes, K, signal, rate, blend=blend)
    assert sum(shares) == min(max(K, len(sizes)), sum(sizes))
    assert all(1 <= k <= n for k, n in zip(shares, sizes, strict=True))


def test_budget_follows_importance():
    """More signal, never fewer entries, everything else equal."""
    shares = [budget([1000, 1000, 1000], 30, [1, s, 1], 0.01)[1] for s in (0.1, 0.5, 1, 2, 5)]
    assert shares == sorted(shares)
    assert shares[0] < 10 < shares[-1]
    assert budget([], 0, [], 0.01) == []
    assert math.prod(budget([3, 3], 6, [1, 1], 1.0)) == 9
