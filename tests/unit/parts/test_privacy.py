"""The account of epsilon against closed forms, clipping and noise by hand, and secure sums that are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.errors import InputError
from workbench.parts.federation import average
from workbench.parts.privacy import FRACTION, agreed, epsilon, key_pair, masked, noise_for, privatised, unmasked_sum


def test_epsilon_without_sampling_is_the_closed_form():
    """rho = 15 after 30 rounds at z = 1."""
    assert epsilon(1.0, 30, 1e-5) == pytest.approx(15 + 2 * math.sqrt(15 * math.log(1e5)), rel=1e-12)
    assert epsilon(1.0, 30, 1e-5) == pytest.approx(41.3, abs=0.05)
    assert epsilon(5.0, 30, 1e-5) == pytest.approx(5.9, abs=0.05)


def test_two_data_sets_of_a_client_cost_what_half_of_the_noise_costs():
    """Gaussians z * clip wide whose means are d apart: rho is d^2 / (2 (z clip)^2), by 30 rounds; at d = 2 clip that of z / 2."""
    z, clip = 3.0, 0.7
    for apart, same in ((clip, z), (2 * clip, z / 2)):
        rho = 30 * apart**2 / (2 * (z * clip) ** 2)
        assert epsilon(same, 30, 1e-5) == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e5)), rel=1e-12)


def test_sampling_helps_more_noise_helps_and_rounds_cost():
    assert epsilon(1.0, 30, 1e-5, 0.1) < epsilon(1.0, 30, 1e-5, 0.5) < epsilon(1.0, 30, 1e-5)
    assert epsilon(2.0, 30, 1e-5, 0.1) < epsilon(1.0, 30, 1e-5, 0.1) < epsilon(1.0, 60, 1e-5, 0.1)
    assert epsilon(1.0, 30, 1e-6, 0.1) > epsilon(1.0, 30, 1e-5, 0.1)


def test_the_sampled_account_meets_a_sum_by_hand_at_order_two():
    """E[(p'/p)^2] = (1 - q)^2 + 2 q (1 - q) + q^2 exp(1 / z^2) = 1 + q^2 (exp(1 / z^2) - 1), the bound at order 2 alone is an upper one."""
    q, z, delta = 0.01, 1.0, 1e-5
    renyi = math.log(1 + q**2 * (math.e - 1))
    at_two = 50 * renyi + math.log(1 / 2) - (math.log(delta) + math.log(2))
    assert epsilon(z, 50, delta, q) < at_two
    samples = np.random.default_rng(0).standard_normal(2_000_000)
    ratio = 1 - q + q * np.exp(samples / z - 1 / (2 * z**2))
    assert math.log1p(np.mean((ratio - 1) ** 2)) == pytest.approx(renyi, rel=0.05)  # E[ratio] = 1


def test_the_noise_for_a_goal_reaches_it():
    for share in (1.0, 0.2):
        z = noise_for(2.0, 30, 1e-5, share)
        assert epsilon(z, 30, 1e-5, share) <= 2.0 < epsilon(0.995 * z, 30, 1e-5, share)


def test_an_update_is_clipped_and_gets_noise_of_the_given_size():
    begin = {"w": torch.zeros(100_000), "n": torch.tensor(3)}
    update = {"w": torch.full((100_000,), 0.1), "n": torch.tensor(4)}
    made, cut = privatised(update, begin, 1.0, 0.0, torch.Generator())
    assert cut
    assert float(made["w"].double().norm()) == pytest.approx(1.0, rel=1e-5)
    assert int(made["n"]) == 3
    small, cut = privatised({"w": begin["w"] + 1e-6, "n": begin["n"]}, begin, 1.0, 0.0, torch.Generator())
    assert not cut
    torch.testing.assert_close(small["w"], begin["w"] + 1e-6)
    noisy, _ = privatised(begin, begin, 0.5, 2.0, torch.Generator().manual_seed(0))
    assert float(noisy["w"].std()) == pytest.approx(1.0, rel=0.02)
    with pytest.raises(InputError, match="clip above 0"):
        privatised(update, begin, 0.0, 1.0, torch.Generator())


def clients(count):
    keys = {f"client {i}": key_pair() for i in range(count)}
    public = {name: pair[1] for name, pair in keys.items()}
    return {n: agreed(pair[0], {o: p for o, p in public.items() if o != n}) for n, pair in keys.items()}


def test_secrets_agree_in_pairs():
    made = clients(3)
    assert made["client 0"]["client 2"] == made["client 2"]["client 0"]
    assert len({made["client 0"]["client 1"], made["client 0"]["client 2"], made["client 1"]["client 2"]}) == 3


def test_a_secure_sum_is_exact():
    """Masks cancel to the last bit: the sum in fixed point is that without masks, and the mean is that of `average`."""
    random, secrets = torch.Generator().manual_seed(0), clients(4)
    updates = {n: {"w": torch.randn(50, 7, generator=random), "b": torch.randn((), generator=random)} for n in secrets}
    samples = dict(zip(secrets, (10, 20, 5, 40), strict=True))
    parts = {n: masked(updates[n], samples[n], n, secrets[n], 3) for n in secrets}
    steps = sum(np.rint(updates[n]["w"].double().numpy() * samples[n] / FRACTION).astype(np.int64) for n in secrets)
    assert (sum(p["w"] for p in parts.values()).astype(np.int64) == steps).all()
    with pytest.raises(InputError, match="do not cancel: a client is missing"):
        unmasked_sum(list(parts.values())[:3], [10, 20, 5])
    mean = unmasked_sum(list(parts.values()), list(samples.values()))
    plain = average(list(updates.values()), list(samples.values()))
    for name in plain:
        torch.testing.assert_close(mean[name], plain[name], atol=1e-5, rtol=0)


def test_a_part_alone_tells_nothing_and_rounds_have_other_masks():
    secrets = clients(3)
    zero = {"w": torch.zeros(10_000)}
    one, two = (masked(zero, 1, "client 0", secrets["client 0"], number)["w"] for number in (1, 2))
    assert (one != two).all()
    high = (one >> np.uint64(56)).astype(int)
    assert abs(high.mean() - 127.5) < 3
    assert abs(np.corrcoef(one.astype(float), two.astype(float))[0, 1]) < 0.05


def test_what_a_secure_sum_cannot_do():
    secrets = clients(2)
    with pytest.raises(InputError, match="needs three clients or more; client 0 knows 1 other"):
        masked({"w": torch.zeros(2)}, 1, "client 0", secrets["client 0"], 1)
    three = clients(3)
    for value in (float("nan"), 1e9):
        with pytest.raises(InputError, match="not finite, or too large"):
            masked({"w": torch.full((2,), value)}, 100, "client 0", three["client 0"], 1)
    with pytest.raises(InputError, match="needs z > 0"):
        epsilon(0.0, 30, 1e-5)
