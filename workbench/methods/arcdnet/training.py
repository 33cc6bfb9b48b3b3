"""Training of AR-CDNet, its controls and its rivals. All are trained by the same code on random crops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workbench.baselines.change import NETWORKS
from workbench.errors import InputError
from workbench.methods.arcdnet.loss import (
    bce,
    change_loss,
    entropy_floor,
    learning_rate,
    network_loss,
    shuffled,
    uncertainty_target,
)
from workbench.methods.arcdnet.network import ARCDNet, Uncertainty, load_encoder
from workbench.methods.arcdnet.pairs import Batch, Crops, Pairs
from workbench.methods.arcdnet.settings import Config
from workbench.methods.arcdnet.tiles import Trained
from workbench.parts.device import device
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, descend, weights


class Standardised(nn.Module):
    """A rival with raw bands as input: scales them to mean 0 and spread 1, missing values to 0; (B, bands, H, W) twice -> logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean[:, None, None].clone())
        self.register_buffer("std", std[:, None, None].clone())

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Both dates `(B, bands, H, W)` -> logits `(B, 1, H, W)`."""
        scaled = ((x - self.mean) / self.std for x in (before, after))
        return self.network(*(torch.where(torch.isfinite(x), x, 0.0) for x in scaled))


class Controls(nn.Module):
    """Two uncertainty branches on detached features of the network: one trained on shuffled targets, one untrained.

    Their scores are what a branch reaches by its place in the network alone, without information about the errors.
    """

    def __init__(self, network: ARCDNet, swap: bool) -> None:
        super().__init__()
        width = network.shape.width
        self.shuffled = Uncertainty(network.bands, width, swap, network.whole_image)
        self.untrained = Uncertainty(network.bands, width, swap, network.whole_image)

    def forward(self, network: ARCDNet, before: Tensor, after: Tensor, d2: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at full size of both."""
        x1, x2 = network.standardised(before), network.standardised(after)
        if network.compat:
            x1, x2 = x2, x1
        _, shuffled = self.shuffled(x1, x2, d2.detach())
        with torch.no_grad():  # its batch statistics are updated, its weights are not
            _, untrained = self.untrained(x1, x2, d2.detach())
        return network.enlarged(shuffled), network.enlarged(untrained)


class Learner:
    """A network being trained, and all state that a step changes.

    name: arcdnet, mc_dropout, ensemble_2, ensemble_3, or a rival of `baselines.change.NETWORKS`. The seed determines
    initial weights, crops and augmentation; all except the ensemble's members share it.
    """

    def __init__(self, name: str, pairs: Pairs, config: Config) -> None:
        self.name, self.pairs, self.done = name, pairs, 0
        member = int(name.rpartition("_")[2]) - 1 if name.startswith("ensemble") else 0
        seed = (config.seed + 1_000_003 * member) % 2**32
        if name == "mc_dropout":
            config = config.model_copy(update={"dropout": config.mc_rate})
        self.config = config
        self.random, self.control_random = Seeded(seed), Seeded((seed + 77) % 2**32)
        mean, std = pairs.moments(config)
        self.controls: Controls | None = None
        with self.random:
            self.network = _network(name, pairs.bands, config, mean, std).to(device())
        arcdnet = self.network if isinstance(self.network, ARCDNet) else None
        if arcdnet is not None and name == "arcdnet" and config.controls and config.oue:
            with self.control_random:
                self.controls = Controls(arcdnet, config.swap_second and not config.compat).to(device())
            self.control_optimiser = self._optimiser(self.controls.shuffled)
        self.optimiser = self._optimiser(self.network)
        self.networks: dict[str, nn.Module] = {"network": self.network}
        optimisers = [self.optimiser]
        if self.controls is not None:
            self.networks["controls"] = self.controls
            optimisers.append(self.control_optimiser)
        parts = {"weights": self.networks, "optimisers": optimisers, "random": self.random, "lots": self.control_random}
        self.checkpoint = Checkpoint(**parts)  # the keys of saved checkpoints
        self.crops = Crops(pairs, config)

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(network.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)

    def step(self) -> dict[str, float]:
        """One optimiser step; returns its losses and its learning rate."""
        c = self.config
        lr = learning_rate(self.done, c.steps, c.lr, c.power, min(c.warmup, c.steps // 2))
        with self.random:
            crops = self.crops.draw()
            batch = Batch(*(x.to(device()) for x in (crops.before, crops.after, crops.y, crops.valid)))
            self.network.train()
            losses = self._step(batch, lr)
        self.done += 1
        if not math.isfinite(losses["loss"]):
            raise InputError(f"The training of {self.name} diverged at step {self.done}; lower lr={c.lr:g}.")
        return losses | {"lr": lr}

    def _step(self, batch: Batch, lr: float) -> dict[str, float]:
        out = self.network(batch.before, batch.after)
        if not isinstance(self.network, ARCDNet):
            loss = change_loss(out, batch.y, batch.valid)
            descend(self.optimiser, loss, lr)
            return {"loss": float(loss.detach())}
        weight, target = self.config.uncertainty_weight, uncertainty_target(out.change, batch.y)
        loss, parts = network_loss(out.change, out.sides, out.uncertainty, batch.y, batch.valid, weight)
        floor = {} if out.uncertainty is None else {"floor": float(entropy_floor(target, batch.valid))}
        descend(self.optimiser, loss, lr)
        if self.controls is not None:
            self._step_controls(batch, out.difference, target, lr)
        return {"loss": float(loss.detach())} | {name: float(part.detach()) for name, part in parts.items()} | floor

    def _step_controls(self, batch: Batch, d2: Tensor, target: Tensor, lr: float) -> None:
        assert self.controls is not None
        self.controls.train()
        with self.control_random:  # so that the network's draws are the same with and without controls
            logits, _ = self.controls(self.network, batch.before, batch.after, d2)
            permuted = shuffled(target, batch.valid)
            descend(self.control_optimiser, bce(logits, permuted, batch.valid), lr)

    # --- evaluation

    def maps(self, before: Tensor, after: Tensor) -> Tensor:
        """(K, h, w) in [0, 1] of one pair, in evaluation mode: P; U of AR-CDNet; then U of both controls, if it has them."""
        if not isinstance(self.network, ARCDNet):
            return torch.sigmoid(self.network(before, after)[:, 0])
        out = self.network(before, after)
        logits = [out.change] if out.uncertainty is None else [out.change, out.uncertainty]
        if self.controls is not None:
            logits += self.controls(self.network, before, after, out.difference)
        return torch.sigmoid(torch.cat(logits)[:, 0])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps that `maps` gives."""
        if not isinstance(self.network, ARCDNet) or not self.config.oue:
            return ("change",)
        return ("change", "uncertainty", *(("shuffled", "untrained") if self.controls is not None else ()))

    def evaluating(self) -> Learner:
        """This learner, set to evaluation mode."""
        self.network.eval()
        if self.controls is not None:
            self.controls.eval()
        return self

    @property
    def trained(self) -> Trained:
        """The current AR-CDNet as a `Trained`."""
        assert isinstance(self.network, ARCDNet)
        return Trained(self.network, self.config, self.pairs.log)

    # --- checkpoints

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """A copy on the CPU: `network`, and `controls` if it has them."""
        return {part: weights(network) for part, network in self.networks.items()}

    def put(self, trained: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load a result of `weights()`."""
        for part, network in self.networks.items():
            network.load_state_dict(trained[part])

    def state(self) -> dict[str, Any]:
        """State for a checkpoint; after `load` the numbers are the same as without the interruption."""
        return {"done": self.done, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`."""
        self.done = state["done"]
        self.checkpoint.load(state)


def _network(name: str, bands: int, config: Config, mean: Tensor, std: Tensor) -> nn.Module:
    if name in NETWORKS:
        return Standardised(NETWORKS[name](bands), mean, std)
    network = ARCDNet(bands, config)
    network.mean.copy_(mean)
    network.std.copy_(std)
    if config.encoder is not None:
        load_encoder(network, config.encoder)
    return network
