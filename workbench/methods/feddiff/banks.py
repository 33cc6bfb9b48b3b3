"""The banks of a run: of the owners' trained networks, of untrained ones, of one joint network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.owners import Bank, owners_of
from workbench.methods.feddiff.settings import Config
from workbench.parts.bank_training import Denoiser

Kind = Literal["trained", "untrained", "joint", "none"]

BANK: dict[str, Kind] = {"untrained": "untrained", "no_diffusion": "none", "raw_patches": "none", "mdfl": "joint"}


def kind_of(row: str) -> Kind:
    """The bank that a row of the comparison uses."""
    return BANK.get(row, "trained")


class Banks:
    """made: owner, or `joint` -> its diffusion networks; filled by the run as they are trained."""

    def __init__(self, patches: Patches, config: Config, made: Mapping[str, Denoiser]) -> None:
        self.patches, self.made = patches, made
        self.owners = owners_of(patches)
        self.fresh = {
            name: Denoiser(patches, {name: sensors}, config, owner=i)
            for i, (name, sensors) in enumerate(self.owners.items())
        }
        self._known: dict[Kind, Bank | None] = {}

    def at(self, kind: Kind, place: np.ndarray) -> Bank | None:
        """Name of each network -> (n, d * times, 4, 4) of the pixels at `place` (n, 3); None for `none`."""
        if kind == "none":
            return None
        if kind == "joint":
            return self.made["joint"].bank(place)
        networks = self.fresh if kind == "untrained" else self.made
        return {name: networks[name].bank(place)[name] for name in self.owners}

    def of(self, row: str) -> Bank | None:
        """The bank of the training pixels for a row of the comparison; computed once."""
        kind = kind_of(row)
        if kind not in self._known:
            self._known[kind] = self.at(kind, self.patches.place[self.patches.train])
        return self._known[kind]
