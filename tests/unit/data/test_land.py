"""Land from a vector file: every kind of polygon, holes, another CRS, and files that cannot be used."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest

from workbench.data.land import Land, _polygons, read_land
from workbench.errors import InputError

pyogrio = pytest.importorskip("pyogrio")
SQUARE, HOLE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]], [[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]
AWAY = [[20, 20], [30, 20], [25, 30], [20, 20]]


def polygon(rings, dims=2, order="<"):
    kind = 3 + (0 if dims == 2 else 1000)
    parts = [struct.pack(f"{order}BII", order == "<", kind, len(rings))]
    for ring in rings:
        points = np.array([[*p, 7.0][:dims] for p in ring], f"{order}f8")
        parts += [struct.pack(f"{order}I", len(points)), points.tobytes()]
    return b"".join(parts)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_many_polygons_with_holes_and_heights(dims, order):
    parts = [polygon([SQUARE, HOLE], dims, order), polygon([AWAY], dims, order)]
    many = struct.pack(f"{order}BII", order == "<", 6 + (0 if dims == 2 else 1000), 2) + b"".join(parts)
    polygons: list[tuple[np.ndarray, ...]] = []
    assert _polygons(many, 0, polygons) == len(many)
    assert [[r.tolist() for r in p] for p in polygons] == [[SQUARE, HOLE], [AWAY]]
    land = Land(tuple(polygons), "EPSG:4326")
    x, y = np.array([1, 5, 11, 25, 21, 5]), np.array([1, 5, 5, 25, 29, 3.9])
    assert land.covers(x, y, "EPSG:4326").tolist() == [True, False, False, True, False, True]
    assert land.covers(np.zeros(0), np.zeros(0), "EPSG:4326").shape == (0,)


def geojson(path, *rings, text=None):
    places = [{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": r}} for r in rings]
    path.write_text(text or json.dumps({"type": "FeatureCollection", "features": places}))
    return path


def test_where_two_polygons_overlap_is_land(tmp_path):
    land = read_land(geojson(tmp_path / "twice.geojson", [SQUARE, HOLE], [SQUARE], [[[5, 5], [15, 5], [15, 15], [5, 5]]]))
    x, y = np.array([1.0, 5.0, 9.0, 12.0, 20.0]), np.array([1.0, 4.5, 7.0, 6.0, 5.0])
    assert land.covers(x, y, "EPSG:4326").tolist() == [True, True, True, True, False]


@pytest.mark.filterwarnings("ignore:.*[Nn]on closed ring")
def test_an_open_ring_is_closed_and_a_corner_that_is_no_number_is_refused(tmp_path):
    land = read_land(geojson(tmp_path / "open.geojson", [[[0, 0], [10, 0], [10, 10]]]))
    assert land.covers(np.array([6.0, 4.0, -1.0]), np.array([5.0, 5.0, 1.0]), "EPSG:4326").tolist() == [True, False, False]
    broken = geojson(tmp_path / "x.geojson", [SQUARE]).read_text().replace("[10, 10]", "[NaN, 10]")
    with pytest.raises(InputError, match="a corner that is no number"):
        read_land(geojson(tmp_path / "nan.geojson", text=broken))


def test_a_file_that_names_other_files_or_addresses_is_refused(tmp_path):
    geojson(tmp_path / "secret.geojson", [SQUARE])
    virtual = f"<OGRVRTDataSource><OGRVRTLayer name='secret'><SrcDataSource>{tmp_path}/secret.geojson</SrcDataSource>"
    for text in (f"{virtual}</OGRVRTLayer></OGRVRTDataSource>", f"\ufeff \n{virtual}</OGRVRTLayer></OGRVRTDataSource>"):
        with pytest.raises(InputError, match="is no GeoPackage, Shapefile, FlatGeobuf or GeoJSON"):
            read_land(geojson(tmp_path / "coast.geojson", text=text))
    os.mkfifo(tmp_path / "pipe.gpkg")
    for name in (
        "/vsicurl/http://127.0.0.1:9/x.geojson",
        "PG:dbname=x",
        tmp_path,
        tmp_path / "pipe.gpkg",
        '{"type":"Point"}',
    ):
        with pytest.raises(InputError, match="there is no ordinary file"):
            read_land(name)


def test_points_of_another_crs(tmp_path):
    path = tmp_path / "land.geojson"
    pyogrio.raw.write(
        path, np.array([polygon([SQUARE])], object), [], [], driver="GeoJSON", geometry_type="Polygon", crs="EPSG:4326"
    )
    land = read_land(path)
    x, y = np.array([500000.0, 500000.0]), np.array([1.0e5, 2.0e6])  # UTM 32 N: 9 E, 0.9 N and 18 N
    assert land.covers(x, y, "EPSG:32632").tolist() == [True, False]


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_land(tmp_path / "none.gpkg")
    point = struct.pack("<BIdd", 1, 1, 3.0, 4.0)
    path = tmp_path / "points.gpkg"
    pyogrio.raw.write(path, np.array([point], object), [], [], driver="GPKG", geometry_type="Point", crs="EPSG:4326")
    with pytest.raises(InputError, match="has no polygons"):
        read_land(path)
    path = tmp_path / "nowhere.gpkg"
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(
            path, np.array([polygon([SQUARE])], object), [], [], driver="GPKG", geometry_type="Polygon", crs=None
        )
    with pytest.raises(InputError, match="does not say its CRS"):
        read_land(path)
