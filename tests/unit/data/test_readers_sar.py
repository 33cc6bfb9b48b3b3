"""SAR in GeoTIFF: dB, linear and amplitude become linear intensity; what a file does not say is asked for."""

import warnings

import numpy as np
import pytest
import rasterio

from workbench.data.catalog import open_scene
from workbench.data.readers.files import Look
from workbench.data.readers.sar import open_sar, sees
from workbench.errors import InputError
from workbench.scene import describe


def write(path, values, *, descriptions=None, nodata=None, crs=None, tags=None, **kind):
    values = values if values.ndim == 3 else values[None]
    shape = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    place = {"crs": crs, "transform": rasterio.Affine(20, 0, 500_000, 0, -20, 4_000_000)} if crs else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **shape, **place, **kind) as file:
            file.write(values)
            file.update_tags(**(tags or {}))
            for i, d in enumerate(descriptions or [], 1):
                file.set_band_description(i, d)
    return path


def intensity(bands=1, size=(40, 30), seed=0):
    return np.random.default_rng(seed).gamma(4, 0.05, (bands, *size)).astype(np.float32)


@pytest.mark.parametrize("scale", ["db", "linear", "amplitude"])
def test_every_scale_becomes_linear_intensity(tmp_path, scale):
    want = intensity()
    stored = {"db": 10 * np.log10(want), "linear": want, "amplitude": np.sqrt(want)}[scale]
    scene = open_sar(write(tmp_path / "a.tif", stored), keys={"scale": scale, "polarization": "hv"})
    np.testing.assert_allclose(scene["sar"].values, want, rtol=1e-5)
    assert scene["sar"].dtype == np.float32
    assert scene["sar"].chunks is not None
    assert scene["polarization"].values.tolist() == ["HV"]


@pytest.mark.parametrize(
    ("name", "values", "extra", "told", "note"),
    [
        ("s1_VV.tif", "db", {}, "db", "are negative, which no intensity is"),
        ("s1_VV.tif", "linear", {}, "linear", "none is negative"),
        ("s1_VV_norm_db.tif", "db", {}, "db", "its name says so"),
        ("x.tif", "db", {"descriptions": ["Sigma0_VH_db"]}, "db", "the file says so"),
        ("x.tif", "amplitude", {"descriptions": ["Amplitude_HH"]}, "amplitude", "the file says so"),
        ("x.tif", "db", {"tags": {"POLARISATION": "VV"}}, "db", "are negative, which no intensity is"),
    ],
)
def test_the_scale_is_told_from_file_name_and_values(tmp_path, name, values, extra, told, note):
    want = intensity()
    stored = {"db": 10 * np.log10(want), "linear": want, "amplitude": np.sqrt(want)}[values]
    scene = open_scene(write(tmp_path / name, stored, **extra))
    assert scene["sar"].attrs["scale_in_file"] == told
    assert note in scene.attrs["notes"]
    np.testing.assert_allclose(scene["sar"].values, want, rtol=1e-5)


def test_nodata_map_and_windows(tmp_path):
    decibel = 10 * np.log10(intensity(2, (70, 90)))
    decibel[:, 3, 4] = -99
    path = write(
        tmp_path / "s1.tif",
        decibel,
        nodata=-99,
        crs="EPSG:32631",
        descriptions=["VV", "VH"],
        tiled=True,
        blockxsize=16,
        blockysize=32,
    )
    scene = open_scene(path)
    assert np.isnan(scene["sar"].values).sum() == 2
    assert scene["polarization"].values.tolist() == ["VV", "VH"]
    assert scene.rio.crs == "EPSG:32631"
    assert (scene["x"].values[0], scene["y"].values[0]) == (500_010, 3_999_990)  # pixel centres
    whole = scene["sar"].values
    for chunks in (None, {"y": 16, "x": 16}):
        again = open_scene(path, chunks=chunks)["sar"]
        np.testing.assert_array_equal(again[:, 5:50:3, 88:10:-2].values, whole[:, 5:50:3, 88:10:-2])
    assert "polarization" in describe(scene) or "sar" in describe(scene)


def test_truth_beside_it(tmp_path):
    path = write(tmp_path / "vv.tif", 10 * np.log10(intensity()), crs="EPSG:32631")
    mask = np.zeros((40, 30), np.int16)
    mask[:5], mask[5:7] = 1, -1
    scene = open_scene(path, truth=write(tmp_path / "label.tif", mask))
    assert [(scene["truth"].values == v).sum() for v in (1, 0, -1)] == [150, 990, 60]


def test_what_is_refused(tmp_path):
    silent = write(tmp_path / "x.tif", intensity())
    with pytest.raises(InputError, match="does not say what it is"):
        open_scene(silent)
    decibel = write(tmp_path / "vv.tif", 10 * np.log10(intensity()))
    for keys, why in (
        ({"scale": "linear"}, "never negative"),
        ({"scale": "dbs"}, "Did you mean 'db'"),
        ({"scal": "db"}, "Did you mean 'scale'"),
        ({"polarization": "VX"}, "VV, VH, HH or HV"),
        ({"polarization": "VV,VH"}, "each of the 1 bands"),
    ):
        with pytest.raises(InputError, match=why):
            open_scene(decibel, keys=keys)
    with pytest.raises(InputError, match="complex64"):
        open_scene(write(tmp_path / "slc_vv.tif", intensity().astype(np.complex64)))
    with pytest.raises(InputError, match="no valid value"):
        open_scene(write(tmp_path / "empty_vv.tif", np.full((4, 4), np.nan, np.float32)))
    whole = decibel.read_bytes()
    decibel.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        open_scene(decibel)


def test_cubes_and_masks_of_cubes_are_left_to_the_other_readers(tmp_path):
    write(tmp_path / "cube.tif", intensity(9))
    write(tmp_path / "rgb.tif", intensity(3), descriptions=["R", "G", "B"])
    (tmp_path / "text.tif").write_text("no image")
    for name in ("cube.tif", "rgb.tif", "nothing.tif", "text.tif"):
        with Look(tmp_path / name) as look:
            assert not sees(look, {})
    with Look(write(tmp_path / "one.tif", intensity(1))) as look:
        assert sees(look, {})


def test_the_real_geocoded_image(real_data):
    """268 x 217 pixels, -26.65 to 1.43 dB in the file (data set's own description); the mean of linear intensity is 0.0975."""
    scene = open_scene("sentinel1-vv-utm31")
    decibel = 10 * np.log10(scene["sar"].values)
    assert scene["sar"].shape == (1, 217, 268)
    assert (np.nanmin(decibel), np.nanmax(decibel)) == pytest.approx((-26.65, 1.43), abs=0.005)
    assert scene.rio.crs == "EPSG:32631"
    assert scene["polarization"].values.tolist() == ["VV"]
    path = next((real_data / "sar_geotiff/sentinel1-grd-vv-db-utm31").glob("*.tif"))
    with rasterio.open(path) as file:
        raw = file.read(1, masked=True)
    np.testing.assert_allclose(decibel[0][~raw.mask], raw.compressed(), atol=2e-6)
    assert np.isnan(decibel[0]).sum() == raw.mask.sum()
    assert "its name says so" in open_scene(path).attrs["notes"]


def test_a_few_negative_values_are_noise_and_not_decibels(tmp_path):
    values = intensity(2, (64, 64))
    values[:, ::20, ::16] = -0.0008  # as noise removal and resampling leave them
    path = write(tmp_path / "gamma0.tif", values, descriptions=["VV", "VH"])
    for keys in ({}, {"scale": "linear"}):
        scene = open_scene(path, keys=keys)
        np.testing.assert_allclose(scene["sar"].values[values > 0], values[values > 0])
        assert np.isnan(scene["sar"].values[values < 0]).all()
        assert "of the sampled values are negative" in scene.attrs["notes"]


def test_the_user_is_not_overruled_but_told(tmp_path):
    values = intensity()
    values[:, ::4] *= -1  # a quarter of them
    path = write(tmp_path / "a_VV.tif", values)
    assert np.isnan(open_scene(path, keys={"scale": "linear"})["sar"].values[values < 0]).all()
    with pytest.raises(InputError, match="fit neither dB nor intensity.*--key scale=db or --key scale=linear"):
        open_scene(path)
    with pytest.raises(InputError, match="only negative values"):
        open_scene(write(tmp_path / "b_VV.tif", -intensity()), keys={"scale": "linear"})


@pytest.mark.parametrize("fill", [-9999.0, 0.0])
def test_fill_of_sar_that_is_not_declared(tmp_path, fill):
    values = intensity()
    values[:, :5] = fill
    path = write(tmp_path / "a_VV.tif", values)
    scene = open_scene(path)
    assert scene["sar"].attrs["scale_in_file"] == "linear"  # -9999 decides nothing
    assert f"{fill:g}, which the file does not declare" in scene.attrs["notes"]
    assert np.isnan(open_scene(path, keys={"nodata": str(fill)})["sar"].values[:, :5]).all()
