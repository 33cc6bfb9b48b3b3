"""The RX family on cubes small enough to work out, and on input that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.baselines import moments as m
from workbench.baselines.anomaly import pca_rx, random_projection_rx, ridge_rx, rx
from workbench.errors import InputError
from workbench.parts import device

DETECTORS = [rx, ridge_rx, pca_rx, random_projection_rx]


def cube_of(pixels, **coords) -> xr.DataArray:
    """Pixels `(n, band)` as an image of one row."""
    values = np.asarray(pixels, dtype=float).T[:, None, :]
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords)


def random_cube(bands=7, rows=9, cols=11, seed=0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    mixed = np.tensordot(rng.normal(size=(bands, bands)), rng.gamma(2, size=(bands, rows, cols)), 1) + 100
    return xr.DataArray(mixed, dims=("band", "y", "x"), coords={"y": np.arange(rows) * 2.0, "x": np.arange(cols) + 5})


FIVE = cube_of([(0, 0), (2, 0), (0, 2), (2, 2), (6, 6)])


def test_rx_by_hand():
    # Mean (2, 2); the scatter is [[24, 20], [20, 24]], over n - 1 = 4 the covariance [[6, 5], [5, 6]] with inverse
    # [[6, -5], [-5, 6]] / 11. (-2, -2) scores 4 (6 - 5 - 5 + 6) / 11 = 8/11; (0, -2) scores 4 * 6 / 11 = 24/11;
    # (4, 4) scores 16 * 2 / 11 = 32/11.
    found = m.background(FIVE, "rx")
    np.testing.assert_allclose(found.mean, [2, 2])
    np.testing.assert_allclose(found.axes @ np.diag(found.variances) @ found.axes.T, [[6, 5], [5, 6]], rtol=1e-14)
    np.testing.assert_allclose(rx(FIVE)[0], np.array([8, 24, 24, 0, 32]) / 11, atol=1e-14)


def test_ridge_by_hand():
    # Variances 11 along (1, 1)/sqrt 2 and 1 along (1, -1)/sqrt 2; a ridge of 1/11 makes them 12 and 2.
    # (-2, -2) lies 8 along the first (squared), (0, -2) 2 along each, (4, 4) 32 along the first.
    np.testing.assert_allclose(ridge_rx(FIVE, ridge=1 / 11)[0], [8 / 12, 2 / 12 + 1, 2 / 12 + 1, 0, 32 / 12], atol=1e-14)


def test_ridge_goes_to_rx_and_to_the_euclidean_distance():
    cube = random_cube()
    np.testing.assert_allclose(ridge_rx(cube, ridge=1e-13), rx(cube), rtol=1e-6)
    distance = ((cube - cube.mean(("y", "x"))) ** 2).sum("band")
    ratio = ridge_rx(cube, ridge=1e6) / distance
    np.testing.assert_allclose(ratio, float(ratio[0, 0]), rtol=1e-5)


def test_pca_by_hand():
    # Only the first axis, variance 11: 8/11, 2/11, 2/11, 0, 32/11.
    np.testing.assert_allclose(pca_rx(FIVE, components=1)[0], np.array([8, 2, 2, 0, 32]) / 11, atol=1e-14)


@pytest.mark.parametrize("detector", [pca_rx, random_projection_rx])
def test_all_components_are_rx(detector):
    cube = random_cube()
    np.testing.assert_allclose(detector(cube, components=7), rx(cube), rtol=1e-9)
    more = detector(cube, components=50)
    np.testing.assert_allclose(more, rx(cube), rtol=1e-9)
    assert "50 components were requested" in more.attrs["note"]


def test_random_projection_is_rx_of_the_projected_cube():
    cube = random_cube()
    weights = np.random.default_rng(3).standard_normal((7, 4))
    projected = xr.DataArray(np.tensordot(weights.T, cube.values, 1), dims=cube.dims)
    np.testing.assert_allclose(random_projection_rx(cube, components=4, seed=3).values, rx(projected).values, rtol=1e-9)
    other = random_projection_rx(cube, components=4, seed=4)
    assert not np.allclose(other, rx(projected).values)


def test_the_mean_score_is_rank_times_n_minus_1_over_n():
    cube = random_cube()
    assert float(rx(cube).mean()) == pytest.approx(7 * 98 / 99, rel=1e-12)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("chunks", [(7, 9, 11), (3, 4, 5), (1, 2, 11)])
def test_dask_equals_numpy_and_stays_lazy(detector, chunks):
    cube = random_cube()
    cube.values[2, 3, 4] = np.nan
    lazy = detector(cube.chunk(dict(zip(cube.dims, chunks, strict=True))))
    assert lazy.chunks is not None
    now = detector(cube)
    np.testing.assert_allclose(lazy.compute(), now, rtol=1e-9)
    assert lazy.attrs == now.attrs
    xr.testing.assert_equal(lazy.coords.to_dataset(), now.coords.to_dataset())


def test_a_lazy_score_reads_only_the_blocks_it_needs():
    import dask.array as da

    read = []

    def block(block_info=None):
        where = block_info[None]["array-location"]
        read.append(where[1][0])
        return random_cube().values[:, slice(*where[1]), slice(*where[2])]

    data = da.map_blocks(block, chunks=((7,), (3, 3, 3), (11,)), dtype=float)
    score = rx(xr.DataArray(data, dims=("band", "y", "x")))
    read.clear()
    np.testing.assert_allclose(score[:2].compute(scheduler="sync"), rx(random_cube()).values[:2], rtol=1e-9)
    assert set(read) == {0}


def test_merged_moments_equal_those_of_the_whole(monkeypatch):
    cube = random_cube(rows=30)
    cube.values[:, 3:12] += 1e6  # a part far from the rest: a naive sum of squares would lose seven digits
    values = cube.values.reshape(7, -1)
    monkeypatch.setattr(m, "PIECE", 7 * 11 * 4)  # pieces of four rows
    bands, found = m.moments(cube)
    assert bands.tolist() == list(range(7))
    assert found.n == 330
    np.testing.assert_allclose(found.mean, values.mean(1), rtol=1e-14)
    np.testing.assert_allclose(found.scatter, np.cov(values) * 329, rtol=1e-11)


def test_missing_pixels_and_bad_bands_do_not_count():
    cube = random_cube()
    spoiled = cube.copy(deep=True)
    spoiled.values[1, 0, :3] = np.nan  # three pixels that lack one band
    spoiled.values[4, 2, 2] = np.inf
    extra = xr.DataArray(np.full((2, 9, 11), np.nan), dims=cube.dims, coords=dict(cube.coords))
    extra.values[1] = 7e9 * np.arange(99).reshape(9, 11)  # marked bad: must not matter
    wide = xr.concat([spoiled, extra], "band").assign_coords(good=("band", [True] * 8 + [False]))
    found = rx(wide)
    flat = cube.values.reshape(7, -1)
    keep = np.ones(99, bool)
    keep[[0, 1, 2, 24]] = False
    kept = flat[:, keep]
    off = kept - kept.mean(1, keepdims=True)
    expected = np.full(99, np.nan)
    expected[keep] = np.einsum("bn,bc,cn->n", off, np.linalg.inv(np.cov(kept)), off)
    np.testing.assert_allclose(found.values.ravel(), expected, rtol=1e-9)
    assert (found.attrs["bands_used"], found.attrs["pixels_used"]) == (7, 95)
    assert set(found.coords) == {"x", "y"}


def test_rank_deficiency_is_reported_and_does_not_change_the_score():
    cube = random_cube()
    doubled = xr.concat([cube, 3 * cube[:2] + 1, cube[:1] * 0 + 5], "band")  # two dependent bands, one constant
    found = rx(doubled)
    # The distance within the span does not depend on how often a band is repeated.
    np.testing.assert_allclose(found, rx(cube), rtol=1e-8)
    assert found.attrs["rank"] == 7
    assert "rank 7 with 10 bands" in found.attrs["note"]
    assert "note" not in rx(cube).attrs


@pytest.mark.parametrize("detector", DETECTORS)
def test_integers_give_float64(detector):
    cube = (random_cube() * 10).astype(np.uint16)
    found = detector(cube)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, detector(cube.astype(float)), rtol=1e-12)


def test_pixel_coordinates_and_crs_are_kept():
    cube = random_cube().assign_coords(spatial_ref=0, wavelength=("band", np.arange(7.0)))
    cube.spatial_ref.attrs["crs_wkt"] = "anything"
    found = rx(cube)
    assert set(found.coords) == {"x", "y", "spatial_ref"}
    assert found.spatial_ref.attrs == {"crs_wkt": "anything"}
    xr.testing.assert_equal(found.x, cube.x)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(
    ("cube", "message"),
    [
        (random_cube().transpose("y", "x", "band"), r"found dims \('y', 'x', 'band'\). Transpose"),
        (random_cube().values, "found a ndarray"),
        (random_cube().astype(complex), "found complex128"),
        (random_cube()[:, :0], "at least one band and one pixel"),
        (random_cube() * 0 + 3, "this cube is constant: all its 99 valid pixels are equal"),
        (random_cube() * np.nan, "No usable band"),
        (random_cube().assign_coords(good=("band", [False] * 7)), "No usable band"),
        (random_cube().where(np.arange(99).reshape(9, 11) == 5), "found 1 in 7 bands"),
    ],
    ids=["order", "array", "complex", "empty", "constant", "all missing", "all bad", "one pixel"],
)
@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_unusable_cubes_say_why(detector, cube, message, lazy):
    if lazy and isinstance(cube, xr.DataArray) and cube.size:
        cube = cube.chunk(band=2, y=4) if "band" in cube.dims else cube
    with pytest.raises(InputError, match=message):
        detector(cube)


def test_too_few_pixels_say_what_helps():
    # Six pixels span five of the seven dimensions: every pixel would score 25/6.
    with pytest.raises(InputError, match=r"found 6 valid pixels that span 5 dimensions.*Use pca_rx"):
        rx(random_cube(rows=1, cols=6))
    assert pca_rx(random_cube(rows=1, cols=6), components=2).shape == (1, 6)
    assert np.isfinite(ridge_rx(random_cube(rows=1, cols=6))).all()


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda c: ridge_rx(c, ridge=0), "ridge > 0; got 0"),
        (lambda c: pca_rx(c, components=0), "at least 1 component; got 0"),
        (lambda c: random_projection_rx(c, components=-1), "at least 1 component; got -1"),
    ],
)
def test_settings_out_of_range(work, message):
    with pytest.raises(InputError, match=message):
        work(random_cube())


def test_torch_path_equals_numpy(monkeypatch):
    # What a GPU computes, with torch on the CPU standing in for it.
    import torch

    cube = random_cube()
    expected = {d: d(cube).values for d in DETECTORS}
    monkeypatch.setattr(device, "gpu", lambda: torch.device("cpu"))
    for detector, score in expected.items():
        np.testing.assert_allclose(detector(cube), score, rtol=1e-9)
