"""Training with one compressor on one rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.baselines.compression import Sparse, buffer_bytes, buffer_transfers, wrap
from workbench.data.samples import Samples
from workbench.engines.processes import loopback_bytes, rank_device
from workbench.methods.rsdgc.chips import batch_of
from workbench.methods.rsdgc.settings import Config
from workbench.parts.gradients import warmup_densities
from workbench.parts.networks import ByWidth, classifier
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint
from workbench.parts.wire import GLOO_HEADERS

# settings' names of networks -> those of `workbench.parts.networks`
KINDS: dict[str, ByWidth] = {"vgg": "vgg", "vgg19": "vgg19", "resnet": "resnet10", "cnn": "plain"}


def network(config: Config, bands: int, classes: int, side: int) -> nn.Module:
    """The network of this config, with the weights of its seed."""
    with Seeded(config.seed):
        return classifier(KINDS[config.network], (bands, side, side), classes, config.width)


def learning_rate(step: int, config: Config) -> float:
    """Linear rise over the first lr_warmup steps, then half a cosine to 0. Step 0 of 100 with 5 %: lr / 5."""
    rise = round(config.lr_warmup * config.steps)
    return cosine(step, config.steps, config.lr, warmup=rise, pi_first=True)


class Training:
    """One compressor on one rank: network, optimiser, compressor, and counts so far."""

    def __init__(self, rival: str, rank: int, chips: Samples, config: Config) -> None:
        self.rival, self.rank, self.chips, self.config = rival, rank, chips, config
        self.device = rank_device(rank)
        bands, side = chips.only.shape[1], min(chips.only.shape[2:])
        self.network = network(config, bands, len(chips.names), side).to(self.device)
        self.ddp, self.compressor = wrap(
            rival,
            self.network,
            density=config.density,
            momentum=config.momentum,
            rank=config.powersgd_rank,
            powersgd_start=config.powersgd_start,
            indicator=config.indicator,
            p=config.p,
            dynamic=config.dynamic,
            values=config.values,
            index=config.index,
            warmup=warmup_densities(config.density, config.warmup_stages),
            warmup_steps=config.warmup_steps,
            seed=config.seed,
        )
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=config.lr,
            momentum=self.compressor.optimiser_momentum,
            weight_decay=config.weight_decay,
        )
        self.checkpoint = Checkpoint(network=self.network, optimiser=self.optimiser, compressor=self.compressor)
        self.buffers = 0  # bytes of normalisation statistics, counted like the gradient
        self.transfers: int | None = 0 if dist.get_backend() == "gloo" else None  # headers of other backends are not known
        self.measured: int | None = 0
        self.skipped = 0
        self.age: dict[str, Tensor] = {}
        self.watched: list[str] = []
        if rival == "rsdgc" and isinstance(self.compressor, Sparse) and config.watch:
            names = [la.name for la in self.compressor.layers.values() if la.compressed]
            self.watched = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, config.watch).round().astype(int))]
        dist.barrier()  # wait for DDP's broadcast of the weights; it is not counted

    def step(self, step: int) -> float | None:
        """One optimiser step; the loss of this rank's share, or None when the step was skipped on all ranks."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, self.config)
        if isinstance(self.compressor, Sparse):
            self.compressor.watch = set(self.watched)
        before = loopback_bytes()
        x, y = batch_of(self.chips, self.config, self.rank, step)
        self.optimiser.zero_grad()
        loss = F.cross_entropy(self.ddp(x.to(self.device)), y.to(self.device))
        loss.backward()
        after = loopback_bytes()
        self.buffers += buffer_bytes(self.ddp)
        if self.transfers is not None:
            self.transfers += self.compressor.transfers + buffer_transfers(self.ddp)
        if self.measured is not None:
            self.measured = None if before is None or after is None else self.measured + after - before
        if self.compressor.skipped:
            self.skipped += 1
            return None
        self.optimiser.step()
        if isinstance(self.compressor, Sparse):
            for name, (_, kept) in self.compressor.seen.items():
                age = self.age.setdefault(name, torch.zeros(kept.shape, dtype=torch.int32))
                age.add_(1).masked_fill_(kept.cpu(), 0)
        return float(loss.detach())

    @property
    def counted(self) -> int:
        """Bytes of all messages, by all ranks together since the start, normalisation statistics included, headers not."""
        return self.compressor.counted + self.buffers

    @property
    def headers(self) -> int | None:
        """Bytes of the headers of these messages, counted; None where they are not known."""
        return None if self.transfers is None else GLOO_HEADERS * self.transfers

    def predicted(self) -> Tensor:
        """Classes (test,) of the test chips; every rank computes its share."""
        own = torch.from_numpy(self.chips.test)[self.rank :: self.config.workers]
        for buffer in self.network.buffers():  # statistics differ between ranks since DDP last sent those of rank 0
            dist.broadcast(buffer, 0)
        self.network.eval()
        with torch.no_grad():
            parts = [self.network(self.chips.only[i].to(self.device)).argmax(1) for i in own.split(128)]
        self.network.train()
        labels = torch.zeros(len(self.chips.test), dtype=torch.int64, device=self.device)
        labels[self.rank :: self.config.workers] = torch.cat(parts) if parts else labels[:0]
        dist.all_reduce(labels)
        return labels.cpu()

    def state(self) -> dict[str, Any]:
        """The state this rank needs to continue."""
        return {
            **self.checkpoint.state(),
            "numbers": [self.buffers, self.measured, self.skipped, self.transfers],
            "age": {name: age.clone() for name, age in self.age.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`, after a backward pass that makes DDP regroup its buckets as before."""
        self.ddp(torch.zeros_like(self.chips.only[: self.config.batch]).to(self.device)).sum().backward()
        self.checkpoint.load(state)
        self.buffers, self.measured, self.skipped, *rest = state["numbers"]
        self.transfers = rest[0] if rest else None  # checkpoints had none before headers were counted
        self.age = {name: age.clone() for name, age in state["age"].items()}


def ratios(training: Training, steps: int) -> dict[str, float]:
    """Compression ratios against dense training after `steps` steps; the last two for sparse compressors only."""
    compressor = training.compressor
    entries = sum(p.numel() for p in training.network.parameters())
    dense = 2 * (training.config.workers - 1) * 4 * entries * steps
    result = {"ratio_wire": dense / max(1, training.counted)}
    if training.headers is not None:
        result["ratio_counted"] = dense / max(1, training.counted + training.headers)
    if training.measured is not None:
        result["measured_ratio"] = dense / max(1, training.measured)
    if isinstance(compressor, Sparse):
        result["ratio_entries"] = entries / sum(la.k for la in compressor.layers.values() if la.compressed)
        result["ratio_upload"] = 4 * entries / compressor.report.sent
    return result
