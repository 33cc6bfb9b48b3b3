"""Which points are on land: polygons of a vector file that the user gives, such as a coastline.

    land = read_land("coast.gpkg")
    land.covers(longitude, latitude, "EPSG:4326")        # bool of each point

Points are tested exactly against each polygon (even-odd rule of its rings), so nothing as large as the scene is made.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    from os import PathLike

AT_ONCE = 4_000_000  # products of points and edges that are tested at once
# First bytes of the formats that are read, and nothing else: a virtual dataset of GDAL would name other files, or addresses of the network.
KINDS = (b"SQLite format 3\0", b"\x00\x00\x27\x0a", b"fgb\x03", b"{")  # GeoPackage, Shapefile, FlatGeobuf, GeoJSON


@dataclass(frozen=True)
class Land:
    """polygons: of each, its outer ring and its holes, closed (N, 2) x and y. crs: of their coordinates, as text."""

    polygons: tuple[tuple[np.ndarray, ...], ...]
    crs: str

    def covers(self, x: np.ndarray, y: np.ndarray, crs: Any) -> np.ndarray:
        """Whether each point (N) is in a polygon. crs: of the points, whatever pyproj understands."""
        from pyproj import Transformer

        x, y = np.asarray(x, float), np.asarray(y, float)
        if len(x) == 0:
            return np.zeros(0, bool)
        px, py = Transformer.from_crs(crs, self.crs, always_xy=True).transform(x, y)
        inside = np.zeros(len(x), bool)
        for polygon in self.polygons:  # each by itself: where two overlap is land
            odd = np.zeros(len(x), bool)
            for ring in polygon:
                (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
                near = np.flatnonzero((px >= x0) & (px <= x1) & (py >= y0) & (py <= y1) & ~inside)
                step = max(1, AT_ONCE // len(ring))
                for start in range(0, len(near), step):
                    some = near[start : start + step]
                    odd[some] ^= _odd(px[some], py[some], ring)
            inside |= odd
        return inside


def _odd(x: np.ndarray, y: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Whether a line from each point to the right crosses the ring an odd number of times."""
    (ax, ay), (bx, by) = ring[:-1].T, ring[1:].T
    crosses = (ay > y[:, None]) != (by > y[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ax + (y[:, None] - ay) / (by - ay) * (bx - ax)
    return (crosses & (x[:, None] < at)).sum(1) % 2 == 1


def read_land(path: str | PathLike[str]) -> Land:
    """The polygons of a GeoPackage, Shapefile, FlatGeobuf or GeoJSON.

    Raises InputError without pyogrio, for another format or a file that cannot be read, without a CRS, without polygons, and for a
    corner that is no number.
    """
    path = Path(path)
    try:
        from pyogrio.errors import DataSourceError
        from pyogrio.raw import read
    except ImportError:
        raise InputError("A vector file is read with pyogrio: pip install 'workbench[vector]'.") from None
    _check_kind(path)
    try:
        meta, _, geometry, _ = read(path, columns=[])
    except (DataSourceError, OSError, ValueError) as error:
        raise InputError(f"The land polygons in {path} cannot be read ({' '.join(str(error).split())}).") from None
    if not meta["crs"]:
        raise InputError(f"{path} does not say its CRS, so its polygons cannot be placed; write it into the file.")
    polygons: list[tuple[np.ndarray, ...]] = []
    try:
        for one in geometry if geometry is not None else ():
            if one is not None:
                _polygons(bytes(one), 0, polygons)
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(f"The land polygons in {path} are damaged ({error}).") from None
    if not polygons:
        raise InputError(f"{path} has no polygons ({meta['geometry_type']}); land is given as polygons.")
    if not all(np.isfinite(ring).all() for polygon in polygons for ring in polygon):
        raise InputError(
            f"{path} has a polygon with a corner that is no number; repair it, because what is inside is not defined."
        )
    return Land(tuple(polygons), str(meta["crs"]))


def _check_kind(path: Path) -> None:
    try:
        if not path.is_file():
            raise InputError(f"The land polygons in {path} cannot be read: there is no ordinary file; correct the path.")
        with open(path, "rb") as file:
            start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The land polygons in {path} cannot be read ({error}).") from None
    if not start.startswith(KINDS):
        raise InputError(f"{path} is no GeoPackage, Shapefile, FlatGeobuf or GeoJSON; land is given as one of them.")


def _polygons(data: bytes, at: int, into: list[tuple[np.ndarray, ...]]) -> int:
    """Append the polygons of a geometry in well-known binary at offset `at`, their rings closed; returns the offset behind it."""
    order = "<" if data[at] else ">"
    (kind,) = struct.unpack_from(f"{order}I", data, at + 1)
    at += 5
    if kind & 0x20000000:  # the extended form may carry a number of the CRS
        at += 4
    extra = bool(kind & 0x80000000) + bool(kind & 0x40000000)
    kind &= 0x0FFFFFFF
    dims = 2 + extra + (0, 1, 1, 2)[kind // 1000 % 4]
    kind %= 1000
    (count,) = struct.unpack_from(f"{order}I", data, at) if kind != 1 else (0,)
    at += 4 if kind != 1 else 8 * dims
    rings = []
    for _ in range(count):
        if kind == 3:
            (points,) = struct.unpack_from(f"{order}I", data, at)
            ring = np.frombuffer(data, f"{order}f8", points * dims, at + 4).reshape(points, dims)[:, :2].astype(float)
            at += 4 + 8 * points * dims
            if points > 2:
                rings.append(ring if (ring[0] == ring[-1]).all() else np.vstack([ring, ring[:1]]))
        elif kind == 2:
            at += 8 * dims
        else:  # a collection of geometries
            at = _polygons(data, at, into)
    if rings:
        into.append(tuple(rings))
    return at
