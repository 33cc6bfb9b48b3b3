"""CRD against a literal loop over its formula, at edges, with missing pixels and bad bands, lazily, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.baselines.crd import crd
from workbench.errors import InputError


def random_cube(bands: int = 6, rows: int = 19, cols: int = 21, seed: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(bands, bands)) @ rng.normal(size=(bands, rows * cols))
    data = 5 + mixed.reshape(bands, rows, cols)
    return xr.DataArray(data, dims=("band", "y", "x"), coords={"y": np.arange(rows) * -2.0}, attrs={"units": "W"})


def literal(cube: xr.DataArray, inner: int, outer: int, ridge: float) -> np.ndarray:
    """The objective, pixel by pixel."""
    data = np.asarray(cube.values, float)
    _, rows, cols = data.shape
    out = np.full((rows, cols), np.nan)

    def square(at: int, size: int, length: int) -> range:
        first = min(max(at - size // 2, 0), length - size)
        return range(first, first + size)

    for i in range(rows):
        for j in range(cols):
            hole = {(a, b) for a in square(i, inner, rows) for b in square(j, inner, cols)}
            ring = [(a, b) for a in square(i, outer, rows) for b in square(j, outer, cols) if (a, b) not in hole]
            ring = [p for p in ring if np.isfinite(data[:, p[0], p[1]]).all()]
            y = data[:, i, j]
            if not np.isfinite(y).all() or not ring:
                continue
            X = np.array([data[:, a, b] for a, b in ring]).T
            gamma = np.diag([np.linalg.norm(y - X[:, n]) for n in range(X.shape[1])])
            stacked = np.vstack([X, np.sqrt(ridge) * gamma])  # |y - X alpha|^2 + ridge |gamma alpha|^2, without squaring
            alpha = np.linalg.lstsq(stacked, np.r_[y, np.zeros(len(gamma))], rcond=None)[0]
            out[i, j] = np.linalg.norm(y - X @ alpha)
    return out


@pytest.mark.parametrize(("inner", "outer", "ridge"), [(1, 3, 1e-2), (3, 7, 1e-4), (5, 9, 1.0), (7, 11, 1e-3)])
def test_is_the_formula(inner: int, outer: int, ridge: float) -> None:
    cube = random_cube()
    np.testing.assert_allclose(crd(cube, inner, outer, ridge), literal(cube, inner, outer, ridge), rtol=1e-6, atol=1e-9)


def test_more_bands_than_neighbours() -> None:
    cube = random_cube(bands=30)
    np.testing.assert_allclose(crd(cube, 1, 3, 1e-6), literal(cube, 1, 3, 1e-6), rtol=1e-6)


def test_by_hand() -> None:
    # one band, y = 2 among eight neighbours of 1: G^2 = I, alpha_i = 2 / (8 + r), left = 2 - 16 / (8 + r) = 2 r / (8 + r)
    image = np.ones((3, 3))
    image[1, 1] = 2
    found = crd(xr.DataArray(image[None], dims=("band", "y", "x")), 1, 3, ridge=2.0)
    assert float(found[1, 1]) == pytest.approx(2 * 2 / (8 + 2))


def test_missing_pixels_and_bad_bands_are_left_out() -> None:
    cube = random_cube()
    holes = cube.copy(deep=True)
    holes[2, 4, 5] = np.nan
    holes[:, 9:12, 9:12] = np.nan
    found = crd(holes, 3, 7, 1e-3)
    np.testing.assert_allclose(found, literal(holes, 3, 7, 1e-3), rtol=1e-6)
    assert int(np.isnan(found).sum()) == 10
    noisy = xr.concat([cube, cube[:1] * np.nan], "band").assign_coords(good=("band", [True] * 6 + [False]))
    np.testing.assert_allclose(crd(noisy, 3, 7), crd(cube, 3, 7), rtol=1e-9)


def test_a_pixel_without_neighbours_has_no_score() -> None:
    cube = random_cube(rows=9, cols=9)
    alone = cube.where((cube.y == cube.y[4]) & (xr.DataArray(np.arange(9), dims="x") == 4) | (cube.y > -2))
    found = crd(alone, 3, 5)
    assert np.isnan(found[4, 4])
    assert np.isfinite(found[0]).all()


def test_equal_neighbours_are_solved_by_least_squares() -> None:
    cube = random_cube(bands=3)
    cube.values[:, 5:14, 5:14] = cube.values[:, 5:6, 5:6]  # every ring pixel of the middle equals the pixel
    found = crd(cube, 1, 5)
    assert np.isfinite(found).all()
    assert float(found[9, 9]) == pytest.approx(0, abs=1e-6)
    assert "least squares" in found.attrs["note"]


def test_scale_coordinates_and_laziness() -> None:
    cube = random_cube()
    found = crd(cube, 3, 7)
    np.testing.assert_allclose(crd(cube * 1000, 3, 7), 1000 * found, rtol=1e-6)
    np.testing.assert_array_equal(found.y, cube.y)
    assert (found.dtype, found.attrs["units"]) == (np.float64, "W")
    xr.testing.assert_allclose(crd(cube.chunk({"band": 2, "y": 5, "x": 6}), 3, 7), found, rtol=1e-12)
    np.testing.assert_allclose(crd(cube.astype(np.float32), 3, 7), crd(cube.astype(np.float32).astype(float), 3, 7))


def test_a_foreign_pixel_stands_out() -> None:
    cube = random_cube(bands=8)
    cube[:] = cube.values[:, :1, :1] * (1 + 0.05 * np.random.default_rng(0).normal(size=cube.shape[1:]))
    cube[:, 10, 10] = np.random.default_rng(1).normal(size=8)
    found = crd(cube, 3, 7)
    assert np.unravel_index(int(found.values.argmax()), found.shape) == (10, 10)


@pytest.mark.parametrize(("inner", "outer"), [(2, 5), (3, 4), (5, 5), (7, 5), (-1, 3)])
def test_refuses_windows(inner: int, outer: int) -> None:
    with pytest.raises(InputError, match=r"crd got windows inner=.*must be odd"):
        crd(random_cube(), inner, outer)


def test_refuses_the_rest() -> None:
    with pytest.raises(InputError, match="crd got windows.*19 x 21 pixels"):
        crd(random_cube(), 3, 23)
    with pytest.raises(InputError, match="ridge > 0"):
        crd(random_cube(), 3, 7, 0)
    with pytest.raises(InputError, match="crd needs spectra that differ"):
        crd(random_cube() * 0, 3, 7)
