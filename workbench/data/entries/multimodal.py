"""Catalogue entries of one place seen by several sensors: a hyperspectral cube and a height raster.

The fields are explained in data_catalog/README.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import Part, locate
from workbench.data.records import Sourced, file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

OPENED = ("hsi", "lidar")  # roles that become variables of the scene


class SensorPart(Part):
    """A file of a multimodal entry. `hsi` and `lidar` are opened; the others are only fetched with them."""

    role: Literal["hsi", "lidar", "rgb", "cloud", "crowns", "field"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Multimodal(Sourced, Kind):
    """One place with files of several sensors on one grid: `hsi (band, y, x)` and `lidar (lidar_band, y, x)` in metres."""

    kind: Literal["multimodal"]
    site: str = Field(description="location; scenes of one site are similar to each other")
    shape: tuple[int, int, int] = Field(description="bands, rows and columns of the cube")
    files: list[SensorPart] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """`shared` files added to `files`, and the addresses that follow from `mirrors` (folder -> address)."""
        if not isinstance(given, dict):
            return given
        fields = dict(given)
        mirrors, listed, shared = fields.pop("mirrors", {}), fields.get("files", []), fields.pop("shared", [])
        if not isinstance(mirrors, dict) or not all(isinstance(part, list) for part in (listed, shared)):
            raise ValueError("files and shared are lists, and mirrors is a mapping")
        if not all(isinstance(f, dict) for f in [*listed, *shared]):
            raise ValueError("each file is a mapping")
        files = [dict(f) for f in [*listed, *shared]]
        for f in files:
            path = PurePosixPath(str(f.get("path")))
            if str(path.parent) in mirrors:
                f.setdefault("url", f"{mirrors[str(path.parent)]}/{path.name}")
        return {**fields, "files": files}

    @model_validator(mode="after")
    def _opens(self) -> Multimodal:
        roles: list[str] = [f.role for f in self.files]
        if any(roles.count(role) != 1 for role in OPENED):
            raise ValueError("needs exactly one hsi and one lidar file")
        return self

    @property
    def provides(self) -> tuple[str, ...]:
        """The cube and the heights."""
        return OPENED

    def pixel_files(self) -> Sequence[SensorPart]:
        """The cube's file."""
        return [f for f in self.files if f.role == "hsi"]

    def read(self, asked: Asked) -> xr.Dataset:
        """`hsi (band, y, x)` and `lidar (lidar_band, y, x)`; InputError where the two files have different grids."""
        from workbench.data.beside import put_beside
        from workbench.data.formats import open_file

        opened = [f for f in self.files if f.role in OPENED]
        places = dict(zip([f.role for f in opened], locate(self, opened), strict=True))
        scene = open_file(places["hsi"], truth=asked.truth, keys=asked.keys, chunks=asked.chunks, ortho=asked.ortho)
        if scene["hsi"].shape != self.shape:
            raise InputError(f"{self.id} should have a cube of {self.shape}; the file has {scene['hsi'].shape}.")
        scene = put_beside(scene, {"lidar": places["lidar"]})
        scene["lidar"].attrs["long_name"] = "height above ground"
        digests = "\n".join(f.sha256 for f in opened)
        scene.attrs.update(sha256=hashlib.sha256(digests.encode()).hexdigest(), site=self.site, simulated="")
        return signed(scene, self)

    def place(self) -> Path:
        """The file of the cube; every file of the entry is verified, and downloaded if necessary."""
        return dict(zip([f.role for f in self.files], locate(self, self.files), strict=True))["hsi"]

    def card(self) -> list[str]:
        """Size, site and the files."""
        bands, rows, columns = self.shape
        lines = [f"  hsi: {rows} x {columns} pixels, {bands} bands; lidar: heights on the same pixels; {self.sensor}"]
        lines += [f"  site: {self.site}", f"  publisher: {self.publisher}"]
        return lines + file_lines(self.files, self.obtain)
