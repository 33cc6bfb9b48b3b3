"""The rounds: owners code the features of the same pixels, exchange them, learn, and average what they share. All bytes are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.owners import Bank, Owner, owners_of, private_to
from workbench.methods.feddiff.settings import Config
from workbench.parts.federation import Codec, Traffic, average, divergence, state_bytes
from workbench.parts.reuse import Reuse
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint


class Answers(NamedTuple):
    """What the owners say of some pixels.

    heads: probabilities (3, n, classes) of the heads of each owner: of both sensors, of the first, of the second. alone (n, classes): of
    its own head, which needs no message. arrived: the features (n, channels, 4, 4) of each owner as the other rebuilt them. sent: their
    bytes.
    """

    heads: list[np.ndarray]
    alone: list[np.ndarray]
    arrived: list[Tensor]
    sent: int

    @property
    def fused(self) -> list[np.ndarray]:
        """(n, classes) of each owner: the mean of its heads."""
        return [one.mean(0) for one in self.heads]


class Federation:
    """Two owners that train the fusion together. banks None: without diffusion networks.

    With exact messages this is the training of `workbench.parts.bank_training.Classifier` on pooled data, number by number: an owner has
    the same batch, the same loss and the same gradient of its weights. With coded messages the copies of the shared weights differ
    between two averages.
    """

    def __init__(self, patches: Patches, config: Config, banks: Bank | None, codec: Codec) -> None:
        self.config, self.total, self.done, self.codec = config, config.head_steps, 0, codec
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
        self.apart = 0.0
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
                messages = [self.codec.encode(f, self.config.seed + self.done) for f in features]
                arrived = [self.codec.decode(m) for m in reversed(messages)]
                self.traffic.add("features", up=sum(m.nbytes for m in messages))
            loss = float(np.mean([owner.learn(a, lr) for owner, a in zip(self.owners, arrived, strict=True)]))
        self.done += 1
        self.apart = divergence(self.shared())
        if self.done % self.config.average_every == 0 or self.done == self.total:
            self.average()
        return {
            "head_loss": loss,
            "megabytes/features": self.traffic.of("features") / 1e6,
            "megabytes/weights": self.traffic.of("weights") / 1e6,
            "apart": self.apart,
        }

    def shared(self) -> list[dict[str, Tensor]]:
        """The shared weights and batch statistics of each owner, by name."""
        return [
            {n: v for n, v in o.network.state_dict().items() if private_to(n) is None and v.is_floating_point()}
            for o in self.owners
        ]

    def average(self) -> None:
        """Set the shared weights of both owners to their mean, weighted by their samples."""
        states = self.shared()
        mean = average(states, [len(o.label) for o in self.owners], ["_".join(o.sensors) for o in self.owners])
        for owner in self.owners:
            owner.network.load_state_dict(mean, strict=False)
        size = sum(state_bytes(state) for state in states)
        self.traffic.add("weights", up=size, down=size)

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {"done": self.done, "traffic": self.traffic.state(), **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done = int(state["done"])
        self.traffic.load(state["traffic"])
        self.checkpoint.load(state)

    def answers(self, patches: Patches, place: np.ndarray, banks: Bank | None, other: np.ndarray | None = None) -> Answers:
        """What both owners say of the pixels at `place` (n, 3), whose bank is given. Messages have `batch` pixels each.

        other (n,): send the features of these rows instead, a control of what messages are worth.
        """
        features = [owner.features(patches, place, banks) for owner in self.owners]
        arrived, sent = [], 0
        for f in features:
            wanted = f if other is None else f[torch.from_numpy(other)]
            messages = [self.codec.encode(part, self.config.seed) for part in wanted.split(self.config.batch)]
            arrived.append(torch.cat([self.codec.decode(m) for m in messages]))
            sent += sum(m.nbytes for m in messages)
        heads = [o.probabilities(features[o.number], arrived[1 - o.number]) for o in self.owners]
        alone = [one[1 + o.number] for o, one in zip(self.owners, heads, strict=True)]
        return Answers(heads, alone, arrived, sent)
