"""Catalogue entries of one place seen by several sensors: a hyperspectral cube with a height raster beside it.

The fields are explained in data_catalog/README.md. Files are found, downloaded and verified as those of every other entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from workbench.data.chips import Part
from workbench.data.entries import verified
from workbench.data.records import Sourced, file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

OPENED = ("hsi", "lidar")  # roles that become variables of the scene


class SensorPart(Part):
    """A file of a multimodal entry. `hsi` and `lidar` are opened; the others belong to the place and are fetched with it."""

    role: Literal["hsi", "lidar", "rgb", "cloud", "crowns", "field"]


class Multimodal(Sourced):
    """One place with files of several sensors on one grid: `hsi (band, y, x)` and `lidar (lidar_band, y, x)` in metres."""

    kind: Literal["multimodal"]
    site: str = Field(description="where the place lies; scenes of one site resemble one another")
    shape: tuple[int, int, int] = Field(description="bands, rows and columns of the cube")
    files: list[SensorPart] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """`shared` files added to `files`, and the addresses that `mirrors` (folder -> address) implies."""
        if not isinstance(given, dict):
            return given
        fields = dict(given)
        mirrors = fields.pop("mirrors", {})
        files = [dict(f) for f in [*fields.get("files", []), *fields.pop("shared", [])]]
        for f in files:
            path = PurePosixPath(str(f.get("path")))
            if str(path.parent) in mirrors:
                f.setdefault("url", f"{mirrors[str(path.parent)]}/{path.name}")
        return {**fields, "files": files}

    @model_validator(mode="after")
    def _opens(self) -> Multimodal:
        roles = [f.role for f in self.files]
        if any(roles.count(role) != 1 for role in OPENED):
            raise ValueError("needs exactly one hsi and one lidar file")
        return self


def open_entry(
    entry: Multimodal, truth: str | Path | None = None, keys: Mapping[str, str] | None = None, chunks: Any = "auto"
) -> xr.Dataset:
    """The scene of an entry, its two opened files verified; InputError where these do not lie on one grid."""
    from workbench.data.readers import open_file

    opened = entry.model_copy(update={"files": [f for f in entry.files if f.role in OPENED]})
    places = dict(zip([f.role for f in opened.files], verified(opened), strict=True))
    scene = open_file(places["hsi"], truth=truth, keys=keys, chunks=chunks)
    if scene["hsi"].shape != entry.shape:
        raise InputError(f"{entry.id} should have a cube of {entry.shape}; {scene['hsi'].shape} was found.")
    scene = with_height(scene, places["lidar"])
    digests = "\n".join(str(f.sha256) for f in opened.files)
    scene.attrs.update(sha256=hashlib.sha256(digests.encode()).hexdigest(), site=entry.site, simulated="")
    return signed(scene, entry)


def with_height(scene: xr.Dataset, path: Path) -> xr.Dataset:
    """The scene with the raster of heights in `path` as `lidar (lidar_band, y, x)` float32, lazy, NaN where missing.

    Raises InputError where the raster does not lie on the grid of the scene: it is not resampled silently.
    """
    from workbench.data.readers.raster import open_raster

    raster = open_raster(path)
    same = raster.grid is not None and raster.shape[1:] == scene["hsi"].shape[1:]
    if raster.grid is not None and same:
        step = abs(float(scene["x"][1] - scene["x"][0]))
        same = all(
            np.allclose(scene[dim], centres, rtol=0, atol=1e-3 * step)
            for dim, centres in zip(("y", "x"), raster.grid.centres(), strict=True)
        )
        same = same and scene.rio.crs == raster.grid.crs
    if not same:
        raise InputError(f"{path.name} does not lie on the grid of the cube; resample it to that grid.")
    about = {"long_name": "height above ground", "units": "m"}
    return scene.assign(lidar=(("lidar_band", "y", "x"), raster.lazy(), about))


def card(entry: Multimodal) -> list[str]:
    """Lines that describe an entry, without opening or downloading anything."""
    bands, rows, columns = entry.shape
    lines = [f"  hsi: {rows} x {columns} pixels, {bands} bands; lidar: heights on the same pixels; {entry.sensor}"]
    lines += [f"  site: {entry.site}", f"  publisher: {entry.publisher}"]
    return lines + file_lines(entry.files, entry.obtain)


def place(entry: Multimodal) -> Path:
    """The file of the cube; every file of the entry is verified, and downloaded if need be."""
    return dict(zip([f.role for f in entry.files], verified(entry), strict=True))["hsi"]
