"""Metrics of generated patches and of what messages give away, by hand and against controls that must win or lose."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.metrics.generation import gaussian_patches, psnr, spectral_angle, two_sample
from workbench.metrics.inversion import recovered

DRAW = np.random.default_rng(0)


def test_signal_to_noise_by_hand():
    clean = np.zeros((3, 2, 4, 4))
    assert psnr(clean, clean + 0.2) == pytest.approx(20)  # 4 / 0.04
    assert psnr(clean, clean + 0.1, span=1) == pytest.approx(20)
    assert psnr(clean, clean) == float("inf")


def test_spectral_angle_ignores_brightness():
    spectra = DRAW.random((5, 4, 2, 2)) + 0.1
    assert spectral_angle(spectra, 3 * spectra) == pytest.approx(0, abs=1e-5)
    one, other = np.zeros((1, 2, 1, 1)), np.zeros((1, 2, 1, 1))
    one[0, 0], other[0, :] = 1, 1
    assert spectral_angle(one, other) == pytest.approx(45)


def test_equal_sets_are_not_told_apart_and_shifted_ones_are():
    real = DRAW.standard_normal((200, 3, 2, 2))
    same = two_sample(real, DRAW.standard_normal((200, 3, 2, 2)), trees=50)
    assert abs(same.accuracy - 0.5) < 0.12
    assert same.limit == pytest.approx(0.5 + 1.645 * 0.5 / 200**0.5)
    assert two_sample(real, real + 2, trees=50).accuracy > 0.9
    with pytest.raises(InputError, match="8 at least; it got 4 real, 4 generated"):
        two_sample(real[:4], real[:4])


def test_gaussian_patches_have_the_moments_of_the_pixels_and_no_neighbours():
    real = DRAW.standard_normal((300, 2, 4, 4)) * np.array([1.0, 3.0])[:, None, None] + np.array([0.0, 5.0])[:, None, None]
    real[:, 1] += real[:, 0]
    made = gaussian_patches(real, 400)
    pixels = np.moveaxis(made, 1, -1).reshape(-1, 2)
    wanted = np.moveaxis(real, 1, -1).reshape(-1, 2)
    np.testing.assert_allclose(pixels.mean(0), wanted.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(pixels.T), np.cov(wanted.T), atol=0.4)
    assert abs(np.corrcoef(made[:, 0, 0, 0], made[:, 0, 0, 1])[0, 1]) < 0.15
    assert gaussian_patches(real[:, :1], 5).shape == (5, 1, 4, 4)


def test_what_a_linear_message_gives_away():
    pixel = DRAW.standard_normal((400, 3))
    whole = pixel @ DRAW.standard_normal((3, 6))
    assert recovered(whole[:200], pixel[:200], whole[200:], pixel[200:]) > 0.99
    part = whole @ np.linalg.svd(whole)[2][:1].T  # one number of three
    assert 0.05 < recovered(part[:200], pixel[:200], part[200:], pixel[200:]) < 0.9
    other = DRAW.standard_normal((400, 6))
    assert recovered(other[:200], pixel[:200], other[200:], pixel[200:]) < 0.05
