"""Land from a vector file: every kind of polygon, holes, another CRS, and files that cannot be used."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from workbench.data.land import Land, _rings, read_land
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
    rings: list[np.ndarray] = []
    assert _rings(many, 0, rings) == len(many)
    assert [r.tolist() for r in rings] == [SQUARE, HOLE, AWAY]
    land = Land(tuple(rings), "EPSG:4326")
    x, y = np.array([1, 5, 11, 25, 21, 5]), np.array([1, 5, 5, 25, 29, 3.9])
    assert land.covers(x, y, "EPSG:4326").tolist() == [True, False, False, True, False, True]
    assert land.covers(np.zeros(0), np.zeros(0), "EPSG:4326").shape == (0,)


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
