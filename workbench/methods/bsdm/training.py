"""Training of BSDM on one scene: predict the added pseudo background."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.methods.bsdm.network import Denoiser, moments
from workbench.methods.bsdm.settings import Config, mix
from workbench.parts.device import device
from workbench.parts.diffusion import noised
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, same_run


def pseudo_background(mean: float, std: float, shape: tuple[int, ...]) -> Tensor:
    """Noise with the cube's own mean and spread, eps ~ N(mu, sigma^2), one mu and sigma for the whole cube.

    Drawn on the CPU, so that every device trains on the same numbers.
    """
    return mean + std * torch.randn(shape)


def learning_rate(done: int, config: Config) -> float:
    """Cosine from `lr` to `final_lr`, after `done` steps of `schedule_steps`; flat afterwards. Halfway it is their mean."""
    return cosine(done, config.schedule_steps, config.lr, config.final_lr)


def squared_error(network: nn.Module, x_t: Tensor, stats: Tensor, eps: Tensor, config: Config) -> float:
    """mean((e(x_t, t) - eps)^2) over all P x C numbers, with its gradient added to the parameters'; `stats`: moments of x_t.

    Pixels are independent, so it is summed chunk by chunk: the same step in less memory.
    """
    t = torch.tensor([config.t], device=x_t.device)
    total = torch.zeros((), device=x_t.device)
    for x, m, target in zip(x_t.split(config.chunk), stats.split(config.chunk), eps.split(config.chunk), strict=True):
        part = F.mse_loss(network(x, t, m), target, reduction="sum") / eps.numel()
        part.backward()
        total += part.detach()
    return float(total)


class Training:
    """A network on its way: everything a step changes, and the scene it is fitted to.

    x0: scaled spectra (P, C), float64 on the CPU. The initial weights and the frozen noise depend only on `config.seed`.
    """

    def __init__(self, x0: Tensor, config: Config) -> None:
        self.config = config
        self.mean, self.std = float(x0.mean()), float(x0.std())
        self.coefficients = mix(config)
        self.random = Seeded(config.seed)
        with self.random:
            network = Denoiser(x0.shape[1], config)
            eps = pseudo_background(self.mean, self.std, tuple(x0.shape))
        here = device()
        self.network, self.clean, self.eps = network.to(here), x0.float().to(here), eps.to(here)
        x_t = noised(self.clean, self.eps, *self.coefficients)
        self.same = x_t, moments(x_t, config.offset), self.eps
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.checkpoint = Checkpoint(network=self.network, optimiser=self.optimiser, random=self.random)
        self.done = 0
        self.first_loss = self.last_loss = math.nan

    @property
    def about(self) -> str:
        """Everything needed to use the weights elsewhere, as JSON text."""
        config = self.config.model_dump()
        return json.dumps({"bands": self.clean.shape[1], "mean": self.mean, "std": self.std, "config": config})

    def material(self) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, its moments, eps) for the next step; with frozen noise and all pixels (official code) always equal."""
        c = self.config
        if c.frozen and c.pixels is None:
            return self.same
        with self.random:
            rows = torch.arange(len(self.eps)) if c.pixels is None else torch.randperm(len(self.eps))[: c.pixels]
            rows = rows.to(self.eps.device)
            if c.frozen:
                x_t, stats, eps = self.same
                return x_t[rows], stats[rows], eps[rows]
            eps = pseudo_background(self.mean, self.std, (len(rows), self.eps.shape[1])).to(self.eps.device)
        x_t = noised(self.clean[rows], eps, *self.coefficients)
        return x_t, moments(x_t, c.offset), eps

    def step(self) -> dict[str, float]:
        """One AdamW step; returns the loss before it and its learning rate."""
        rate = learning_rate(self.done, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss = squared_error(self.network, *self.material(), self.config)
        if not math.isfinite(loss):
            raise InputError(f"bsdm diverged: the loss of step {self.done + 1} is {loss}. Lower lr, now {self.config.lr:g}.")
        self.optimiser.step()
        self.first_loss = loss if self.done == 0 else self.first_loss
        self.last_loss = loss
        self.done += 1
        return {"loss": loss, "lr": rate}

    def state(self) -> dict[str, Any]:
        """State for a checkpoint; after `load` the numbers are the same as without the interruption."""
        return {
            "about": self.about,
            "done": self.done,
            "losses": [self.first_loss, self.last_loss],
            **self.checkpoint.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`; raises InputError when the state belongs to another scene or config."""
        same_run("bsdm", state["about"], self.about, without=("chunk", "show_every"))
        self.checkpoint.load(state)
        self.done, (self.first_loss, self.last_loss) = state["done"], state["losses"]
