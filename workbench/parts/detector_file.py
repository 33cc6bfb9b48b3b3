"""A detector as one function of amplitudes that gives boxes and scores, for a file that runs without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench.data.boxed_settings import BoxedSettings
from workbench.parts.detect import decode, points

SCALING = {
    "log": "amplitude in [0, 1], such as 8-bit amplitude / 255; its logarithm is taken inside the network",
    "linear": "amplitude in [0, 1], such as 8-bit amplitude / 255",
}


class Decoded(nn.Module):
    """image (B, bands, side, side) in [0, 1] -> box (B, P, 4) x0 y0 x1 y1 in pixels, score (B, P, classes); no suppression.

    network: gives an output with `levels`. enter: the network's input of an image.
    """

    at: Tensor
    stride: Tensor

    def __init__(self, network: nn.Module, enter: Callable[[Tensor], Tensor], side: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.network, self.enter = network, enter
        shapes = [(side // s, side // s) for s in strides]
        self.register_buffer("at", torch.cat([points(shape, s) for shape, s in zip(shapes, strides, strict=True)]))
        cells = [torch.full((h * w,), float(s)) for (h, w), s in zip(shapes, strides, strict=True)]
        self.register_buffer("stride", torch.cat(cells))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; the points of all levels, row by row, the finest level first."""
        raw = torch.cat([x.flatten(2) for x in self.network(self.enter(image)).levels], 2).transpose(1, 2)
        return decode(raw[..., :4], self.at, self.stride), torch.sigmoid(raw[..., 4:])


def facts_of(
    config: BoxedSettings, names: Sequence[str], side: int, strides: Sequence[int], margin: int, threshold: float
) -> dict[str, Any]:
    """The facts of a `Decoded`'s file, which its loader uses. margin: pixels that neighbouring tiles share. threshold: lowest score."""
    return {
        "task": "boxes",
        "classes": list(names),
        "side": side,
        "strides": list(strides),
        "scaling": SCALING[config.transform],
        "margin": min(margin, side - 1),
        "overlap": config.overlap,
        "threshold": threshold,
        "most": config.most,
    }
