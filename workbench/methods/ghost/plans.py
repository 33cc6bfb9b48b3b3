"""The bits of every arm: ours by the distance of weights to cluster centres, the others at equal bit operations or uniform."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.baselines.pruning import greedy_bits
from workbench.data.boxed_images import Crops, Images
from workbench.methods.ghost.network import Detector
from workbench.methods.ghost.settings import Config
from workbench.methods.ghost.training import loss_of, quantised
from workbench.parts.bops import FLOAT
from workbench.parts.cluster_bits import LEVELS, below, bops_of, by_spread, distances, within
from workbench.parts.device import device
from workbench.parts.pruning import sizes
from workbench.parts.quantize import layers
from workbench.parts.seeding import Seeded

JUDGED = 2  # batches of validation crops


@dataclass(frozen=True)
class Plans:
    """teacher: trained. start: crops for calibration."""

    teacher: Detector
    images: Images
    config: Config
    start: Tensor

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """layer -> its weights, of the layers that get bits."""
        return {
            name: layer.weight.detach().cpu().numpy()
            for name, layer in layers(self.teacher).items()
            if name not in self.teacher.kept
        }

    @cached_property
    def macs(self) -> dict[str, int]:
        """layer -> multiply-accumulates of a crop, of all layers."""
        side = self.config.crop
        found = sizes(self.teacher, torch.zeros(2, self.teacher.inputs, side, side, device=device()))
        return {name: s.unit * s.ins * s.outs for name, s in found.items()}

    @cached_property
    def distance(self) -> dict[str, np.ndarray]:
        """layer -> d(2) to d(8)."""
        return {name: distances(w) for name, w in self.weights.items()}

    @property
    def budget(self) -> float:
        """Bit operations of the quantised layers with `mean_bits` everywhere."""
        return bops_of(self.uniform(self.config.mean_bits), self.macs, self.teacher.first)

    def uniform(self, bits: int) -> dict[str, int]:
        """The same bits everywhere."""
        return dict.fromkeys(self.weights, bits)

    def ours(self) -> tuple[dict[str, int], float]:
        """(layer -> bits, T)."""
        c = self.config
        if c.plan == "published":
            return below(self.distance, c.distance_threshold), c.distance_threshold
        return within(self.distance, self.macs, self.budget, self.teacher.first)

    def of(self, arm: str) -> dict[str, int]:
        """layer -> bits of an arm."""
        if arm.startswith("lsq"):
            return self.uniform(int(arm[3:]))
        if arm in ("uniform", "ptq"):
            return self.uniform(self.config.mean_bits)
        if arm == "spread":
            return within({n: by_spread(w) for n, w in self.weights.items()}, self.macs, self.budget, self.teacher.first)[0]
        if arm == "greedy":
            macs = {n: self.macs[n] for n in self.weights}
            limit = bops_of(self.uniform(self.config.mean_bits), self.macs)
            return greedy_bits(self.rises, macs, LEVELS[::-1], limit, {})
        return self.ours()[0]

    @cached_property
    def rises(self) -> np.ndarray:
        """(layers, 7) rise of the loss on validation crops when one layer alone has 8, 7, ... 2 bits, calibrated but not trained."""
        with Seeded((self.config.seed + 600) % 2**32):
            crops = Crops(replace(self.images, train=self.images.val), self.config)
            judged = [crops.draw() for _ in range(JUDGED)]

        @torch.no_grad()
        def loss(network: Detector) -> float:
            return float(torch.stack([loss_of(network(b.x.to(device())).levels, b) for b in judged]).mean())

        alone = loss(copy.deepcopy(self.teacher).eval())
        start = self.start[: self.config.batch]
        table = [
            [loss(quantised(self.teacher, {n: b}, self.config.quantizer, start)) for b in LEVELS[::-1]] for n in self.weights
        ]
        return np.array(table) - alone

    def cost(self, bits: Mapping[str, int]) -> float:
        """Bit operations of the whole network, the float layers included."""
        rest = sum(m for n, m in self.macs.items() if n not in bits)
        return bops_of(bits, self.macs, self.teacher.first) + rest * FLOAT * FLOAT

    @property
    def whole(self) -> float:
        """Bit operations in float."""
        return float(sum(self.macs.values())) * FLOAT * FLOAT

    def kilobytes(self, bits: Mapping[str, int]) -> float:
        """Of the weights, packed to their bits; float layers with 32."""
        every = {n: layer.weight.numel() for n, layer in layers(self.teacher).items()}
        return sum(count * bits.get(n, FLOAT) for n, count in every.items()) / 8e3
