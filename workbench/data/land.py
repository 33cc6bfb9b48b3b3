"""Which points are on land: polygons of a vector file that the user gives, such as a coastline.

    land = read_land("coast.gpkg")
    land.covers(longitude, latitude, "EPSG:4326")        # bool of each point

Points are tested exactly against the polygons (even-odd rule), so nothing as large as the scene is made.
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


@dataclass(frozen=True)
class Land:
    """rings: closed (N, 2) x and y, outer rings and holes of all polygons. crs: of their coordinates, as text."""

    rings: tuple[np.ndarray, ...]
    crs: str

    def covers(self, x: np.ndarray, y: np.ndarray, crs: Any) -> np.ndarray:
        """Whether each point (N) is in a polygon. crs: of the points, whatever pyproj understands."""
        from pyproj import Transformer

        x, y = np.asarray(x, float), np.asarray(y, float)
        if len(x) == 0:
            return np.zeros(0, bool)
        px, py = Transformer.from_crs(crs, self.crs, always_xy=True).transform(x, y)
        inside = np.zeros(len(x), bool)
        for ring in self.rings:
            (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
            near = np.flatnonzero((px >= x0) & (px <= x1) & (py >= y0) & (py <= y1))
            step = max(1, AT_ONCE // len(ring))
            for start in range(0, len(near), step):
                some = near[start : start + step]
                inside[some] ^= _odd(px[some], py[some], ring)
        return inside


def _odd(x: np.ndarray, y: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Whether a line from each point to the right crosses the ring an odd number of times."""
    (ax, ay), (bx, by) = ring[:-1].T, ring[1:].T
    crosses = (ay > y[:, None]) != (by > y[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ax + (y[:, None] - ay) / (by - ay) * (bx - ax)
    return (crosses & (x[:, None] < at)).sum(1) % 2 == 1


def read_land(path: str | PathLike[str]) -> Land:
    """The polygons of a GeoPackage, Shapefile, GeoJSON or any other vector file that pyogrio reads.

    Raises InputError without pyogrio, for a file that cannot be read, without a CRS, or without polygons.
    """
    path = Path(path)
    try:
        from pyogrio.errors import DataSourceError
        from pyogrio.raw import read
    except ImportError:
        raise InputError("A vector file is read with pyogrio: pip install 'workbench[vector]'.") from None
    try:
        meta, _, geometry, _ = read(path, columns=[])
    except (DataSourceError, OSError, ValueError) as error:
        raise InputError(f"The land polygons in {path} cannot be read ({' '.join(str(error).split())}).") from None
    if not meta["crs"]:
        raise InputError(f"{path} does not say its CRS, so its polygons cannot be placed; write it into the file.")
    rings: list[np.ndarray] = []
    for one in geometry if geometry is not None else ():
        if one is not None:
            _rings(bytes(one), 0, rings)
    if not rings:
        raise InputError(f"{path} has no polygons ({meta['geometry_type']}); land is given as polygons.")
    return Land(tuple(rings), str(meta["crs"]))


def _rings(data: bytes, at: int, into: list[np.ndarray]) -> int:
    """Append the rings of the polygons of a geometry in well-known binary at offset `at`; returns the offset behind it."""
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
    for _ in range(count):
        if kind == 3:
            (points,) = struct.unpack_from(f"{order}I", data, at)
            ring = np.frombuffer(data, f"{order}f8", points * dims, at + 4).reshape(points, dims)[:, :2].astype(float)
            at += 4 + 8 * points * dims
            if points > 2:
                into.append(ring)
        elif kind == 2:
            at += 8 * dims
        else:  # a collection of geometries
            at = _rings(data, at, into)
    return at
