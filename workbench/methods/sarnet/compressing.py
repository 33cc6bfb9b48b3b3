"""What a compression needs of a trained SAR-Net: its crops, its loss, and AP50 on the test images."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

import torch
import xarray as xr
from torch import Tensor, nn

from workbench.data.boxed_images import Batch, Crops, images_of
from workbench.methods.sarnet.network import STRIDES
from workbench.methods.sarnet.result import scored
from workbench.methods.sarnet.settings import Config
from workbench.methods.sarnet.tiles import load_network
from workbench.parts.compressible import Compressible
from workbench.parts.detect import detection_loss
from workbench.parts.device import device
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded

AGAIN = 0.25  # of the learning rate of the first training
EXAMPLES, JUDGED = 4, 4  # batches whose ranks are taken, and on which a candidate is judged


def compressible(folder: str | PathLike[str], scene: xr.Dataset) -> Compressible:
    """The network of a finished run on its scene. Its quality is AP50 on the test images; validation images judge.

    Raises InputError for a folder without weights, for weights of another method, and as `images_of` does.
    """
    trained = load_network(folder)
    config = trained.config
    images = images_of(scene, config)
    crops, held_out = Crops(images, config), Crops(replace(images, train=images.val), config)
    with Seeded(config.seed):
        example = torch.cat([crops.draw().x for _ in range(EXAMPLES)]).to(device())
        judged = [held_out.draw() for _ in range(JUDGED)]

    def train(network: nn.Module, steps: int, seed: int) -> None:
        random = Seeded(seed)
        lr = AGAIN * config.lr
        optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=config.weight_decay)
        for n in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = cosine(n, steps, lr)
            with random:
                batch = crops.draw()
            optimiser.zero_grad()
            loss_of(network.train(), batch, config).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()

    @torch.no_grad()
    def judge(network: nn.Module) -> float:
        return float(torch.stack([loss_of(network, batch, config) for batch in judged]).mean())

    def quality(network: nn.Module) -> float:
        return scored(network, images, images.test, config)[1].ap50  # type: ignore[arg-type]  # cut, but of the same form

    return Compressible(
        trained.network,
        example,
        train,
        judge,
        quality,
        "ap50",
        max(1, len(crops.owner) // config.batch),
        f"{len(images.train)} training, {len(images.val)} validation, {len(images.test)} test images",
        answer=lambda out: out.levels,
        ends=[n for n, m in trained.network.named_modules() if n.startswith("head.") and isinstance(m, nn.Conv2d) and n.endswith(".1")],
    )  # fmt: skip


def loss_of(network: nn.Module, batch: Batch, config: Config) -> Tensor:
    """The loss of one batch, as in the training."""
    here = device()
    out = network(batch.x.to(here))
    losses = detection_loss(out.levels, [b.to(here) for b in batch.boxes], [n.to(here) for n in batch.labels], STRIDES)
    return losses.classes + config.box_weight * losses.boxes
