"""Catalogue entries of many plots as one scene to train on: the `multimodal` entries of one data set, with the species of their crowns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from workbench.data.entries.kind import Asked, Kind
from workbench.data.entries.located import locate
from workbench.data.entries.multimodal import Multimodal, SensorPart
from workbench.data.records import Sourced, signed
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class OfPlots(Sourced, Kind):
    """What entries share that join the plots of a data set."""

    of: str = Field(description="beginning of the names of the `multimodal` entries that it joins")
    samples: int = Field(ge=2)
    members: list[Multimodal] = Field([], description="filled when the catalogue is read")

    @property
    def many(self) -> bool:
        """True: one sample for each plot."""
        return True

    def completed(self, entries: Mapping[str, Any]) -> Self:
        """With its members, taken from all entries."""
        return self.model_copy(update={"members": members_of(self.of, entries)})

    def place(self) -> Path:
        """The cube of the first plot; the files of all are verified."""
        places = [m.place() for m in self.members]
        return places[0]

    def marked(self, scene: xr.Dataset) -> xr.Dataset:
        """The scene with the hash of all files and the entry's provenance."""
        digests = "\n".join(f.sha256 for m in self.members for f in m.files)
        scene.attrs.update(sha256=hashlib.sha256(digests.encode()).hexdigest(), simulated="")
        return signed(scene, self)


class Plots(OfPlots):
    """The plots of a data set as one scene of many samples: `hsi`, `lidar` and `truth`, all with a leading `sample`."""

    kind: Literal["plots"]
    classes: dict[str, str] = Field(
        min_length=2, description="species code of the field table -> name, in the order of the numbers"
    )
    labelled_pixels: int = Field(ge=1)

    @property
    def provides(self) -> tuple[str, ...]:
        """Cube, layers of the point cloud, classes."""
        return ("hsi", "lidar", "truth")

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "joins plots that have their own truth"

    def read(self, asked: Asked) -> xr.Dataset:
        """The plots; see `workbench.data.plots.stacked`."""
        from workbench.data.plots import crowns_of, stacked

        scenes, clouds = {}, {}
        for member in self.members:
            name = member.id.removeprefix(self.of)
            scenes[name] = member.open(chunks=asked.chunks)
            clouds[name] = file_of(member, "cloud")
        if len(scenes) != self.samples:
            raise InputError(f"{self.id} should join {self.samples} plots; the catalogue has {len(scenes)}.")
        scene = stacked(scenes, clouds, crowns_of(*crown_files(self.members)), self.classes)
        labelled = int((scene["truth"] > 0).sum())
        if labelled != self.labelled_pixels:
            raise InputError(f"{self.id} should have {self.labelled_pixels} labelled pixels; {labelled} were found.")
        return self.marked(scene)

    def card(self) -> list[str]:
        """Number of plots, classes, labelled pixels."""
        return [
            f"  {self.samples} plots, {len(self.classes)} classes, {self.labelled_pixels} labelled pixels, {self.sensor}",
            f"  joins: {self.of}* ({len(self.members)} entries)",
            f"  publisher: {self.publisher}",
        ]


def members_of(beginning: str, entries: Mapping[str, Any]) -> list[Multimodal]:
    """The `multimodal` entries whose names begin so, by name."""
    members = [e for e in entries.values() if isinstance(e, Multimodal) and e.id.startswith(beginning)]
    return sorted(members, key=lambda e: e.id)


def file_of(member: Multimodal, role: str) -> Path:
    """The first file of a role, verified."""
    part: SensorPart = next(f for f in member.files if f.role == role)
    return locate(member, [part])[0]


def crown_files(members: Sequence[Multimodal]) -> tuple[list[Path], Path]:
    """(the polygons of the crowns of each site, the field table), verified."""
    crowns = []
    for site in {m.site: m for m in members}.values():
        field = next(f for f in site.files if f.role == "field" and f.path.endswith("train_data.csv"))
        table = locate(site, [field])[0]
        shared = [f for f in site.files if f.role == "crowns"]
        crowns.append(next(p for p in locate(site, shared) if p.suffix == ".shp"))
    if not crowns:
        raise InputError("No plots to join were found in the catalogue.")
    return crowns, table
