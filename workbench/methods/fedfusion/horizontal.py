"""FedAvg, FedProx, FedAvg with compressed updates, training alone and on pooled data: clients that have all sensors, of different places.

B. McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017, arXiv 1602.05629 (FedAvg);
T. Li et al., MLSys 2020, arXiv 1812.06127 (FedProx).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.methods.fedfusion.pixels import Pixels, shares
from workbench.methods.fedfusion.settings import Config, Horizontal
from workbench.parts.device import device
from workbench.parts.federation import State, Traffic, average, proximal
from workbench.parts.networks import classifier
from workbench.parts.power_sgd import PowerSGD
from workbench.parts.privacy import privatised
from workbench.parts.rounds import Update, combine, rounds
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import weights


class Site:
    """A client of FedAvg: some training pixels, a classifier, and no memory between rounds (see `workbench.parts.rounds.Client`)."""

    def __init__(
        self, name: str, number: int, x: Tensor, label: Tensor, classes: int, config: Config, mu: float = 0.0
    ) -> None:
        self.name, self.number, self.x, self.label, self.config, self.mu = name, number, x, label, config, mu
        with Seeded(config.seed):
            self.network = classifier(config.network, x.shape[1:], classes).to(device())

    def train(self, state: State, number: int) -> Update:
        """`local_steps` steps of plain SGD, fewer with `uneven`. Raises InputError without pixels, and for weights of another network."""
        if len(self.label) < 2:
            raise InputError(f"{self.name} has {len(self.label)} training pixels and needs two; it takes no part.")
        config, random = self.config, torch.Generator().manual_seed(hash_of(self.config.seed, self.number, number))
        try:
            self.network.load_state_dict(dict(state))
        except RuntimeError:
            raise InputError(
                f"The weights of the federation do not fit the data of {self.name}: it has {self.x.shape[1]} bands and another network. "
                "All clients need the same sensors, bands and classes."
            ) from None
        steps = config.local_steps
        if config.uneven:
            steps = max(1, round(steps * (0.25 + 0.75 * float(torch.rand((), generator=random)))))
        lr = cosine(number - 1, config.rounds, config.local_lr)
        optimiser = torch.optim.SGD(self.network.parameters(), lr, weight_decay=config.decay)
        anchor, total = {n: v.to(device()) for n, v in state.items()}, 0.0
        self.network.train()
        for _ in range(steps):
            rows = torch.randperm(len(self.label), generator=random)[: config.batch]
            loss = F.cross_entropy(self.network(self.x[rows].to(device())), self.label[rows].to(device()))
            total += float(loss.detach())
            if self.mu > 0:
                loss = loss + proximal(dict(self.network.named_parameters()), anchor, self.mu).to(loss.device)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        made = weights(self.network)
        if config.noise > 0:
            made, _ = privatised(made, state, config.clip, config.noise, self.noise_of(number))
        return Update(made, len(self.label), {"loss": total / steps, "steps": float(steps)})

    @torch.no_grad()
    def probabilities(self, state: State, x: Tensor) -> np.ndarray:
        """(n, classes) of stacked sensors, by these weights."""
        self.network.load_state_dict(dict(state))
        return self.network.eval()(x.to(device())).softmax(1).double().cpu().numpy()

    def noise_of(self, number: int) -> torch.Generator:
        """Where the noise of a round comes from; in this process it repeats with the seed, so that runs do."""
        return torch.Generator().manual_seed(hash_of(self.config.seed, self.number, number, 1))


def hash_of(*numbers: int) -> int:
    """A seed below 2^63 from several numbers."""
    return int(np.random.default_rng(list(numbers)).integers(2**63))


class Rounds:
    """One of FedAvg, FedProx, FedAvg with PowerSGD, clients alone (`local`), or one client with all pixels (`pooled`), round by round."""

    def __init__(self, pixels: Pixels, config: Config, kind: Horizontal) -> None:
        self.config, self.kind, self.total, self.done = config, kind, config.rounds, 0
        self.clients = sites(
            pixels, config if kind in ("fedavg", "fedprox") else config.model_copy(update={"noise": 0.0}), kind
        )
        self.state_now: list[dict[str, Tensor]] = [weights(self.clients[0].network)] * (
            len(self.clients) if kind == "local" else 1
        )
        self.traffic, self.failures = Traffic(), 0
        self.power = PowerSGD(config.powersgd_rank, config.seed) if kind == "powersgd" else None

    def step(self) -> dict[str, float]:
        """One round: `round_loss`, the mean of the clients, or of FedAvg `round_loss/CLIENT`; `failed` clients."""
        number = self.done + 1
        if self.kind == "local":
            made = []
            for i, client in enumerate(self.clients):
                if len(client.label) >= 2:
                    update = client.train(self.state_now[i], number)
                    self.state_now[i] = dict(update.state)
                    made.append(update.scalars["loss"])
            self.done = number
            return {"round_loss/local": float(np.mean(made))}
        away = self.config.away if self.kind != "pooled" else 0.0
        merge = self.power.combine if self.power is not None else combine
        (done,) = rounds(self.clients, self.state_now[0], 1, number, away, self.config.seed, merge)
        self.state_now, self.done = [done.state], number
        self.failures += len(done.failures)
        if self.kind != "pooled":
            self.traffic.add("weights", done.up, done.down)
        losses = {name: s["loss"] for name, s in done.scalars.items()}
        if self.kind == "fedavg":
            return {f"round_loss/{name}": loss for name, loss in losses.items()} | {"failed": float(len(done.failures))}
        return {f"round_loss/{self.kind}": float(np.mean(list(losses.values())))}

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on; clients have no memory."""
        return {
            "done": self.done,
            "weights": [dict(s) for s in self.state_now],
            "traffic": self.traffic.state(),
            "failures": self.failures,
            **({} if self.power is None else {"power": self.power.state()}),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done, self.failures = int(state["done"]), int(state["failures"])
        self.state_now = [dict(s) for s in state["weights"]]
        self.traffic.load(state["traffic"])
        if self.power is not None:
            self.power.load(state["power"])

    def probabilities(self, x: Tensor) -> list[np.ndarray]:
        """Of each network: probabilities (n, classes) of stacked sensors; clients without training pixels are left out."""
        if self.kind != "local":
            return [self.clients[0].probabilities(self.state_now[0], x)]
        alone = zip(self.clients, self.state_now, strict=True)
        return [client.probabilities(state, x) for client, state in alone if len(client.label) >= 2]

    def mean_state(self) -> dict[str, Tensor]:
        """The common weights; of clients alone their mean."""
        return average(self.state_now, [1.0] * len(self.state_now))


def sites(pixels: Pixels, config: Config, kind: Horizontal = "fedavg") -> list[Site]:
    """The clients under the partition of the settings; `pooled`: one client with all training pixels."""
    x = pixels.stacked(pixels.train, config.network == "mlp")
    label = torch.from_numpy(pixels.label[pixels.train])
    parts = {"pooled": np.arange(len(label))} if kind == "pooled" else shares(pixels, config)
    mu = config.mu if kind == "fedprox" else 0.0
    return [Site(n, i, x[p], label[p], len(pixels.names), config, mu) for i, (n, p) in enumerate(parts.items())]
