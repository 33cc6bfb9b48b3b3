"""MATLAB files written here: version 5 by scipy, version 7.3 in the layout MATLAB uses (HDF5, axes reversed)."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from workbench.data.formats import open_file
from workbench.errors import InputError

# (rows, columns, bands) as MATLAB users have it; value = 100 band + 10 row + column
CUBE = np.fromfunction(lambda y, x, b: 100 * b + 10 * y + x, (3, 5, 4))
MASK = np.zeros((3, 5), np.uint8)
MASK[1, 2] = MASK[2, 4] = 1


def save5(path, **arrays):
    savemat(path, arrays)
    return path


def save73(path, **arrays):
    """What `save -v7.3` makes: a 512 byte user block with text, then HDF5 with MATLAB_class on every array."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            values = np.asarray(values)
            if values.dtype.kind == "c":
                pair = np.empty(values.shape, [("real", "f8"), ("imag", "f8")])
                pair["real"], pair["imag"] = values.real, values.imag
                values = pair
            item = file.create_dataset(name, data=values.transpose())
            item.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    return path


BOTH = pytest.mark.parametrize("save", [save5, save73])


@BOTH
def test_cube_truth_and_the_guess(tmp_path, save):
    scene = open_file(save(tmp_path / "a.mat", data=CUBE.astype(np.uint16), map=MASK, extra=np.arange(7.0)))
    assert scene["hsi"].dims == ("band", "y", "x")
    assert scene["hsi"].dtype == np.float32
    assert scene["hsi"].chunks is not None
    np.testing.assert_array_equal(scene["hsi"], CUBE.transpose(2, 0, 1))
    assert float(scene["hsi"].isel(band=3, y=2, x=4)) == 324
    np.testing.assert_array_equal(scene["truth"], MASK)
    assert scene["truth"].dtype == np.int16
    assert scene.attrs["anomalous_pixels"] == 2
    assert "'data' (3 x 5 x 4)" in scene.attrs["notes"]
    assert "'map', guessed" in scene.attrs["notes"]


def test_v73_without_user_block(tmp_path):
    """A file that follows MATLAB, by the attributes of its arrays, has reversed axes; a plain HDF5 file called .mat has not."""
    with h5py.File(tmp_path / "plain.mat", "w") as file:
        file["cube"] = CUBE.transpose()
        file["cube"].attrs["MATLAB_class"] = np.bytes_("double")
    np.testing.assert_array_equal(open_file(tmp_path / "plain.mat")["hsi"], CUBE.transpose(2, 0, 1))
    for extra in ({}, {"gt": np.eye(*CUBE.shape[:2])}, {"gt": np.eye(*CUBE.shape[:2])[:, :, None]}):
        with h5py.File(tmp_path / "python.mat", "w") as file:
            file["cube"] = CUBE
            for name, values in extra.items():
                file[name] = values
        scene = open_file(tmp_path / "python.mat")
        np.testing.assert_array_equal(scene["hsi"], CUBE.transpose(2, 0, 1))
        assert ("truth" in scene) == bool(extra)
        assert "say axes=band,y,x" in scene.attrs["notes"]
    scene = open_file(tmp_path / "python.mat", keys={"axes": "band,y,x", "truth": "none"})
    np.testing.assert_array_equal(scene["hsi"], CUBE)
    with pytest.raises(InputError, match="axes=x,y must name the axes"):
        open_file(tmp_path / "python.mat", keys={"axes": "x,y"})


def test_v73_reads_when_asked_for(tmp_path):
    path = save73(tmp_path / "a.mat", data=CUBE)
    scene = open_file(path)
    with h5py.File(path, "r+") as file:
        file["data"][0, 0, 0] = 55
    assert float(scene["hsi"][0, 0, 0]) == 55


@BOTH
def test_two_cubes(tmp_path, save):
    path = save(tmp_path / "two.mat", before=CUBE, after=CUBE + 1)
    with pytest.raises(InputError, match="--key cube=") as error:
        open_file(path)
    assert "'before' (3 x 5 x 4)" in str(error.value)
    assert "'after' (3 x 5 x 4)" in str(error.value)
    np.testing.assert_array_equal(open_file(path, keys={"cube": "after"})["hsi"], CUBE.transpose(2, 0, 1) + 1)


@BOTH
def test_no_cube(tmp_path, save):
    with pytest.raises(InputError, match=r"no 3-D array.*'image' \(3 x 5\)"):
        open_file(save(tmp_path / "flat.mat", image=MASK))


def test_a_cube_inside_a_struct(tmp_path):
    """The layout of MUUFL Gulfport: one struct with the cube, a mask of valid pixels, wavelengths and labels."""
    bands = CUBE.shape[2]
    about = {"wavelength": np.linspace(400, 900, bands)}
    struct = {
        "Data": CUBE,
        "valid_mask": np.ones(CUBE.shape[:2], "u1"),
        "info": about,
        "sceneLabels": {"labels": np.eye(*CUBE.shape[:2])},
    }
    for keys in ({}, {"cube": "hsi.Data"}, {"cube": "hsi/Data", "truth": "hsi.sceneLabels.labels"}):
        scene = open_file(save5(tmp_path / "a.mat", hsi=struct), keys=keys)
        np.testing.assert_allclose(scene["hsi"], CUBE.transpose(2, 0, 1))
        np.testing.assert_allclose(scene["wavelength"], about["wavelength"])
        assert ("truth" in scene) == ("truth" in keys)
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512) as file:
        file["hsi/Data"] = CUBE.transpose()
        file["hsi/info/wavelength"] = about["wavelength"][:, None]
    with (tmp_path / "b.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM")
    scene = open_file(tmp_path / "b.mat", keys={"cube": "hsi.Data"})
    np.testing.assert_allclose(scene["hsi"], CUBE.transpose(2, 0, 1))
    np.testing.assert_allclose(scene["wavelength"], about["wavelength"])
    with pytest.raises(InputError, match=r"no array 'hsi\.Cube' for cube; it has 'hsi\.Data'"):
        open_file(tmp_path / "a.mat", keys={"cube": "hsi.Cube"})


@BOTH
def test_axes_of_length_one(tmp_path, save):
    """(H, W, 1) masks and (1, H, W, B) cubes, as programs in Python write them."""
    path = save(tmp_path / "a.mat", data=CUBE[None], map=MASK[:, :, None])
    for keys in ({}, {"truth": "map"}):
        scene = open_file(path, keys=keys)
        np.testing.assert_array_equal(scene["hsi"], CUBE.transpose(2, 0, 1))
        np.testing.assert_array_equal(scene["truth"], MASK > 0)
    cube, own = save(tmp_path / "c.mat", data=CUBE), save(tmp_path / "gt.mat", gt=MASK[:, :, None])
    np.testing.assert_array_equal(open_file(cube, truth=own)["truth"], MASK > 0)


@BOTH
def test_a_truth_of_another_size_is_told(tmp_path, save):
    scene = open_file(save(tmp_path / "a.mat", data=CUBE, gt=np.ones((9, 8))))
    assert "truth" not in scene
    assert "no truth taken: 'gt' (9 x 8) is not of the size of the scene" in scene.attrs["notes"]


@BOTH
def test_complex(tmp_path, save):
    with pytest.raises(InputError, match="complex"):
        open_file(save(tmp_path / "slc.mat", data=CUBE + 1j))


@BOTH
def test_missing_keys(tmp_path, save):
    path = save(tmp_path / "a.mat", data=CUBE, map=MASK)
    with pytest.raises(InputError, match=r"no array 'dta' for cube; it has 'data'.*Did you mean 'data'"):
        open_file(path, keys={"cube": "dta"})
    with pytest.raises(InputError, match=r"no array 'mask' for truth"):
        open_file(path, keys={"truth": "mask"})
    with pytest.raises(InputError, match="a cube has three axes"):
        open_file(path, keys={"cube": "map"})


@BOTH
def test_truth_of_another_size(tmp_path, save):
    path = save(tmp_path / "a.mat", data=CUBE, wrong=np.zeros((4, 5)), turned=MASK.T)
    assert "truth" not in open_file(path)  # none fits, none is taken
    with pytest.raises(InputError, match=r"'wrong' is 4 x 5 pixels, the cube 3 x 5"):
        open_file(path, keys={"truth": "wrong"})
    with pytest.raises(InputError, match="transpose it"):
        open_file(path, keys={"truth": "turned"})


@BOTH
def test_truth_is_not_guessed_where_it_is_unclear(tmp_path, save):
    path = save(tmp_path / "a.mat", data=CUBE, map=MASK, mask=1 - MASK)
    scene = open_file(path)
    assert "truth" not in scene
    assert "'map', 'mask' could all be it" in scene.attrs["notes"]
    assert int((open_file(path, keys={"truth": "map"})["truth"] > 0).sum()) == 2
    assert "truth" not in open_file(path, keys={"truth": "none"})


def test_name_decides_between_two_of_the_same_size(tmp_path):
    scene = open_file(save5(tmp_path / "a.mat", data=CUBE, groundtruth=MASK, elevation=np.ones((3, 5))))
    assert int((scene["truth"] > 0).sum()) == 2


def test_a_mask_of_valid_pixels_is_no_truth(tmp_path):
    path = save5(tmp_path / "a.mat", data=CUBE, mask=1 - MASK)
    scene = open_file(path)
    assert "truth" not in scene
    assert "marks more than half" in scene.attrs["notes"]
    assert int((open_file(path, keys={"truth": "mask"})["truth"] > 0).sum()) == 13


def test_classes_are_merged_and_told(tmp_path):
    labels = MASK.astype(float)
    labels[2, 4] = 3
    labels[0, 0] = np.nan
    labels[0, 1] = -1
    scene = open_file(save5(tmp_path / "a.mat", data=CUBE, map=labels))
    assert scene["truth"].values.tolist() == [[-1, -1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert "2 classes above 0 were merged" in scene.attrs["notes"]


@BOTH
def test_wavelengths(tmp_path, save):
    scene = open_file(save(tmp_path / "a.mat", data=CUBE, wavelengths=np.array([[0.4], [0.5], [0.9], [2.1]])))
    np.testing.assert_allclose(scene["wavelength"], [400, 500, 900, 2100])
    assert "taken as micrometres" in scene.attrs["notes"]
    scene = open_file(save(tmp_path / "b.mat", data=CUBE, centers=np.arange(500.0, 504)), keys={"wavelength": "centers"})
    np.testing.assert_allclose(scene["wavelength"], [500, 501, 502, 503])


@BOTH
def test_band_first_where_only_that_fits_the_mask(tmp_path, save):
    scene = open_file(save(tmp_path / "a.mat", data=CUBE.transpose(2, 0, 1), map=MASK))
    np.testing.assert_array_equal(scene["hsi"], CUBE.transpose(2, 0, 1))
    assert "taken as band, y, x" in scene.attrs["notes"]


@BOTH
@pytest.mark.parametrize("keep", [0.05, 0.3, 0.6, 0.9])
def test_truncated(tmp_path, save, keep):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "a.mat", data=rng.normal(size=(30, 30, 20)), map=np.eye(30))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match="truncated or damaged"):
        open_file(path)


def test_not_matlab_at_all(tmp_path):
    path = tmp_path / "page.mat"
    path.write_text("<html>404: not found</html>" * 50)
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        open_file(path)
