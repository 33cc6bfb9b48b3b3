"""Bits from cluster centres: exact small cases, the bound of Panter and Dite, plans within a budget."""

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.parts.cluster_bits import LEVELS, below, bops_of, by_spread, centres, distances, within

RNG = np.random.default_rng(0)


def test_four_points_need_two_bits():
    w = np.tile([0.0, 0.1, 0.2, 0.3], 500)
    assert centres(w, 2)[1] == pytest.approx(0.0025)  # one bit: d = 2500
    d = distances(w)
    assert d[0] == 0
    assert below({"a": d}, 0.1) == {"a": 2}


def test_normally_distributed_weights_need_the_bits_of_the_formula():
    w = RNG.normal(0, 0.01, 589_824)
    d = dict(zip(LEVELS, distances(w), strict=True))
    assert 0.93 < d[4] < 0.97
    assert 0.063 < d[6] < 0.067
    assert below({"a": np.array(list(d.values()))}, 0.1) == {"a": 6}
    np.testing.assert_allclose(by_spread(w)[2:5], distances(w)[2:5], rtol=0.2)


@pytest.mark.parametrize(("sigma", "bits"), [(0.005, 5), (0.02, 7), (0.05, 8)])
def test_wider_weights_need_more_bits(sigma, bits):
    w = RNG.normal(0, sigma, 100_000)
    assert below({"a": distances(w)}, 0.1) == {"a": bits}


def test_weights_twice_as_large_have_four_times_the_distance():
    w = RNG.laplace(0, 0.01, 20_000)
    np.testing.assert_allclose(distances(2 * w), 4 * distances(w), rtol=1e-6)


def test_it_is_deterministic_and_a_local_optimum():
    w = RNG.normal(size=3000)
    found, error = centres(w, 8)
    again, _ = centres(RNG.permutation(w), 8)
    np.testing.assert_array_equal(found, again)
    nearest = np.abs(w[:, None] - found).argmin(1)
    np.testing.assert_allclose([w[nearest == i].mean() for i in range(8)], found, atol=1e-6)
    assert error == pytest.approx(((w - found[nearest]) ** 2).mean())


def test_a_higher_threshold_never_gives_more_bits():
    d = {f"layer {i}": distances(RNG.normal(0, s, 2000)) for i, s in enumerate((0.01, 0.05, 0.2))}
    before = below(d, 1e-3)
    for t in np.logspace(-2, 5, 30):
        now = below(d, t)
        assert all(now[n] <= before[n] for n in d)
        before = now


def test_a_plan_uses_its_budget():
    d = {f"layer {i}": distances(RNG.normal(0, s, 2000)) for i, s in enumerate((0.01, 0.03, 0.1, 0.3))}
    macs = {n: 1000 * (i + 1) for i, n in enumerate(d)}
    budget = bops_of(dict.fromkeys(d, 4), macs)
    bits, threshold = within(d, macs, budget)
    assert bops_of(bits, macs) <= budget
    assert bits == below(d, threshold)
    finer = max(v for v in np.concatenate(list(d.values())) if v < threshold * (1 - 1e-12))
    assert bops_of(below(d, finer), macs) > budget
    assert len(set(bits.values())) > 1
    first = {"layer 0": 8}  # bits of its input
    assert bops_of({"layer 0": 3}, macs, first) == 1000 * 24


def test_impossible_plans_are_refused():
    d, macs = {"a": distances(RNG.normal(size=500))}, {"a": 10}
    with pytest.raises(InputError, match="more than the budget"):
        within(d, macs, 39)
    with pytest.raises(InputError, match="not finite"):
        distances(np.array([0.0, np.nan]))
