"""An owner of a sensor: its patches, its frozen bank and its own copy of the fusion network. Only what `begin` returns leaves it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.data.sensor_patches import Patches
from workbench.errors import InputError
from workbench.parts.bank_training import branches_of, deep_of, stacked
from workbench.parts.reuse import Branch, Reuse

Bank = Mapping[str, Tensor]


def owners_of(patches: Patches) -> dict[str, list[str]]:
    """Name of each of the two owners -> its sensors. Raises InputError for a scene of one sensor."""
    branches = branches_of(patches)
    if len(branches) < 2:
        raise InputError(
            f"feddiff needs two sensors, one for each owner; this scene has {', '.join(patches.sensors)}. Take a scene of two "
            "sensors, or the method mdfl."
        )
    return {"_".join(sensors): sensors for sensors in branches}


class Owner:
    """The training side of one owner. number: 0 or 1, its branch of the network and its own head.

    bank None: without diffusion. Private weights are those of the raw and deep path of its branch; all others are shared, and the
    private weights of the other branch are dead here.
    """

    def __init__(
        self,
        number: int,
        sensors: Sequence[str],
        patches: Patches,
        bank: Bank | None,
        network: Reuse,
        weight: Tensor,
        lr: float,
    ) -> None:
        place = patches.place[patches.train]
        self.number, self.sensors = number, list(sensors)
        self.x = stacked(patches, place, sensors)
        self.bank = deep_of(bank, sensors) if bank else None
        self.label, self.weight = torch.from_numpy(patches.label[patches.train]), weight
        self.network = copy.deepcopy(network)
        shared, private = weights_of(self.network)
        self.optimiser = torch.optim.AdamW([*private[number].values(), *shared.values()], lr, weight_decay=1e-4)
        self.sent: Tensor | None = None
        self.rows: Tensor | None = None

    @property
    def branch(self) -> Branch:
        """Its branch of the network."""
        return _branch(self.network, self.number)

    def begin(self, rows: Tensor) -> Tensor:
        """(n, channels, 4, 4): the features of these training pixels, to be sent; the owner keeps them with their gradient."""
        self.network.train()
        self.rows = rows
        self.sent = self.branch.split(self.x[rows], None if self.bank is None else self.bank[rows])
        return self.sent.detach()

    def learn(self, theirs: Tensor | None, lr: float) -> float:
        """One step on the pixels of `begin`; theirs: the other owner's features as they arrived, None if it is away. The loss."""
        assert self.sent is not None
        assert self.rows is not None
        logits = self.logits(self.sent, theirs)
        losses = [F.cross_entropy(one, self.label[self.rows], self.weight) for one in logits]
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        self.optimiser.step()
        self.sent = None
        return float(torch.stack(losses).detach().mean())

    def shared(self) -> dict[str, Tensor]:
        """The shared weights and batch statistics, by name."""
        return {n: v for n, v in self.network.state_dict().items() if private_to(n) is None and v.is_floating_point()}

    def logits(self, own: Tensor, theirs: Tensor | None) -> list[Tensor]:
        """Logits of the three heads; of its own head alone if the other owner is away."""
        if theirs is None:
            mine = self.branch.pooled(own)
            low, high = mine if self.number == 0 else mine[::-1]
            return [self.network.head(1 + self.number, low, high)]
        return judged(self.network, [own, theirs] if self.number == 0 else [theirs, own])

    @torch.no_grad()
    def features(self, patches: Patches, place: np.ndarray, bank: Bank | None) -> Tensor:
        """(n, channels, 4, 4): what this owner sends of the pixels at `place`, before coding; the network in its state for tests."""
        self.network.eval()
        deep = None if bank is None else deep_of(bank, self.sensors)
        return self.branch.split(stacked(patches, place, self.sensors), deep)

    @torch.no_grad()
    def probabilities(self, own: Tensor, theirs: Tensor) -> np.ndarray:
        """(3, n, classes): the softmax of each head."""
        self.network.eval()
        return torch.stack([one.softmax(1) for one in self.logits(own, theirs)]).double().numpy()


def judged(network: Reuse, features: Sequence[Tensor]) -> list[Tensor]:
    """Logits (n, classes) of the three heads, from what each owner sends (n, channels, 4, 4)."""
    return network.judged([_branch(network, i).pooled(f) for i, f in enumerate(features)])


def _branch(network: Reuse, number: int) -> Branch:
    branch = network.branches[number]
    assert isinstance(branch, Branch)
    return branch


def weights_of(network: Reuse) -> tuple[dict[str, Tensor], tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Parameters by name: shared, and the private ones of each branch."""
    shared: dict[str, Tensor] = {}
    private: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for name, value in network.named_parameters():
        number = private_to(name)
        (shared if number is None else private[number])[name] = value
    return shared, private


def private_to(name: str) -> int | None:
    """The number of the owner of a weight of `Reuse`, None if it is shared.

    >>> private_to("branches.1.raw.0.0.weight"), private_to("branches.1.small.0.weight"), private_to("heads.0.1.weight")
    (1, None, None)
    """
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "branches" and parts[2] in ("raw", "deep") else None
