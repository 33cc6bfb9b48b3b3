"""Training of SAR-Net and its rivals; all are trained by the same code on the same crops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from workbench.data.boxed_images import Batch, Crops, Images
from workbench.errors import InputError
from workbench.methods.sarnet.settings import Config
from workbench.parts.detect import Losses, detection_loss
from workbench.parts.device import device
from workbench.parts.sarnet_network import STRIDES, SARNet
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, descend


def losses_of(network: nn.Module, batch: Batch) -> Losses:
    """The losses of one batch."""
    here = device()
    out = network(batch.x.to(here))
    return detection_loss(out.levels, [b.to(here) for b in batch.boxes], [n.to(here) for n in batch.labels], STRIDES)


class Learner:
    """A network being trained, and all state that a step changes. name: of an arm.

    The seed determines initial weights, and crops and their changes; the crops of all arms are the same.
    """

    def __init__(self, name: str, images: Images, config: Config) -> None:
        self.name, self.images, self.config, self.done = name, images, config, 0
        with Seeded(config.seed):
            network = SARNet(len(images.names), config.width, name, config.aggregate)
        self.network = network.to(device())
        self.random = Seeded((config.seed + 77) % 2**32)  # apart from the weights, whose number differs between arms
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.checkpoint = Checkpoint(network=self.network, optimiser=self.optimiser, random=self.random)
        self.crops = Crops(images, config)

    def step(self) -> dict[str, float]:
        """One optimiser step; returns its losses and its learning rate."""
        c = self.config
        lr = cosine(self.done, c.steps, c.lr, warmup=min(c.warmup, c.steps // 2))
        with self.random:
            batch = self.crops.draw()
        losses = losses_of(self.network.train(), batch)
        loss = losses.classes + c.box_weight * losses.boxes
        descend(self.optimiser, loss, lr, c.clip)
        self.done += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(f"The training of {self.name} diverged at step {self.done}; lower lr={c.lr:g}.")
        return {
            "loss": value,
            "loss_class": float(losses.classes.detach()),
            "loss_box": float(losses.boxes.detach()),
            "lr": lr,
        }

    def state(self) -> dict[str, Any]:
        """State for a checkpoint; after `load` the numbers are the same as without the interruption."""
        return {"done": self.done, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`."""
        self.done = state["done"]
        self.checkpoint.load(state)
