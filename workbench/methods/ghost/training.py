"""Training of the teacher, and of its quantised copies."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.data.boxed_images import Batch, Crops, Images
from workbench.errors import InputError
from workbench.methods.ghost.network import STRIDES, Detector, detector
from workbench.methods.ghost.settings import Config
from workbench.methods.ghost.teaching import Switches
from workbench.parts.detect import detection_loss
from workbench.parts.device import device
from workbench.parts.quantize import Quantizer, fit, quantize, refresh_norms
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, descend

CALIBRATION = 4  # batches from which the first steps of the quantisers come
GRIDS: dict[str, Quantizer] = {"lsq": "lsq", "published": "dorefa"}  # setting -> quantiser
Hears = Literal["switch", "on", "coin", "logit", "nothing"]
HEARS: dict[str, Hears] = {"off": "nothing", "on": "on", "coin": "coin", "logit": "logit"}  # arms that differ from ours here


def loss_of(levels: Sequence[Tensor], batch: Batch) -> Tensor:
    """Loss of classes and boxes."""
    here = device()
    losses = detection_loss(levels, [b.to(here) for b in batch.boxes], [n.to(here) for n in batch.labels], STRIDES)
    return losses.classes + losses.boxes


def calibration(images: Images, config: Config) -> Tensor:
    """Crops of training images, the same for all copies."""
    with Seeded((config.seed + 500) % 2**32):
        crops = Crops(images, config)
        return torch.cat([crops.draw().x for _ in range(CALIBRATION)]).to(device())


def input_bits(network: Detector, bits: Mapping[str, int]) -> dict[str, int]:
    """layer -> bits of its input: as its weights; the image enters with 8."""
    return {name: network.first.get(name, b) for name, b in bits.items()}


def quantised(teacher: Detector, bits: Mapping[str, int], quantizer: str, x: Tensor) -> Detector:
    """A copy with these bits, its first steps and batch statistics from x: calibrated, not trained."""
    network = copy.deepcopy(teacher)
    quantize(network, bits, GRIDS[quantizer], input_bits(network, bits))
    if quantizer == "lsq":
        fit(network, x)
    refresh_norms(network, x)
    return network.eval()


class _Learner:
    """What both trainings share: steps, learning rate, checkpoint."""

    name: str
    parts: Mapping[str, Any]
    optimiser: torch.optim.Optimizer

    def __init__(self, images: Images, config: Config, total: int, rate: float) -> None:
        self.images, self.config, self.total, self.rate, self.done = images, config, total, rate, 0
        self.crops = Crops(images, config)

    def _learn(self, loss: Tensor) -> float:
        c = self.config
        rate = cosine(self.done, self.total, self.rate, warmup=min(c.warmup, self.total // 2))
        descend(self.optimiser, loss, rate, c.clip)
        self.done += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(f"The training of {self.name} diverged at step {self.done}; lower lr or student_lr.")
        return value


class Teacher(_Learner):
    """The float detector. The seed determines initial weights and crops."""

    name = "teacher"

    def __init__(self, images: Images, config: Config) -> None:
        super().__init__(images, config, config.steps, config.lr)
        with Seeded(config.seed):
            network = detector(config.network, images.bands, len(images.names), config.width)
        self.network = network.to(device())
        self.random = Seeded((config.seed + 77) % 2**32)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.checkpoint = Checkpoint(network=self.network, optimiser=self.optimiser, random=self.random)

    def step(self) -> dict[str, float]:
        """One optimiser step; returns its loss."""
        with self.random:
            batch = self.crops.draw()
        self.network.train()
        loss = loss_of(self.network(batch.x.to(device())).levels, batch)
        return {"loss": self._learn(loss)}

    def state(self) -> dict[str, Any]:
        """Everything that a step changes."""
        return {"done": self.done, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.checkpoint.load(state)
        self.done = int(state["done"])


class Student(_Learner):
    """A quantised copy of the teacher. name: of the arm. bits: of each layer; the others stay in float."""

    def __init__(
        self, name: str, teacher: Detector, bits: Mapping[str, int], images: Images, config: Config, start: Tensor
    ) -> None:
        super().__init__(images, config, config.student_steps, config.student_lr)
        self.name, self.bits, self.teacher = name, dict(bits), teacher.eval()
        self.hears: Hears = hears(name, config)
        self.network = quantised(teacher, bits, quantizer_of(name, config), start)
        with Seeded((config.seed + 900) % 2**32):
            self.switches = Switches(teacher.channels, config.query).to(device())
        self.random = Seeded((config.seed + 78) % 2**32)  # all copies see the same crops
        self.chance = Seeded((config.seed + 79) % 2**32)  # of the switches
        self.learns = self.hears == "switch" and config.gate == "learned"
        groups = [*self.network.parameters(), *(self.switches.parameters() if self.learns else ())]
        self.optimiser = torch.optim.AdamW(groups, lr=config.student_lr, weight_decay=0.0)
        self.checkpoint = Checkpoint(
            network=self.network, switches=self.switches, optimiser=self.optimiser, random=self.random, chance=self.chance
        )
        self.opened: list[list[float]] = []  # of each step, of each block
        self.logits = torch.zeros(len(teacher.blocks), len(teacher.blocks))

    def step(self) -> dict[str, float]:
        """One optimiser step; returns its losses, the share of open switches, and the distance of the attention maps."""
        c = self.config
        with self.random:
            batch = self.crops.draw()
        x = batch.x.to(device())
        out = self.network.train()(x)
        with torch.no_grad():
            wanted = self.teacher(x)
        loss = loss_of(out.levels, batch)
        numbers = {}
        with self.chance:
            how = "on" if self.hears in ("logit", "nothing") else self.hears
            taught = self.switches(out.features, wanted.features, how, c.noise, c.pixels)
        if self.hears in ("switch", "on", "coin"):
            loss = loss + c.teach * taught.loss
            numbers["open"] = float(taught.z.detach().mean())
            self.opened.append(taught.z.detach().mean(0).tolist())
            self.logits = taught.logits.cpu()
        elif self.hears == "logit":
            loss = loss + torch.stack([F.mse_loss(a, b) for a, b in zip(out.levels, wanted.levels, strict=True)]).mean()
        if self.learns:
            loss = loss + c.open_weight * (taught.z.mean() - c.open_share).square()
        return {"loss": self._learn(loss), "attention": float(taught.distance.mean()), **numbers}

    def state(self) -> dict[str, Any]:
        """Everything that a step changes."""
        return {
            "done": self.done,
            "bits": dict(self.bits),
            "opened": [list(o) for o in self.opened],
            "logits": self.logits.clone(),
            **self.checkpoint.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.checkpoint.load(state)
        self.done, self.opened, self.logits = int(state["done"]), [list(o) for o in state["opened"]], state["logits"].clone()


def quantizer_of(name: str, config: Config) -> str:
    """The quantiser of a copy, as the setting calls it."""
    return "published" if name == "published" else config.quantizer


def hears(name: str, config: Config) -> Hears:
    """What a copy hears of its teacher."""
    if name.startswith("lsq"):
        return "nothing"
    return HEARS.get(name, "on" if config.gate == "on" else "switch")
