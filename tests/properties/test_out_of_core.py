"""A cube that is worked through block by block gives what the cube in memory gives, however it is cut."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workbench.baselines import moments as m
from workbench.baselines.anomaly import local_rx, pca_rx, random_projection_rx, ridge_rx, rx
from workbench.data.readers import envi
from workbench.engines import cluster
from workbench.methods import bsdm

DETECTORS = {
    "rx": rx,
    "ridge-rx": lambda cube: ridge_rx(cube, 1e-3),
    "pca-rx": lambda cube: pca_rx(cube, 2),
    "rp-rx": lambda cube: random_projection_rx(cube, 2, seed=1),
    "local-rx": lambda cube: local_rx(cube, 3, 7),
}


@st.composite
def cut(draw, length):
    """Chunks of an axis: any, equal or not."""
    marks = draw(st.sets(st.integers(1, length - 1), max_size=5)) if length > 1 else set()
    return tuple(np.diff([0, *sorted(marks), length]).tolist())


@st.composite
def cubes(draw):
    """(cube in memory, the same in blocks): odd sizes, missing pixels, an empty or a bad band, integers, a far offset."""
    bands, rows, cols = draw(st.integers(2, 6)), draw(st.integers(9, 16)), draw(st.integers(9, 16))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.gamma(2.0, size=(bands, rows, cols)) + draw(st.sampled_from([0.0, 1000.0]))
    if draw(st.booleans()):
        values = np.round(100 * values).astype(np.int16 if draw(st.booleans()) else np.float32)
    coords = {}
    if values.dtype.kind == "f":
        for _ in range(draw(st.integers(0, 4))):
            values[rng.integers(bands), rng.integers(rows), rng.integers(cols)] = rng.choice([np.nan, np.inf])
        if bands > 3 and draw(st.booleans()):
            values[1] = np.nan
    if bands > 3 and draw(st.booleans()):
        coords["good"] = ("band", np.arange(bands) != 2)
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords=coords)
    chunks = tuple(draw(cut(n)) for n in values.shape)
    return cube, cube.copy(data=da.from_array(values, chunks=chunks))


def through(score):
    """The map as a run computes it: block by block, in order."""
    out = np.full(score.shape, -1.0)
    for where, block in cluster.blocks(score.data):
        out[where] = block
    return out


@pytest.mark.long
@pytest.mark.parametrize("name", DETECTORS)
@settings(max_examples=25)
@given(cubes())
def test_blocks_of_any_shape_give_the_score_in_memory(name, both):
    cube, blocked = both
    score = DETECTORS[name](blocked)
    assert score.chunks is not None
    np.testing.assert_allclose(through(score), DETECTORS[name](cube).values, rtol=1e-9, atol=1e-12)


@pytest.mark.long
@given(cubes(), st.integers(1, 200))
def test_pieces_do_not_matter_and_are_merged_to_the_moments_of_all(both, size):
    cube, blocked = both
    before, m.PIECE = m.PIECE, size
    try:
        found = [m.moments(cube), m.moments(blocked)]
    finally:
        m.PIECE = before
    bands = found[0][0]
    flat = cube.values.reshape(cube.sizes["band"], -1)[bands].astype(float)
    flat = flat[:, np.isfinite(flat).all(axis=0)]
    for used, moments in found:
        assert used.tolist() == bands.tolist()
        assert moments.n == flat.shape[1]
        np.testing.assert_allclose(moments.mean, flat.mean(1), rtol=1e-13)
        np.testing.assert_allclose(moments.scatter, np.cov(flat) * (moments.n - 1), rtol=1e-9, atol=1e-9)


@given(st.integers(1, 7), st.integers(1, 40), st.integers(1, 40), st.integers(1, 300))
@example(3, 1, 40, 1)
def test_pieces_cover_a_block_once(bands, rows, cols, size):
    before, m.PIECE = m.PIECE, size
    seen = np.zeros((rows, cols), int)
    try:
        for y, x in m.pieces((bands, rows, cols)):
            seen[y, x] += 1
            assert bands * (y.stop - y.start) * (x.stop - x.start) <= max(size, bands)
    finally:
        m.PIECE = before
    assert (seen == 1).all()


def denoiser(**settings):
    """Random weights of a small network, and its description, as a run leaves them."""
    config = bsdm.Config(passes=2, embed=6, inner=7, width=6, code=4, time_width=5, chunk=37, **settings)
    torch.manual_seed(2)
    network = bsdm.Denoiser(4, config)
    about = {"bands": 4, "mean": 0.4, "std": 0.2, "config": config.model_dump()}
    return network.state_dict(), json.dumps(about)


NETWORKS = [
    denoiser(),
    denoiser(scaling="band", offset="off"),
    denoiser(offset="image"),
    denoiser(renorm=True, offset="image"),
    denoiser(renorm=True),
]


@pytest.mark.long
@pytest.mark.parametrize("network", NETWORKS, ids=["pixel", "band, off", "image", "image, renorm", "renorm"])
@settings(max_examples=4)
@given(st.data(), st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_bsdm_suppresses_blocks_as_it_does_the_image(network, data, bands, seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, size=(bands, 9, 11)).astype(np.float32)
    values[rng.integers(bands), 2, :3] = np.nan
    chunks = tuple(data.draw(cut(n)) for n in values.shape)
    scene = xr.Dataset({"hsi": (("band", "y", "x"), values)}, {"y": np.arange(9), "x": np.arange(11)})
    blocked = scene.assign(hsi=scene["hsi"].copy(data=da.from_array(values, chunks=chunks)))
    expected = bsdm.apply(*network, scene, double=True)
    found = bsdm.apply(*network, blocked)
    assert all(found[name].chunks is not None for name in ("score", "score_rx", "suppressed"))
    for name in ("score", "score_rx"):
        np.testing.assert_allclose(through(found[name]), expected[name].values, rtol=1e-9)
    np.testing.assert_allclose(found["suppressed"].values, expected["suppressed"].values, rtol=1e-6)
    assert found["source_band"].values.tolist() == expected["source_band"].values.tolist()


@st.composite
def window(draw, length):
    """A slice with a positive step that is not empty."""
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)), draw(st.integers(1, 5)))


@settings(max_examples=150)
@given(st.data(), st.sampled_from(["bsq", "bil", "bip"]), st.sampled_from([0, 3, 2**15]), st.sampled_from([0, 2**16]))
def test_any_window_of_an_envi_file_is_that_of_the_array(tmp_path_factory, data, interleave, lines, run):
    """Read line by line, or through a map of the file with and without reading on."""
    shape = tuple(data.draw(st.integers(1, n)) for n in (5, 7, 11))
    values = np.arange(np.prod(shape), dtype=">i2").reshape(shape)
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    path = tmp_path_factory.mktemp("envi") / "cube"
    path.write_bytes(b"head" + np.ascontiguousarray(values.transpose(order)).tobytes())
    back = tuple(int(n) for n in np.argsort(order))
    pixels = envi.EnviPixels(path, values.dtype, tuple(shape[a] for a in order), back, 4)
    at = tuple(data.draw(window(n)) for n in shape)
    before, envi.LINES, envi.RUN = (envi.LINES, envi.RUN), lines, run
    try:
        np.testing.assert_array_equal(pixels[at], values[at])
    finally:
        envi.LINES, envi.RUN = before
