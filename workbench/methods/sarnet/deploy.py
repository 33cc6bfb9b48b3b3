"""The trained network as one function of amplitudes that gives boxes and scores, for a file that runs without torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from workbench.data.boxed_images import entered
from workbench.methods.sarnet.tiles import Trained, load_network
from workbench.parts.detector_file import Decoded, facts_of
from workbench.parts.export import Exportable
from workbench.parts.sarnet_network import STRIDES

if TYPE_CHECKING:
    from os import PathLike


def decoded(trained: Trained) -> Decoded:
    """The network with its scaling and its boxes."""
    return Decoded(trained.network, partial(entered, config=trained.config), trained.config.side, STRIDES)


def exportable(folder: str | PathLike[str]) -> Exportable:
    """The network of a finished run, for `workbench export`. Raises InputError for a folder without weights of sarnet."""
    trained = load_network(folder)
    c = trained.config
    facts = facts_of(c, trained.names, c.side, STRIDES, c.margin, trained.operating)
    trained.network.cpu()
    example = torch.rand(2, 1, c.side, c.side, generator=torch.Generator().manual_seed(0))
    return Exportable(decoded(trained).eval(), {"image": example}, ("box", "score"), facts)
