"""What a page shows of the copy beside its scores: its weights and levels, its attention, and what the float teacher finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from workbench.data.boxed_images import Images
from workbench.methods.ghost.detecting import passes
from workbench.methods.ghost.network import STRIDES, Detector
from workbench.methods.ghost.plans import Plans
from workbench.methods.ghost.settings import Config
from workbench.metrics.detect import Boxes
from workbench.parts.cluster_bits import LEVELS
from workbench.parts.quantize import layers
from workbench.scene import TABLE

BINS = 61  # of a histogram of weights
SIDE = STRIDES[0]  # image pixels a side of a pixel of an attention map


def about_layers(plans: Plans, copied: Detector, bits: Sequence[int]) -> dict[str, tuple[Any, ...]]:
    """Of each layer: the number of its weights, the bits of its input, the histogram of its float weights, and the levels of the copy.

    `level`, `level_share (layer, place)` are NaN behind the last level in use.
    """
    names = list(plans.weights)
    own = layers(copied)
    count, share = np.zeros((len(names), BINS)), np.full((len(names), 2 ** LEVELS[-1]), np.nan)
    ends, level = np.zeros((len(names), 2)), share.copy()
    for n, name in enumerate(names):
        weight = plans.weights[name].ravel()
        largest = max(float(np.abs(weight).max()), 1e-12)
        ends[n] = -largest, largest
        count[n] = np.histogram(weight, BINS, (-largest, largest))[0] / weight.size
        used, times = np.unique(own[name].weight.detach().cpu().numpy(), return_counts=True)
        level[n, : len(used)], share[n, : len(used)] = used, times / times.sum()
    first = plans.teacher.first
    rest = [n for n in plans.macs if n not in plans.weights]

    def column(dims: str | tuple[str, ...], values: Any, text: str) -> tuple[Any, ...]:
        return dims, values, {"long_name": text, TABLE: "layer"}

    return {
        "input_bits": column("layer", [first.get(n, b) for n, b in zip(names, bits, strict=True)], "bits of the layer's input"),
        "input_fixed": column("layer", [n in first for n in names], "whether the input keeps its bits when those of the layer change"),
        "weight_count": column("layer", [plans.weights[n].size for n in names], "number of weights"),
        "weight_ends": column(("layer", "end"), ends, "ends of the histogram of the float weights"),
        "weight_share": column(("layer", "bin"), count, "share of the float weights in a bin"),
        "level": column(("layer", "place"), level, "weights of the copy: levels in use"),
        "level_share": column(("layer", "place"), share, "share of the weights on a level"),
        "float_macs": column("float_layer", [plans.macs[n] for n in rest], "multiply-accumulates of a layer that stays in float"),
        "float_weights": column(
            "float_layer", [layers(plans.teacher)[n].weight.numel() for n in rest], "weights of a layer that stays in float"
        ),
    }  # fmt: skip


def attention_of(teacher: Detector, copied: Detector, images: Images, n: int, config: Config) -> dict[str, tuple[Any, ...]]:
    """`attention (who, block, map_y, map_x)` of image n: maps of unit length, all in pixels of eight image pixels a side."""
    high, wide = images.size[n]
    rows, columns = -(-high // SIDE), -(-wide // SIDE)
    made = []
    for network in (teacher, copied):
        ((_, x, out),) = passes(network, images, [n], config)
        size = (x.shape[2] // SIDE, x.shape[3] // SIDE)
        power = [F.interpolate(f.square().mean(1, keepdim=True), size=size, mode="area")[0, 0] for f in out.features]
        maps = torch.stack(power)[:, :rows, :columns]
        made.append((maps / maps.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]).cpu().numpy())
    text = "attention of teacher and copy in the image of `chip`, each map of unit length"
    return {"attention_map": (("who", "block", "map_y", "map_x"), np.stack(made), {"long_name": text, TABLE: "who"})}


def found_by_teacher(found: Boxes, threshold: float, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Boxes of the float teacher with at least this score."""
    assert found.score is not None
    kept = found.score >= threshold

    def column(values: np.ndarray, text: str, *further: str) -> tuple[Any, ...]:
        return (
            ("teacher_object", *further),
            values[kept],
            {"long_name": f"detections of the float teacher: {text}", TABLE: "teacher_object"},
        )

    made = {
        "teacher_box": column(found.box, "edges in pixels", "edge"),
        "teacher_box_sample": column(found.image.astype(str), "image"),
        "teacher_box_score": column(found.score, "score"),
        "teacher_box_label": column(found.label, "class"),
    }
    made["teacher_box_label"][2]["names"] = list(names)
    return made
