"""Catalogue entries of labelled chips; the fields are explained in data_catalog/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import Part, locate
from workbench.data.records import Sourced, file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Chips(Sourced, Kind):
    """Labelled chips: a folder or zips of images, two MATLAB tables, or the embedded digits."""

    kind: Literal["chips"]
    layout: Literal["folder", "zip", "pixels", "digits"]
    files: list[Part] = Field([])
    listing_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the sorted listing of all images"
    )
    samples: int = Field(gt=1)
    classes: list[str] = Field(min_length=2)
    folders: list[str] = Field([], description="folder of each class, where it is not the name of the class")
    keys: tuple[str | None, str | None] = Field((None, None), description="arrays of values and labels, layout pixels")
    variable: Literal["hsi", "lidar"] = Field("hsi", description="what the values are, layout pixels")
    window: int = Field(
        1,
        ge=1,
        description="y = x of a window around each pixel, layout pixels; with a third file, of LiDAR, that of its windows",
    )

    @model_validator(mode="after")
    def _whole(self) -> Chips:
        if self.folders and len(self.folders) != len(self.classes):
            raise ValueError("folders must name one folder for each class")
        if (self.layout in ("folder", "zip")) != (self.listing_sha256 is not None):
            raise ValueError("listing_sha256 belongs to the layouts folder and zip, and only to them")
        counts = {
            "folder": len(self.files) == 1,
            "zip": len(self.files) > 0,
            "pixels": len(self.files) in (2, 3),
            "digits": not self.files,
        }
        if not counts[self.layout]:
            raise ValueError(f"layout {self.layout} needs another number of files")
        return self

    @property
    def provides(self) -> tuple[str, ...]:
        """Images, spectra or heights, and the class of each."""
        further = ("lidar",) if self.layout == "pixels" and len(self.files) == 3 else ()
        return (
            self.variable if self.layout == "pixels" else "image",
            *(further if self.layout == "pixels" else ()),
            "label",
        )

    @property
    def many(self) -> bool:
        """True: many samples."""
        return True

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "has a label for every chip"

    def read(self, asked: Asked) -> xr.Dataset:
        """`image (sample, band, y, x)`, `hsi` or `lidar`, and `label (sample)`; chips are read when they are computed."""
        from workbench.data import chips

        places = locate(self, self.files)
        if self.layout == "digits":
            scene = chips.digits()
        elif self.layout == "pixels":
            scene = chips.open_pixels(
                *places[:2],
                keys=self.keys,
                names=self.classes,
                variable=self.variable,
                window=self.window if len(places) == 2 else 1,
            )
            if len(places) == 3:
                scene = chips.with_lidar(scene, places[2], self.window)
        else:
            called = dict(zip(self.folders, self.classes, strict=False))
            scene = chips.open_chips(places, names=called, verify=self.listing_sha256)
        if scene.sizes["sample"] != self.samples:
            raise InputError(f"{self.id} should have {self.samples} samples; {scene.sizes['sample']} were found.")
        return signed(scene, self)

    def place(self) -> Path:
        """The folder or the first file; InputError for the embedded digits."""
        if not self.files:
            raise InputError(f"{self.id} is included in the package; there is nothing to fetch.")
        return locate(self, self.files)[0]

    def card(self) -> list[str]:
        """Number of samples, the classes and the files."""
        lines = [f"  chips: {self.samples} samples of {len(self.classes)} classes, {self.sensor}"]
        lines += [f"  classes: {', '.join(self.classes)}", f"  publisher: {self.publisher}"]
        if self.listing_sha256:
            lines.append(f"  sha256 of the listing: {self.listing_sha256}")
        return lines + file_lines(self.files, self.obtain)
