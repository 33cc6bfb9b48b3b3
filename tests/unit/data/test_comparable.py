"""Dates of a pair whose numbers or places cannot be compared: brought together and told, or refused with the way out."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from workbench.data.catalog import open_scene
from workbench.data.pairs import open_pair
from workbench.errors import InputError

RNG = np.random.default_rng(7)
A = RNG.integers(1, 255, (3, 20, 20))


def tif(path, values, kind, crs="EPSG:32632", x=4e5, step=10.0):
    options = {"driver": "GTiff", "height": values.shape[1], "width": values.shape[2], "count": len(values), "dtype": kind}
    place = {"transform": Affine(step, 0, x, 0, -step, 21)} | ({"crs": crs} if crs else {})
    with rasterio.open(path, "w", **options, **place) as file:
        file.write(values.astype(kind))
    return path


@pytest.mark.parametrize("kind", ["float32", "uint16", "int16", "float64"])
@pytest.mark.parametrize("first", [True, False])
def test_numbers_up_to_255_in_another_type(tmp_path, kind, first):
    files = [tif(tmp_path / "a.tif", A, "uint8"), tif(tmp_path / "b.tif", A + (np.arange(20) == 3), kind)]
    scene = open_pair(*files) if first else open_pair(*files[::-1])
    ratio = float(scene["after"].mean() / scene["before"].mean())
    assert 0.98 < ratio < 1.02
    assert "both were divided by 255" in scene.attrs["notes"]


def test_scales_that_do_not_fit_are_refused_unless_the_user_says_so(tmp_path):
    files = [tif(tmp_path / "a.tif", A, "uint8"), tif(tmp_path / "b.tif", A * 39, "uint16")]
    with pytest.raises(InputError, match="cannot be compared: a.tif holds 8 bit.*--key full=255,10000"):
        open_pair(*files)
    scene = open_pair(*files, keys={"full": "255,10000"})
    np.testing.assert_allclose(scene["before"], A / 255, rtol=1e-6)
    np.testing.assert_allclose(scene["after"], A * 39 / 10000, rtol=1e-6)
    np.testing.assert_array_equal(open_pair(*files, keys={"full": "none"})["after"], A * 39)
    for wrong in ("x", "1,2,3", "0,1", "nan,1"):
        with pytest.raises(InputError, match="must be none, or two numbers above 0"):
            open_pair(*files, keys={"full": wrong})
    reflectance = tif(tmp_path / "c.tif", A / 255, "float32")
    assert "run up to 1" in open_pair(files[0], reflectance).attrs["notes"]
    with pytest.raises(InputError, match="run up to about"):
        open_pair(files[1], reflectance)


def test_longitudes_that_differ_by_360_degrees(tmp_path):
    files = [
        tif(tmp_path / "a.tif", A, "uint8", "EPSG:4326", 200, 0.001),
        tif(tmp_path / "b.tif", A[::-1], "uint8", "EPSG:4326", -160, 0.001),
    ]
    for pair in (files, files[::-1]):
        scene = open_pair(*pair)
        np.testing.assert_allclose(scene["after"], (A[::-1] if pair is files else A) / 255, rtol=1e-6)
        assert "360 degrees" in scene.attrs["notes"]
    moved = tif(tmp_path / "c.tif", A, "uint8", "EPSG:4326", -160 - 0.005, 0.001)
    scene = open_pair(files[0], moved, resample=True)
    np.testing.assert_allclose(scene["after"][:, :, :15], A[:, :, 5:] / 255, rtol=1e-5)
    assert np.isnan(scene["after"][:, :, 15:]).all()


def test_globes_that_are_cut_at_different_longitudes(tmp_path):
    wide = RNG.integers(1, 255, (3, 4, 36))
    files = [
        tif(tmp_path / "a.tif", wide, "uint8", "EPSG:4326", 0, 10),
        tif(tmp_path / "b.tif", wide, "uint8", "EPSG:4326", -180, 10),
    ]
    with pytest.raises(InputError, match="cut at different longitudes"):
        open_pair(files[0], tif(tmp_path / "b.tif", wide[::-1], "uint8", "EPSG:4326", -180, 10), resample=True)


def test_dates_without_a_coordinate_system(tmp_path):
    one = tif(tmp_path / "a.tif", A, "uint8", None)
    assert "without a coordinate system" in open_pair(one, tif(tmp_path / "b.tif", A[::-1], "uint8", None)).attrs["notes"]
    assert open_pair(one, tif(tmp_path / "c.tif", A[::-1], "uint8")).rio.crs.to_epsg() == 32632
    for other in (
        tif(tmp_path / "d.tif", A[::-1], "uint8", None, 4e5 + 50),
        tif(tmp_path / "e.tif", A[::-1], "uint8", None, step=20.0),
    ):
        for resample in (False, True):
            with pytest.raises(InputError, match="no coordinate system, so they cannot be put onto one grid.*gdal_edit"):
                open_pair(one, other, resample=resample)


def test_one_crs_in_other_words_is_one_crs(tmp_path):
    import pyproj

    words = pyproj.CRS.from_epsg(32632).to_wkt("WKT1_ESRI")
    scene = open_pair(tif(tmp_path / "a.tif", A, "uint8"), tif(tmp_path / "b.tif", A[::-1], "uint8", words))
    assert "resampled" not in scene.attrs["notes"]


def test_a_position_without_a_coordinate_system_is_told(tmp_path):
    notes = open_scene(tif(tmp_path / "a.tif", A, "int16", None)).attrs["notes"]
    assert "corner 400000, 21" in notes
    assert "no coordinate system" in notes


def test_a_sensor_beside_a_scene_at_longitudes_that_differ_by_360_degrees(tmp_path):
    cube = tif(tmp_path / "c.tif", np.concatenate([A, A]) * 9, "int16", "EPSG:4326", 200, 0.001)
    scene = open_scene(cube, beside={"lidar": tif(tmp_path / "h.tif", A[:1] / 7, "float32", "EPSG:4326", -160, 0.001)})
    assert "longitudes of h.tif differ by 360 degrees" in scene.attrs["notes"]
    with pytest.raises(InputError, match="not on the grid of the scene"):
        open_scene(cube, beside={"lidar": tif(tmp_path / "h.tif", A[:1] / 7, "float32", "EPSG:4326", -161, 0.001)})
    scene = open_scene(cube, beside={"lidar": tif(tmp_path / "n.tif", A[:1] / 7, "float32", None, -160, 0.001)})
    assert "lidar: the file has no map, so only the sizes were compared" in scene.attrs["notes"]
