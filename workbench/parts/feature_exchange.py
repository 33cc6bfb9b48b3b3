"""FedFusion, one step at a time: owners encode the same pixels, send messages, fuse, learn; every H steps the shared weights are averaged.

No gradient passes through a message: an encoder learns from its owner's loss only. With exact messages the copies of the shared layers
get equal gradients, so that this is training on pooled data (`Together`), number by number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.parts.cross_fusion import Encoder, Shared, loss_of, norms
from workbench.parts.device import device
from workbench.parts.exchange_settings import ExchangeSettings
from workbench.parts.federation import FLOAT, INDEX, Codec, Traffic, average, basis, by_strips, divergence, gram, state_bytes
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint

PROTOCOL = ("indices", "basis", "logits")  # classes of traffic besides features and weights
Windows = Mapping[str, Tensor]  # sensor -> (n, channels, 7, 7)


@dataclass(frozen=True)
class Seen:
    """Labelled pixels as the owners of several sensors see them.

    take: (positions in `label`, sensor) -> (n, channels, 7, 7). bands: sensor -> channels. train: positions of the training pixels.
    place (N, 3): image, row, column.
    """

    take: Callable[[np.ndarray, str], Tensor]
    bands: dict[str, int]
    label: np.ndarray
    names: list[str]
    train: np.ndarray
    place: np.ndarray


class Owner:
    """A client: one sensor of one group. It holds the pixels of its sensor only, its encoder, and a copy of the shared layers."""

    def __init__(
        self, number: int, x: Tensor, label: Tensor, encoder: Encoder, shared: Shared, config: ExchangeSettings
    ) -> None:
        self.number, self.x, self.label, self.config = number, x, label, config
        self.encoder, self.shared = copy.deepcopy(encoder).to(device()), copy.deepcopy(shared).to(device())
        self.optimiser = optimiser_of(config, self.encoder, self.shared)
        self.features = torch.zeros(())

    def encode(self, rows: Tensor) -> Tensor:
        """(n, 64, 4, 4): what a message is made of; the owner keeps the graph for its own step."""
        self.features = self.encoder.train()(self.x[rows].to(device()))
        return self.features.detach()

    def learn(self, arrived: Sequence[Tensor], rows: Tensor, lr: float) -> tuple[float, int]:
        """One step with the others' features; (loss, bytes of logits of this batch). The features of its own place are its exact ones."""
        used = [self.features if m == self.number else f.to(device()) for m, f in enumerate(arrived)]
        logits = self.shared.train()(used)
        ends = [o.detach().requires_grad_() for o in logits]  # what travels where only one owner has labels
        loss = loss_of(ends, self.label[rows].to(device()))
        set_lr(self.optimiser, lr)
        self.optimiser.zero_grad()
        loss.backward()
        torch.autograd.backward(logits, [e.grad for e in ends])
        if self.config.penalty > 0:
            (self.config.penalty * norms(self.encoder, self.shared)).backward()
        self.optimiser.step()
        return float(loss.detach()), sum(o.numel() * FLOAT for o in ends)

    def common(self) -> dict[str, Tensor]:
        """The weights that are averaged. Running statistics stay with the client unless all sensors share them: rebuilt features have
        others than exact ones, so their mean fits neither."""
        return {n: v for n, v in self.shared.state_dict().items() if self.config.bn == "shared" or ".statistics." not in n}

    @torch.no_grad()
    def told(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Probabilities (n, classes) of the joint head and of each sensor, from features of all sensors."""
        return [o.softmax(1).cpu() for o in self.shared.eval()([f.to(device()) for f in features])]


class Exchange:
    """Owners of these sensors that train together. One sensor: it learns alone, with its own path and statistics, and nothing travels."""

    def __init__(
        self, pixels: Seen, config: ExchangeSettings, sensors: Sequence[str], message: str = "dense", rank: int = 4
    ) -> None:
        self.config, self.sensors, self.total, self.done = config, [*sensors], config.steps, 0
        self.random, self.traffic = Seeded(config.seed), Traffic()
        with self.random:
            encoders = {
                s: Encoder(pixels.bands[s]) for s in pixels.bands
            }  # of all sensors, so that every learner begins alike
            shared = Shared(len(sensors), len(pixels.names), config.bn == "own", config.fusion)
        label = torch.from_numpy(pixels.label[pixels.train])
        self.parts = [torch.from_numpy(p) for p in by_strips(on_one_map(pixels.place)[pixels.train], config.groups)]
        if min(len(p) for p in self.parts) < 2:
            raise InputError(
                f"{config.groups} groups of clients leave one of them fewer than two training pixels; take fewer groups."
            )
        data = {s: pixels.take(pixels.train, s) for s in sensors}
        self.groups = [
            [Owner(m, data[s][p], label[p], encoders[s], shared, config) for m, s in enumerate(sensors)] for p in self.parts
        ]
        self.codec = Codec(message if config.subspace == "per_batch" or message != "low_rank" else "shared_basis", rank)  # type: ignore[arg-type]
        self.dense_features = 0  # bytes that exact features would have had
        self.reached: list[tuple[float, float]] = []  # bytes sent in training, and accuracy of a probe then
        every = self.owners
        self.checkpoint = Checkpoint(
            encoders=[o.encoder for o in every],
            shared=[o.shared for o in every],
            optimisers=[o.optimiser for o in every],
            random=self.random,
        )

    @property
    def owners(self) -> list[Owner]:
        """All clients, group by group."""
        return [owner for group in self.groups for owner in group]

    def step(self) -> dict[str, float]:
        """One batch in every group: `loss/SENSOR`, megabytes so far, and after an average how far the shared weights were apart."""
        lr = cosine(self.done, self.total, self.config.lr)
        losses: dict[str, list[float]] = {s: [] for s in self.sensors}
        several = len(self.sensors) > 1
        with self.random:
            if several and self.codec.kind == "shared_basis" and self.done % self.config.average_every == 0:
                self._agree_on_a_basis()
            for g, group in enumerate(self.groups):
                rows = torch.randperm(len(self.parts[g]))[: self.config.batch]
                features = [owner.encode(rows) for owner in group]
                arrived = features
                if several:
                    arrived = self.sent(features, self.done * len(self.groups) + g)
                    self.traffic.add("indices", down=INDEX * len(rows) * len(group))
                for owner, sensor in zip(group, self.sensors, strict=True):
                    loss, size = owner.learn(arrived, rows, lr)
                    losses[sensor].append(loss)
                    if self.config.label_owner and sensor != self.config.label_owner and several:
                        self.traffic.add(
                            "logits", up=2 * size, down=2 * size
                        )  # logits to the owner of labels, gradients back, by the server
        self.done += 1
        numbers = {f"loss/{s}": float(np.mean(v)) for s, v in losses.items()}
        if several:
            if self.done % self.config.average_every == 0 or self.done == self.total:
                numbers["apart/before"], numbers["apart/after"] = self._average()
            numbers |= {f"megabytes/{w}": self.traffic.of(w) / 1e6 for w in ("features", "weights")}
            numbers["megabytes/protocol"] = sum(self.traffic.of(w) for w in PROTOCOL) / 1e6
            numbers["megabytes/features if exact"] = self.dense_features / 1e6
        return numbers

    def sent(self, features: Sequence[Tensor], seed: int, count: str = "features") -> list[Tensor]:
        """The features (n, 64, 4, 4) of every sensor as the others get them; the server passes each message to all other owners."""
        arrived = []
        for m, f in enumerate(features):
            message = self.codec.encode(f, seed * len(features) + m)
            self.traffic.add(count, up=message.nbytes, down=message.nbytes * (len(features) - 1))
            if count == "features":
                self.dense_features += Codec("dense").payload(f.shape) * len(features)
            arrived.append(self.codec.decode(message))
        return arrived

    def _agree_on_a_basis(self) -> None:
        """Every client sends the Gram matrix of a random sample of its features; the server sums them and sends one basis to all."""
        grams = []
        with torch.no_grad():
            for part, group in zip(self.parts, self.groups, strict=True):
                rows = torch.randperm(len(part))[: self.config.batch]
                grams += [gram(owner.encoder.eval()(owner.x[rows].to(device())).cpu()) for owner in group]
        known = basis(grams, self.codec.rank)
        self.traffic.add("basis", up=sum(FLOAT * g.numel() for g in grams), down=FLOAT * known.numel() * len(grams))
        self.codec = Codec("shared_basis", self.codec.rank, known)

    def _average(self) -> tuple[float, float]:
        """Averages shared layers over all clients, encoders over the clients of a sensor; their largest difference before and after."""
        before = self.divergence()
        counts = [len(p) for p in self.parts]
        self._set(
            [o.shared for o in self.owners], [o.common() for o in self.owners], [n for n in counts for _ in self.sensors]
        )
        if len(self.groups) > 1:
            for m in range(len(self.sensors)):
                encoders = [group[m].encoder for group in self.groups]
                self._set(encoders, [e.state_dict() for e in encoders], counts)
        return before, self.divergence()

    def _set(self, networks: Sequence[nn.Module], states: Sequence[Mapping[str, Tensor]], weights: Sequence[int]) -> None:
        mean = average(states, weights)
        for network in networks:
            network.load_state_dict(mean, strict=False)
        size = state_bytes(mean) * len(networks)
        self.traffic.add("weights", up=size, down=size)

    def divergence(self) -> float:
        """The largest difference of a shared weight between two clients."""
        return divergence([o.common() for o in self.owners])

    @property
    def trained(self) -> dict[str, int]:
        """Bytes of training by class of traffic, up and down; messages about test pixels are not among them."""
        return {w: self.traffic.of(w) for w in ("features", "weights", *PROTOCOL)}

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        known = {} if self.codec.known is None else {"known": self.codec.known}
        return {
            "done": self.done,
            "traffic": self.traffic.state(),
            "exact": self.dense_features,
            "reached": [list(pair) for pair in self.reached],
            **known,
            **self.checkpoint.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done, self.dense_features = int(state["done"]), int(state["exact"])
        self.reached = [(float(size), float(oa)) for size, oa in state["reached"]]
        self.traffic.load(state["traffic"])
        if "known" in state:
            self.codec = Codec(self.codec.kind, self.codec.rank, state["known"])
        self.checkpoint.load(state)

    @torch.no_grad()
    def features(self, x: Windows) -> list[Tensor]:
        """(n, 64, 4, 4) of every sensor, at its owner in the first group."""
        return [o.encoder.eval()(x[s].to(device())).cpu() for o, s in zip(self.groups[0], self.sensors, strict=True)]

    def told(self, x: Windows, count: str = "test") -> list[list[np.ndarray]]:
        """Of each owner: probabilities (n, classes) of the joint head and of each sensor; others' features arrive in messages."""
        features = self.features(x)
        if len(features) == 1:
            return [[p.double().numpy() for p in self.groups[0][0].told(features)]]
        messages = zip(*(f.split(self.config.batch) for f in features), strict=True)
        arrived = [torch.cat(m) for m in zip(*(self.sent(parts, i, count) for i, parts in enumerate(messages)), strict=True)]
        return [
            [
                p.double().numpy()
                for p in owner.told([features[m] if m == owner.number else f for m, f in enumerate(arrived)])
            ]
            for owner in self.groups[0]
        ]

    def probabilities(self, x: Windows) -> list[np.ndarray]:
        """Of each owner: probabilities (n, classes) of its joint head."""
        return [heads[0] for heads in self.told(x)]


class Together:
    """The same network on pooled data: no messages, one optimiser, gradients from all sensors."""

    def __init__(self, pixels: Seen, config: ExchangeSettings) -> None:
        self.config, self.total, self.done = config, config.steps, 0
        self.random = Seeded(config.seed)
        with self.random:
            self.encoders = nn.ModuleDict({s: Encoder(pixels.bands[s]) for s in pixels.bands}).to(device())
            self.shared = Shared(len(pixels.bands), len(pixels.names), config.bn == "own", config.fusion).to(device())
        self.x, self.label = (
            {s: pixels.take(pixels.train, s) for s in pixels.bands},
            torch.from_numpy(pixels.label[pixels.train]),
        )
        self.optimiser = optimiser_of(config, self.encoders, self.shared)
        self.checkpoint = Checkpoint(
            encoders=self.encoders, shared=self.shared, optimiser=self.optimiser, random=self.random
        )

    def step(self) -> dict[str, float]:
        """One step; its `loss`."""
        with self.random:
            rows = torch.randperm(len(self.label))[: self.config.batch]
            logits = self.shared.train()([net.train()(self.x[s][rows].to(device())) for s, net in self.encoders.items()])
            loss = loss_of(logits, self.label[rows].to(device()))
            if self.config.penalty > 0:
                loss = loss + self.config.penalty * norms(self.encoders, self.shared)
            set_lr(self.optimiser, cosine(self.done, self.total, self.config.lr))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        self.done += 1
        return {"loss": float(loss.detach())}

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {"done": self.done, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done = int(state["done"])
        self.checkpoint.load(state)

    @torch.no_grad()
    def probabilities(self, x: Windows) -> list[np.ndarray]:
        """One table of probabilities (n, classes)."""
        features = [net.eval()(x[s].to(device())) for s, net in self.encoders.items()]
        return [self.shared.eval()(features)[0].softmax(1).double().cpu().numpy()]


def optimiser_of(config: ExchangeSettings, *networks: nn.Module) -> torch.optim.Optimizer:
    """AdamW of all weights of these networks."""
    return torch.optim.AdamW([p for n in networks for p in n.parameters()], config.lr, weight_decay=config.decay)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def on_one_map(place: np.ndarray) -> np.ndarray:
    """(N, 2) rows and columns of pixels at `place` (N, 3); images of a stack lie one below the other."""
    image, row, column = place.T
    return np.stack([image * (int(row.max()) + 1) + row, column], 1)
