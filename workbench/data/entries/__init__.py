"""Kinds of catalogue entries, one file each. A new kind is added to the union here; no other code tests the kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from workbench.data.entries.boxes import Boxes, JoinedBoxes
from workbench.data.entries.chips import Chips
from workbench.data.entries.crowns import Crowns
from workbench.data.entries.hyperspectral import Hyperspectral
from workbench.data.entries.multimodal import Multimodal
from workbench.data.entries.pairs import Pairs
from workbench.data.entries.plots import Plots
from workbench.data.entries.sar import Sar
from workbench.data.entries.simulated import Simulated, SimulatedBoxes, SimulatedPairs, SimulatedSensors

Simulations = Simulated | SimulatedPairs | SimulatedBoxes | SimulatedSensors
Entry = Hyperspectral | Multimodal | Plots | Crowns | Simulations | Chips | Pairs | Boxes | JoinedBoxes | Sar
ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])
