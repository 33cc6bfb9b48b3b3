"""Blocks of HDF5 that are unpacked here equal what h5py reads, whatever the window, the blocks and the filters."""

import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peak import forget, peak
from workbench.data.formats import open_file
from workbench.data.readers.hdf5 import values
from workbench.errors import InputError


@st.composite
def cases(draw):
    shape = tuple(draw(st.integers(1, 9)) for _ in range(draw(st.integers(1, 3))))
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    window = tuple(
        slice(*sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))), draw(st.integers(1, 4))) for n in shape
    )
    filters = {
        "compression": draw(st.sampled_from(["gzip", "lzf", None])),
        "shuffle": draw(st.booleans()),
        "fletcher32": draw(st.booleans()),
    }
    return shape, chunks, window, filters, draw(st.sampled_from(["u1", "<i2", ">f4", "<f8"])), draw(st.booleans())


@pytest.mark.long
@given(cases())
def test_windows_are_h5pys(tmp_path_factory, case):
    shape, chunks, window, filters, dtype, hole = case
    path = tmp_path_factory.mktemp("blocks") / "a.h5"
    data = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", shape, dtype, chunks=chunks, fillvalue=7, **filters)
        if not hole:
            made[...] = data
        else:
            made[(slice(0, max(1, shape[0] // 2)),)] = data[: max(1, shape[0] // 2)]
    with h5py.File(path) as file:
        found = values(file["a"], window)
        np.testing.assert_array_equal(found, file["a"][window])
        assert found.dtype == file["a"].dtype


@pytest.mark.parametrize("packed", [b"\0" * (64 * 2**20), b"\0" * 100])
def test_a_block_that_swells_or_is_too_short_is_refused(tmp_path, packed):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("cube", (4, 500, 500), "f4", chunks=(4, 500, 500), compression="gzip")  # 4 MB unpacked
        made.id.write_direct_chunk((0, 0, 0), zlib.compress(packed))
    scene = open_file(tmp_path / "a.h5") if len(packed) > 100 else None
    if scene is None:
        with pytest.raises(InputError, match="promises 4000000 bytes"):
            open_file(tmp_path / "a.h5")
        return
    forget()
    before = peak()
    with pytest.raises(InputError, match="does not end where it should"):
        scene["hsi"].load()
    assert peak() - before < 50  # MiB
