"""The rounds: owners code the features of the same pixels, exchange them, learn, and average what they share. All bytes are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.owners import Bank, Owner, owners_of, private_to
from workbench.methods.feddiff.settings import Config
from workbench.parts.reuse import Reuse
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint

Send = Callable[[Tensor], tuple[Tensor, int]]  # features (n, channels, 4, 4) -> as they arrive, bytes


class Traffic(NamedTuple):
    """Bytes of payload that left the owners so far: features, and shared weights (up and down)."""

    features: int = 0
    weights: int = 0


class Answers(NamedTuple):
    """What the owners say of some pixels: probabilities (n, classes) of each, with the other's features and without.

    arrived: the features (n, channels, 4, 4) of each owner as the other rebuilt them. sent: their bytes.
    """

    fused: list[np.ndarray]
    alone: list[np.ndarray]
    arrived: list[Tensor]
    sent: int


class Federation:
    """Two owners that train the fusion together. banks None: without diffusion networks.

    With exact messages this is the training of `workbench.parts.bank_training.Classifier` on pooled data, number by number: an owner has
    the same batch, the same loss and the same gradient of its weights. With coded messages the copies of the shared weights differ
    between two averages.
    """

    def __init__(self, patches: Patches, config: Config, banks: Bank | None, send: Send) -> None:
        self.config, self.total, self.done, self.send = config, config.head_steps, 0, send
        owners = owners_of(patches)
        label = torch.from_numpy(patches.label[patches.train])
        count = torch.bincount(label, minlength=len(patches.names)).float()
        weight = count.mean() / count.clamp(min=1)
        self.random = Seeded(config.seed)
        with self.random:
            bands = [sum(patches.cubes[s].shape[1] for s in sensors) for sensors in owners.values()]
            deep = [0 if banks is None else banks[name].shape[1] for name in owners]
            network = Reuse(bands, deep, len(patches.names))
        self.owners = [
            Owner(i, sensors, patches, banks, network, weight, config.head_lr) for i, sensors in enumerate(owners.values())
        ]
        self.traffic = Traffic()
        self.differ = 0.0
        self.checkpoint = Checkpoint(
            networks=[o.network for o in self.owners], optimisers=[o.optimiser for o in self.owners], random=self.random
        )

    def step(self) -> dict[str, float]:
        """One round: `head_loss`, the mean over owners and heads; megabytes sent so far; how far the shared weights were apart."""
        with self.random:
            rows = torch.randperm(len(self.owners[0].label))[: self.config.batch]
            away = self.config.away > 0 and float(torch.rand(())) < self.config.away
            lr = cosine(self.done, self.total, self.config.head_lr)
            features = [owner.begin(rows) for owner in self.owners]
            arrived: list[Tensor | None] = [None, None]
            if not away:
                coded = [self.send(f) for f in features]
                arrived = [coded[1][0], coded[0][0]]
                self.traffic = self.traffic._replace(features=self.traffic.features + coded[0][1] + coded[1][1])
            loss = float(np.mean([owner.learn(a, lr) for owner, a in zip(self.owners, arrived, strict=True)]))
        self.done += 1
        self.differ = self.distance()
        if self.done % self.config.average_every == 0 or self.done == self.total:
            self.average()
        return {
            "head_loss": loss,
            "megabytes/features": self.traffic.features / 1e6,
            "megabytes/weights": self.traffic.weights / 1e6,
            "apart": self.differ,
        }

    def shared(self) -> list[dict[str, Tensor]]:
        """The shared weights and batch statistics of each owner, by name."""
        return [
            {n: v for n, v in o.network.state_dict().items() if private_to(n) is None and v.is_floating_point()}
            for o in self.owners
        ]

    def distance(self) -> float:
        """Euclidean distance of the two copies of the shared weights."""
        one, other = self.shared()
        return float(torch.stack([(one[n] - other[n]).double().square().sum() for n in one]).sum().sqrt())

    @torch.no_grad()
    def average(self) -> None:
        """Set the shared weights of both owners to their mean; both have the same number of samples."""
        one, other = self.shared()
        for name, value in one.items():
            mean = (value + other[name]) / 2
            value.copy_(mean)
            other[name].copy_(mean)
        size = sum(v.numel() * v.element_size() for v in one.values())
        self.traffic = self.traffic._replace(weights=self.traffic.weights + 4 * size)  # two owners, up and down

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {"done": self.done, "traffic": list(self.traffic), "apart": self.differ, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done, self.traffic, self.differ = int(state["done"]), Traffic(*state["traffic"]), float(state["apart"])
        self.checkpoint.load(state)

    def answers(self, patches: Patches, place: np.ndarray, banks: Bank | None, other: np.ndarray | None = None) -> Answers:
        """What both owners say of the pixels at `place` (n, 3), whose bank is given. Messages have `batch` pixels each.

        other (n,): send the features of these rows instead, a control of what messages are worth.
        """
        features = [owner.features(patches, place, banks) for owner in self.owners]
        arrived, sent = [], 0
        for f in features:
            parts = [
                self.send(part) for part in (f if other is None else f[torch.from_numpy(other)]).split(self.config.batch)
            ]
            arrived.append(torch.cat([p[0] for p in parts]))
            sent += sum(p[1] for p in parts)
        fused = [o.probability(features[o.number], arrived[1 - o.number]).double().numpy() for o in self.owners]
        alone = [o.probability(features[o.number], None).double().numpy() for o in self.owners]
        return Answers(fused, alone, arrived, sent)
