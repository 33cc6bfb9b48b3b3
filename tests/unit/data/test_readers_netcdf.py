"""NetCDF: a scene survives the way out and back, and files of others are understood by their dims."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

from workbench.data.catalog import open_scene
from workbench.data.formats import open_file
from workbench.errors import InputError

CUBE = np.fromfunction(lambda b, y, x: 100 * b + 10 * y + x, (4, 3, 5)).astype(np.float32)


def test_own_scene_round_trip(tmp_path, small_scene):
    scene = small_scene
    scene["hsi"] = scene["hsi"].where(scene["x"] != 3)  # some missing pixels
    scene.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    back = open_scene(tmp_path / "own.nc")
    xr.testing.assert_equal(back["hsi"].compute().drop_vars(["band"], errors="ignore"), scene["hsi"].compute())
    np.testing.assert_array_equal(back["truth"], scene["truth"])
    np.testing.assert_array_equal(back["wavelength"], scene["wavelength"])
    assert back["hsi"].chunks is not None
    assert back.attrs["simulated"] == scene.attrs["simulated"]  # simulated data stays called so
    assert back.attrs["simulated"]
    assert back.attrs["anomalous_pixels"] == int((scene["truth"] > 0).sum())


def test_map_survives(tmp_path):
    import rioxarray  # noqa: F401

    scene = xr.Dataset(
        {"hsi": (("band", "y", "x"), CUBE)}, {"x": 500000 + 30.0 * np.arange(5), "y": 4e6 - 30.0 * np.arange(3)}
    ).rio.write_crs("EPSG:32633")
    scene.to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
    back = open_file(tmp_path / "map.nc")
    assert back.rio.crs.to_epsg() == 32633
    np.testing.assert_array_equal(back["x"], scene["x"])


def test_cf_file_of_others(tmp_path):
    """(row, column, wavelength) with packed integers, a fill value, micrometres, and a mask."""
    packed = CUBE.transpose(1, 2, 0).copy()
    packed[1, 2, 3] = np.nan
    mask = np.zeros((3, 5), np.int8)
    mask[2, 4] = 1
    xr.Dataset(
        {"reflectance": (("row", "column", "wavelength"), packed), "target_mask": (("row", "column"), mask)},
        {"wavelength": ("wavelength", [0.4, 0.5, 0.6, 0.7], {"units": "um"})},
    ).to_netcdf(
        tmp_path / "other.nc",
        engine="h5netcdf",
        encoding={"reflectance": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}},
    )
    scene = open_file(tmp_path / "other.nc")
    assert scene["hsi"].dims == ("band", "y", "x")
    assert float(scene["hsi"][3, 2, 4]) == 324
    assert int(scene["hsi"].isnull().sum()) == 1
    np.testing.assert_allclose(scene["wavelength"], [400, 500, 600, 700])
    assert scene["truth"].values.tolist() == mask.tolist()
    assert "'reflectance'" in scene.attrs["notes"]


@pytest.mark.parametrize(
    ("dims", "told"),
    [(("channel", "lat", "lon"), False), (("lat", "lon", "zzz"), False), (("a", "b", "c"), True)],
)
def test_dims(tmp_path, dims, told):
    names = {"channel": 0, "lat": 1, "lon": 2, "zzz": 0, "a": 0, "b": 1, "c": 2}
    xr.Dataset({"v": (dims, CUBE.transpose([names[d] for d in dims]))}).to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    scene = open_file(tmp_path / "d.nc")
    np.testing.assert_array_equal(scene["hsi"], CUBE)
    assert ("in the order they stand" in scene.attrs["notes"]) == told


def test_classic_format(tmp_path):
    xr.Dataset({"v": (("band", "y", "x"), CUBE)}).to_netcdf(tmp_path / "old.nc", engine="scipy")
    np.testing.assert_array_equal(open_file(tmp_path / "old.nc")["hsi"], CUBE)


def test_refused(tmp_path):
    dims = ("band", "y", "x")
    xr.Dataset({"a": (dims, CUBE), "b": (dims, CUBE)}).to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"'a' \(4 x 3 x 5\), 'b' \(4 x 3 x 5\).*--key cube="):
        open_file(tmp_path / "two.nc")
    with pytest.raises(InputError, match=r"no variable 'hsj'"):
        open_file(tmp_path / "two.nc", keys={"cube": "hsj"})
    np.testing.assert_array_equal(open_file(tmp_path / "two.nc", keys={"cube": "b"})["hsi"], CUBE)

    xr.Dataset({"image": (("y", "x"), CUBE[0])}).to_netcdf(tmp_path / "flat.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"no 3-D variable.*'image' \(3 x 5\)"):
        open_file(tmp_path / "flat.nc")

    with h5py.File(tmp_path / "groups.h5", "w") as file:
        file["day/cube"] = CUBE
        file["night/cube"] = CUBE + 1
    with pytest.raises(InputError, match=r"could be the cube.*day/cube.*--key cube="):
        open_file(tmp_path / "groups.h5")
    np.testing.assert_array_equal(open_file(tmp_path / "groups.h5", keys={"cube": "night/cube"})["hsi"], CUBE + 1)

    whole = (tmp_path / "two.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        open_file(tmp_path / "cut.nc")


def test_a_dimension_that_stands_twice_is_refused(tmp_path):
    with scipy.io.netcdf_file(tmp_path / "a.nc", "w") as file:
        file.createDimension("band", 4)
        file.createDimension("x", 6)
        file.createVariable("hsi", "f4", ("band", "band", "x"))[:] = 1
    with pytest.raises(InputError, match=r"'hsi' has the dimensions band, band, x, one of them twice"):
        open_file(tmp_path / "a.nc")


def test_wavelengths_that_are_no_numbers_are_told(tmp_path):
    about = {"wavelength": ("band", np.array(["red", "green", "blue", "far"]))}
    xr.Dataset({"hsi": (("band", "y", "x"), CUBE)}, about).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    scene = open_file(tmp_path / "a.nc")
    assert "wavelength" not in scene.coords
    assert "wavelengths ignored: 'wavelength' does not hold numbers" in scene.attrs["notes"]
    with pytest.raises(InputError, match="'wavelength' does not hold numbers; name another"):
        open_file(tmp_path / "a.nc", keys={"wavelength": "wavelength"})
