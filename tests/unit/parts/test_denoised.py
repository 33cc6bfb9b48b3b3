"""What a diffusion network makes: with one that knows the answer, denoising and generation give it; scaled channels become values again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.data.patch_settings import PatchSettings
from workbench.data.sensor_patches import CENTRE, patches_of
from workbench.data.synth_sensors import simulate
from workbench.parts.bank_settings import BankSettings
from workbench.parts.bank_training import ZERO, Denoiser
from workbench.parts.denoised import cleaned, film, generated, sheet


@pytest.fixture(scope="module")
def patches():
    return patches_of(simulate("sim-two-sensors", 24, bands=6), PatchSettings(split="class", components=3))


class Knows(torch.nn.Module):
    """Predicts the noise exactly, if the clean patch is `x0` (channels, 8, 8) or one of them in order."""

    def __init__(self, x0: torch.Tensor, products: torch.Tensor) -> None:
        super().__init__()
        self.x0, self.products = torch.nn.Parameter(x0), products

    def forward(self, x, t):
        a = self.products[t].float()[:, None, None, None]
        return (x - a.sqrt() * self.x0) / (1 - a).sqrt()


def denoiser(patches, x0=None):
    made = Denoiser(patches, {"hsi": ["hsi"]}, BankSettings(width=8))
    if x0 is not None:
        made.networks["hsi"] = Knows(x0, made.products)
    return made


def test_a_network_that_knows_the_patches_denoises_them(patches):
    place = patches.place[patches.test[:5]]
    clean = patches.take(place, "hsi")
    for t in (0, 100, 499):
        seen = cleaned(denoiser(patches, clean), "hsi", place, t)
        torch.testing.assert_close(seen.denoised, clean, atol=2e-3, rtol=0)
        assert float(seen.error.max()) < 1e-3
    fresh = cleaned(denoiser(patches), "hsi", patches.place[:500], 100)
    torch.testing.assert_close(fresh.error, fresh.zero)  # a new network predicts 0
    assert float(fresh.zero.mean()) == pytest.approx(ZERO, abs=0.01)


@pytest.mark.parametrize("steps", [2, 7, 50])
def test_a_network_that_knows_one_patch_generates_it_from_any_noise(patches, steps):
    target = torch.linspace(-1, 1, 3 * 64).view(3, 8, 8)
    path = list(generated(denoiser(patches, target), "hsi", 4, steps, seed=3))
    assert [path[0][0], path[-1][0]] == [499, -1]
    assert len(path) == steps + 1
    assert float(path[0][1].std()) == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(path[-1][1], target.expand(4, -1, -1, -1), atol=1e-3, rtol=0)


def test_on_the_way_the_noise_is_that_of_the_schedule(patches):
    """If the clean patch is known to be 0, the patches at time t have the variance 1 - abar_t, also with few and large steps."""
    made = denoiser(patches, torch.zeros(3, 8, 8))
    for t, x in list(generated(made, "hsi", 100, 7))[:-1]:
        assert float(x.std()) == pytest.approx((1 - float(made.products[t])) ** 0.5, rel=0.02), t


def test_generated_patches_repeat_and_stay_in_the_range_of_scaled_values(patches):
    one, again, other = (list(generated(denoiser(patches), "hsi", 3, 4, seed))[-1][1] for seed in (0, 0, 1))
    torch.testing.assert_close(one, again, atol=0, rtol=0)
    assert not torch.equal(one, other)
    assert float(one.abs().max()) <= 3


def test_pictures(patches):
    assert {n: a.shape for n, a in film(denoiser(patches), patches).items()} == {
        "clean": (3, 32, 32),
        "noisy": (3, 32, 32),
        "denoised": (3, 32, 32),
    }
    grey = sheet(torch.full((16, 2, 8, 8), -1.0))
    assert grey.shape == (3, 32, 32)
    assert (grey == 0).all()


def test_scaled_channels_become_values_again(patches):
    """Exactly where no component is left out and nothing is cut."""
    scene = simulate("sim-two-sensors", 24, bands=6)
    whole = patches_of(scene, PatchSettings(split="class", components=6))
    for sensor, tolerance in (("hsi", 1e-4), ("lidar", 1e-3)):
        inner = whole.cubes[sensor][0][:, CENTRE : 1 - CENTRE, CENTRE : 1 - CENTRE]
        values = scene[sensor].values
        kept = (np.abs(inner) < 3).all(0)
        assert kept.mean() > 0.9
        np.testing.assert_allclose(whole.scalers[sensor].back(inner)[:, kept], values[:, kept], atol=tolerance)
