"""FedFusion on the pixels of FedDiff: the same training and test pixels, channels, owners, batch, rank and averages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.owners import owners_of
from workbench.methods.feddiff.settings import Config
from workbench.parts.bank_training import stacked
from workbench.parts.exchange_settings import ExchangeSettings
from workbench.parts.feature_exchange import Exchange, Seen


def fedfusion(patches: Patches, config: Config) -> Exchange:
    """Its training, of as many steps as the federations of FedDiff."""
    owners = owners_of(patches)
    seen = Seen(
        lambda rows, owner: window_of(patches, patches.place[rows], owners[owner]),
        {name: sum(patches.cubes[s].shape[1] for s in sensors) for name, sensors in owners.items()},
        patches.label,
        patches.names,
        patches.train,
        patches.place,
    )
    usual = ExchangeSettings(
        seed=config.seed, steps=config.head_steps, batch=config.batch, average_every=config.average_every
    )
    return Exchange(seen, usual, list(owners), "low_rank", config.rank)


def windows_of(patches: Patches, place: np.ndarray) -> Mapping[str, Tensor]:
    """What each owner sees of the pixels at `place` (n, 3)."""
    return {name: window_of(patches, place, sensors) for name, sensors in owners_of(patches).items()}


def window_of(patches: Patches, place: np.ndarray, sensors: list[str]) -> Tensor:
    """(n, channels, 7, 7): a patch of 8 x 8 has one row and column more before the window."""
    return stacked(patches, place, sensors)[:, :, 1:, 1:]
