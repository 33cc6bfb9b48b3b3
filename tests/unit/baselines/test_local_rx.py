"""Dual-window RX against a plain loop over pixels, on every kind of image edge, gap and path of the code."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import xarray as xr

from workbench.baselines import local_rx as module
from workbench.baselines.anomaly import local_rx
from workbench.engines import blas
from workbench.errors import InputError
from workbench.event import drain
from workbench.parts import device


def random_cube(bands=6, rows=23, cols=31, seed=0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    mixed = np.tensordot(rng.normal(size=(bands, bands)), rng.gamma(2, size=(bands, rows, cols)), 1)
    drift = np.linspace(0, 40, rows)[:, None] + np.linspace(-9, 9, cols)
    return xr.DataArray(mixed + drift, dims=("band", "y", "x"), coords={"y": np.arange(rows), "x": np.arange(cols) + 0.5})


def plain(cube: xr.DataArray, inner: int, outer: int) -> np.ndarray:
    """The definition, pixel by pixel: windows shifted inwards at the edges, missing neighbours left out."""
    values = cube.values
    _, rows, cols = values.shape
    out = np.full((rows, cols), np.nan)
    for i, j in np.ndindex(rows, cols):
        if not np.isfinite(values[:, i, j]).all():
            continue
        a, b = (min(max(p - outer // 2, 0), n - outer) for p, n in ((i, rows), (j, cols)))
        c, d = (min(max(p - inner // 2, 0), n - inner) for p, n in ((i, rows), (j, cols)))
        ring = np.zeros((rows, cols), bool)
        ring[a : a + outer, b : b + outer] = True
        ring[c : c + inner, d : d + inner] = False
        near = values[:, ring]
        near = near[:, np.isfinite(near).all(0)]
        off = values[:, i, j] - near.mean(1)
        out[i, j] = off @ np.linalg.pinv(np.cov(near), hermitian=True) @ off
    return out


@pytest.mark.parametrize(("inner", "outer"), [(1, 5), (3, 7), (5, 9), (7, 9), (1, 23), (21, 23), (3, 23)])
def test_equals_the_definition(inner, outer):
    found = local_rx(random_cube(), inner, outer)
    np.testing.assert_allclose(found, plain(random_cube(), inner, outer), rtol=1e-9)
    assert found.attrs["singular_rings"] == 0
    assert "note" not in found.attrs


def test_by_hand():
    # One band, 3 x 3 pixels, windows 1 and 3: every ring is the other eight. For the centre, value 9 and others 0..7:
    # mean 3.5, variance 42/7 = 6, score 5.5^2 / 6.
    image = np.array([[0, 1, 2], [3, 9, 4], [5, 6, 7.0]])
    found = local_rx(xr.DataArray(image[None], dims=("band", "y", "x")), 1, 3)
    assert float(found[1, 1]) == pytest.approx(5.5**2 / 6, rel=1e-12)
    # For the corner 0 they are 1..7 and 9: mean 37/8, squares 221, variance (221 - 37^2/8) / 7 = 7.125.
    assert float(found[0, 0]) == pytest.approx((37 / 8) ** 2 / 7.125, rel=1e-12)


@pytest.mark.parametrize("size", [(9, 9), (9, 40), (40, 9), (10, 11), (19, 120)])
def test_image_sizes(size):
    cube = random_cube(4, *size)
    np.testing.assert_allclose(local_rx(cube, 3, 9), plain(cube, 3, 9), rtol=1e-9)


def test_missing_pixels_are_left_out_of_their_neighbours_rings():
    cube = random_cube()
    rng = np.random.default_rng(1)
    cube.values[2][rng.random((23, 31)) < 0.1] = np.nan
    found = local_rx(cube, 3, 9)
    np.testing.assert_allclose(found, plain(cube, 3, 9), rtol=1e-8)
    assert np.isnan(found.values).sum() == np.isnan(cube.values[2]).sum() > 40


def test_bad_constant_and_dependent_bands_do_not_count():
    cube = random_cube()
    more = [cube[:1] * 0 + 7, cube[:1] * 2 - cube[1:2], cube[:1] * np.nan]
    wide = xr.concat([cube, *more], "band").assign_coords(good=("band", [True] * 8 + [False]))
    found = local_rx(wide, 3, 9)
    np.testing.assert_allclose(found, local_rx(cube, 3, 9), rtol=1e-8)
    assert "6 independent bands of 8" in found.attrs["note"]


def test_singular_rings_are_inverted_by_moore_penrose_and_counted():
    cube = random_cube()
    cube.values[3, :12, :12] = 5.0  # a band that is dead in one corner: rings inside it lose a dimension
    found = local_rx(cube, 3, 7)
    # A ring is inside the corner when its 7 x 7 square is; rows and columns 0..8 of pixels have it there (9 shifts: the
    # squares of 0..3 coincide at 0, those of 4..8 begin at 1..5).
    assert found.attrs["singular_rings"] == 81
    assert "81 rings do not span all bands" in found.attrs["note"]
    expected = plain(cube, 3, 7)
    inside = np.zeros((23, 31), bool)
    inside[:9, :9] = True
    np.testing.assert_allclose(found.values[~inside], expected[~inside], rtol=1e-6)
    np.testing.assert_allclose(found.values[inside], expected[inside], rtol=1e-6)


def test_well_conditioned_pixels_take_the_fast_path(monkeypatch):
    def exact(*_):
        raise AssertionError("fell back to the pixel-by-pixel inverse")

    monkeypatch.setattr(module, "_exact", exact)
    assert np.isfinite(local_rx(random_cube(), 3, 9)).all()


def test_groups_without_a_full_core_are_still_exact():
    # Ring of 49 - 1 = 48 pixels; the core of 3 x 2 of them has (7 - 2)(7 - 1) - 3 * 2 = 24. With 40 bands it is singular.
    cube = random_cube(bands=40, rows=16, cols=16)
    found = local_rx(cube, 1, 7)
    np.testing.assert_allclose(found, plain(cube, 1, 7), rtol=1e-6)
    assert found.attrs["singular_rings"] == 0


@pytest.mark.parametrize("chunks", [(6, 23, 31), (2, 5, 7), (6, 23, 4), (1, 6, 31)])
def test_dask_equals_numpy_and_stays_lazy(chunks):
    cube = random_cube()
    cube.values[0, 4, 4] = np.nan
    lazy = local_rx(cube.chunk(dict(zip(cube.dims, chunks, strict=True))), 3, 9)
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), local_rx(cube, 3, 9), rtol=1e-9)


def test_a_lazy_block_reads_only_its_margin():
    import dask.array as da

    read = set()

    def block(block_info=None):
        where = block_info[None]["array-location"]
        read.add(where[1][0])
        return random_cube(rows=60).values[:, slice(*where[1]), slice(*where[2])]

    data = da.map_blocks(block, chunks=((6,), (10,) * 6, (31,)), dtype=float)
    score = local_rx(xr.DataArray(data, dims=("band", "y", "x")), 3, 9)
    read.clear()
    score[:10].compute(scheduler="sync")
    assert read == {0, 10}  # rows 0..9 and the margin below them


@pytest.fixture
def _short_strips(monkeypatch):
    monkeypatch.setattr(module, "SLAB", 1)


@pytest.mark.usefixtures("_short_strips")
def test_rows_are_reported_and_stopping_leaves_no_thread():
    before = threading.active_count()
    rows = module.by_rows(random_cube(rows=60), 3, 9)
    assert [next(rows), next(rows), next(rows)] == [0, 18, 36]
    rows.close()
    assert threading.active_count() == before


@pytest.mark.usefixtures("_short_strips")
def test_strips_do_not_matter():
    cube = random_cube(rows=60)
    expected = plain(cube, 3, 9)
    np.testing.assert_allclose(drain(module.by_rows(cube, 3, 9)), expected, rtol=1e-9)
    np.testing.assert_allclose(drain(module.by_rows(cube.chunk(y=7), 3, 9)), expected, rtol=1e-9)


def test_many_threads_give_the_same(monkeypatch):
    expected = local_rx(random_cube(), 3, 9)
    monkeypatch.setattr(blas, "threads", lambda: 4)
    xr.testing.assert_identical(local_rx(random_cube(), 3, 9), expected)


def test_blas_threads_are_given_back_when_calls_overlap():
    from threadpoolctl import threadpool_info, threadpool_limits

    def now():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        first, second = blas.one_thread(), blas.one_thread()
        first.__enter__()
        second.__enter__()
        assert set(now()) == {1}
        first.__exit__(None, None, None)
        assert set(now()) == {1}
        second.__exit__(None, None, None)
        assert set(now()) == {2}


def test_libraries_are_looked_for_again_after_an_import(monkeypatch):
    first = blas._libraries()
    assert blas._libraries() is first
    monkeypatch.setitem(sys.modules, "a_module_with_threads", sys)
    assert blas._libraries() is not first


def test_torch_path_equals_numpy(monkeypatch):
    # What a GPU computes, with torch on the CPU standing in for it; 23 * 31 pixels are more than one batch.
    import torch

    cube = random_cube()
    cube.values[3, :12, :12] = 5.0
    cube.values[1, 20, 20] = np.nan
    expected = local_rx(cube, 3, 7)
    monkeypatch.setattr(device, "gpu", lambda: torch.device("cpu"))
    found = local_rx(cube, 3, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert found.attrs == expected.attrs


@pytest.mark.parametrize(
    ("inner", "outer", "message"),
    [
        (4, 9, "both must be odd"),
        (3, 8, "both must be odd"),
        (9, 9, "outer larger than the inner"),
        (-1, 9, "both must be odd"),
        (3, 25, r"the image has 23 x 31 pixels. Set outer to an odd number up to 23"),
    ],
)
def test_windows_that_cannot_be(inner, outer, message):
    with pytest.raises(InputError, match=message):
        local_rx(random_cube(), inner, outer)


def test_a_ring_too_small_for_the_bands_says_which_is_not():
    cube = random_cube(bands=20)
    # 25 - 9 = 16 pixels for 20 bands; 49 - 9 = 40 is enough.
    with pytest.raises(InputError, match=r"a ring of 16 pixels.*20 independent bands.*Set outer to 7 or more"):
        local_rx(cube, 3, 5)
    assert np.isfinite(local_rx(cube, 3, 7)).all()


def test_unusable_cubes_say_why():
    cube = random_cube()
    with pytest.raises(InputError, match="found a ndarray"):
        local_rx(cube.values)
    with pytest.raises(InputError, match="are equal"):
        local_rx(cube * 0)
