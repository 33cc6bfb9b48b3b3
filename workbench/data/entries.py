"""Catalogue entries of SAR rasters and of images with boxes: their fields, and how they are opened and described.

The fields are explained in data_catalog/README.md. Files are found, downloaded and verified as those of every other entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from workbench.data.chips import Located, Part, listing_sha256, locate
from workbench.data.records import Sourced, file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class RolePart(Part):
    """A file of a SAR entry: the intensity, a truth mask, an optical image on the same grid, or a part of a product folder."""

    role: Literal["sar", "truth", "image", "product"] = "sar"


class _Kept(Sourced):
    keys: dict[str, str] = Field({}, description="choices of the reader, as --key brings them")


class Sar(_Kept):
    """A SAR raster: a GeoTIFF of intensity, with or without truth and an optical image, or a Sentinel-1 SAFE folder."""

    kind: Literal["sar"]
    files: list[RolePart] = Field(min_length=1)
    image_scale: float = Field(1.0, gt=0, description="what the optical image is multiplied with to be in 0..1")
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


class Boxes(_Kept):
    """Images with boxes, or without: the layouts of `workbench.data.boxes`."""

    kind: Literal["boxes"]
    folder: str = Field(description="folder of the images and annotations, below WORKBENCH_DATA or the cache")
    files: list[Part] = Field(min_length=1, description="every file, or the folder itself")
    listing_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="of the sorted listing of all its files")
    samples: int = Field(ge=1)
    boxes: int | None = Field(None, ge=0, description="how many; absent for images without boxes")
    parts: dict[str, int] = Field({}, description="endings of the files of one sample, and bands to take of each")

    @model_validator(mode="after")
    def _whole(self) -> Boxes:
        alone = [f.path for f in self.files] == [self.folder]
        if alone != (self.listing_sha256 is not None):
            raise ValueError("a folder without a list of its files needs listing_sha256, and only that does")
        if not alone and not all(PurePosixPath(f.path).is_relative_to(self.folder) and f.sha256 for f in self.files):
            raise ValueError("files must lie in the folder and have a sha256")
        return self


def open_sar_entry(
    entry: Sar, truth: str | Path | None = None, keys: Mapping[str, str] | None = None, chunks: Any = "auto"
) -> xr.Dataset:
    """The scene of a SAR entry, verified, with its provenance."""
    from workbench.data.readers import sar

    places = dict(zip([f.path for f in entry.files], verified(entry), strict=True))
    role = {f.role: places[f.path] for f in entry.files}
    keys = {**entry.keys, **(keys or {})}
    if "product" in role:
        manifest = next(p for p in places.values() if p.name == "manifest.safe")
        opener = sar.opener(manifest)
        if opener is None:
            raise InputError(f"{manifest.parent} is no Sentinel-1 SAFE folder.")
        scene = opener(manifest, truth=truth, keys=keys, chunks=chunks)
    else:
        scene = sar.open_sar(role["sar"], truth=truth or role.get("truth"), keys=keys, chunks=chunks)
        scene.attrs["sha256"] = next(f.sha256 for f in entry.files if f.role == "sar")
    if "image" in role:
        scene = _with_image(scene, role["image"], entry, chunks)
    return signed(scene, entry)


def open_boxes_entry(
    entry: Boxes, truth: str | Path | None = None, keys: Mapping[str, str] | None = None, chunks: Any = "auto"
) -> xr.Dataset:
    """The scene of an entry of images with boxes, verified, with its provenance."""
    from workbench.data import boxes

    if entry.boxes is None and (truth is not None or keys):
        raise InputError(f"{entry.id} has images only; leave truth and key out.")
    folder = _root(entry)
    if entry.boxes is None:
        scene = boxes.open_images(folder, entry.parts or None, chunks)
    else:
        scene = boxes.open_folder(folder, truth=truth, keys={**entry.keys, **(keys or {})}, chunks=chunks)
    if not keys and (scene.sizes["sample"], scene.sizes.get("object")) != (entry.samples, entry.boxes):
        raise InputError(
            f"{entry.id} should have {entry.samples} images and {entry.boxes} boxes; {scene.sizes['sample']} and "
            f"{scene.sizes.get('object')} were found. Are there other files in {folder}?"
        )
    return signed(scene, entry)


def card(entry: Sar | Boxes) -> list[str]:
    """Lines that describe an entry, without opening or downloading anything."""
    if isinstance(entry, Boxes):
        what = "no boxes" if entry.boxes is None else f"{entry.boxes} boxes"
        lines = [f"  chips: {entry.samples} images, {what}, {entry.sensor}", f"  folder: {entry.folder}"]
    else:
        lines = [f"  sar: {entry.sensor}"]
    lines.append(f"  publisher: {entry.publisher}")
    return lines + file_lines(entry.files, entry.obtain)


def place(entry: Sar | Boxes) -> Path:
    """The file, or for a product or a collection the folder, verified and downloaded if need be."""
    if isinstance(entry, Boxes):
        return _root(entry)
    found = dict(zip([f.role for f in entry.files], verified(entry), strict=True))
    return found["sar"] if "sar" in found else next(p.parent for p in verified(entry) if p.name == "manifest.safe")


def _root(entry: Boxes) -> Path:
    if entry.listing_sha256 is None:
        first = verified(entry)[0]
        return first.parents[len(PurePosixPath(entry.files[0].path).relative_to(entry.folder).parts) - 1]
    folder = locate(entry)[0]
    every = {p.relative_to(folder).as_posix(): (p, None) for p in folder.rglob("*") if p.is_file()}
    found = listing_sha256(every)
    if found != entry.listing_sha256:
        raise InputError(
            f"{folder} is not the collection of the catalogue: the SHA-256 of its listing is {found}, not {entry.listing_sha256}. "
            "Remove or replace it, or open it by its path to use it as it is."
        )
    return folder


def verified(entry: Located) -> list[Path]:
    """Where the files are, each compared with its checksum also where they cannot be downloaded."""
    from workbench.data import fetch

    places = locate(entry)
    for path, part in zip(places, entry.files, strict=True):
        if part.sha256 is not None and fetch.sha256(path) != part.sha256:
            raise InputError(
                f"{path} is not the file of the catalogue: its SHA-256 is {fetch.sha256(path)}, not {part.sha256}."
            )
    return places


def _with_image(scene: xr.Dataset, path: Path, entry: Sar, chunks: Any) -> xr.Dataset:
    """The scene with the optical image that lies on the same grid, as `image (band, y, x)` float32."""
    import numpy as np

    from workbench.data.readers import open_file

    cube = open_file(path, chunks=chunks)["hsi"]
    same = cube.shape[1:] == scene["sar"].shape[1:] and all(
        np.allclose(cube[d], scene[d], rtol=0, atol=1e-6 * abs(float(scene[d][1] - scene[d][0]))) for d in ("y", "x")
    )
    if not same:
        raise InputError(f"{path.name} does not lie on the grid of the SAR image; resample it to that grid.")
    values = (cube.variable * np.float32(entry.image_scale)).astype(np.float32)
    about = {"long_name": "reflectance", "units": "1"}
    scene = scene.assign(image=(("band", "y", "x"), values.data, about))
    if entry.image_wavelengths:
        about = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
        scene = scene.assign_coords(wavelength=("band", np.array(entry.image_wavelengths), about))
    return scene
