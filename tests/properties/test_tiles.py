"""Cutting and stitching lose nothing, for any size and overlap."""

import itertools
import threading
import time

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.synth import small
from workbench.data.tiles import samples, shuffled, stitch, windows
from workbench.errors import InputError


def image(bands, height, width, seed=0):
    values = np.random.default_rng(seed).normal(size=(bands, height, width)).astype("float32")
    coords = {
        "wavelength": ("band", np.linspace(400, 2400, bands)),
        "y": 7.5 - np.arange(height),
        "x": 100 + 30 * np.arange(width),
    }
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords, name="hsi")


@st.composite
def cuts(draw):
    height, width, size = draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.integers(1, 34))
    return height, width, size, draw(st.integers(0, size - 1))


@given(cuts(), st.integers(1, 4))
def test_stitch_undoes_windows(cut, bands):
    height, width, size, overlap = cut
    cube = image(bands, height, width)
    w = windows({"y": height, "x": width}, size, overlap)
    again = stitch(samples(cube, w), w, like=cube)
    xr.testing.assert_identical(again, cube)
    assert again.dtype == "float32"


@given(cuts())
def test_windows_cover_all_overlap_as_asked_and_none_is_idle(cut):
    height, width, size, overlap = cut
    w = windows({"y": height, "x": width}, size, overlap)
    seen = np.zeros((height, width), int)
    for at in w:
        assert 0 < at["y"].stop - at["y"].start <= size
        assert 0 < at["x"].stop - at["x"].start <= size
        seen[at["y"], at["x"]] += 1
    assert seen.min() >= 1
    rows = sorted({(at["y"].start, at["y"].stop) for at in w})
    for (_, stop), (start, following) in itertools.pairwise(rows):
        assert stop - start == overlap
        assert following > stop  # each window brings pixels that none before it had


def test_windows_by_hand():
    # 10 = 4 + 3 + 3 new pixels: exactly three windows, no empty fourth
    assert [w["x"] for w in windows({"x": 10}, 4, overlap=1)] == [slice(0, 4), slice(3, 7), slice(6, 10)]
    assert [w["x"] for w in windows({"x": 11}, 4, overlap=1)] == [slice(0, 4), slice(3, 7), slice(6, 10), slice(9, 11)]
    assert windows({"y": 3, "x": 5}, 9) == [{"y": slice(0, 3), "x": slice(0, 5)}]
    assert windows({"y": 2, "x": 4}, {"y": 2, "x": 3}) == [
        {"y": slice(0, 2), "x": slice(0, 3)},
        {"y": slice(0, 2), "x": slice(3, 4)},
    ]


def test_overlaps_are_blended_with_a_linear_taper():
    # two windows of 4 on 6 pixels share pixels 2 and 3; weights 1 2 2 1 each:
    # pixel 2: (2 * 0 + 1 * 3) / 3 = 1, pixel 3: (1 * 0 + 2 * 3) / 3 = 2
    like = xr.DataArray(np.zeros((1, 6)), dims=("y", "x"))
    w = windows({"y": 1, "x": 6}, {"y": 3, "x": 4}, overlap=2)
    out = stitch([np.full((1, 4), 0.0), np.full((1, 4), 3.0)], w, like)
    np.testing.assert_array_equal(out.values, [[0, 0, 1, 2, 3, 3]])


def test_missing_pixels_stay_missing_and_only_they():
    cube = image(2, 9, 9)
    cube[1, 4, 4] = np.nan
    w = windows({"y": 9, "x": 9}, 5, overlap=3)
    xr.testing.assert_identical(stitch(samples(cube, w), w, like=cube), cube)


def test_samples_are_float32_read_one_by_one_and_are_copies():
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.ones((3, 4, 4))

    lazy = xr.DataArray(da.map_blocks(block, chunks=((3,), (4, 4), (4,)), dtype=float), dims=("band", "y", "x"))
    tiles = samples(lazy, windows({"y": 8, "x": 4}, 4))
    assert read == []
    first = next(tiles)
    assert read == [(0, 0, 0)]
    assert first.shape == (3, 4, 4)
    assert first.dtype == torch.float32

    cube = image(3, 4, 4)
    kept = cube.copy(deep=True)
    next(samples(cube, windows({"y": 4, "x": 4}, 4))).zero_()
    xr.testing.assert_identical(cube, kept)


def test_a_scene_gives_its_cube_and_dims_may_come_in_any_order():
    scene = small()
    w = windows({"y": 24, "x": 24}, 10)
    for a, b in zip(samples(scene, w), samples(scene.hsi.transpose("x", "band", "y"), w), strict=True):
        assert torch.equal(a, b)


def test_tensors_with_gradients_and_maps_are_stitched():
    like = image(1, 4, 6).isel(band=0, drop=True)
    w = windows({"y": 4, "x": 6}, 4)
    out = stitch(
        (torch.ones(s["y"].stop - s["y"].start, s["x"].stop - s["x"].start, requires_grad=True) for s in w), w, like
    )
    assert out.dims == ("y", "x")
    assert np.array_equal(out.x, like.x)
    assert bool((out == 1).all())


TWO = windows({"y": 4, "x": 8}, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: windows({"y": 4}, 4, overlap=4), "overlap 4"),
        (lambda: windows({"y": 4}, 0), "size of at least 1"),
        (lambda: windows({"y": 4}, 4, overlap=-1), "overlap -1"),
        (lambda: windows({"y": 0}, 4), "no pixels"),
        (lambda: windows({"y": 4, "x": 4}, {"y": 2}), "dims"),
        (lambda: samples(xr.Dataset({"sar": ("y", [1.0])}), []), "this scene has sar"),
        (lambda: samples(xr.DataArray(np.zeros((2, 2)), dims=("y", "x")), []), "band, y, x"),
        (lambda: stitch([np.zeros((1, 4, 4))], TWO, image(1, 4, 8)), "1 tiles for 2 windows"),
        (lambda: stitch([np.zeros((1, 4, 4))] * 3, TWO, image(1, 4, 8)), "more tiles"),
        (lambda: stitch([np.zeros((2, 4, 4))] * 2, TWO, image(1, 4, 8)), r"shape \(2, 4, 4\)"),
        (lambda: stitch([np.zeros((1, 4, 4))], TWO[:1], image(1, 4, 8)), "16 pixels"),
        (lambda: stitch([], [], image(1, 4, 8)), "32 pixels"),
    ],
)
def test_what_does_not_fit_is_said(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.long
@given(cuts(), st.integers(0, 2**32 - 1), st.integers(1, 9), st.booleans())
def test_tiles_read_ahead_in_any_order_are_the_same(cut, seed, prefetch, lazy):
    height, width, size, overlap = cut
    cube = image(2, height, width)
    w = windows({"y": height, "x": width}, size, overlap)
    order = shuffled(w, seed)
    assert order == shuffled(w, seed)
    assert sorted(map(str, order)) == sorted(map(str, w))
    given_ = cube.chunk(y=5, x=7) if lazy else cube
    plain, ahead = list(samples(cube, order)), list(samples(given_, order, prefetch=prefetch))
    assert len(plain) == len(ahead) == len(w)
    assert all(torch.equal(a, b) for a, b in zip(plain, ahead, strict=True))
    xr.testing.assert_identical(stitch(ahead, order, like=cube), cube)


def test_orders_differ_between_seeds_and_do_not_touch_the_callers_randomness():
    w = windows({"y": 40, "x": 40}, 4)
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    orders = {str(shuffled(w, seed)) for seed in range(5)}
    assert len(orders) == 5
    assert np.random.random() == expected


class Counted:
    """Pixels that count the windows which are read; the one numbered `broken` cannot be."""

    shape, dtype, ndim = (2, 60, 1), np.dtype(np.float32), 3

    def __init__(self, broken=None):
        self.read, self.broken = [], broken

    def __getitem__(self, window):
        self.read.append(window[1].start)
        if len(self.read) - 1 == self.broken:
            raise InputError("the file is damaged")
        return np.zeros([len(range(*s.indices(n))) for s, n in zip(window, self.shape, strict=True)], np.float32)


def counted(broken=None):
    pixels = Counted(broken)
    data = da.from_array(pixels, chunks=(2, 5, 1), name=False, meta=np.empty((0, 0, 0), np.float32))
    return pixels, xr.DataArray(data, dims=("band", "y", "x"))


def test_no_more_is_read_ahead_than_asked_and_the_thread_ends_with_the_iterator():
    before = set(threading.enumerate())
    pixels, cube = counted()
    tiles = samples(cube, windows({"y": 60, "x": 1}, {"y": 5, "x": 1}), prefetch=3)
    next(tiles)
    deadline = time.monotonic() + 5
    while len(pixels.read) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(pixels.read) == 4  # the one that was handed out, and three
    next(tiles)
    tiles.close()
    assert not [t for t in threading.enumerate() if t not in before and "tiles" in t.name]
    assert len(pixels.read) <= 6


def test_a_file_that_breaks_is_told_at_its_tile_and_leaves_no_thread():
    before = set(threading.enumerate())
    _, cube = counted(broken=4)
    tiles = samples(cube, windows({"y": 60, "x": 1}, {"y": 5, "x": 1}), prefetch=3)
    for _ in range(4):
        next(tiles)
    with pytest.raises(InputError, match="damaged"):
        next(tiles)
    assert not [t for t in threading.enumerate() if t not in before and "tiles" in t.name]
    with pytest.raises(InputError, match="cannot read -1 windows ahead"):
        samples(cube, [], prefetch=-1)
