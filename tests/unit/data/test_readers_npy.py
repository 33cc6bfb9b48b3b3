"""NPY files written here: rows, columns, bands."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.catalog import open_scene
from workbench.data.formats import open_file
from workbench.errors import InputError
from workbench.scene import describe

CUBE = np.fromfunction(lambda y, x, b: 100 * b + 10 * y + x, (3, 5, 4))


@pytest.mark.parametrize("dtype", ["<u2", ">i2", "<f4", ">f8"])
@pytest.mark.parametrize("fortran", [False, True])
def test_it_is_lazy_and_keeps_its_values(tmp_path, dtype, fortran):
    values = CUBE.astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(values) if fortran else values)
    scene = open_file(tmp_path / "a.npy")
    assert scene["hsi"].chunks is not None
    assert scene["hsi"].dtype == np.float32
    np.testing.assert_array_equal(scene["hsi"].transpose("y", "x", "band"), CUBE)
    window = open_file(tmp_path / "a.npy", chunks=None)["hsi"][1:3, ::-1, 2]
    np.testing.assert_array_equal(window, CUBE[::-1, 2, 1:3].T)
    assert "rows, columns, bands: 3 x 5 x 4" in scene.attrs["notes"]


def test_what_is_no_cube_is_refused(tmp_path):
    def expect(values, says, **how):
        np.save(tmp_path / "a.npy", values, allow_pickle=True)
        with pytest.raises(InputError, match=says):
            open_file(tmp_path / "a.npy", **how)

    expect(np.zeros((3, 4)), "array of 2 axes")
    expect(np.zeros((3, 4, 1)), "several bands")
    expect(np.zeros((3, 4, 5), complex), "complex")
    expect(np.array([[[{}] * 2] * 2] * 2, object), "cannot be read as NPY")
    expect(CUBE, "key cube=data was given", keys={"cube": "data"})


def test_a_cut_file_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", CUBE)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-8])
    with pytest.raises(InputError, match="truncated or damaged"):
        open_file(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(whole)
    scene = open_file(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(whole[:-8])
    with pytest.raises(InputError, match="damaged or was removed"):
        scene["hsi"].load()


def test_an_archive_of_arrays(tmp_path):
    cube, marks = np.random.default_rng(3).random((6, 7, 8)), np.zeros((6, 7), "u1")
    marks[1, 2:5] = 1
    np.savez(tmp_path / "a.npz", cube=cube, gt=marks[:, :, None])
    scene = open_scene(tmp_path / "a.npz")
    np.testing.assert_allclose(scene["hsi"], cube.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene["truth"], marks)
    np.savez_compressed(tmp_path / "b.npz", one=cube, two=cube)
    with pytest.raises(InputError, match="2 arrays that could be the cube.*cube=one"):
        open_scene(tmp_path / "b.npz")
    scene = open_scene(tmp_path / "b.npz", keys={"cube": "two"}, truth=tmp_path / "a.npz")
    np.testing.assert_array_equal(scene["truth"], marks)


def test_archives_that_are_refused(tmp_path):
    np.savez(tmp_path / "o.npz", cube=np.array([{}], object))
    with pytest.raises(InputError, match="Python objects"):
        open_scene(tmp_path / "o.npz")
    np.savez(tmp_path / "c.npz", cube=np.ones((6, 7, 8)))
    content = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:900])
    with pytest.raises(InputError, match="cannot be read as NPZ"):
        open_scene(tmp_path / "cut.npz")


def test_the_order_that_the_user_names(tmp_path):
    cube = np.random.default_rng(3).random((8, 6, 7))
    np.save(tmp_path / "a.npy", cube)
    np.testing.assert_allclose(open_scene(tmp_path / "a.npy", keys={"axes": "band,y,x"})["hsi"], cube)


def test_a_scene_without_truth_says_so(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(3).random((8, 6, 7)))
    assert "truth: none, so the metrics" in describe(open_scene(tmp_path / "a.npy"))
