"""Order of axes, scale of SAR and order of bands: decided by what a file states, and told where it states nothing."""

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import xarray as xr
from affine import Affine

from workbench.data.catalog import open_scene
from workbench.data.pairs import open_pair
from workbench.errors import InputError

RNG = np.random.default_rng(5)
CUBE = RNG.random((6, 8, 9)).astype("f4")  # band, y, x
WAVE = np.linspace(400, 900, 6)


def save(path, **arrays):
    (np.savez if path.suffix == ".npz" else lambda p, **a: scipy.io.savemat(p, a))(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
@pytest.mark.parametrize("first", [True, False])
def test_wavelengths_decide_which_axis_has_the_bands(tmp_path, name, first):
    scene = open_scene(save(tmp_path / name, data=CUBE if first else CUBE.transpose(1, 2, 0), wavelength=WAVE))
    np.testing.assert_array_equal(scene["hsi"].values, CUBE)
    np.testing.assert_allclose(scene["wavelength"], WAVE)
    assert ("because the file has 6 wavelengths" in scene.attrs["notes"]) == first


def test_an_order_that_nothing_states_is_told(tmp_path):
    scene = open_scene(save(tmp_path / "a.mat", data=RNG.random((200, 20, 30))))
    assert (
        "taken as rows, columns, bands, as MATLAB users store them; if the bands come first, say axes"
        in scene.attrs["notes"]
    )
    said = open_scene(tmp_path / "a.mat", keys={"axes": "band,y,x"})
    assert said.sizes == {"band": 200, "y": 20, "x": 30}
    assert "axes" not in said.attrs["notes"]
    truth = open_scene(save(tmp_path / "b.mat", data=RNG.random((20, 30, 10)), gt=np.eye(20, 30)))
    assert "axes" not in truth.attrs["notes"]


def test_what_the_user_says_is_not_called_a_guess(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["data"] = CUBE.transpose(1, 2, 0)
    assert "was not written by MATLAB" in open_scene(tmp_path / "a.mat").attrs["notes"]
    assert "not written" not in open_scene(tmp_path / "a.mat", keys={"axes": "y,x,band"}).attrs["notes"]


def test_wavelengths_of_another_number_are_told(tmp_path):
    scene = open_scene(save(tmp_path / "a.mat", data=CUBE.transpose(1, 2, 0), wavelength=np.linspace(400, 900, 7)))
    assert "wavelengths ignored: 'wavelength' holds 7 for 6 bands" in scene.attrs["notes"]


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_axes_of_length_one(tmp_path, engine):
    data = xr.Dataset({"r": (("time", "wavelength", "y", "x"), CUBE[None])}, {"wavelength": WAVE, "time": [7]})
    data.to_netcdf(tmp_path / "a.nc", engine=engine)
    scene = open_scene(tmp_path / "a.nc")
    np.testing.assert_array_equal(scene["hsi"].values, CUBE)
    np.testing.assert_allclose(scene["wavelength"], WAVE)
    np.testing.assert_array_equal(scene["hsi"][2, ::3, ::2].values, CUBE[2, ::3, ::2])


def tif(path, values, scale=None, wavelengths=None, nodata=None):
    bands, rows, columns = values.shape
    how = {"count": bands, "height": rows, "width": columns, "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **how
    ) as file:
        file.write(values)
        if scale is not None:
            file.scales, file.offsets = (scale[0],) * bands, (scale[1],) * bands
            file.descriptions = ("VV", "VH")
        for i, wave in enumerate(wavelengths or ()):
            file.update_tags(i + 1, wavelength=str(wave), wavelength_units="nm")
    return path


def test_sar_that_is_packed_with_an_offset(tmp_path):
    """The stored numbers are all positive; the values are dB."""
    decibel = RNG.uniform(-30, -2, (2, 20, 20))
    scene = open_scene(tif(tmp_path / "a.tif", ((decibel + 50) / 0.002).round().astype("u2"), (0.002, -50.0)))
    assert scene["sar"].attrs["scale_in_file"] == "db"
    np.testing.assert_allclose(scene["sar"], 10 ** (decibel / 10), rtol=1e-3)


def test_hundredths_of_decibel(tmp_path):
    values = (RNG.uniform(-30, -2, (2, 20, 20)) * 100).astype("i2")
    path = tif(tmp_path / "a.tif", values, (1.0, 0.0))
    with pytest.raises(InputError, match="neither dB nor intensity. Are they hundredths of dB"):
        open_scene(path)
    assert "half of the sampled values are below -80" in open_scene(path, keys={"scale": "db"}).attrs["notes"]
    scene = open_scene(tif(tmp_path / "b.tif", values, (0.01, 0.0)))
    np.testing.assert_allclose(scene["sar"], 10 ** (values / 1000), rtol=1e-5)


def test_dates_whose_bands_stand_in_another_order(tmp_path):
    values = RNG.integers(1, 255, (3, 8, 8)).astype("u1")
    before = tif(tmp_path / "a.tif", values, wavelengths=(450, 550, 650))
    with pytest.raises(InputError, match="650, 450, 550 nm. Bring them into one order first.* -b 2 -b 3 -b 1"):
        open_pair(before, tif(tmp_path / "b.tif", values[::-1], wavelengths=(650, 450, 550)))
    other = open_pair(before, tif(tmp_path / "c.tif", values[::-1], wavelengths=(450, 550, 850)))
    assert "450, 550, 650 and 450, 550, 850 nm" in other.attrs["notes"]
    near = open_pair(before, tif(tmp_path / "d.tif", values[::-1], wavelengths=(460, 555, 660)))
    assert "wavelengths" not in near.attrs["notes"]


def test_a_fourth_band_that_gdal_calls_alpha_is_told_in_a_pair(tmp_path):
    """GDAL declares the fourth of four 8-bit bands as alpha, even where it is near infrared."""
    values = RNG.integers(0, 255, (4, 8, 8)).astype("u1")
    pair = open_pair(tif(tmp_path / "a.tif", values), tif(tmp_path / "b.tif", values[::-1]))
    assert pair["before"].sizes["band"] == 3
    assert "a.tif: band 4 is an alpha band: pixels are missing where it is 0; key alpha=none keeps it" in pair.attrs["notes"]
    whole = open_pair(tmp_path / "a.tif", tmp_path / "b.tif", keys={"alpha": "none"})
    np.testing.assert_allclose(whole["before"], values / 255, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.mat", "a.hdr", "a.npy", "a.dat"])
def test_a_tiff_of_another_name(tmp_path, name):
    values = RNG.integers(1, 255, (5, 8, 8)).astype("u2")
    np.testing.assert_array_equal(open_scene(tif(tmp_path / name, values))["hsi"].values, values)
