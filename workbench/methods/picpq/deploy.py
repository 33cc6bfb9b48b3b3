"""The small network as a file: what a run saves of it, and what `workbench export` writes."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.baselines.pruning import ptq_int8
from workbench.methods.picpq.arms import Found
from workbench.methods.picpq.bits import input_bits
from workbench.methods.picpq.settings import Config
from workbench.methods.picpq.training import network_of
from workbench.parts.deployed import answers, latencies
from workbench.parts.export import Exportable, write
from workbench.parts.export_quantized import integers, packed_bytes
from workbench.parts.pruning import Plan, sliced
from workbench.parts.quantize import quantize
from workbench.parts.training import rebuilding, saved_network

if TYPE_CHECKING:
    from os import PathLike


TIMED = 16  # images of the larger batch whose latency is measured


class Scaled(nn.Module):
    """image (B, bands, y, x) as in the scene -> logits (B, classes); scales the image as the training samples were scaled."""

    factor: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, affine: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("factor", affine[:, 0, None, None].clone())
        self.register_buffer("shift", affine[:, 1, None, None].clone())

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.network(image * self.factor + self.shift)


@dataclass(frozen=True)
class Small:
    """A compressed network of a run. affine: see `scaling` of `workbench.data.samples.Samples`. chips: a few training chips, not scaled."""

    network: nn.Module
    config: Config
    names: list[str]
    shape: tuple[int, ...]
    kept: list[np.ndarray]
    bits: dict[str, int]
    affine: Tensor
    chips: Tensor


def settings_of(found: Found, ours: Mapping[str, Any]) -> dict[str, Tensor]:
    """What is needed beside the weights to build the network again, as the bytes of a JSON text."""
    (affine,) = found.chips.samples.scaling.values()
    about = {
        "config": found.config.model_dump(mode="json"),
        "names": [str(n) for n in found.chips.samples.names],
        "shape": list(found.chips.values.shape[1:]),
        "kept": ours["kept"],
        "bits": ours["bits"],
        "affine": affine.tolist(),
    }
    text = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
    return {"json": text, "chips": torch.from_numpy(unscaled(found)[found.chips.train.cpu().numpy()[:8]])}


def unscaled(found: Found) -> np.ndarray:
    """(N, bands, y, x) all samples as in the scene; bands that are constant are 0."""
    (affine,) = found.chips.samples.scaling.values()
    factor, shift = affine[:, 0, None, None], affine[:, 1, None, None]
    values = found.chips.values.cpu()
    return torch.where(factor != 0, (values - shift) / torch.where(factor != 0, factor, 1.0), 0.0).numpy()


def load_network(source: str | PathLike[str]) -> Small:
    """The compressed network of a run folder, or of the weights.safetensors of one.

    Raises InputError for a folder without weights, and for weights of another method.
    """
    own, about, extra = saved_network(source, "picpq")
    with rebuilding(source, "picpq"):
        config, shape, names = Config.model_validate(about["config"]), tuple(about["shape"]), about["names"]
        whole, example = network_of(config, shape, len(names)), torch.zeros(2, *shape)
        kept = [np.array(k) for k in about["kept"]]
        network = sliced(whole, Plan.of(whole, example), kept, example)
        quantize(network, about["bits"], config.quantizer, input_bits(about["bits"], config))
        network.load_state_dict(own)
        return Small(
            network.eval(), config, names, shape, kept, about["bits"], torch.tensor(about["affine"]), extra["chips"]
        )


def exportable(folder: str | PathLike[str]) -> Exportable:
    """The compressed network of a finished run with its trained bits, for `workbench export`. Raises InputError as `load_network`."""
    small = load_network(folder)
    with rebuilding(folder, "picpq"):  # the chips come from the same file
        whole = integers(small.network, small.chips)
    facts = {
        "task": "classes",
        "classes": small.names,
        "scaling": "values as in the scene, chips averaged down to the size of the input; they are scaled inside the network",
        "bits": small.bits,
        "kept": [k.tolist() for k in small.kept],
        "bytes_packed": packed_bytes(whole),
    }
    return Exportable(Scaled(whole, small.affine).eval(), {"image": small.chips}, ("logits",), facts, rounding=True)


def measured_files(found: Found, network: nn.Module, with_ptq: bool) -> dict[str, tuple[Any, ...]]:
    """Variables of a result: accuracy on the test samples, bytes and latency of files: the float network, the compressed one, and
    onnxruntime's int8 of the first. Latencies are measured if the setting `files` asks for it.
    """
    chips = found.chips
    numbers: dict[str, tuple[float, str]] = {}
    timed: dict[str, tuple[Any, ...]] = {}
    (affine,) = chips.samples.scaling.values()
    values, raw = chips.values.cpu(), unscaled(found)
    test, label = chips.test.cpu().numpy(), chips.samples.label.numpy()
    train = chips.train.cpu().numpy()[: found.config.rank_images]
    example = {"image": torch.from_numpy(raw[train[:8]])}
    made = {
        "dense": Exportable(Scaled(copy.deepcopy(found.dense).cpu(), affine).eval(), example, ("logits",)),
        "picpq": Exportable(
            Scaled(integers(network, values[train[:8]]), affine).eval(), example, ("logits",), rounding=True
        ),
    }
    called = {"dense": "the float file", "picpq": "the file of PIC-PQ", "ptq8": "onnxruntime's int8 of the float file"}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: write(one, Path(folder) / f"{name}.onnx")[0] for name, one in made.items()}
        if with_ptq:
            paths["ptq8"] = Path(folder) / "ptq8.onnx"
            ptq_int8(paths["dense"], paths["ptq8"], raw[train])
        for name, path in paths.items():
            right = float((answers(path, raw[test]).argmax(1) == label[test]).mean())
            key = "accuracy_ptq8" if name == "ptq8" else f"accuracy_file_{name}"
            numbers[key] = (right, f"test accuracy of {called[name]}, by onnxruntime")
            numbers[f"kilobytes_file_{name}"] = (path.stat().st_size / 1e3, f"kilobytes of {called[name]}")
        if found.config.files:
            timed = latencies(paths, raw[test[:TIMED]])
            for n, name in enumerate(paths):
                text = f"milliseconds of {called[name]} for one image, median, on this machine"
                numbers[f"milliseconds_file_{name}"] = (float(timed["latency"][1][n, 0, 0]), text)
    numbers["kilobytes_packed_picpq"] = (
        packed_bytes(integers(network, values[train[:8]])) / 1e3,
        "kilobytes of the network of PIC-PQ if its codes were packed to their bits",
    )
    return timed | {name: ((), value, {"long_name": text}) for name, (value, text) in numbers.items()}
