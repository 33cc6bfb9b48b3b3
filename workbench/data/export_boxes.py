"""Export of detected boxes: as polygons on the map, as a table, and as COCO annotations.

found = outlines(result, scene["image"])            # GeoJSON features with class, score and size in metres
found = outlines(result, scene["sar"], scene)       # the same for a Sentinel-1 product, by its ground control points
write_boxes(found, "ships.gpkg")                    # or .geojson, .csv
write_coco(result, "ships.json")                    # opens again with the images beside it
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.data.export import FAIL_TO_WRITE, collected, georeference, write_polygons
from workbench.errors import InputError
from workbench.runs.spreadsheet import csv_field

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr

    from workbench.data.land import Land


class Placing(NamedTuple):
    """crs: of the map, None without one. place: columns and rows (N), from the top left corner -> x and y of the map."""

    crs: Any
    place: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def placing(image: xr.DataArray, scene: xr.Dataset | None = None) -> Placing | None:
    """How pixels of an image come onto a map: by its georeference, or by the ground control points of a Sentinel-1 scene, in longitude
    and latitude; None where it has neither. A point on the corner of the first pixel has column and row 0.
    """
    crs, t = georeference(image)
    if t is not None:
        return Placing(crs, lambda x, y: (t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f))
    if scene is not None and "gcp_line" in scene.coords:
        from rasterio.crs import CRS

        from workbench.data.readers.sentinel1 import longitude_latitude

        first = [float(image[dim].values[0]) for dim in ("y", "x")]  # lines and samples are counted at the centres of pixels
        return Placing(CRS.from_epsg(4326), lambda x, y: longitude_latitude(scene, y - 0.5 + first[0], x - 0.5 + first[1]))
    return None


def outlines(found: xr.Dataset, image: xr.DataArray | None = None, scene: xr.Dataset | None = None) -> dict[str, Any]:
    """Boxes as GeoJSON: a FeatureCollection of rectangles, by falling score.

    found: `box (object, edge)`, and `box_score`, `box_label`, `box_sample (object)` if present. image: an array on (y, x) in
    whose pixels the boxes are, and scene: its dataset; they give the map coordinates (see `placing`), named in `crs`; without,
    coordinates are columns and rows from the top left corner. Properties: `class`, `score`, `image`, the edges `x0` to `y1` in
    pixels, and `width_m`, `height_m`, the lengths of the horizontal and vertical sides by geodesics on the ellipsoid; None where the
    image is not on a map.

    Raises InputError for boxes of many images and a georeference, which can belong to one image only.
    """
    _require_boxes(found)
    placed = None if image is None else placing(image, scene)
    crs = None if placed is None else placed.crs
    if crs is not None and "box_sample" in found and len(np.unique(found["box_sample"].values)) > 1:
        raise InputError("These boxes are of several images, and the map is that of one; give the boxes of one image.")
    measure = None if crs is None else _lengths(crs)
    score = found["box_score"].values if "box_score" in found else np.full(found.sizes["object"], np.nan)
    features = []
    for n in np.argsort(-np.nan_to_num(score), kind="stable"):
        x0, y0, x1, y1 = (float(v) for v in found["box"].values[n])
        corners = [(x0, y1), (x1, y1), (x1, y0), (x0, y0), (x0, y1)]
        if placed is not None:
            corners = list(zip(*(v.tolist() for v in placed.place(*np.array(corners).T)), strict=True))
        sides = (None, None) if measure is None else (measure(corners[0], corners[1]), measure(corners[1], corners[2]))
        properties = {
            "class": _name(found, n),
            "score": None if np.isnan(score[n]) else round(float(score[n]), 6),
            **({"image": str(found["box_sample"].values[n])} if "box_sample" in found else {}),
            **dict(zip(("x0", "y0", "x1", "y1"), (round(v, 3) for v in (x0, y0, x1, y1)), strict=True)),
            "width_m": sides[0],
            "height_m": sides[1],
        }
        geometry = {"type": "Polygon", "coordinates": [[list(c) for c in corners]]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return collected(features, crs, placed)


def on_land(found: xr.Dataset, land: Land, image: xr.DataArray, scene: xr.Dataset | None = None) -> np.ndarray:
    """Which boxes (N) have their centre on land. image, scene: see `placing`.

    Raises InputError where the image is not on a map.
    """
    _require_boxes(found)
    placed = placing(image, scene)
    if placed is None or placed.crs is None:
        raise InputError("Land cannot be masked: the scene is not on a map, and has no ground control points.")
    box = found["box"].values.astype(float).reshape(-1, 4)
    x, y = placed.place((box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2)
    return land.covers(x, y, placed.crs.to_wkt())


def _require_boxes(found: xr.Dataset) -> None:
    if "box" not in found or found["box"].dims != ("object", "edge"):
        names = ", ".join(map(str, found.data_vars)) or "nothing"
        raise InputError(f"Boxes are exported from 'box' (object, edge); this dataset has {names}.")


def _name(found: xr.Dataset, n: int) -> str:
    if "box_label" not in found:
        return "object"
    label, names = int(found["box_label"].values[n]), found["box_label"].attrs.get("names")
    return str(label) if names is None else str(np.atleast_1d(names)[label])


def _lengths(crs: Any) -> Any:
    """(point, point) on the map -> metres on the ellipsoid."""
    from pyproj import CRS, Transformer

    map_crs = CRS.from_user_input(crs.to_wkt())
    geodetic, ellipsoid = map_crs.geodetic_crs, map_crs.get_geod()
    if geodetic is None or ellipsoid is None:
        raise InputError(f"The map's CRS ({map_crs.name}) has no ellipsoid; lengths in metres need one.")
    to_degrees = Transformer.from_crs(map_crs, geodetic, always_xy=True)

    def length(a: tuple[float, float], b: tuple[float, float]) -> float:
        x, y = to_degrees.transform([a[0], b[0]], [a[1], b[1]])
        return round(float(ellipsoid.line_length(x, y)), 3)

    return length


def check_boxes(path: str | PathLike[str]) -> None:
    """Raise InputError unless boxes can be written with this suffix, in a folder that exists."""
    path = Path(path)
    if path.suffix.lower() not in (".gpkg", ".geojson", ".csv", ".json"):
        raise InputError(f"Boxes are written as .gpkg, .geojson, .csv or .json (COCO); got {path.name!r}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for {path.name}.")


def write_boxes(collection: dict[str, Any], path: str | PathLike[str]) -> Path:
    """Write the result of `outlines` as .geojson, .gpkg (see `write_polygons`) or .csv, a row for each box."""
    path = Path(path)
    if path.suffix.lower() != ".csv":
        return write_polygons(collection, path, layer="boxes")
    rows = [f["properties"] for f in collection["features"]]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(
                file, list(rows[0]) if rows else ["class", "score", "x0", "y0", "x1", "y1", "width_m", "height_m"]
            )
            table.writeheader()
            table.writerows({name: csv_field(value) for name, value in row.items()} for row in rows)
    except OSError as error:
        raise InputError(FAIL_TO_WRITE.format(path, error.strerror)) from error
    return path


def write_coco(found: xr.Dataset, path: str | PathLike[str]) -> Path:
    """Write boxes as COCO annotations, with their scores; `box_sample` gives the names of the images."""
    _require_boxes(found)
    owner = found["box_sample"].values.astype(str) if "box_sample" in found else np.full(found.sizes["object"], "image")
    images, image = np.unique(owner, return_inverse=True)
    classes = [_name(found, n) for n in range(found.sizes["object"])]
    names = sorted(set(classes))
    annotations = []
    for n, (x0, y0, x1, y1) in enumerate(found["box"].values.astype(float).tolist()):
        one: dict[str, Any] = {
            "id": n + 1,
            "image_id": int(image[n]) + 1,
            "category_id": names.index(classes[n]) + 1,
            "iscrowd": 0,
        }
        one |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
        if "box_score" in found:
            one["score"] = float(found["box_score"].values[n])
        annotations.append(one)
    content = {
        "images": [{"id": n + 1, "file_name": str(name)} for n, name in enumerate(images)],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(names)],
        "annotations": annotations,
    }
    path = Path(path)
    try:
        path.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise InputError(FAIL_TO_WRITE.format(path, error.strerror)) from error
    return path
