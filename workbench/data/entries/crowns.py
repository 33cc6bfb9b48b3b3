"""Catalogue entries of many plots as images with boxes: the `multimodal` entries of one data set, with their crowns as rectangles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workbench.data.entries.kind import Asked
from workbench.data.entries.plots import OfPlots, crown_files, file_of
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Crowns(OfPlots):
    """The plots of a data set as images of four bands, red, green, blue and near infrared, with the crowns as boxes of one class."""

    kind: Literal["crowns"]
    near_infrared: int = Field(ge=1, description="band of the cubes, from 1, that becomes the fourth band")
    boxes: int = Field(ge=1)

    @property
    def provides(self) -> tuple[str, ...]:
        """Images and boxes."""
        return ("image", "box", "box_sample", "box_label")

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "joins plots that have their own crowns"

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
        return self.marked(scene)

    def card(self) -> list[str]:
        """Number of plots and boxes."""
        return [
            f"  {self.samples} images of four bands with {self.boxes} crowns, {self.sensor}",
            f"  joins: {self.of}* ({len(self.members)} entries)",
            f"  publisher: {self.publisher}",
        ]
