"""The trained network as one function of amplitudes that gives boxes and scores, for a file that runs without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.data.boxed_images import entered
from workbench.methods.sarnet.network import STRIDES
from workbench.methods.sarnet.tiles import Trained, load_network
from workbench.parts.detect import decode, points
from workbench.parts.export import Exportable

if TYPE_CHECKING:
    from os import PathLike

SCALING = {
    "log": "amplitude in [0, 1], such as 8-bit amplitude / 255; its logarithm is taken inside the network",
    "linear": "amplitude in [0, 1], such as 8-bit amplitude / 255",
}


class Decoded(nn.Module):
    """image (B, 1, side, side) in [0, 1] -> box (B, P, 4) x0 y0 x1 y1 in pixels, score (B, P, classes); no suppression."""

    at: Tensor
    stride: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network, self.config = trained.network, trained.config
        side = trained.config.side
        shapes = [(side // s, side // s) for s in STRIDES]
        self.register_buffer("at", torch.cat([points(shape, s) for shape, s in zip(shapes, STRIDES, strict=True)]))
        cells = [torch.full((h * w,), float(s)) for (h, w), s in zip(shapes, STRIDES, strict=True)]
        self.register_buffer("stride", torch.cat(cells))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; the points of all levels, row by row, the finest level first."""
        raw = torch.cat([x.flatten(2) for x in self.network(entered(image, self.config)).levels], 2).transpose(1, 2)
        return decode(raw[..., :4], self.at, self.stride), torch.sigmoid(raw[..., 4:])


def exportable(folder: str | PathLike[str]) -> Exportable:
    """The network of a finished run, for `workbench export`. Raises InputError for a folder without weights of sarnet."""
    trained = load_network(folder)
    c = trained.config
    facts = {
        "task": "boxes",
        "classes": trained.names,
        "side": c.side,
        "strides": list(STRIDES),
        "scaling": SCALING[c.transform],
        "margin": min(c.margin, c.side - 1),
        "overlap": c.overlap,
        "threshold": trained.operating,
        "most": c.most,
    }
    trained.network.cpu()
    example = torch.rand(2, 1, c.side, c.side, generator=torch.Generator().manual_seed(0))
    return Exportable(Decoded(trained).eval(), {"image": example}, ("box", "score"), facts)
