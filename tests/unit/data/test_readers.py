"""What all formats share: files that cannot be opened, truth from files of their own, and `validate`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from scipy.io import savemat

from workbench.data.checks import check_cube
from workbench.data.formats import open_file
from workbench.data.readers.cube import Cube, as_scene, nanometres, strips
from workbench.errors import InputError

CUBE = np.fromfunction(lambda y, x, b: 100 * b + 10 * y + x, (3, 5, 4))
MASK = np.zeros((3, 5), np.uint8)
MASK[1, 2] = MASK[2, 4] = 1


@pytest.fixture
def cube_file(tmp_path):
    savemat(tmp_path / "cube.mat", {"data": CUBE})
    return tmp_path / "cube.mat"


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="There is no file"):
        open_file(tmp_path / "nowhere.mat")
    with pytest.raises(InputError, match="is a folder"):
        open_file(tmp_path)
    (tmp_path / "empty.mat").touch()
    with pytest.raises(InputError, match="is empty"):
        open_file(tmp_path / "empty.mat")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="in no format that can be read"):
        open_file(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="cannot be opened"):
        open_file(tmp_path / ("n" * 300))
    os.mkfifo(tmp_path / "pipe.mat")
    with pytest.raises(InputError, match="not an ordinary file"):
        open_file(tmp_path / "pipe.mat")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # chmod does not stop root, who runs many CI machines
    with pytest.raises(InputError, match="cannot be read by this user"):
        open_file(tmp_path / "notes.txt")


def test_role_of_a_key(cube_file):
    with pytest.raises(InputError, match=r"no key role 'cub'.*Did you mean 'cube'"):
        open_file(cube_file, keys={"cub": "data"})


def _picture(path, mode):
    Image.fromarray(MASK * 255).convert(mode).save(path)
    return path


@pytest.mark.parametrize("kind", ["bmp-1", "bmp-L", "bmp-RGB", "png-1", "png-L", "png-P", "png-RGBA", "png-I;16"])
def test_truth_from_a_picture(tmp_path, cube_file, kind):
    suffix, mode = kind.split("-")
    scene = open_file(cube_file, truth=_picture(tmp_path / f"truth.{suffix}", mode))
    assert scene["truth"].values.tolist() == MASK.tolist()
    assert "2 of 15 pixels marked" in scene.attrs["notes"]


def test_truth_from_arrays(tmp_path, cube_file):
    np.save(tmp_path / "truth.npy", MASK)
    savemat(tmp_path / "truth.mat", {"something": MASK, "else_": np.zeros((2, 2))})
    xr.Dataset({"mask": (("y", "x"), MASK)}).to_netcdf(tmp_path / "truth.nc", engine="h5netcdf")
    (tmp_path / "truth.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 3\nbands = 1\ndata type = 1\ninterleave = bsq\nbyte order = 0\nheader offset = 0\n"
    )
    (tmp_path / "truth").write_bytes(MASK.tobytes())
    for name in ("truth.npy", "truth.mat", "truth.nc", "truth.hdr", "truth"):
        scene = open_file(cube_file, truth=tmp_path / name)
        assert scene["truth"].values.tolist() == MASK.tolist(), name
    assert "truth: 'something' in truth.mat" in open_file(cube_file, truth=tmp_path / "truth.mat").attrs["notes"]


def test_truth_file_wins_over_the_one_inside(tmp_path):
    savemat(tmp_path / "both.mat", {"data": CUBE, "map": MASK})
    other = np.zeros((3, 5))
    other[0, 0] = 1
    np.save(tmp_path / "other.npy", other)
    assert int(open_file(tmp_path / "both.mat", truth=tmp_path / "other.npy")["truth"][0, 0]) == 1


def test_truth_from_tiff(tmp_path, cube_file):
    Image.fromarray(MASK).save(tmp_path / "truth.tif")
    assert open_file(cube_file, truth=tmp_path / "truth.tif")["truth"].values.tolist() == MASK.tolist()


def test_truth_that_is_refused(tmp_path, cube_file):
    def expect(name, says, keys=None):
        with pytest.raises(InputError, match=says):
            open_file(cube_file, truth=tmp_path / name, keys=keys)

    expect("nowhere.npy", "There is no file")
    np.save(tmp_path / "big.npy", np.zeros((4, 5)))
    expect("big.npy", "big.npy is 4 x 5 pixels, the cube 3 x 5")
    np.save(tmp_path / "complex.npy", MASK * 1j)
    expect("complex.npy", "complex128")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    expect("pickled.npy", "cannot be read as NPY")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "big.npy").read_bytes()[:140])
    expect("cut.npy", "cannot be read as NPY")
    (tmp_path / "cut.png").write_bytes(_picture(tmp_path / "whole.png", "L").read_bytes()[:40])
    expect("cut.png", "cannot be read as PNG")
    (tmp_path / "truth.csv").write_text("0,1")
    expect("truth.csv", "in no format that can be read")
    expect("big.npy", "one unnamed mask", {"truth": "map"})
    expect("big.npy", "give one of the two", {"truth": "none"})
    savemat(tmp_path / "two.mat", {"map": MASK, "mask": MASK})
    expect("two.mat", "no array that is clearly the truth")
    expect("two.mat", "no array 'mapp' for truth.*Did you mean 'map'", {"truth": "mapp"})
    savemat(tmp_path / "small.mat", {"map": np.zeros((2, 2))})
    expect("small.mat", "'map' in small.mat is 2 x 2 pixels, the cube 3 x 5")


def test_chunks_keep_all_bands():
    # 200 bands x 1000 columns x 4 bytes = 0.8 MB a row; 64 MiB hold 83 rows
    assert strips((200, 1000, 1000)) == (200, 83, 1000)
    assert strips((10, 3, 5)) == (10, 3, 5)


def test_impossible_wavelengths_say_so():
    notes: list[str] = []
    assert nanometres([1, 2, 3], "", 2, notes) is None
    assert notes == ["wavelengths ignored: 3 are given for 2 bands"]


def scene_of(values, **more):
    return as_scene(Cube(np.asarray(values, np.float32), **more), "test")


def test_validate_accepts_scattered_gaps():
    values = np.arange(24.0).reshape(2, 3, 4)
    values[0, 1, 1] = np.nan
    check_cube(scene_of(values))


def test_validate_refuses():
    values = np.arange(60.0).reshape(5, 3, 4)
    empty = values.copy()
    empty[[1, 3]] = np.nan
    with pytest.raises(InputError, match=r"No valid value in bands 1, 3 \(counted from 0\)"):
        check_cube(scene_of(empty))
    good = np.array([True, False, True, False, True])
    check_cube(scene_of(empty, good=good))
    with pytest.raises(InputError, match=r"No valid value in band 3"):
        check_cube(scene_of(empty, good=np.array([True, False, True, True, True])))
    with pytest.raises(InputError, match="Every band of this scene is marked bad"):
        check_cube(scene_of(values, good=np.zeros(5, bool)))
    with pytest.raises(InputError, match="constant: every value is 7"):
        check_cube(scene_of(np.full((5, 3, 4), 7)))
    holed = np.full((5, 3, 4), 7.0)
    holed[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="constant"):
        check_cube(scene_of(holed))
    infinite = values.copy()
    infinite[2, 0, 0] = np.inf
    with pytest.raises(InputError, match="Infinite values in band 2"):
        check_cube(scene_of(infinite))
    with pytest.raises(InputError, match="No valid value"):
        check_cube(scene_of(np.full((5, 3, 4), np.nan)))
