"""U-Net, frequency parser and feature bank of MDFL and FedDiff; numbers by hand where there are some."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.parts.diffusion import abar, linear_betas, posterior_step, predict_x0
from workbench.parts.features import cached, checkpoint_hash, features, features_at, noise_of, schedule
from workbench.parts.frequency import ComplexMask, RealConv, frequency_parser, log_spectrum, without_annulus
from workbench.parts.unet import UNet

TIMES = (5, 50, 100, 200)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNet(3, width=8)


def delta(row, column, side=4):
    h = torch.zeros(1, 1, side, side)
    h[0, 0, row, column] = 1
    return h


# --- frequency --------------------------------------------------------------------------------------------------------


def test_a_new_complex_mask_is_the_identity():
    h = torch.randn(2, 5, 8, 8)
    torch.testing.assert_close(ComplexMask(5, 8)(h), h, atol=1e-6, rtol=0)
    torch.testing.assert_close(ComplexMask(1, 4)(delta(0, 1)), delta(0, 1), atol=1e-6, rtol=0)
    assert frequency_parser("none", 5, 8)(h) is h


def identity_conv(channels=1):
    layer = RealConv(channels)
    torch.nn.init.dirac_(layer.mix.weight)
    torch.nn.init.zeros_(layer.mix.bias)
    return layer


def test_the_real_part_alone_mirrors_half_of_a_map():
    """A delta at (0, 1) becomes a half there and a half at (0, 3); any map is averaged with its point reflection."""
    layer = identity_conv()
    torch.testing.assert_close(layer(delta(0, 1)), 0.5 * (delta(0, 1) + delta(0, 3)), atol=1e-6, rtol=0)
    h = torch.randn(3, 1, 8, 8)
    reflected = h.flip(-2, -1).roll((1, 1), (-2, -1))
    torch.testing.assert_close(layer(h), (h + reflected) / 2, atol=1e-6, rtol=0)
    lost = 1 - float(layer(torch.randn(500, 1, 8, 8)).detach().square().mean())
    assert 0.44 < lost < 0.52


def test_a_bias_of_the_real_convolution_is_a_point():
    layer = identity_conv()
    torch.nn.init.constant_(layer.mix.bias, 3.0)
    torch.testing.assert_close(layer(torch.zeros(1, 1, 4, 4)), 3 * delta(0, 0), atol=1e-6, rtol=0)


def test_spectrum_of_four_numbers():
    h = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.fft.fft2(h).real.tolist() == [[10, -2], [-4, 0]]
    assert without_annulus(h, 0, 0.1).mean().abs() < 1e-6  # without the mean
    torch.testing.assert_close(without_annulus(h, 0.1, 9), torch.full((2, 2), 2.5))  # nothing but the mean
    assert float(log_spectrum(h)[1, 1]) == pytest.approx(math.log(11))


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", ["complex_mask", "real_conv", "none"])
def test_a_new_network_predicts_nothing(parser):
    torch.manual_seed(0)
    net, x, t = UNet(3, width=8, parser=parser), torch.randn(5, 3, 8, 8), torch.arange(5)
    assert (net(x, t) == 0).all()
    middle, _, _ = net.encode(x, t)
    assert middle.shape == (5, 16, 4, 4)
    assert net.features == 16
    loss = (net(x, t).detach().mean() - torch.randn(4000, 3, 8, 8)).abs().mean()
    assert float(loss) == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)


def test_every_weight_is_trained(network):
    """One step from zero reaches the last layer; after it the others have gradients too."""
    net = UNet(3, width=8)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    torch.manual_seed(1)
    for _ in range(3):
        optimiser.zero_grad()
        (net(torch.randn(4, 3, 8, 8), torch.tensor([1, 50, 200, 400])) - torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimiser.step()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_small_networks_have_eight_groups():
    groups = {m.num_groups for m in UNet(3, width=32).modules() if isinstance(m, torch.nn.GroupNorm)}
    assert groups == {8}


# --- diffusion --------------------------------------------------------------------------------------------------------


def test_schedule_of_the_card():
    products = schedule()
    wanted = {0: 0.9999, 49: 0.94754, 99: 0.81246, 249: 0.28069, 399: 0.03917, 499: 0.0063527}
    assert {t: float(products[t]) for t in wanted} == pytest.approx(wanted, abs=6e-6)


def test_the_true_noise_gives_the_clean_patch():
    products = schedule()
    x0, eps = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for t in (0, 100, 499):
        a = float(products[t])
        noisy = a**0.5 * x0 + (1 - a) ** 0.5 * eps
        torch.testing.assert_close(predict_x0(noisy.clone(), eps, a**0.5, (1 - a) ** 0.5), x0, atol=1e-5, rtol=0)
    betas = linear_betas(500, 0.5e-4, 1e-2)  # the last step back from the first time has no variance
    a = float(abar(betas)[1])
    noisy = a**0.5 * x0 + (1 - a) ** 0.5 * eps
    found = posterior_step(noisy, predict_x0(noisy.clone(), eps, a**0.5, (1 - a) ** 0.5), betas, 1, torch.randn_like(x0))
    torch.testing.assert_close(found, x0, atol=1e-9, rtol=0)


# --- bank -------------------------------------------------------------------------------------------------------------


def test_noise_depends_on_pixel_time_and_seed_only():
    shape = (3, 8, 8)
    many = noise_of(np.arange(400), 5, 0, shape)
    assert float(many.mean()) == pytest.approx(0, abs=0.01)
    assert float(many.std()) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(noise_of(np.array([399, 7]), 5, 0, shape), many[[399, 7]], atol=0, rtol=0)
    for other in (noise_of(np.arange(400), 6, 0, shape), noise_of(np.arange(400), 5, 1, shape), many.roll(1, 0)):
        assert abs(float((other * many).mean())) < 0.02


def test_bank_has_all_times_and_rows_that_stand_alone(network):
    x, pixel = torch.randn(6, 3, 8, 8), np.array([3, 1, 4, 15, 9, 2])
    bank = features(network, x, pixel, TIMES, schedule())
    assert bank.shape == (6, 16 * len(TIMES), 4, 4)
    torch.testing.assert_close(bank[:, 16:32], features_at(network, x, pixel, TIMES[1], schedule(), 0))
    torch.testing.assert_close(features(network, x[2:3], pixel[2:3], TIMES, schedule()), bank[2:3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(features(network, x, pixel, TIMES, schedule(), seed=1), bank)
    assert not bank.requires_grad


def test_cache_computes_what_is_missing_only(network, tmp_path, monkeypatch):
    x, pixel, products = torch.randn(6, 3, 8, 8), np.array([3, 1, 4, 15, 9, 2]), schedule()
    first = cached(tmp_path / "bank.zarr", network, x[:4], pixel[:4], (5, 50), products)
    torch.testing.assert_close(first, features(network, x[:4], pixel[:4], (5, 50), products))
    asked = []

    def counted(network, x, pixel, t, products, seed):
        asked.append((t, pixel.tolist()))
        return features_at(network, x, pixel, t, products, seed)

    monkeypatch.setattr("workbench.parts.features.features_at", counted)
    again = cached(tmp_path / "bank.zarr", network, x, pixel, (5, 100), products)
    torch.testing.assert_close(again, features(network, x, pixel, (5, 100), products), atol=1e-5, rtol=1e-5)
    assert [(t, sorted(p)) for t, p in asked[:2]] == [(5, [2, 9]), (100, [1, 2, 3, 4, 9, 15])]
    asked.clear()
    cached(tmp_path / "bank.zarr", network, x, pixel, (5,), products)
    assert asked == []
    other = UNet(3, width=8)
    assert checkpoint_hash(other) != checkpoint_hash(network)
    cached(tmp_path / "bank.zarr", other, x, pixel, (5,), products)
    assert [len(p) for _, p in asked] == [6]
