"""Export of maps: cloud-optimised GeoTIFFs, and areas of change as polygons with their size.

write_cog(result["change"], "change.tif")
areas = polygons(result["change"], threshold=0.5, min_pixels=4)
areas["features"][0]["properties"]["area_m2"]
write_polygons(areas, "change.geojson")
"""

from __future__ import annotations

import contextlib
import json
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr

FAIL_TO_WRITE = "Cannot write {}: {}; choose another folder, or free some space."


def write_cog(values: xr.DataArray, path: str | PathLike[str]) -> Path:
    """Write a map (y, x) as a cloud-optimised, georeferenced GeoTIFF, float32 with NaN for missing; returns the path."""
    rows = (np.asarray(values.isel(y=slice(y, y + 512)).values, np.float32)[None] for y in range(0, values.sizes["y"], 512))
    return write_cogs(rows, [Path(path)], like=values)[0]


def write_cogs(strips: Iterable[np.ndarray], paths: Sequence[Path], like: xr.DataArray) -> list[Path]:
    """Write K maps of one extent, each to its own file, from strips (K, rows, x) in order from the top, K = len(paths).

    Only one strip is in memory; the files get their names when they are complete. like: an array on (y, x)
    with the size and the georeference of the maps.
    Raises InputError where they cannot be written, and when the strips do not fill the map.
    """
    import rasterio
    import rasterio.shutil
    import rasterio.windows
    from rasterio.errors import NotGeoreferencedWarning

    height, width = like.sizes["y"], like.sizes["x"]
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": height, "width": width, "nodata": float("nan")}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
    crs, transform = georeference(like)
    if crs is not None:
        profile |= {"crs": crs}
    if transform is not None:
        profile |= {"transform": transform}
    parts = [path.with_name(path.name + ".part.tif") for path in paths]
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            files = [stack.enter_context(rasterio.open(part, "w", **profile)) for part in parts]
            row = 0
            for strip in strips:
                window = rasterio.windows.Window(0, row, width, strip.shape[1])
                for file, values in zip(files, strip, strict=True):
                    file.write(values.astype(np.float32), 1, window=window)
                row += strip.shape[1]
        if row != height:
            raise InputError(f"The strips fill {row} of {height} rows; the maps were not written.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            for part, path in zip(parts, paths, strict=True):
                rasterio.shutil.copy(part, path, driver="COG", compress="deflate", overview_resampling="average")
    except (OSError, rasterio.errors.RasterioError) as error:
        raise InputError(FAIL_TO_WRITE.format(paths[0], error)) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return list(paths)


def georeference(like: xr.DataArray) -> tuple[Any, Any]:
    """(CRS, affine transform) of an array on (y, x); each None where the array has none: without a transform, pixels are
    counted from the top left.
    """
    import rioxarray  # noqa: F401  registers .rio

    crs = like.rio.crs
    x, y = like["x"].values if "x" in like.coords else None, like["y"].values if "y" in like.coords else None
    if x is None or y is None or len(x) < 2 or len(y) < 2:
        return crs, None
    if crs is None and y[1] > y[0] and x[0] == 0 and y[0] == 0:
        return None, None  # 0..N-1: not georeferenced
    return crs, like.rio.transform(recalc=True)


# --- polygons ---------------------------------------------------------------------------------------------------------


def polygons(
    change: xr.DataArray,
    threshold: float = 0.5,
    uncertainty: xr.DataArray | None = None,
    surer_than: float | None = None,
    min_pixels: int = 1,
) -> dict[str, Any]:
    """Connected areas where change (y, x) is above `threshold`, as GeoJSON: a FeatureCollection of polygons with holes.

    uncertainty, surer_than: leave out pixels whose uncertainty is above `surer_than`. min_pixels: leave out smaller areas.
    Pixels touch along edges. Properties: `pixels`, `mean_change`, `mean_uncertainty` where it is given, and `area_m2`, by
    geodesics on the ellipsoid of the map's CRS, None where the map is not georeferenced. Coordinates are those of the map's
    CRS, named in `crs`, or columns and rows; `in_pixels` tells which.
    """
    from rasterio.features import shapes

    p = np.asarray(change.values, np.float64)
    with np.errstate(invalid="ignore"):
        mask = p > threshold
        if surer_than is not None:
            if uncertainty is None:
                raise InputError("surer_than= needs uncertainty=, the map (y, x) of this change map.")
            mask &= uncertainty.values <= surer_than
    crs, transform = georeference(change)
    labels, count = _areas(mask)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    mean = {"mean_change": np.bincount(labels.ravel(), np.where(mask, p, 0).ravel(), count + 1)}
    if uncertainty is not None:
        mean["mean_uncertainty"] = np.bincount(labels.ravel(), np.where(mask, uncertainty.values, 0).ravel(), count + 1)
    known = {} if transform is None else {"transform": transform}
    measure = _geodesic(crs) if crs is not None and transform is not None else None
    features = []
    for geometry, value in shapes(labels, mask=mask & (size[labels] >= min_pixels), connectivity=4, **known):
        n = int(value)
        numbers = {name: round(float(total[n] / size[n]), 6) for name, total in mean.items()}
        area = None if measure is None else round(measure(geometry["coordinates"]), 3)
        properties = {"pixels": int(size[n]), "area_m2": area, **numbers}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    features.sort(key=lambda f: -f["properties"]["pixels"])
    return collected(features, crs, transform)


def collected(features: list[dict[str, Any]], crs: Any, transform: Any) -> dict[str, Any]:
    """These features as a collection that knows what its coordinates are; crs and transform: from `georeference`.

    `crs` is the CRS as text, None without one; `in_pixels` is true for columns and rows.
    """
    in_pixels = transform is None
    wkt = None if crs is None or in_pixels else crs.to_wkt()
    return {"type": "FeatureCollection", "crs": wkt, "in_pixels": in_pixels, "features": features}


def _areas(mask: np.ndarray) -> tuple[np.ndarray, int]:
    from scipy.ndimage import label

    labels, count = label(mask)
    return labels.astype(np.int32), count


def _geodesic(crs: Any) -> Any:
    """rings -> square metres on the ellipsoid; the first ring is the outer one, the others are holes."""
    from pyproj import CRS, Transformer

    map_crs = CRS.from_user_input(crs.to_wkt())
    geodetic, ellipsoid = map_crs.geodetic_crs, map_crs.get_geod()
    if geodetic is None or ellipsoid is None:
        raise InputError(f"The map's CRS ({map_crs.name}) has no ellipsoid; areas in square metres need one.")
    to_degrees = Transformer.from_crs(map_crs, geodetic, always_xy=True)

    def area(rings: Sequence[Any]) -> float:
        sizes = []
        for ring in rings:
            x, y = np.asarray(ring, np.float64).T
            sizes.append(abs(ellipsoid.polygon_area_perimeter(*to_degrees.transform(x, y))[0]))
        return sizes[0] - sum(sizes[1:])

    return area


def write_polygons(collection: dict[str, Any], path: str | PathLike[str], layer: str = "change") -> Path:
    """Write the result of `polygons`, or of `export_boxes.outlines`, as .geojson or .gpkg.

    GeoJSON is in longitude and latitude, as RFC 7946 requires, a GeoPackage in the map's CRS; without a georeference the coordinates
    are columns and rows. A program that reads GeoJSON takes them for degrees, so the name of such a file must contain `pixels`,
    and each feature has the property `coordinates`. layer: its name in a GeoPackage.

    InputError for GeoJSON of a map without CRS under another name, for another suffix, and for .gpkg without pyogrio.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            _check_degrees(collection, path)
            path.write_text(json.dumps({"type": "FeatureCollection", "features": list(_in_degrees(collection))}))
        elif path.suffix.lower() == ".gpkg":
            _write_geopackage(collection, path, layer)
        else:
            raise InputError(f"Polygons are written as .geojson or .gpkg, not {path.suffix or 'without a suffix'}.")
    except OSError as error:
        raise InputError(FAIL_TO_WRITE.format(path, error.strerror)) from error
    return path


def _check_degrees(collection: dict[str, Any], path: Path) -> None:
    if collection["crs"] is not None or (collection["in_pixels"] and "pixels" in path.name):
        return
    problem = "GeoJSON has degrees, and would show these columns and rows as degrees" if collection["in_pixels"] else ""
    problem = problem or "GeoJSON has degrees, and map coordinates without a CRS cannot be converted to them"
    pixels = f" To write pixels, name the file {path.stem}-pixels{path.suffix}." if collection["in_pixels"] else ""
    raise InputError(f"The map has no CRS: {problem}. Write a .gpkg, or give the map a CRS with map.rio.write_crs.{pixels}")


def _in_degrees(collection: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if collection["crs"] is None:
        for feature in collection["features"]:
            yield {**feature, "properties": {**feature["properties"], "coordinates": "pixels: column, row"}}
        return
    from pyproj import Transformer

    transformer = Transformer.from_crs(collection["crs"], "EPSG:4326", always_xy=True)
    for feature in collection["features"]:
        rings: list[Any] = []
        for ring in feature["geometry"]["coordinates"]:
            x, y = transformer.transform(*np.asarray(ring, np.float64).T)
            left = float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) > 0  # counter-clockwise
            points = np.stack([x, y], 1).round(9).tolist()
            rings.append(points if left == (not rings) else points[::-1])  # outer ring counter-clockwise, holes clockwise
        yield {**feature, "geometry": {"type": "Polygon", "coordinates": rings}}


def _write_geopackage(collection: dict[str, Any], path: Path, layer: str) -> None:
    try:
        from pyogrio.raw import write
    except ImportError:
        raise InputError(
            "A GeoPackage needs pyogrio: pip install 'workbench[vector]'. GeoJSON needs no package; give a path ending in .geojson."
        ) from None
    rows = [f["properties"] for f in collection["features"]]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["pixels", "area_m2", "mean_change"]
    columns = [_column(n, [row.get(n) for row in rows]) for n in names]
    geometry = np.array([_wkb(f["geometry"]["coordinates"]) for f in collection["features"]], dtype=object)
    path.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*crs.*")  # a map without a georeference has no CRS
        write(path, geometry, columns, names, driver="GPKG", layer=layer, geometry_type="Polygon", crs=collection["crs"])


def _column(name: str, values: Sequence[Any]) -> np.ndarray:
    """Values of one property: texts, whole numbers of pixels, or numbers with NaN for None."""
    if any(isinstance(v, str) for v in values):
        return np.array(values, object)
    return np.array([np.nan if v is None else v for v in values], np.int64 if name == "pixels" else np.float64)


def _wkb(rings: Sequence[Any]) -> bytes:
    """A polygon as well-known binary, little-endian."""
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for ring in rings:
        points = np.asarray(ring, "<f8")
        parts += [struct.pack("<I", len(points)), points.tobytes()]
    return b"".join(parts)
