"""Detections of a network on whole images, and their scores; the watched image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.data.boxed_images import Images, entered, padded
from workbench.methods.ghost.network import STRIDES, Detector, Output
from workbench.methods.ghost.settings import Config
from workbench.methods.ghost.teaching import map_distance
from workbench.metrics.detect import Boxes, Scores, evaluate
from workbench.metrics.image_boxes import found_boxes, true_boxes
from workbench.parts.detect import Found, detections
from workbench.parts.device import device

AT_ONCE = 16  # images in one pass
WATCHED = 16  # validation images that are scored during training
SHOWN = 0.3  # lowest score of a box in the watched picture


def whole(images: Images, n: int, config: Config) -> Tensor:
    """The network's input of image n, enlarged to multiples of 32 by reflection: (bands, h, w)."""
    amplitude = padded(images.amplitude(n), 32)
    return entered(padded(amplitude, -(-max(amplitude.shape[1:]) // 32) * 32), config)


@torch.no_grad()
def passes(
    network: Detector, images: Images, positions: Sequence[int], config: Config
) -> list[tuple[list[int], Tensor, Output]]:
    """(positions, input, output) of groups of images of one size; the network is in evaluation mode."""
    network.eval()
    made, held = [], list(positions)
    while held:
        inputs = {n: whole(images, n, config) for n in held[:AT_ONCE]}
        some = [n for n, x in inputs.items() if x.shape == inputs[held[0]].shape]
        held = [n for n in held if n not in some]
        x = torch.stack([inputs[n] for n in some]).to(device())
        made.append((some, x, network(x)))
    return made


def scored(network: Detector, images: Images, positions: Sequence[int], config: Config) -> tuple[Boxes, Scores]:
    """Detections of a network on these images, and their scores."""
    found: dict[int, Found] = {}
    for some, _, out in passes(network, images, positions, config):
        sizes = [images.size[n] for n in some]
        held = detections(out.levels, STRIDES, sizes, threshold=config.threshold, overlap=config.overlap)
        rows = held.apart(len(sizes), config.most)
        found |= {n: Found(*(part.cpu() for part in row)) for n, row in zip(some, rows, strict=True)}
    boxes = found_boxes(images, positions, [found[n] for n in positions])
    return boxes, evaluate(boxes, true_boxes(images, positions), len(images.names), config.most)


def apart(teacher: Detector, student: Detector, images: Images, positions: Sequence[int], config: Config) -> np.ndarray:
    """(blocks,) squared distance of the attention maps to the teacher's, mean over these images."""
    total = np.zeros(len(teacher.channels))
    both = (passes(network, images, positions, config) for network in (teacher, student))
    for (_, _, wanted), (_, _, out) in zip(*both, strict=True):
        pairs = zip(out.features, wanted.features, strict=True)
        total += np.array([float(map_distance(s, t).sum()) for s, t in pairs])
    return total / len(positions)


@dataclass(frozen=True)
class Watched:
    """One validation image, fixed for the run, and the validation images that are scored."""

    image: int
    scored: tuple[int, ...]

    def score(self, network: Detector, images: Images, config: Config) -> float:
        """AP50 on the validation images."""
        return scored(network, images, self.scored, config)[1].ap50

    def drawn(self, network: Detector, images: Images, config: Config, who: str) -> dict[str, xr.DataArray]:
        """`chip (band, y, x)`; `teacher` or `student (y, x)`: the attention at stride 8; boxes, the true ones as a class of their own."""
        n = self.image
        high, wide = images.size[n]
        (((_, x, out)),) = passes(network, images, [n], config)
        (found,) = detections(out.levels, STRIDES, [(high, wide)], threshold=SHOWN, overlap=config.overlap).apart(1)
        power = out.features[-3].square().mean(1, keepdim=True)  # P3
        finer = F.interpolate(power, size=x.shape[2:], mode="bilinear", align_corners=False)
        seen = finer[0, 0, :high, :wide].cpu().numpy()
        true = images.box[n]
        box = np.concatenate([found.box.cpu().numpy(), true]).astype(np.float32)
        score = np.concatenate([found.score.cpu().numpy(), np.ones(len(true))]).astype(np.float32)
        label = np.concatenate([found.label.cpu().numpy(), np.full(len(true), len(images.names))])

        def array(values: np.ndarray, dims: tuple[str, ...], text: str) -> xr.DataArray:
            return xr.DataArray(values, dims=dims, attrs={"long_name": text, "sample": str(images.ids[n])})

        made = {
            "chip": array(x[0, :, :high, :wide].cpu().numpy(), ("band", "y", "x"), "input of the network"),
            who: array((seen / max(seen.max(), 1e-12)).astype(np.float32), ("y", "x"), f"attention of the {who}, largest 1"),
            "box": array(box, ("object", "edge"), f"found with a score of at least {SHOWN}, and true"),
            "box_score": array(score, ("object",), "score; 1 of true boxes"),
            "box_label": array(label, ("object",), "class"),
        }
        made["box_label"].attrs["names"] = [*images.names, "true"]
        return made


def watched(images: Images) -> Watched:
    """The validation image with most boxes."""
    count = np.array([len(images.box[n]) for n in images.val])
    order = images.val[np.argsort(-count, kind="stable")]
    return Watched(int(order[0]), tuple(int(i) for i in np.sort(order[:WATCHED])))
