"""A trained network as an ONNX file that runs without torch, with a manifest and a module that loads both.

    paths = write(exportable, "ships.onnx", {"method": "sarnet"})     # ships.onnx, ships.json, ships_loader.py

A room offers its network by `exportable(folder)`, which gives an `Exportable`; `workbench export RUN ships.onnx` calls it.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from workbench.errors import InputError
from workbench.parts import onnx_loader
from workbench.parts.export_quantized import for_file, integer_weights

if TYPE_CHECKING:
    from os import PathLike

OPSET = 20
AGREES = 1e-3  # largest difference to torch, as a share of the largest value of an output, with which a file is written
ROUNDING = 0.05  # the same for the mean difference of a network of integers
NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exportable:
    """What an ONNX file is made of.

    network: on the CPU; takes the inputs in their order and returns a tensor, or a tuple, in the order of `outputs`. inputs: name
    -> example float32 (batch, ...), batch at least 2; the batch is free in the file, the other sizes are fixed. facts: what a user must
    know, such as `task`, `classes`, `scaling`; they go into the manifest. rounding: the network computes with integers, and a
    number on the edge of two codes may be rounded either way: then the mean difference to torch is compared, not the largest.
    """

    network: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    rounding: bool = False


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode, in which each batch normalisation after a convolution in an `nn.Sequential` is part of that one."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for n in range(len(module) - 1):
            first, second = module[n], module[n + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[n], module[n + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network


def write(
    made: Exportable,
    path: str | PathLike[str],
    about: Mapping[str, Any] | None = None,
    int8: Callable[[Path, Path], None] | None = None,
) -> list[Path]:
    """Write NAME.onnx, its manifest NAME.json and NAME_loader.py; returns the paths.

    The file is run with onnxruntime and compared with torch before it gets its name. about: facts of the run, for the manifest. int8: makes
    a file of integers (second path) of the float one (first path), which is written instead.

    Raises InputError for another suffix, if the packages of the extra `deploy` are missing, and if the file disagrees with torch.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise InputError(f"A network is exported as .onnx; got {path.name!r}.")
    need_packages()
    network = folded(made.network)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / path.name
        with for_file(network):
            to_onnx(network, made.inputs, made.outputs, kept)
        difference = disagreement(network, made.inputs, made.outputs, kept, mean=made.rounding)
        most = ROUNDING if made.rounding else AGREES
        if not difference <= most:
            raise InputError(
                f"The exported network differs from torch by {difference:.2g} of the largest output; at most {most} is "
                "accepted, so nothing was written. Please report this."
            )
        if int8 is not None:
            int8(kept, kept.with_suffix(".int8"))
            kept = kept.with_suffix(".int8")
            difference = disagreement(network, made.inputs, made.outputs, kept, mean=True)
            if not difference <= ROUNDING:
                raise InputError(
                    f"The network of int8 differs from torch by {difference:.2g} of the largest output on average; at most {ROUNDING} is "
                    "accepted, so nothing was written. Calibrate with more inputs, of the kind that it will get."
                )
        facts = manifest(made, kept, difference, about or {}) | {"file": path.name}
        return _placed(kept, path, facts)


def need_packages(names: Sequence[str] = NEEDED) -> None:
    """Raise InputError, with the command that installs them, if packages of the export are missing."""
    missing = [name for name in names if not _installed(name)]
    if missing:
        raise InputError(f'The export needs {", ".join(missing)}: pip install "workbench[deploy]".')


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def to_onnx(network: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    """Write a network as ONNX with a free batch and its weights inside the file."""
    batch = torch.export.Dim("batch", min=1, max=65535)
    try:
        with _quietly(), torch.no_grad():
            torch.onnx.export(
                network,
                tuple(inputs.values()),
                str(path),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(
            f"torch cannot export this network as ONNX: {_cause(error)}. Replace the operator or the branch that depends on values, "
            "or export the part of the network without it. Nothing was written."
        ) from error
    _lean(path)


def _cause(error: BaseException) -> str:
    """The innermost reason in one line: the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300].rstrip(".")


def _lean(path: Path) -> None:
    """Remove the exporter's notes on each operator; in a small network they are most of the file."""
    import onnx

    model = onnx.load(str(path))
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, str(path))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's own lines, such as that torchvision is not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def disagreement(
    network: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, mean: bool = False
) -> float:
    """Largest difference between the file and torch on the example inputs, as a share of the largest value of that output; or the mean."""
    import onnxruntime

    with torch.inference_mode():
        wanted = network(*inputs.values())
    wanted = (wanted,) if isinstance(wanted, Tensor) else tuple(wanted)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(list(outputs), {name: value.numpy() for name, value in inputs.items()})
    worst = 0.0
    for theirs, ours in zip(found, wanted, strict=True):
        if theirs.shape != tuple(ours.shape) or not np.isfinite(theirs).all():
            return float("inf")
        apart = np.abs(theirs - ours.numpy())
        worst = max(worst, float(apart.mean() if mean else apart.max()) / max(float(ours.abs().max()), 1e-12))
    return worst


def manifest(made: Exportable, path: Path, difference: float, about: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an exported file: hash, inputs and outputs, what the room says, the run, versions, agreement with torch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "inputs": {i.name: {"shape": ["batch", *i.shape[1:]], "type": i.type} for i in session.get_inputs()},
        "outputs": {o.name: {"shape": ["batch", *o.shape[1:]], "type": o.type} for o in session.get_outputs()},
        **made.facts,
        **about,
        "parameters": sum(p.numel() for p in made.network.parameters()) + integer_weights(made.network),
        "opset": OPSET,
        "difference_to_torch": difference,
        "made_with": {name: version(name) for name in ("torch", *NEEDED)},
    }


def _placed(kept: Path, path: Path, facts: Mapping[str, Any]) -> list[Path]:
    """Move the network to its place and write manifest and loader beside it; the manifest comes last, so that it is never stale."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    loader, about = path.with_name(f"{path.stem}_loader.py"), path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        about.unlink(missing_ok=True)
        shutil.copyfile(kept, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)
        shutil.copyfile(str(onnx_loader.__file__), loader)
        about.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}; choose another place.") from error
    return [path, about, loader]
