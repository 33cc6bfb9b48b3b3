"""What a compression needs of a trained AR-CDNet: its crops, its loss, and F1 on the test pixels."""

from __future__ import annotations

import re
from dataclasses import replace
from os import PathLike

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from workbench.methods.arcdnet.loss import network_loss
from workbench.methods.arcdnet.network import ARCDNet
from workbench.methods.arcdnet.pairs import TEST, TRAIN, UNUSED, VAL, Batch, Crops, Pairs, pairs_of
from workbench.methods.arcdnet.result import maps_of
from workbench.methods.arcdnet.tiles import Trained, load_network
from workbench.metrics.change import confusion
from workbench.parts.compressible import Compressible, mean_loss, trainer
from workbench.parts.device import device
from workbench.parts.seeding import Seeded

AGAIN = 0.1  # of the learning rate of the first training
EXAMPLES, JUDGED = 2, 4  # batches whose ranks are taken, and on which a candidate is judged
PARTS = ((TRAIN, "training"), (VAL, "validation"), (TEST, "test"))
CUT = re.compile(
    r"pyramid\.(down\.\d+|context)\.out\.0|difference\.\d+\.back\.0"
)  # layers before channels are cut or compared


class Stacked(nn.Module):
    """AR-CDNet as a network of one input, the bands of both dates one after the other -> [change, sides ..., uncertainty]."""

    def __init__(self, network: ARCDNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 2 bands, H, W) -> logits (B, 1, H, W)."""
        out = self.network(x[:, : self.network.bands], x[:, self.network.bands :])
        return [out.change, *out.sides, *([] if out.uncertainty is None else [out.uncertainty])]


def compressible(folder: str | PathLike[str], scene: xr.Dataset) -> Compressible:
    """The network of a finished run on its scene. Its quality is F1 of the test pixels; validation pixels judge.

    Layers before a cut or a comparison of channels keep all filters, because their channels cannot be followed.

    Raises InputError for a folder without weights, for weights of another method, and as `pairs_of` does.
    """
    trained = load_network(folder)
    config, pairs = trained.config, pairs_of(scene, trained.config)
    crops = Crops(pairs, config)
    held_out = Crops(replace(pairs, part=np.where(pairs.part == VAL, TRAIN, UNUSED)), config)
    with Seeded(config.seed):
        drawn = [crops.draw() for _ in range(EXAMPLES)]
        judged = [held_out.draw() for _ in range(JUDGED)]
    whole = Stacked(trained.network)

    def loss_of(network: nn.Module, batch: Batch) -> Tensor:
        y, valid = batch.y.to(device()), batch.valid.to(device())
        change, *sides = network(stacked(batch))
        uncertainty = sides.pop() if config.oue else None
        return network_loss(change, sides, uncertainty, y, valid, config.uncertainty_weight)[0]

    def quality(network: nn.Module) -> float:
        return f1_of(network, pairs, trained)

    return Compressible(
        whole,
        torch.cat([stacked(b) for b in drawn]),
        trainer(crops.draw, loss_of, AGAIN * config.lr, config.weight_decay),
        mean_loss(judged, loss_of),
        quality,
        "f1",
        max(1, int((pairs.part == TRAIN).sum()) // (config.batch * config.crop**2)),
        ", ".join(f"{int((pairs.part == p).sum())} {name}" for p, name in PARTS) + " pixels",
        keep=[n for n, _ in whole.named_modules() if CUT.fullmatch(n.removeprefix("network."))],
    )


def stacked(batch: Batch) -> Tensor:
    """(B, 2 bands, h, w): both dates of a batch."""
    return torch.cat([batch.before, batch.after], 1).to(device())


def f1_of(network: nn.Module, pairs: Pairs, trained: Trained) -> float:
    """F1 of all test pixels, by the inner network of a `Stacked`."""
    one = replace(trained, network=network.eval().network)  # type: ignore[arg-type]  # cut, but of the same form
    found, true = [], []
    for n in pairs.of(TEST):
        chosen = pairs.part[n] == TEST
        found.append(maps_of(one, pairs, int(n))[0][chosen])  # type: ignore[arg-type]  # it has the config and the maps
        true.append(pairs.truth[n][chosen] == 1)
    return confusion(np.concatenate(found), np.concatenate(true)).f1
