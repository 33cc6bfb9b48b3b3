"""Maps as files and polygons: read back with rasterio and pyogrio, areas against sizes known by hand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr

from workbench.data.export import polygons, write_cog, write_cogs, write_polygons
from workbench.errors import InputError


def change(crs: str | None = "EPSG:32633", step: float = 10.0) -> xr.DataArray:
    """20 x 30 pixels: a ring of 8, a block of 12, a single one, and one that only touches it at a corner."""
    p = np.zeros((20, 30), np.float32)
    p[2:5, 2:5] = 0.9
    p[3, 3] = 0.1
    p[10:13, 20:24] = 0.7
    p[17, 5] = p[18, 6] = 0.6
    if crs is None:
        return xr.DataArray(p, dims=("y", "x"))
    coords = {"y": 5_000_000 - step * np.arange(20), "x": 500_000 + step * np.arange(30)}
    return xr.DataArray(p, coords, ("y", "x")).rio.write_crs(crs)


def test_polygons_with_their_sizes():
    found = polygons(change())["features"]
    assert [f["properties"]["pixels"] for f in found] == [12, 8, 1, 1]
    for feature in found:  # UTM on its central meridian: lengths are 0.9996 of the true ones
        true = feature["properties"]["pixels"] * 100 / 0.9996**2
        assert feature["properties"]["area_m2"] == pytest.approx(true, rel=1e-5)
    assert found[0]["properties"]["mean_change"] == pytest.approx(0.7)
    ring = found[1]["geometry"]["coordinates"]
    assert len(ring) == 2  # the hole is a hole
    assert sorted(ring[0])[0] == (500_015.0, 4_999_955.0)  # outer corner of pixel (row 4, column 2)


def test_areas_in_degrees_are_geodesic():
    p = np.zeros((3, 3), np.float32)
    p[1, 1] = 1
    coords = {"y": [60.01, 60.0, 59.99], "x": [10.0, 10.01, 10.02]}
    found = polygons(xr.DataArray(p, coords, ("y", "x")).rio.write_crs("EPSG:4326"))["features"]
    # a hundredth of a degree at 60 N: 1114.12 m north-south, 557.99 m east-west (WGS 84)
    assert found[0]["properties"]["area_m2"] == pytest.approx(1114.12 * 557.99, rel=1e-3)


def test_without_a_place_on_earth_areas_are_not_known():
    found = polygons(change(None))
    assert found["crs"] is None
    assert {f["properties"]["area_m2"] for f in found["features"]} == {None}
    assert sorted(found["features"][0]["geometry"]["coordinates"][0])[0] == (20.0, 10.0)  # column, row


def test_small_and_unsure_areas_can_be_left_out():
    p = change()
    assert len(polygons(p, min_pixels=2)["features"]) == 2
    assert len(polygons(p, threshold=0.8)["features"]) == 1
    u = p * 0 + 0.1
    u[10:13, 20:22] = 0.4
    found = polygons(p, uncertainty=u, surer_than=0.2)["features"]
    assert [f["properties"]["pixels"] for f in found] == [8, 6, 1, 1]
    assert found[0]["properties"]["mean_uncertainty"] == pytest.approx(0.1)
    with pytest.raises(InputError, match="surer_than= needs uncertainty="):
        polygons(p, surer_than=0.2)


def test_missing_pixels_did_not_change():
    p = change()
    p[10:13, 20:24] = np.nan
    assert [f["properties"]["pixels"] for f in polygons(p)["features"]] == [8, 1, 1]


def test_geojson_is_in_degrees(tmp_path):
    path = write_polygons(polygons(change()), tmp_path / "change.geojson")
    found = json.loads(path.read_text())
    lon, lat = found["features"][0]["geometry"]["coordinates"][0][0]
    assert lon == pytest.approx(15.0025, abs=0.001)  # zone 33, 200 m east of its meridian
    assert lat == pytest.approx(45.15, abs=0.02)
    for ring, turn in zip(found["features"][1]["geometry"]["coordinates"], (1, -1), strict=True):
        x, y = np.array(ring).T - np.array(ring[0])[:, None]
        assert turn * (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # outer ring to the left, hole to the right
    assert set(found["features"][0]["properties"]) == {"pixels", "area_m2", "mean_change"}


def test_pixels_are_never_taken_for_degrees(tmp_path):
    found = polygons(change(None))
    assert found["in_pixels"]
    with pytest.raises(InputError, match="name the file change-pixels.geojson"):
        write_polygons(found, tmp_path / "change.geojson")
    assert not (tmp_path / "change.geojson").exists()
    path = write_polygons(found, tmp_path / "change-pixels.geojson")
    features = json.loads(path.read_text())["features"]
    assert {f["properties"]["coordinates"] for f in features} == {"pixels: column, row"}
    somewhere = change().drop_vars("spatial_ref")  # coordinates of a map, but of which?
    with pytest.raises(InputError, match="cannot be converted") as refused:
        write_polygons(polygons(somewhere), tmp_path / "change-pixels.geojson")
    assert "pixels" not in str(refused.value)
    without = change(None).rio.write_crs("EPSG:32633")  # a CRS, but no coordinates in it
    assert polygons(without)["in_pixels"]
    with pytest.raises(InputError, match="columns and rows as degrees"):
        write_polygons(polygons(without), tmp_path / "change.geojson")


def test_geopackage_is_in_the_maps_crs(tmp_path):
    pyogrio = pytest.importorskip("pyogrio", reason="the extra 'vector' is not installed")
    path = write_polygons(polygons(change()), tmp_path / "change.gpkg")
    info = pyogrio.read_info(path, layer="change")
    assert info["crs"] == "EPSG:32633"
    assert info["features"] == 4
    meta, _, geometry, columns = pyogrio.raw.read(path)
    values = dict(zip(meta["fields"], columns, strict=True))
    assert values["pixels"].tolist() == [12, 8, 1, 1]
    assert values["area_m2"][0] == pytest.approx(1200.96, abs=0.01)
    assert geometry[1][9:13] == (9).to_bytes(4, "little") or geometry[1][5:9] == (2).to_bytes(4, "little")  # two rings
    write_polygons(polygons(change(None), threshold=0.99), tmp_path / "none.gpkg")
    assert pyogrio.read_info(tmp_path / "none.gpkg")["features"] == 0


def test_what_cannot_be_written_is_said(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"\.geojson or \.gpkg"):
        write_polygons(polygons(change()), tmp_path / "change.shp")
    with pytest.raises(InputError, match="Cannot write"):
        write_polygons(polygons(change()), tmp_path / "none" / "change.geojson")
    with pytest.raises(InputError, match="Cannot write"):
        write_cog(change(), tmp_path / "none" / "change.tif")
    monkeypatch.setitem(sys.modules, "pyogrio.raw", None)
    with pytest.raises(InputError, match="needs pyogrio"):
        write_polygons(polygons(change()), tmp_path / "change.gpkg")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of reading it back
@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_a_map_as_cog(tmp_path, crs):
    p = change(crs)
    p[0, 0] = np.nan
    path = write_cog(p, tmp_path / "change.tif")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), p)
        assert np.isnan(file.nodata)
        assert (file.crs is None) == (crs is None)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert [f.name for f in tmp_path.iterdir()] == ["change.tif"]


def test_strips_that_do_not_fill_the_map_leave_no_file(tmp_path):
    with pytest.raises(InputError, match="fill 19 of 20 rows"):
        write_cogs(iter([np.zeros((1, 19, 30), np.float32)]), [tmp_path / "p.tif"], change())
    assert list(tmp_path.iterdir()) == []
