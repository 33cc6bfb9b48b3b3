"""What a compression needs of a trained SAR-Net: its crops, its loss, and AP50 on the test images."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

import torch
import xarray as xr
from torch import Tensor, nn

from workbench.data.boxed_images import Batch, Crops, images_of
from workbench.methods.sarnet.result import scored
from workbench.methods.sarnet.tiles import load_network
from workbench.methods.sarnet.training import losses_of
from workbench.parts.compressible import Compressible, mean_loss, trainer
from workbench.parts.device import device
from workbench.parts.seeding import Seeded

AGAIN = 0.25  # of the learning rate of the first training
EXAMPLES, JUDGED = 4, 4  # batches whose ranks are taken, and on which a candidate is judged


def compressible(folder: str | PathLike[str], scene: xr.Dataset) -> Compressible:
    """The network of a finished run on its scene. Its quality is AP50 on the test images; validation images judge.

    Raises InputError for a folder without weights, for weights of another method, and as `images_of` does.
    """
    trained = load_network(folder)
    config = trained.config
    images = images_of(scene, config, who="sarnet")
    crops, held_out = Crops(images, config), Crops(replace(images, train=images.val), config)
    with Seeded(config.seed):
        example = torch.cat([crops.draw().x for _ in range(EXAMPLES)]).to(device())
        judged = [held_out.draw() for _ in range(JUDGED)]

    def loss_of(network: nn.Module, batch: Batch) -> Tensor:
        losses = losses_of(network, batch)
        return losses.classes + config.box_weight * losses.boxes

    def quality(network: nn.Module) -> float:
        return scored(network, images, images.test, config)[1].ap50  # type: ignore[arg-type]  # cut, but of the same form

    return Compressible(
        trained.network,
        example,
        trainer(crops.draw, loss_of, AGAIN * config.lr, config.weight_decay, config.clip),
        mean_loss(judged, loss_of),
        quality,
        "ap50",
        max(1, len(crops.owner) // config.batch),
        f"{len(images.train)} training, {len(images.val)} validation, {len(images.test)} test images",
        answer=lambda out: out.levels,
        ends=[n for n, m in trained.network.named_modules() if n.startswith("head.") and isinstance(m, nn.Conv2d) and n.endswith(".1")],
    )  # fmt: skip
