"""The chips of a scene, and each rank's share of a batch."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from workbench.data.samples import Samples, Sampling, take_samples
from workbench.errors import InputError
from workbench.methods.rsdgc.settings import NEEDS, Config
from workbench.scene import require


def chips_of(scene: xr.Dataset, config: Config) -> Samples:
    """The labelled chips of a scene. Split: its own `split` (test, else val), or by class at random from the seed.

    Raises InputError for a single image, for complex or missing values, and when a class or the split is too small.
    """
    require(scene, *NEEDS, who="rsdgc")
    if scene["image"].dims != ("sample", "band", "y", "x"):
        dims = ", ".join(map(str, scene["image"].dims))
        raise InputError(f"rsdgc needs chips, image (sample, band, y, x); this scene has image ({dims}).")
    how = Sampling(
        ("image",),
        share=config.train_fraction,
        draw="train",
        seed=config.seed,
        size=config.size,
        least=4,
        classes="present",
        scaling="float32",
    )
    chips = take_samples(scene, how, who="rsdgc")
    if len(chips.test) == 0 or len(chips.train) < config.workers * config.batch:
        raise InputError(
            f"rsdgc needs chips for testing, and {config.workers} x {config.batch} for a training step; this scene gives "
            f"{len(chips.test)} and {len(chips.train)}. Lower batch or workers, or give a larger set."
        )
    return chips


def batch_of(chips: Samples, config: Config, rank: int, step: int) -> tuple[Tensor, Tensor]:
    """A rank's share of the batch of a step: each epoch is a permutation from the seed, divided among the ranks."""
    total = config.workers * config.batch
    per_epoch = len(chips.train) // total
    epoch, place = divmod(step, per_epoch)
    draw = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(len(chips.train), generator=draw)
    begin = place * total + rank * config.batch
    chosen = torch.from_numpy(chips.train)[order[begin : begin + config.batch]]
    x = chips.only[chosen]
    if config.augment:
        draw = torch.Generator().manual_seed((config.seed * 1_000_003 + step) * 64 + rank)
        turns = torch.randint(0, 8, (len(x),), generator=draw).tolist()
        square = x.shape[2] == x.shape[3]
        x = torch.stack([turned(chip, t if square else t & 5) for chip, t in zip(x, turns, strict=True)])
    return x, chips.label[chosen]


def turned(chip: Tensor, how: int) -> Tensor:
    """A chip (C, h, w) after one of the eight flips and quarter turns, how = 0..7; how & 5 leaves out those that change the shape."""
    if how & 1:
        chip = chip.flip(2)
    if how & 4:
        chip = chip.flip(1)
    return chip.transpose(1, 2) if how & 2 else chip
