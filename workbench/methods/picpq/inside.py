"""A look into the float network of a finished run: the maps of a filter, and the accuracy without some of its filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from workbench.errors import InputError
from workbench.methods.picpq.chips import Chips, chips_of
from workbench.methods.picpq.settings import Config
from workbench.methods.picpq.training import judged, network_of
from workbench.parts.device import device
from workbench.parts.filter_properties import feature_maps
from workbench.parts.pruning import Plan, masked
from workbench.parts.training import rebuilding, saved_network

if TYPE_CHECKING:
    from os import PathLike


class Worth(NamedTuple):
    """Share of samples that are classified right."""

    validation: float
    test: float


@dataclass(frozen=True)
class Opened:
    """The trained float network, its groups of filters, and the samples of its run."""

    network: nn.Module
    plan: Plan
    chips: Chips
    config: Config

    def shown(self, most: int = 6) -> np.ndarray:
        """Positions of validation samples to look at: one of each class, then further ones."""
        val = self.chips.val.cpu().numpy()
        label = self.chips.label.cpu().numpy()[val]
        _, first = np.unique(label, return_index=True)
        rest = np.setdiff1d(np.arange(len(val)), first)
        return val[np.concatenate([first, rest])[:most]]

    def images(self, rows: np.ndarray) -> np.ndarray:
        """(N, bands, y, x) samples as the network sees them."""
        return self.chips.values[torch.from_numpy(rows)].cpu().numpy()

    def maps(self, group: int, number: int, rows: np.ndarray) -> np.ndarray:
        """(N, y, x) maps of a filter of a group, in its first layer, where the run took its ranks."""
        self._check([(group, number)])
        images = self.chips.values[torch.from_numpy(rows)]
        return feature_maps(self.network, images, self.plan.groups[group].root, number, self.config.property_at)

    def without(self, gone: Sequence[tuple[int, int]]) -> Worth:
        """Accuracy with these filters, (group, number), silent, and no training after it."""
        self._check(gone)
        kept = [np.setdiff1d(np.arange(g.count), [n for at, n in gone if at == k]) for k, g in enumerate(self.plan.groups)]
        with masked(self.network, self.plan, kept):
            return Worth(*(judged(self.network, self.chips, rows)[1] for rows in (self.chips.val, self.chips.test)))

    def _check(self, filters: Sequence[tuple[int, int]]) -> None:
        for group, number in filters:
            if not (0 <= group < len(self.plan.groups) and 0 <= number < self.plan.groups[group].count):
                raise InputError(
                    f"Filter {number} of group {group} does not exist; the network has {len(self.plan.groups)} groups of "
                    f"{', '.join(str(g.count) for g in self.plan.groups)} filters."
                )


def open_float(folder: str | PathLike[str], scene: xr.Dataset) -> Opened:
    """The float network of a finished run on its scene.

    Raises InputError for a folder without weights, for weights of another method, and as the run does for another scene.
    """
    own, about, _ = saved_network(folder, "dense")
    with rebuilding(folder, "dense"):
        config, shape, classes = Config.model_validate(about["config"]), tuple(about["shape"]), len(about["names"])
    chips = chips_of(scene, config)
    if chips.values.shape[1:] != shape or chips.classes != classes:
        raise InputError(
            f"The network of this run takes samples of {' x '.join(map(str, shape))} in {classes} classes; these data "
            f"give {' x '.join(map(str, chips.values.shape[1:]))} in {chips.classes}. Open the data of the run."
        )
    with rebuilding(folder, "dense"):
        network = network_of(config, shape, classes)
        network.load_state_dict(own)
    network = network.eval().to(device())
    return Opened(network, Plan.of(network, chips.values[chips.train[:2]]), chips, config)
