"""Speckle filters on dask arrays: for any chunks the result is that of the array in memory, bit for bit."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.parts.speckle import boxcar, equivalent_looks, lee, multilook, refined_lee


@st.composite
def images(draw):
    """A (sar_band, y, x) image with some missing pixels, and chunks of any sizes, also smaller than a window."""
    high, wide, seed = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(0, 9))
    rng = np.random.default_rng(seed)
    values = rng.gamma(3, 0.1, (2, high, wide)).astype(draw(st.sampled_from(["float32", "float64"])))
    values[rng.random(values.shape) < draw(st.sampled_from([0, 0.1, 0.6, 1]))] = np.nan

    def chunks(n):
        cuts = draw(st.lists(st.integers(1, n - 1), unique=True, max_size=5)) if n > 1 else []
        return tuple(np.diff([0, *sorted(cuts), n]).tolist())

    return xr.DataArray(values, dims=("sar_band", "y", "x")), {
        "sar_band": draw(st.sampled_from([1, 2])),
        "y": chunks(high),
        "x": chunks(wide),
    }


@pytest.mark.long
@given(images(), st.sampled_from(["boxcar", "lee", "refined", "multilook"]))
def test_chunks_change_nothing(image, which):
    whole, chunks = image
    smooth = {
        "boxcar": lambda z: boxcar(z, 5),
        "lee": lambda z: lee(z, 3, size=5),
        "refined": lambda z: refined_lee(z, 3),
        "multilook": lambda z: multilook(z, y=min(2, z.sizes["y"]), x=min(3, z.sizes["x"])),
    }[which]
    lazy = smooth(whole.chunk(chunks))
    assert lazy.chunks is not None
    assert lazy.dtype == whole.dtype
    if which == "multilook":
        np.testing.assert_allclose(lazy.values, smooth(whole).values, rtol=1e-6)
    else:
        np.testing.assert_array_equal(lazy.values, smooth(whole).values)
        assert lazy.chunks == whole.chunk(chunks).chunks


@pytest.mark.long
@settings(max_examples=12)
@given(st.integers(3, 70), st.integers(3, 70))
def test_looks_do_not_depend_on_chunks(y, x):
    whole = xr.DataArray(np.random.default_rng(0).gamma(4, 0.25, (70, 70)), dims=("y", "x"))
    lazy = equivalent_looks(whole.chunk({"y": y, "x": x}), window=7)
    assert lazy.chunks is not None
    np.testing.assert_allclose(float(lazy), float(equivalent_looks(whole, window=7)), rtol=1e-9)
