"""The quantised detector as a file: what a run saves of it, and what `workbench export` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.data.boxed_images import entered
from workbench.methods.ghost.network import STRIDES, Detector, detector
from workbench.methods.ghost.settings import Config
from workbench.methods.ghost.training import GRIDS, input_bits
from workbench.parts.detector_file import Decoded, facts_of
from workbench.parts.export import Exportable
from workbench.parts.export_quantized import integers, packed_bytes
from workbench.parts.quantize import quantize
from workbench.parts.training import rebuilding, saved_network, weights

if TYPE_CHECKING:
    from os import PathLike


MARGIN = 48  # pixels that neighbouring tiles share where the file finds boxes in a larger image


@dataclass(frozen=True)
class Trained:
    """The quantised detector of a run. operating: lowest score of a box in use."""

    network: Detector
    config: Config
    names: list[str]
    bits: dict[str, int]
    operating: float


def packed(
    network: Detector, bits: Mapping[str, int], config: Config, names: Sequence[str], operating: float
) -> dict[str, dict[str, Tensor]]:
    """`weights` of an Outcome: the network, and as JSON bytes everything needed to build it again."""
    facts = {"config": config.model_dump(mode="json"), "names": list(names), "bits": dict(bits), "operating": operating}
    facts["inputs"] = network.inputs
    text = json.dumps(facts, sort_keys=True).encode()
    return {"ghost": weights(network), "settings": {"json": torch.tensor(list(text), dtype=torch.uint8)}}


def load_network(source: str | PathLike[str]) -> Trained:
    """The quantised detector of a run folder, or of the weights.safetensors of one.

    Raises InputError for a folder without weights, and for weights of another method.
    """
    own, about, _ = saved_network(source, "ghost")
    with rebuilding(source, "ghost"):
        config = Config.model_validate(about["config"])
        network = detector(config.network, about.get("inputs", 1), len(about["names"]), config.width)
        quantize(network, about["bits"], GRIDS[config.quantizer], input_bits(network, about["bits"]))
        network.load_state_dict(own)
        return Trained(network.eval(), config, about["names"], about["bits"], float(about["operating"]))


def decoded(network: nn.Module, config: Config) -> Decoded:
    """A network as a function of amplitudes that gives boxes and scores."""
    return Decoded(network, partial(entered, config=config), config.crop, STRIDES).eval()


def as_file(trained: Trained) -> Exportable:
    """A quantised detector with its trained integers, as `workbench.parts.export` takes it."""
    c = trained.config
    example = torch.rand(4, trained.network.inputs, c.crop, c.crop, generator=torch.Generator().manual_seed(0))
    whole = integers(trained.network, entered(example, c))
    facts = facts_of(c, trained.names, c.crop, STRIDES, MARGIN, trained.operating)
    facts |= {"bands": trained.network.inputs, "bits": trained.bits, "bytes_packed": packed_bytes(whole)}
    return Exportable(decoded(whole, c), {"image": example}, ("box", "score"), facts, rounding=True)


def exportable(folder: str | PathLike[str]) -> Exportable:
    """The quantised detector of a finished run with its trained integers, for `workbench export`. Raises InputError as `load_network`."""
    return as_file(load_network(folder))
