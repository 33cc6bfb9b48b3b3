"""Rivals of learned pruning and quantisation: other ways to rank filters, to give bits, and int8 without training.

random        filters at random, from a seed
uniform L1    the same share of every layer, filters with the smallest weights first: H. Li et al., ICLR 2017
global L1     the smallest weights of the whole network first
greedy        mixed precision without pruning: the layer whose loss rises least for the bit operations that it saves gives up bits first
int8          onnxruntime's static quantisation of the float network, calibrated with training images
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.parts.pruning import Plan, choose
from workbench.parts.quantize import FLOAT, Grid, fit, grids, layers, quantize


def random_scores(plan: Plan, seed: int) -> list[np.ndarray]:
    """(filters,) of each group, at random between 0 and 1."""
    random = np.random.default_rng(seed)
    return [random.random(g.count) for g in plan.groups]


def shuffled(scores: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """Each group's scores on other filters of that group: a control that keeps the widths and loses the choice of filters."""
    random = np.random.default_rng(seed)
    return [random.permutation(s) for s in scores]


def uniform(
    plan: Plan,
    scores: Sequence[np.ndarray],
    target: float,
    cost: Callable[[np.ndarray], float],
    safeguard: float,
    round_to: int = 1,
) -> list[np.ndarray]:
    """The filters kept when every group loses the same share, its lowest scores first, until the cost is at most `target`.

    Raises InputError as `choose` does.
    """
    order = [s.argsort().argsort() / len(s) for s in scores]  # rank within the group, as a share
    return choose(plan, order, target, cost, safeguard, round_to)


@torch.no_grad()
def sensitivity(
    copied: Callable[[], nn.Module], x: Tensor, label: Tensor, names: Sequence[str], levels: Sequence[int], batches: int = 4
) -> np.ndarray:
    """(layers, levels, batches) rise of the mean loss when one layer alone has so few bits, without training.

    copied: gives a copy of the float network. x, label: images, divided into `batches` parts for the spread.
    """
    rises = np.zeros((len(names), len(levels), batches))

    def losses(network: nn.Module) -> np.ndarray:
        each = F.cross_entropy(network(x), label, reduction="none")
        return np.array([float(part.mean()) for part in each.tensor_split(batches)])

    for k, level in enumerate(levels):
        network = quantize(copied(), dict.fromkeys(names, level)).eval()
        fit(network, x)
        own = {name: [m for m in layer.modules() if isinstance(m, Grid)] for name, layer in layers(network).items()}
        for grid in grids(network):
            grid.active = False
        base = losses(network)
        for n, name in enumerate(names):
            for grid in own[name]:
                grid.active = True
            rises[n, k] = losses(network) - base
            for grid in own[name]:
                grid.active = False
    return rises


def greedy_bits(
    rises: np.ndarray, macs: Mapping[str, int], levels: Sequence[int], budget: float, fixed: Mapping[str, int]
) -> dict[str, int]:
    """layer -> bits, at most `budget` bit operations (input-act) where the levels allow it.

    rises (layers, levels): rise of the loss of the layers that are not `fixed`, in the order of `macs`. All begin at the first level, the
    highest.
    """
    names = [name for name in macs if name not in fixed]
    place = dict.fromkeys(names, 0)

    def bops() -> float:
        free = sum(macs[n] * levels[place[n]] ** 2 for n in names)
        return free + sum(macs[n] * b * b for n, b in fixed.items())

    while bops() > budget:
        best = None
        for row, name in enumerate(names):
            now = place[name]
            if now + 1 < len(levels):
                saved = macs[name] * (levels[now] ** 2 - levels[now + 1] ** 2)
                price = (rises[row, now + 1] - rises[row, now]) / saved
                best = min(best or (price, name), (price, name))
        if best is None:
            break
        place[best[1]] += 1
    return {**{n: levels[place[n]] for n in names}, **fixed}


def ptq_int8(
    onnx_file: Path, out: Path, images: np.ndarray, batch: int = 32, operators: Sequence[str] | None = None
) -> None:
    """onnxruntime's static int8 quantisation of a float file: QDQ, weights per channel, calibrated with `images (N, bands, y, x)`.

    operators: kinds of ONNX nodes that compute in int8, such as "Conv"; None: all that onnxruntime can.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.parts = iter([{name: images[i : i + batch]} for i in range(0, len(images), batch)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.parts, None)

    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    level = logging.root.level
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        logging.root.setLevel(logging.ERROR)
        try:
            ready = Path(folder) / "ready.onnx"
            quant_pre_process(str(onnx_file), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(out),
                Reader(name),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(operators) if operators else None,
            )
        finally:
            logging.root.setLevel(level)


def capped(bits: Mapping[str, int], less: int = 0) -> dict[str, int]:
    """Caps without pruning, `less` bits lower everywhere, at least 2; layers in float stay."""
    return {name: b if b == FLOAT else max(2, b - less) for name, b in bits.items()}
