"""Whatever two grids are given, a pair is opened on one grid or refused with a reason; labels are never other than 1, 0, -1."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.labels import as_change
from workbench.data.pairs import open_pair, valid
from workbench.errors import InputError


def write(path, height, width, left, top, size, seed):
    values = np.random.default_rng(seed).integers(1, 255, (1, height, width), dtype=np.uint8)
    about = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint8", "crs": "EPSG:32651"}
    with rasterio.open(path, "w", **about, transform=Affine(size, 0, left, 0, -size, top)) as file:
        file.write(values)
    return path, values


grids = st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([10.0, 20.0])
)


@settings(max_examples=30)
@given(grids, st.booleans())
def test_a_pair_is_on_one_grid_or_is_refused(grid, resample):
    """Against the plain rule: equal grids open; grids without a common point never do; the others on request only."""
    height, width, down, right, size = grid
    with tempfile.TemporaryDirectory() as folder:
        first, _ = write(Path(folder) / "a.tif", 5, 6, 0.0, 0.0, 10.0, 0)
        second, values = write(Path(folder) / "b.tif", height, width, 10.0 * right, -10.0 * down, size, 1)
        same = (height, width, down, right, size) == (5, 6, 0, 0, 10.0)
        apart = right >= 6 or down >= 5 or right * 10 + width * size <= 0 or down * 10 + height * size <= 0
        if apart or (not same and not resample):
            with pytest.raises(InputError, match="overlap" if apart else "--resample"):
                open_pair(first, second, resample=resample)
            return
        scene = open_pair(first, second, resample=resample)
        assert scene["after"].shape == (1, 5, 6)
        known = valid(scene).values
        for y, x in np.ndindex(5, 6):  # same resolution: every pixel is the one that lies there, or is missing
            if size == 10.0:
                inside = 0 <= y - down < height and 0 <= x - right < width
                assert known[y, x] == inside
                if inside:
                    assert scene["after"].values[0, y, x] == np.float32(values[0, y - down, x - right]) / np.float32(255)


@given(st.lists(st.lists(st.integers(-3, 300), min_size=1, max_size=6), min_size=1, max_size=1))
def test_labels_are_1_0_or_unlabelled(values):
    values = np.array(values)
    truth, note = as_change(values, "m")
    assert set(np.unique(truth)) <= {-1, 0, 1}
    assert (truth[values < 0] == -1).all()
    assert (truth[values == 0] == 0).all()
    assert (truth[values > 255] == 1).all()
    assert note.startswith("truth m")
