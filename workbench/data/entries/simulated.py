"""Catalogue entries of simulated scenes, pairs and chips, which are computed when they are opened."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.data import records
from workbench.data.entries.kind import Asked, Kind
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Made(records.Entry, Kind):
    """A scene that is simulated, not read from a file."""

    @property
    def own(self) -> str:
        """Why a given truth or key is refused."""
        return "is simulated and has its own truth"

    @abstractmethod
    def make(self) -> xr.Dataset:
        """The scene, without the entry's provenance."""

    def read(self, asked: Asked) -> xr.Dataset:
        """The simulated scene. It has its own truth; chunks and ortho do not apply."""
        scene = self.make()
        about = {"source": "simulated by workbench", "citation": self.citation, "licence": self.licence}
        scene.attrs = {**about, **scene.attrs}
        return scene

    def place(self) -> Path:
        """InputError: there is no file."""
        raise InputError(f"{self.id} is simulated: it is computed when it is opened, and there is nothing to fetch.")

    def card(self) -> list[str]:
        """A line that says that the data are simulated."""
        return ["  SIMULATED data, computed when opened"]


class Simulated(Made):
    """A simulated hyperspectral scene."""

    ORDER: ClassVar[int] = 0
    kind: Literal["simulated"]
    generator: str = Field(description="name that `workbench.data.synth.make` takes")

    @property
    def provides(self) -> tuple[str, ...]:
        """A cube with anomalies."""
        return ("hsi", "truth")

    def make(self) -> xr.Dataset:
        """The scene, with the number of its anomalous pixels."""
        from workbench.data import synth

        scene = synth.make(self.generator)
        scene.attrs["anomalous_pixels"] = int((scene["truth"] > 0).sum())
        return scene

    def content(self) -> bytes:
        """The entry and the embedded reflectance spectra that the simulation uses."""
        from workbench.resources import folder

        spectra = sorted((folder("data_catalog") / "spectra").glob("*.csv"))
        return super().content() + b"".join(path.read_bytes() for path in spectra)


class SimulatedPairs(Made):
    """A simulated pair or set of pairs."""

    ORDER: ClassVar[int] = 1
    kind: Literal["simulated-pairs"]
    generator: str = Field(description="name that `workbench.data.synth_change.make` takes")

    @property
    def provides(self) -> tuple[str, ...]:
        """Two dates and the reference change."""
        return ("before", "after", "truth")

    @property
    def many(self) -> bool:
        """Whether the entry is a set."""
        from workbench.data.synth_change import SETS

        return self.generator in SETS

    def make(self) -> xr.Dataset:
        """The pair or the set."""
        from workbench.data import synth_change

        return synth_change.make(self.generator)


class SimulatedBoxes(Made):
    """Simulated chips with boxes."""

    ORDER: ClassVar[int] = 1
    kind: Literal["simulated-boxes"]
    generator: str = Field(description="name that `workbench.data.synth_ships.make` takes")

    @property
    def provides(self) -> tuple[str, ...]:
        """Images, and the boxes of the ships in them."""
        return ("image", "box", "box_sample", "box_label")

    @property
    def many(self) -> bool:
        """True: many samples."""
        return True

    def make(self) -> xr.Dataset:
        """The chips."""
        from workbench.data import synth_ships

        return synth_ships.make(self.generator)


class SimulatedSensors(Made):
    """A simulated place seen by two sensors."""

    ORDER: ClassVar[int] = 1
    kind: Literal["simulated-sensors"]
    generator: str = Field(description="name that `workbench.data.synth_sensors.make` takes")

    @property
    def provides(self) -> tuple[str, ...]:
        """A cube, heights and classes."""
        return ("hsi", "lidar", "truth")

    def make(self) -> xr.Dataset:
        """The scene."""
        from workbench.data import synth_sensors

        return synth_sensors.make(self.generator)
