"""Training, validation and test samples of a scene. Validation samples are for choices; test samples are only scored."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.samples import Samples, Sampling, take_samples
from workbench.data.splits import by_class
from workbench.errors import InputError
from workbench.methods.picpq.settings import NEEDS, Config
from workbench.parts.device import device
from workbench.scene import require


@dataclass(frozen=True)
class Chips:
    """values (N, bands, y, x) and label (N,) on the device; train, val, test: positions. samples: where they come from."""

    values: Tensor
    label: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    samples: Samples

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.samples.classes


def chips_of(scene: xr.Dataset, config: Config) -> Chips:
    """Chips with a label, or the labelled pixels of a scene with the patch around each.

    Raises InputError as `workbench.data.samples.take_samples` does, and for `numbers` that leave a part empty.
    """
    require(scene, *NEEDS, who="picpq")
    fitting = [n for n in NEEDS[0] if n in scene and ("sample" in scene[n].dims) == ("label" in scene)]
    if not fitting:
        raise InputError(
            "picpq needs chips, image (sample, band, y, x) with label (sample), or a scene, hsi (band, y, x) with truth; "
            "this one mixes both."
        )
    listed = None
    if config.numbers is not None:
        if "label" not in scene:
            raise InputError("numbers divides chips; this scene has pixels, which are divided by blocks.")
        ids = scene["sample"].values.astype(str)
        listed = tuple(i for i in ids.tolist() if number_of(i) > config.numbers[1])
        if not listed:
            raise InputError(f"numbers={config.numbers} leaves no chip for testing; the identifiers look like {ids[0]}.")
    how = Sampling(
        (fitting[0],), test=listed, share=config.test_share, seed=config.seed, size=config.size, patch=config.patch
    )
    samples = take_samples(scene, how, who="picpq")
    if config.numbers is not None:
        held = np.array([number_of(i) > config.numbers[0] for i in samples.ids[samples.train].tolist()])
        train, val = samples.train[~held], samples.train[held]
    else:
        train, val = by_class(samples.label.numpy()[samples.train], config.val_share, config.seed)
        train, val = samples.train[train], samples.train[val]
    for name, part in (("training", train), ("validation", val), ("testing", samples.test)):
        if len(part) < 2:
            raise InputError(f"picpq needs samples for training, validation and testing; {len(part)} are left for {name}.")
    here = device()
    rows = [torch.from_numpy(part).to(here) for part in (train, val, samples.test)]
    return Chips(samples.only.to(here), samples.label.to(here), rows[0], rows[1], rows[2], samples)


def number_of(identifier: str) -> int:
    """The last number in an identifier.

    >>> number_of("Forest/Forest_131.jpg")
    131
    """
    found = re.findall(r"\d+", identifier)
    if not found:
        raise InputError(f"numbers divides chips by the last number of their identifiers; {identifier!r} has none.")
    return int(found[-1])
