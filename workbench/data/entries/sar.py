"""Catalogue entries of SAR rasters; the fields are explained in data_catalog/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import Kept, Part, locate
from workbench.data.records import file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class RolePart(Part):
    """A file of a SAR entry: the intensity, a truth mask, an optical image on the same grid, or a part of a product folder."""

    role: Literal["sar", "truth", "image", "product"] = "sar"


class Sar(Kept, Kind):
    """A SAR raster: a GeoTIFF of intensity, with or without truth and an optical image, or a Sentinel-1 SAFE folder."""

    kind: Literal["sar"]
    files: list[RolePart] = Field(min_length=1)
    image_scale: float = Field(1.0, gt=0, description="factor that scales the optical image to 0..1")
    image_wavelengths: list[float] = Field([], description="nm, one for each band of the optical image")

    @model_validator(mode="after")
    def _whole(self) -> Sar:
        roles = [f.role for f in self.files]
        if "product" in roles:
            if set(roles) != {"product"} or sum(f.path.endswith("/manifest.safe") for f in self.files) != 1:
                raise ValueError("a product has only files of the role product, and one manifest.safe")
        elif roles.count("sar") != 1 or len(set(roles)) != len(roles):
            raise ValueError("needs one sar file, and at most one truth and one image")
        return self

    @property
    def provides(self) -> tuple[str, ...]:
        """The intensity, and truth and optical image where the entry has such files."""
        roles = {f.role for f in self.files}
        return ("sar", *(name for name in ("truth", "image") if name in roles))

    def pixel_files(self) -> Sequence[RolePart]:
        """Every file that has a checksum."""
        return [f for f in self.files if f.sha256]

    def read(self, asked: Asked) -> xr.Dataset:
        """`sar (sar_band, y, x)` and, where the entry has such files, `truth (y, x)` and `image (band, y, x)`."""
        from workbench.data.readers import sar, sentinel1

        places = locate(self, self.files)
        role = dict(zip([f.role for f in self.files], places, strict=True))
        keys = {**self.keys, **asked.keys}
        if "product" in role:
            scene = sentinel1.open_keys(self._manifest(places), keys, asked.chunks, truth=asked.truth)
        else:
            scene = sar.open_sar(role["sar"], truth=asked.truth or role.get("truth"), keys=keys, chunks=asked.chunks)
            scene.attrs["sha256"] = next(f.sha256 for f in self.files if f.role == "sar")
        if "image" in role:
            scene = _with_image(scene, role["image"], self, asked.chunks)
        return signed(scene, self)

    def place(self) -> Path:
        """The raster, or the folder of the product."""
        places = locate(self, self.files)
        role = dict(zip([f.role for f in self.files], places, strict=True))
        return role["sar"] if "sar" in role else self._manifest(places).parent

    def card(self) -> list[str]:
        """The sensor and the files."""
        lines = [f"  sar: {self.sensor}", f"  publisher: {self.publisher}"]
        return lines + file_lines(self.files, self.obtain)

    def _manifest(self, places: Sequence[Path]) -> Path:
        return next(p for p in places if p.name == "manifest.safe")


def _with_image(scene: xr.Dataset, path: Path, entry: Sar, chunks: Any) -> xr.Dataset:
    """The scene with the optical image, which must be on the same grid, as `image (band, y, x)` float32."""
    import numpy as np

    from workbench.data.formats import open_file

    cube = open_file(path, chunks=chunks)["hsi"]
    same = cube.shape[1:] == scene["sar"].shape[1:] and all(
        np.allclose(cube[d], scene[d], rtol=0, atol=1e-6 * abs(float(scene[d][1] - scene[d][0]))) for d in ("y", "x")
    )
    if not same:
        raise InputError(f"{path.name} is not on the grid of the SAR image; resample it to that grid.")
    values = (cube.variable * np.float32(entry.image_scale)).astype(np.float32)
    about = {"long_name": "reflectance", "units": "1"}
    scene = scene.assign(image=(("band", "y", "x"), values.data, about))
    if entry.image_wavelengths:
        about = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
        scene = scene.assign_coords(wavelength=("band", np.array(entry.image_wavelengths), about))
    return scene
