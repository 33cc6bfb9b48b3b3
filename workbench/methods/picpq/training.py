"""One training, and a network on its way: pruned, trained, quantised, trained again."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.methods.picpq.bits import input_bits
from workbench.methods.picpq.chips import Chips
from workbench.methods.picpq.settings import Config
from workbench.parts.cifar_networks import CIFARResNet
from workbench.parts.networks import classifier
from workbench.parts.pruning import Plan, sliced
from workbench.parts.quantize import fit, quantize, refresh_norms
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, weights


def network_of(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network that is compressed, with first weights from torch's random state."""
    if config.network in ("resnet20", "resnet56"):
        depth = int(config.network.removeprefix("resnet"))
        return CIFARResNet(shape[0], classes, depth, config.width, config.stride, projection=depth == 20)
    return classifier(config.network, shape, classes, config.width)  # type: ignore[arg-type]


class Learner:
    """A network in training, and all that a step changes. total: steps of the cosine."""

    def __init__(self, network: nn.Module, chips: Chips, config: Config, epochs: int, lr: float, seed: int) -> None:
        self.network, self.chips, self.config, self.lr = network, chips, config, lr
        self.per_epoch = max(1, len(chips.train) // config.batch)
        self.total, self.done = epochs * self.per_epoch, 0
        self.random = Seeded(seed % 2**32)
        self.optimiser = torch.optim.SGD(
            network.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
        self.checkpoint = Checkpoint(network=network, optimiser=self.optimiser, random=self.random)

    def epoch(self) -> float:
        """One epoch; returns its mean loss."""
        with self.random:
            order = torch.randperm(len(self.chips.train))
        return self.steps(order)

    def steps(self, order: Tensor) -> float:
        """Train on the training samples in this order, batch by batch; an incomplete last batch is left out."""
        c, chips, losses = self.config, self.chips, []
        size = min(c.batch, len(order))
        self.network.train()
        for part in order[: len(order) // size * size].split(size):
            rows = chips.train[part.to(chips.train.device)]
            x = chips.values[rows]
            if c.augment:
                with self.random:
                    flip = (torch.rand(len(x), 1, 1, 1) < 0.5).to(x.device)
                x = torch.where(flip, x.flip(-1), x)
            for group in self.optimiser.param_groups:
                group["lr"] = cosine(self.done, self.total, self.lr)
            loss = F.cross_entropy(self.network(x), chips.label[rows])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            losses.append(loss.detach())
            self.done += 1
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise InputError(f"The training diverged at step {self.done}; lower the learning rate {self.lr:g}.")
        return mean

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"done": self.done, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.done = state["done"]
        self.checkpoint.load(state)


@torch.no_grad()
def logits_of(network: nn.Module, chips: Chips, rows: Tensor) -> Tensor:
    """(rows, classes), in evaluation mode."""
    network.eval()
    return torch.cat([network(chips.values[part]) for part in rows.split(512)])


def judged(network: nn.Module, chips: Chips, rows: Tensor) -> tuple[float, float]:
    """(mean loss, share classified right) of some samples."""
    logits, label = logits_of(network, chips, rows), chips.label[rows]
    return float(F.cross_entropy(logits, label)), float((logits.argmax(1) == label).float().mean())


@dataclass(frozen=True)
class Arm:
    """What one method does to the network. kept: filters of each group. bits: of each layer."""

    name: str
    kept: list[np.ndarray]
    bits: dict[str, int]


class Compression:
    """An arm's network: cut, trained for `recover` epochs in float, then quantised and trained for `quantize_epochs`.

    An arm that removes nothing is quantised at once.
    """

    def __init__(self, arm: Arm, dense: nn.Module, plan: Plan, chips: Chips, config: Config) -> None:
        self.arm, self.chips, self.config = arm, chips, config
        example = chips.values[chips.train[:2]]
        self.pruned = any(len(k) < g.count for k, g in zip(arm.kept, plan.groups, strict=True))
        self.network = sliced(dense, plan, arm.kept, example)
        self.float_epochs = config.recover if self.pruned else 0
        self.epochs = self.float_epochs + config.quantize_epochs
        self.done, self.quantised = 0, False
        self.in_float: dict[str, Tensor] | None = None  # weights before quantising
        self.learner = self._learner(self.float_epochs)

    def _learner(self, epochs: int) -> Learner:
        seed = self.config.seed + 1000 + self.quantised
        return Learner(self.network, self.chips, self.config, epochs, self.config.recover_lr, seed)

    def quantise(self, fitted: bool = True) -> None:
        """Give the layers their bits; a network whose first steps come from a checkpoint is not fitted."""
        first = self.chips.values[self.chips.train[: self.config.rank_images]]
        if fitted and self.pruned and self.float_epochs == 0:
            refresh_norms(self.network, first)
        self.in_float = weights(self.network)
        bits = self.arm.bits
        quantize(self.network, bits, self.config.quantizer, input_bits(bits, self.config))
        if fitted:
            fit(self.network, first)
        self.quantised = True
        self.learner = self._learner(self.config.quantize_epochs)

    def epoch(self) -> float:
        """One epoch; returns its mean loss."""
        if self.done == self.float_epochs and not self.quantised:
            self.quantise()
        loss = self.learner.epoch()
        self.done += 1
        return loss

    def finish(self) -> None:
        """Quantise now, if no epoch did it."""
        if not self.quantised:
            self.quantise()

    def float_network(self, like: nn.Module, plan: Plan) -> nn.Module:
        """The network before it was quantised."""
        assert self.in_float is not None
        network = sliced(like, plan, self.arm.kept, self.chips.values[self.chips.train[:2]])
        network.load_state_dict(self.in_float)
        return network

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"done": self.done, "float": self.in_float or {}, "learner": self.learner.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.done = state["done"]
        if state["float"]:
            self.quantise(fitted=False)
            self.in_float = copy.deepcopy(dict(state["float"]))
        self.learner.load(state["learner"])
