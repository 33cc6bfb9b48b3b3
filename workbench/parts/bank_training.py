"""Training on sensor patches, one step at a time: diffusion networks, and a classifier on raw patches and their frozen bank.

denoiser = Denoiser(patches, {"hsi": ["hsi"]}, config)
denoiser.step()                                           # {"loss": ...}
bank = denoiser.bank(patches.place[patches.train])        # {"hsi": (n, d * times, 4, 4)}
classifier = Classifier(patches, config, bank)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.data.sensor_patches import SIDE, Patches
from workbench.parts.bank_settings import BankSettings
from workbench.parts.device import device
from workbench.parts.features import STEPS, features, features_at, schedule
from workbench.parts.frequency import Parser
from workbench.parts.reuse import Reuse
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint
from workbench.parts.unet import UNet

ZERO = math.sqrt(2 / math.pi)  # E|eps|: the loss of a network that predicts 0, as a new one does
OWNER = 7919  # between the seeds of two owners


def branches_of(patches: Patches) -> list[list[str]]:
    """The sensors of each branch of the classifier: the first, and all others stacked."""
    first, *others = patches.sensors
    return [[first], others] if others else [[first]]


def stacked(patches: Patches, place: np.ndarray, sensors: Sequence[str]) -> Tensor:
    """(n, channels, 8, 8): the patches of these sensors, one after the other along the channels."""
    return torch.cat([patches.take(place, s) for s in sensors], 1)


def class_weights(label: Tensor, classes: int) -> Tensor:
    """(classes,): weights of the cross entropy for labels (n,), the mean number of samples of a class over its own."""
    count = torch.bincount(label, minlength=classes).float()
    return count.mean() / count.clamp(min=1)


class Denoiser:
    """Diffusion networks that are trained together on the same pixels.

    groups: name of each network -> the sensors whose channels it sees. parser: instead of that of the settings. owner: the number of
    the owner of these networks; owners draw different weights, pixels and noise.
    """

    def __init__(
        self,
        patches: Patches,
        groups: Mapping[str, Sequence[str]],
        config: BankSettings,
        parser: Parser | None = None,
        owner: int = 0,
    ) -> None:
        self.patches, self.config, self.total, self.done = patches, config, config.steps, 0
        self.groups, self.products, self.owner = groups, schedule(), owner
        self.random = Seeded((config.seed + OWNER * owner) % 2**32)
        self.networks: dict[str, UNet] = {}
        with self.random:
            for name, sensors in self.groups.items():
                bands = sum(patches.cubes[s].shape[1] for s in sensors)
                self.networks[name] = UNet(bands, config.width, side=SIDE, parser=parser or config.parser).to(device())
        self.optimisers = {n: torch.optim.Adam(net.parameters(), config.lr) for n, net in self.networks.items()}
        self.last: list[float] = []
        self.checkpoint = Checkpoint(networks=self.networks, optimisers=self.optimisers, random=self.random)

    def step(self) -> dict[str, float]:
        """One step of every network; `loss`, the mean of their mean absolute errors of the noise."""
        where, losses = device(), []
        with self.random:
            rows = torch.randint(len(self.patches.free), (self.config.batch,)).numpy()
            t = torch.randint(STEPS, (self.config.batch,))
            a = self.products[t].float()[:, None, None, None].to(where)
            for name, network in self.networks.items():
                x = stacked(self.patches, self.patches.free[rows], self.groups[name])
                eps = torch.randn(x.shape).to(where)
                noisy = a.sqrt() * x.to(where) + (1 - a).sqrt() * eps
                loss = F.l1_loss(network.train()(noisy, t.to(where)), eps)
                self.optimisers[name].zero_grad()
                loss.backward()
                self.optimisers[name].step()
                losses.append(float(loss.detach()))
        self.done += 1
        self.last = [*self.last[-19:], float(np.mean(losses))]
        return {"loss": self.last[-1]}

    @property
    def recent(self) -> float:
        """The mean loss of the last 20 steps."""
        return float(np.mean(self.last))

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {"done": self.done, "last": list(self.last), **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done, self.last = int(state["done"]), [float(v) for v in state["last"]]
        self.checkpoint.load(state)

    def bank(self, place: np.ndarray, times: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Name of each network -> (n, d * times, 4, 4), on the CPU, without gradients."""
        pixel = self.patches.pixel(place)
        used = list(times or self.config.times)
        return {
            name: features(
                network, stacked(self.patches, place, self.groups[name]), pixel, used, self.products, self.seed_of(name)
            )
            for name, network in self.networks.items()
        }

    def seed_of(self, name: str) -> int:
        """Of the noise of the bank: each network has its own, so that two sensors of one pixel do not get the same noise."""
        return self.config.seed * 16 + self.owner + list(self.networks).index(name)

    def on(self, patches: Patches) -> Denoiser:
        """The same networks on other patches, to take their bank."""
        other = copy.copy(self)
        other.patches = patches
        return other

    def means(self, place: np.ndarray, t: int) -> np.ndarray:
        """(n, d * networks): the bank of one time, averaged over each patch."""
        pixel = self.patches.pixel(place)
        parts = [
            features_at(
                network, stacked(self.patches, place, self.groups[name]), pixel, t, self.products, self.seed_of(name)
            )
            for name, network in self.networks.items()
        ]
        return torch.cat(parts, 1).mean((2, 3)).numpy()


def deep_of(bank: Mapping[str, Tensor], sensors: Sequence[str]) -> Tensor:
    """The bank of a branch: the joint one, that of an owner with these sensors (`image_lidar`), or those of its sensors."""
    whole = next((name for name in ("joint", "_".join(sensors)) if name in bank), None)
    return bank[whole] if whole else torch.cat([bank[s] for s in sensors], 1)


class Classifier:
    """Training of `Reuse` on the training pixels. bank None: without the deep path, the exact ablation.

    sensors: only the branches of these, each with its own path and batch statistics.
    """

    def __init__(
        self, patches: Patches, config: BankSettings, bank: Mapping[str, Tensor] | None, sensors: Sequence[str] = ()
    ) -> None:
        self.config, self.total, self.done = config, config.head_steps, 0
        self.branches = [b for b in branches_of(patches) if not sensors or set(b) & set(sensors)]
        place = patches.place[patches.train]
        self.x = [stacked(patches, place, b) for b in self.branches]
        self.bank = [deep_of(bank, b) if bank else None for b in self.branches]
        self.label = torch.from_numpy(patches.label[patches.train])
        self.weight = class_weights(self.label, len(patches.names))
        self.random = Seeded(config.seed)
        with self.random:
            deep = [0 if b is None else b.shape[1] for b in self.bank]
            self.network = Reuse([x.shape[1] for x in self.x], deep, len(patches.names))
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.head_lr, weight_decay=1e-4)
        self.checkpoint = Checkpoint(network=self.network, optimiser=self.optimiser, random=self.random)

    def step(self) -> dict[str, float]:
        """One step; `head_loss`, the mean cross entropy of the heads."""
        with self.random:
            rows = torch.randperm(len(self.label))[: self.config.batch]
            for group in self.optimiser.param_groups:
                group["lr"] = cosine(self.done, self.total, self.config.head_lr)
            bank = [None if b is None else b[rows] for b in self.bank]
            logits = self.network.train()([x[rows] for x in self.x], bank)
            losses = [F.cross_entropy(one, self.label[rows], self.weight) for one in logits]
            self.optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            self.optimiser.step()
        self.done += 1
        return {"head_loss": float(torch.stack(losses).detach().mean())}

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {"done": self.done, **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.done = int(state["done"])
        self.checkpoint.load(state)

    @torch.no_grad()
    def probability(self, patches: Patches, place: np.ndarray, bank: Mapping[str, Tensor] | None) -> np.ndarray:
        """(n, classes) of the pixels at `place`, whose bank is given."""
        self.network.eval()
        parts = []
        for rows in torch.arange(len(place)).split(1024):
            x = [stacked(patches, place[rows.numpy()], b) for b in self.branches]
            deep = [None if bank is None else deep_of(bank, b)[rows] for b in self.branches]
            parts.append(self.network.probability(x, deep))
        return torch.cat(parts).double().numpy()
