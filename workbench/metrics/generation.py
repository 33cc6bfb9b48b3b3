"""Quality of a diffusion model of patches: reconstruction, and a test of generated against real patches; each with a trivial control.

    psnr(clean, rebuilt), spectral_angle(clean, rebuilt)
    two_sample(real, made).accuracy            # 0.5: a classifier cannot tell them apart; 1: always

For two vectors at a right angle, and for an error of a tenth of the range:

    >>> spectral_angle(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]]))
    90.0
    >>> round(psnr(np.zeros((1, 4)), np.full((1, 4), 0.2), span=2.0), 6)
    20.0
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workbench.errors import InputError

LEAST = 8  # samples of a two-sample test


def psnr(clean: np.ndarray, rebuilt: np.ndarray, span: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB over all values; span: of the values, 2 for patches scaled to [-1, 1]. Infinite without error."""
    error = float(np.mean((np.asarray(clean, float) - rebuilt) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(span**2 / error))


def spectral_angle(clean: np.ndarray, rebuilt: np.ndarray) -> float:
    """Mean angle in degrees between spectra (n, bands, ...) of the same pixels. Of spectra, not of scaled channels.

    F. Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment 44, 1993.
    """
    a, b = (np.moveaxis(np.asarray(v, float), 1, -1).reshape(-1, v.shape[1]) for v in (clean, rebuilt))
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


class TwoSample(NamedTuple):
    """accuracy: of a classifier on samples it did not see. limit: what it has in 95 of 100 cases at most if both sets are alike."""

    accuracy: float
    limit: float


def two_sample(real: np.ndarray, made: np.ndarray, seed: int = 0, trees: int = 200) -> TwoSample:
    """Whether a random forest tells generated samples from real ones; both (n, ...), of as many samples.

    D. Lopez-Paz, M. Oquab, "Revisiting classifier two-sample tests", 2017, arXiv 1610.06545: half of both is for training, the accuracy
    on the other half is binomial around 1/2 if they are alike. Raises InputError for fewer than 8 samples of each, or unequal numbers.
    """
    from sklearn.ensemble import RandomForestClassifier

    n = len(real)
    if n != len(made) or n < LEAST:
        raise InputError(
            f"A two-sample test needs as many generated as real samples, {LEAST} at least; it got {n} real, {len(made)} generated."
        )
    x = np.concatenate([np.reshape(real, (n, -1)), np.reshape(made, (n, -1))])
    y = np.repeat([0, 1], n)
    order = np.random.default_rng(seed).permutation(n)
    half = np.concatenate([order[: n // 2], n + order[: n // 2]])
    rest = np.concatenate([order[n // 2 :], n + order[n // 2 :]])
    model = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(x[half], y[half])
    return TwoSample(float((model.predict(x[rest]) == y[rest]).mean()), 0.5 + 1.645 * 0.5 / len(rest) ** 0.5)


def gaussian_patches(real: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(count, channels, y, x): a control for generated patches. Every pixel is drawn on its own, with the channels' mean and covariance."""
    _, channels, high, wide = real.shape
    pixels = np.moveaxis(real, 1, -1).reshape(-1, channels)
    draw = np.random.default_rng(seed)
    made = draw.multivariate_normal(pixels.mean(0), np.atleast_2d(np.cov(pixels.T)), (count, high, wide), method="eigh")
    return np.moveaxis(made, -1, 1).astype(np.float32)
