"""Catalogue entries of many plots as images with boxes: the `multimodal` entries of one data set, with their crowns as rectangles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.multimodal import Multimodal
from workbench.data.entries.plots import crown_files, file_of, members_of
from workbench.data.records import Sourced, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Crowns(Sourced, Kind):
    """The plots of a data set as images of four bands, red, green, blue and near infrared, with the crowns as boxes of one class."""

    kind: Literal["crowns"]
    of: str = Field(description="beginning of the names of the `multimodal` entries that it joins")
    near_infrared: int = Field(ge=1, description="band of the cubes, from 1, that becomes the fourth band")
    samples: int = Field(ge=2)
    boxes: int = Field(ge=1)
    members: list[Multimodal] = Field([], description="filled when the catalogue is read")

    @property
    def provides(self) -> tuple[str, ...]:
        """Images and boxes."""
        return ("image", "box", "box_sample", "box_label")

    @property
    def many(self) -> bool:
        """True: one sample for each plot."""
        return True

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "joins plots that have their own crowns"

    def completed(self, entries: Mapping[str, Any]) -> Self:
        """With its members, taken from all entries."""
        return self.model_copy(update={"members": members_of(self.of, entries)})

    def read(self, asked: Asked) -> xr.Dataset:
        """The images; see `workbench.data.crowns.crown_images`."""
        from workbench.data.crowns import crown_images
        from workbench.data.plots import crowns_of

        plots = {m.id.removeprefix(self.of): (file_of(m, "rgb"), file_of(m, "hsi")) for m in self.members}
        scene = crown_images(plots, crowns_of(*crown_files(self.members)), self.near_infrared)
        if (scene.sizes["sample"], scene.sizes["object"]) != (self.samples, self.boxes):
            raise InputError(
                f"{self.id} should have {self.samples} plots and {self.boxes} crowns; {scene.sizes['sample']} and "
                f"{scene.sizes['object']} were found."
            )
        digests = "\n".join(f.sha256 for m in self.members for f in m.files)
        scene.attrs.update(sha256=hashlib.sha256(digests.encode()).hexdigest(), simulated="")
        return signed(scene, self)

    def place(self) -> Path:
        """The cube of the first plot; the files of all are verified."""
        places = [m.place() for m in self.members]
        return places[0]

    def card(self) -> list[str]:
        """Number of plots and boxes."""
        return [
            f"  {self.samples} images of four bands with {self.boxes} crowns, {self.sensor}",
            f"  joins: {self.of}* ({len(self.members)} entries)",
            f"  publisher: {self.publisher}",
        ]
