"""Catalogue entries of images with or without boxes; the fields are explained in data_catalog/README.md."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import Kept, Part, locate
from workbench.data.records import Sourced, file_lines, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Boxes(Kept, Kind):
    """Images with or without boxes: the layouts of `workbench.data.boxes`."""

    kind: Literal["boxes"]
    folder: str = Field(description="folder of the images and annotations, below WORKBENCH_DATA or the cache")
    files: list[Part] = Field(min_length=1, description="every file, or only the folder")
    listing_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the sorted listing of all its files"
    )
    samples: int = Field(ge=1)
    boxes: int | None = Field(None, ge=0, description="number of boxes; absent for images without boxes")
    parts: dict[str, int] = Field({}, description="endings of the files of one sample, and bands to take of each")

    @model_validator(mode="after")
    def _whole(self) -> Boxes:
        alone = [f.path for f in self.files] == [self.folder]
        if alone != (self.listing_sha256 is not None):
            raise ValueError("a folder without a list of its files needs listing_sha256, and only that does")
        if not alone and not all(PurePosixPath(f.path).is_relative_to(self.folder) and f.sha256 for f in self.files):
            raise ValueError("files must be in the folder and have a sha256")
        return self

    @property
    def provides(self) -> tuple[str, ...]:
        """Images, and boxes where the entry has annotations."""
        return ("image",) if self.boxes is None else ("image", "box", "box_sample", "box_label")

    @property
    def many(self) -> bool:
        """True: many samples."""
        return True

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "has images only" if self.boxes is None else ""

    def read(self, asked: Asked) -> xr.Dataset:
        """`image (sample, band, y, x)` and the table of boxes; see `workbench.data.boxes`."""
        from workbench.data import boxes

        folder = self.place()
        if self.boxes is None:
            scene = boxes.open_images(folder, self.parts or None, asked.chunks)
        else:
            scene = boxes.open_folder(folder, truth=asked.truth, keys={**self.keys, **asked.keys}, chunks=asked.chunks)
        if not asked.keys and (scene.sizes["sample"], scene.sizes.get("object")) != (self.samples, self.boxes):
            raise InputError(
                f"{self.id} should have {self.samples} images and {self.boxes} boxes; {scene.sizes['sample']} and "
                f"{scene.sizes.get('object')} were found. Are there other files in {folder}?"
            )
        return signed(scene, self)

    def place(self) -> Path:
        """The folder. Its files are verified; without a list of files, its listing is."""
        from workbench.data.chips import listing_sha256

        first = locate(self, self.files)[0]
        if self.listing_sha256 is None:
            return first.parents[len(PurePosixPath(self.files[0].path).relative_to(self.folder).parts) - 1]
        sha256 = listing_sha256({p.relative_to(first).as_posix(): (p, None) for p in first.rglob("*") if p.is_file()})
        if sha256 != self.listing_sha256:
            raise InputError(
                f"{first} is not the collection of the catalogue: the SHA-256 of its listing is {sha256}, not "
                f"{self.listing_sha256}. Remove or replace it, or open it by its path to use it as it is."
            )
        return first

    def card(self) -> list[str]:
        """Number of images and boxes, the folder, the files."""
        what = "no boxes" if self.boxes is None else f"{self.boxes} boxes"
        lines = [f"  chips: {self.samples} images, {what}, {self.sensor}", f"  folder: {self.folder}"]
        return [*lines, f"  publisher: {self.publisher}", *file_lines(self.files, self.obtain)]


class JoinedBoxes(Sourced, Kind):
    """Chips of several `boxes` entries as one set, with one class; published by the same people."""

    kind: Literal["boxes-joined"]
    members: list[Boxes] = Field(
        min_length=2, description="the entries, written as entries; citation, sensor and publisher are those of this one"
    )
    label: str = Field(description="the class of all boxes")
    samples: int = Field(ge=2)
    boxes: int = Field(ge=1)

    @model_validator(mode="before")
    @classmethod
    def _shared(cls, fields: Any) -> Any:
        """Members without the fields that they share with this entry."""
        if isinstance(fields, dict) and isinstance(fields.get("members"), list):
            shared = {n: fields[n] for n in ("sensor", "publisher", "citation") if n in fields}
            members = [{"kind": "boxes", **shared, **m} if isinstance(m, dict) else m for m in fields["members"]]
            return {**fields, "members": members}
        return fields

    @property
    def provides(self) -> tuple[str, ...]:
        """Images and boxes."""
        return ("image", "box", "box_sample", "box_label")

    @property
    def many(self) -> bool:
        """True: many samples."""
        return True

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "joins several sets that have their own boxes"

    def read(self, asked: Asked) -> xr.Dataset:
        """The chips of all members; see `workbench.data.boxes.joined`."""
        from workbench.data import boxes

        scene = boxes.joined([m.open(chunks=asked.chunks) for m in self.members], self.label)
        if (scene.sizes["sample"], scene.sizes["object"]) != (self.samples, self.boxes):
            raise InputError(
                f"{self.id} should have {self.samples} images and {self.boxes} boxes; {scene.sizes['sample']} and "
                f"{scene.sizes['object']} were found."
            )
        return signed(scene, self)

    def place(self) -> Path:
        """The folder of the first member; the files of all are verified."""
        places = [m.place() for m in self.members]
        return places[0]

    def card(self) -> list[str]:
        """Number of images and boxes, and the joined entries."""
        joined = ", ".join(m.id for m in self.members)
        lines = [f"  chips: {self.samples} images, {self.boxes} boxes, {self.sensor}", f"  joins: {joined}"]
        return [*lines, f"  publisher: {self.publisher}"]
