"""Real files, with what is known about them from other programs."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.checks import check_cube
from workbench.data.formats import open_file


def test_enmap_tile(real_data):
    scene = open_file(real_data / "hsi_cubes/enmap-potsdam-tiles/images/enmap_potsdam_tile_128_0.tif")
    check_cube(scene)
    assert dict(scene["hsi"].sizes) == {"band": 224, "y": 32, "x": 32}
    # the tags say 418.24 nm for the first band, and bbl = 0 for bands 130 to 135 counted from 1
    assert float(scene["wavelength"][0]) == 418.24
    assert list(np.flatnonzero(~scene["good"].values)) == [129, 130, 131, 132, 133, 134]
    assert scene["hsi"].isel(band=~scene["good"].values).isnull().all()
    assert not scene["hsi"].isel(band=scene["good"].values).isnull().any()
    # stored 214..7432, scale 1e-4
    np.testing.assert_allclose([float(scene["hsi"].min()), float(scene["hsi"].max())], [0.0214, 0.7432], rtol=1e-6)
    assert scene.rio.crs.to_epsg() == 32633
    assert (float(scene["x"][0]), float(scene["y"][0])) == (366030, 5809950)  # corner 366015, 5809965, 30 m


def test_gamsberg_unknown_unit(real_data):
    folder = real_data / "hsi_cubes/gamsberg-envi-25x10"
    scene = open_file(folder / "cubus_gamsberg_subset")
    assert dict(scene["hsi"].sizes) == {"band": 189, "y": 25, "x": 10}
    np.testing.assert_allclose(float(scene["wavelength"][0]), 426.82, atol=1e-4)
    assert "Unknown" in scene.attrs["notes"]
    raw = np.fromfile(folder / "cubus_gamsberg_subset", "<f4").reshape(189, 25, 10)
    np.testing.assert_array_equal(scene["hsi"], raw)


def test_lhdata_bil_and_picture(real_data):
    folder = real_data / "hsi_anomaly/lhdata-envi-bil"
    for given in ("LHData", "LHData.hdr"):
        scene = open_file(folder / given, truth=folder / "LHDataGt.bmp")
        assert dict(scene["hsi"].sizes) == {"band": 186, "y": 100, "x": 100}
        assert scene.attrs["anomalous_pixels"] == 32
        assert float(scene["hsi"].max()) == 56528
        np.testing.assert_allclose(float(scene["wavelength"][0]), 390.19, atol=0.01)


def test_landsat_in_micrometres_with_map(real_data):
    import rasterio

    data = real_data / "change_detection/landsat-taizhou-envi/2003TM"
    scene = open_file(data.with_suffix(".HDR"))
    np.testing.assert_allclose(scene["wavelength"], [482.5, 565, 660, 825, 1650, 2220])
    with rasterio.open(data) as peer:
        np.testing.assert_array_equal(scene["hsi"], peer.read())
        assert peer.xy(0, 0) == (float(scene["x"][0]), float(scene["y"][0]))
        assert scene.rio.crs.to_epsg() == 32651


def test_v73_files_are_the_right_way_up(real_data):
    import h5py

    path = real_data / "hsi_anomaly/hydice-urban-162/HYDICE1.mat"
    scene = open_file(path)
    assert dict(scene["hsi"].sizes) == {"band": 162, "y": 80, "x": 100}
    with h5py.File(path) as file:
        stored = file["image"][5, 90, 10]  # (band, x, y)
    assert float(scene["hsi"][5, 10, 90]) == pytest.approx(stored, rel=1e-6)


def test_muufl_mask_of_valid_pixels(real_data):
    scene = open_file(real_data / "hsi_cubes/muufl-sub-51x88-wavelengths/an_hsi_image_sub_for_demo.mat")
    assert "truth" not in scene
    assert "mask_sub" in scene.attrs["notes"]
    np.testing.assert_allclose([float(scene["wavelength"][0]), float(scene["wavelength"][-1])], [367.7, 1043.4])


def test_neon_crop_without_map(real_data):
    scene = open_file(real_data / "hsi_cubes/neon-osbs-crown-crops/OSBS_IFAS.contrib.255_2017.tif")
    assert dict(scene["hsi"].sizes) == {"band": 369, "y": 11, "x": 9}
    assert "spatial_ref" not in scene.coords
    assert list(scene["x"].values) == list(range(9))
