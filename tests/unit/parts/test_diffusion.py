"""Diffusion arithmetic against numbers worked out by hand and against identities that must hold."""

import pytest
import torch

from workbench.parts import diffusion as d

TWO = torch.tensor([0.1, 0.2], dtype=torch.float64)


def test_two_steps_by_hand():
    assert d.abar(TWO).tolist() == pytest.approx([1, 0.9, 0.72])
    # paper: gamma_1 = sqrt(.1); gamma_2 = sqrt(.2) + sqrt(.8 * .1) = 0.447214 + 0.282843
    assert d.gamma(TWO, "paper").tolist() == pytest.approx([0, 0.316228, 0.730056], abs=1e-6)
    # official: gamma_1 = sqrt(.1 * .9) = 0.3; gamma_2 = sqrt(.2 * .8) + sqrt(.1 * .9 * .8) = 0.4 + 0.268328
    assert d.gamma(TWO, "official").tolist() == pytest.approx([0, 0.3, 0.668328], abs=1e-6)
    # in the order of the steps: the first step's noise has been shrunk by the second
    assert d.shared_noise_weights(TWO, 2).tolist() == pytest.approx([0.282843, 0.447214], abs=1e-6)


def test_thousand_steps():
    betas = d.linear_betas(1000)
    assert float(d.gamma(betas, "official")[500]) == pytest.approx(17.4950166, abs=1e-7)
    assert float(d.gamma(betas, "paper")[500]) == pytest.approx(17.5565369, abs=1e-7)
    squares = float(d.shared_noise_weights(betas, 500).square().sum())
    assert squares == pytest.approx(0.9214127571, abs=1e-10)
    assert squares == pytest.approx(1 - float(d.abar(betas)[500]), abs=1e-12)
    official = d.gamma(betas, "official")
    assert int(official.argmax()) == 601
    assert float(official.max()) == pytest.approx(18.045, abs=5e-4)


@pytest.mark.parametrize(
    ("t", "product", "noise"),
    # measured with the authors' published code: abar[t] of their array, and their gamma
    [
        (1, 0.999780092, 0.0099995),
        (100, 0.895141591, 3.054445),
        (250, 0.521423031, 10.062720),
        (500, 0.077796658, 17.495017),
        (750, 0.003300158, 17.278492),
    ],
)
def test_official_indexing_matches_the_published_code(t, product, noise):
    mixed = d.mixing(d.linear_betas(1000), t, "gamma", "official")
    assert mixed.signal**2 == pytest.approx(product, abs=5e-10)
    assert mixed.noise == pytest.approx(noise, abs=1e-6)


def test_alpha_mixing_preserves_variance():
    for flavour in ("paper", "official"):
        mixed = d.mixing(d.linear_betas(1000), 500, "alpha", flavour)
        assert mixed.signal**2 + mixed.noise**2 == pytest.approx(1, abs=1e-12)
    assert mixed.noise == pytest.approx(0.960314, abs=1e-6)  # measured with the published code


@pytest.mark.parametrize("t", [1, 7, 500])
def test_one_noise_step_by_step_arrives_at_mixing(t):
    betas = d.linear_betas(1000)
    x0, eps = torch.tensor([0.3, 0.9], dtype=torch.float64), torch.tensor([-1.0, 0.2], dtype=torch.float64)
    x = x0
    for beta in betas[:t]:
        x = torch.sqrt(1 - beta) * x + torch.sqrt(beta) * eps
    torch.testing.assert_close(d.noised(x0, eps, *d.mixing(betas, t)), x, rtol=1e-12, atol=1e-12)
    assert float(d.shared_noise_weights(betas, t).sum()) == pytest.approx(float(d.gamma(betas)[t]), rel=1e-12)


def test_official_step_shrinks_its_own_noise():
    x = eps = torch.ones((), dtype=torch.float64)
    for beta in TWO:
        x = torch.sqrt(1 - beta) * (x + torch.sqrt(beta) * eps)
    assert float(x) == pytest.approx(0.72**0.5 + 0.668328, abs=1e-6)


def test_there_and_back():
    x0, eps = torch.rand(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    mixed = d.mixing(d.linear_betas(1000), 500)
    x_t = d.noised(x0, eps, *mixed)
    torch.testing.assert_close(d.predict_x0(x_t, eps, *mixed), x0, rtol=0, atol=1e-9)
    torch.testing.assert_close(d.predict_noise(x_t, x0, *mixed), eps, rtol=0, atol=1e-9)
    assert d.noised(x0.float(), eps.float(), *mixed).dtype == torch.float32


def test_posterior_by_hand():
    # t = 2: sqrt(.9) * .2 / .28 = 0.677631, sqrt(.8) * .1 / .28 = 0.319438, .2 * .1 / .28 = 0.0714286
    assert d.posterior(TWO, 2) == pytest.approx((0.677631, 0.319438, 0.0714286), abs=1e-6)
    assert d.posterior(TWO, 1) == pytest.approx((1, 0, 0), abs=1e-12)


@pytest.mark.parametrize("t", [2, 40, 1000])
def test_a_step_back_lands_on_the_marginal_before(t):
    betas = d.linear_betas(1000)
    products = d.abar(betas)
    of_x0, of_xt, variance = d.posterior(betas, t)
    assert of_x0 + of_xt * float(products[t]) ** 0.5 == pytest.approx(float(products[t - 1]) ** 0.5, rel=1e-10)
    assert of_xt**2 * (1 - float(products[t])) + variance == pytest.approx(1 - float(products[t - 1]), rel=1e-10)


def test_posterior_step_adds_spread_only_when_drawn():
    x_t, x0 = torch.tensor([1.0]), torch.tensor([2.0])
    mean = d.posterior_step(x_t, x0, TWO, 2)
    assert float(mean) == pytest.approx(2 * 0.677631 + 0.319438, abs=1e-5)
    drawn = d.posterior_step(x_t, x0, TWO, 2, torch.tensor([3.0]))
    assert float(drawn - mean) == pytest.approx(3 * 0.0714286**0.5, abs=1e-5)


def test_schedules():
    betas = d.linear_betas(1000)
    assert float(betas[0]) == pytest.approx(1e-4)
    assert float(betas[-1]) == pytest.approx(2e-2)
    assert float(d.linear_betas(250)[0]) == pytest.approx(4e-4)  # a quarter of the steps, each four times as large
    cosine = d.cosine_betas(100)
    # abar_50 = cos^2(pi/2 * .508/1.008) / cos^2(pi/2 * .008/1.008) = 0.4937665 / 0.9998446
    assert float(d.abar(cosine)[50]) == pytest.approx(0.493843, abs=1e-6)
    assert float(cosine.max()) <= 0.999


def test_refused():
    betas = d.linear_betas(1000)
    assert d.mixing(betas, 1000).signal > 0
    with pytest.raises(ValueError, match=r"outside 0\.\.999"):
        d.mixing(betas, 1000, flavour="official")
    with pytest.raises(ValueError, match="outside"):
        d.mixing(betas, -1)
    with pytest.raises(ValueError, match="too few"):
        d.linear_betas(20)  # beta would reach 50 * 0.02 = 1
    with pytest.raises(ValueError, match="T >= 1"):
        d.cosine_betas(0)
    with pytest.raises(ValueError, match="step back"):
        d.posterior(betas, 0)
