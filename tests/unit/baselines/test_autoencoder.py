"""The autoencoder against literal loops over its layers, its loss and its weights; missing pixels, bad bands, seeds, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from tests.unit.baselines.test_crd import random_cube
from workbench.baselines.autoencoder import Autoencoder, Reconstruction, autoencoder
from workbench.errors import InputError

SMALL = {"width": 4, "levels": 2}


def convolved(x: np.ndarray, layer: torch.nn.Conv2d) -> np.ndarray:
    """The convolution, output pixel by output pixel: x (channel, y, x)."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    size, stride = weight.shape[-1], layer.stride[0]
    edge = size // 2
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge)), mode="reflect") if edge else x
    rows, cols = ((n - size) // stride + 1 for n in x.shape[1:])
    out = np.empty((len(weight), rows, cols))
    for o in range(len(weight)):
        for i in range(rows):
            for j in range(cols):
                part = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
                out[o, i, j] = (part * weight[o]).sum() + bias[o]
    return out


def unit(x: np.ndarray, layers: torch.nn.Sequential) -> np.ndarray:
    x = convolved(x, layers[0])
    x = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    return np.where(x > 0, x, 0.2 * x)


def test_network_is_the_literal_one() -> None:
    torch.manual_seed(0)
    network = Autoencoder(3, 4, 2)
    noise = torch.rand(1, 3, 7, 10)
    x, skips = noise[0].double().numpy(), []
    for down, skip in zip(network.down, network.skip, strict=True):
        skips.append(convolved(x, skip))
        x = unit(x, down)
    for up, kept in zip(network.up, reversed(skips), strict=True):
        rows, cols = ((np.arange(n) * old) // n for n, old in zip(kept.shape[1:], x.shape[1:], strict=True))
        x = unit(np.concatenate([x[:, rows][:, :, cols], kept]), up)
    expected = 1 / (1 + np.exp(-convolved(x, network.out)))
    np.testing.assert_allclose(network(noise)[0].detach().numpy(), expected, atol=1e-5)


def test_loss_and_weights_are_the_literal_ones() -> None:
    cube = random_cube(bands=3, rows=8, cols=9)
    cube[1, 2, 3] = np.nan
    training = Reconstruction(cube, **SMALL, reweight=1)
    values = cube.values.copy()
    low, high = (f([v for v in values.reshape(3, -1).T if np.isfinite(v).all()]) for f in (np.min, np.max))
    weight = np.ones((8, 9))
    for _ in range(2):
        made = training.network(training.noise)[0].detach().double().numpy()
        total, error = 0.0, np.full((8, 9), np.nan)
        for i in range(8):
            for j in range(9):
                if (i, j) == (2, 3):
                    continue
                residual = made[:, i, j] - (values[:, i, j] - low) / (high - low)
                error[i, j] = (residual**2).sum()
                total += weight[i, j] ** 2 * error[i, j]
        assert training.step() == pytest.approx(total / (71 * 3), rel=1e-4)
        weight = (np.nanmax(error) - error) / (np.nanmax(error) - np.nanmin(error))
        np.testing.assert_allclose(training.weight.numpy(), np.nan_to_num(weight), atol=1e-4)


def test_missing_pixels_bad_bands_and_coordinates() -> None:
    cube = random_cube()
    whole = autoencoder(cube, 3, **SMALL)
    bad = xr.concat([cube, cube[:1] * np.nan], "band").assign_coords(good=("band", [True] * 6 + [False]))
    np.testing.assert_array_equal(autoencoder(bad, 3, **SMALL), whole)
    np.testing.assert_array_equal(whole.y, cube.y)
    holes = cube.copy(deep=True)
    holes[2, 4, 5] = np.nan
    found = autoencoder(holes, 3, **SMALL)
    assert np.argwhere(np.isnan(found.values)).tolist() == [[4, 5]]
    np.testing.assert_array_equal(autoencoder(cube.chunk({"y": 5}), 3, **SMALL), whole)


def test_the_seed_decides_and_nothing_else_is_drawn() -> None:
    cube = random_cube()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = autoencoder(cube, 3, **SMALL)
    torch.testing.assert_close(torch.rand(3), expected)
    np.testing.assert_array_equal(autoencoder(cube, 3, **SMALL), first)
    assert not np.array_equal(autoencoder(cube, 3, **SMALL, seed=1), first)


def test_it_learns_the_background_and_leaves_the_foreign_pixel() -> None:
    rng = np.random.default_rng(0)
    spectrum = rng.random(8)[:, None, None]
    cube = xr.DataArray(spectrum * (1 + 0.02 * rng.normal(size=(16, 16))), dims=("band", "y", "x"))
    cube[:, 6, 9] = 1 - spectrum[:, 0, 0]
    training = Reconstruction(cube, 8, 2, reweight=20)
    losses = [training.step() for _ in range(60)]
    assert losses[-1] < losses[0] / 5
    found = training.map(cube)
    assert np.unravel_index(int(found.values.argmax()), found.shape) == (6, 9)


def test_refusals() -> None:
    with pytest.raises(InputError, match="needs at least 33 x 33 pixels; this image has 19 x 21"):
        autoencoder(random_cube(), levels=5)
    with pytest.raises(InputError, match="spectra that differ"):
        autoencoder(random_cube() * 0, 2, **SMALL)
