"""The rounds: owners code the features of the same pixels, exchange them, learn, and average what they share. All bytes are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.owners import Bank, Owner, owners_of
from workbench.methods.feddiff.settings import Config
from workbench.parts.bank_training import class_weights
from workbench.parts.federation import Codec, Message, Traffic, average, divergence, state_bytes
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
    between two averages. missed: messages of features that did not come, although their owner was not away by `away`.
    """

    def __init__(self, patches: Patches, config: Config, banks: Bank | None, codec: Codec) -> None:
        self.config, self.total, self.done, self.codec = config, config.head_steps, 0, codec
        owners = owners_of(patches)
        label = torch.from_numpy(patches.label[patches.train])
        weight = class_weights(label, len(patches.names))
        self.random = Seeded(config.seed)
        with self.random:
            bands = [sum(patches.cubes[s].shape[1] for s in sensors) for sensors in owners.values()]
            deep = [0 if banks is None else banks[name].shape[1] for name in owners]
            network = Reuse(bands, deep, len(patches.names))
        self.owners = [
            Owner(i, sensors, patches, banks, network, weight, config.head_lr) for i, sensors in enumerate(owners.values())
        ]
        self.traffic = Traffic()
        self.apart, self.missed = 0.0, 0
        self.exact = 0  # bytes that exact features would have had
        self.checkpoint = Checkpoint(
            networks=[o.network for o in self.owners], optimisers=[o.optimiser for o in self.owners], random=self.random
        )

    def step(self) -> dict[str, float]:
        """One round: `head_loss`, the mean over owners and heads; megabytes sent so far; `apart`, the largest difference of the shared
        weights before the last average."""
        with self.random:
            rows = torch.randperm(len(self.owners[0].label))[: self.config.batch]
            away = self.config.away > 0 and float(torch.rand(())) < self.config.away
            lr = cosine(self.done, self.total, self.config.head_lr)
            messages = self.gather(rows, away)
            self.traffic.add("features", up=sum(m.nbytes for m in messages if m is not None))
            self.exact += sum(Codec("dense").payload(m.shape) for m in messages if m is not None)
            loss = self.teach(messages[::-1], lr)
        self.done += 1
        if self.done % self.config.average_every == 0 or self.done == self.total:
            self.average()
        return {
            "head_loss": loss,
            "megabytes/features": self.traffic.of("features") / 1e6,
            "megabytes/weights": self.traffic.of("weights") / 1e6,
            "megabytes/features if exact": self.exact / 1e6,
            "apart": self.apart,
        }

    def gather(self, rows: Tensor, away: bool) -> list[Message | None]:
        """What the owners send of these training pixels, in their order; away: they keep it to themselves."""
        features = [owner.begin(rows) for owner in self.owners]
        return [None if away else self.codec.encode(f, self.config.seed + self.done) for f in features]

    def teach(self, messages: Sequence[Message | None], lr: float) -> float:
        """Let each owner learn from the message that it got; the mean loss."""
        arrived = [None if m is None else self.codec.decode(m) for m in messages]
        return float(np.mean([owner.learn(a, lr) for owner, a in zip(self.owners, arrived, strict=True)]))

    def shared(self) -> list[dict[str, Tensor]]:
        """The shared weights and batch statistics of each owner, by name."""
        return [owner.shared() for owner in self.owners]

    def share(self, state: Mapping[str, Tensor]) -> None:
        """Give both owners these shared weights."""
        for owner in self.owners:
            owner.network.load_state_dict(dict(state), strict=False)

    def average(self) -> None:
        """Set the shared weights of both owners to their mean, weighted by their samples."""
        states = self.shared()
        self.apart = divergence(states)
        self.share(average(states, [len(o.label) for o in self.owners], ["_".join(o.sensors) for o in self.owners]))
        size = sum(state_bytes(state) for state in states)
        self.traffic.add("weights", up=size, down=size)

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {
            "done": self.done,
            "traffic": self.traffic.state(),
            "exact": self.exact,
            "apart": self.apart,
            "missed": self.missed,
            **self.checkpoint.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done, self.apart, self.missed = int(state["done"]), float(state["apart"]), int(state["missed"])
        self.exact = int(state["exact"])
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
