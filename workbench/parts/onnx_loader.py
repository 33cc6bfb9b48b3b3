"""Run an exported network with numpy and onnxruntime alone: no torch, no workbench. This file is copied beside each network.

model = Model("ships.onnx")                        # reads ships.json and checks the SHA-256 of the network
model.run(image=batch)                             # {name of an output: array}
box, score, label = detect(model, image)           # of a detector: image (h, w), or (bands, h, w), in [0, 1], of any size

python ships_loader.py ships.onnx image.npy        # prints the boxes
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

PER_LEVEL = 1000  # candidates of one level at most
TOUCH = 2.0  # pixels: nearer to the border of a tile than this is touching it


class Model:
    """A network and its manifest, `about`. Raises ValueError if the file of the network is not the one that the manifest names."""

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        import onnxruntime

        path = Path(path)
        self.about: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.about["sha256"]:
            raise ValueError(
                f"{path.name} has the SHA-256 {found}; its manifest says {self.about['sha256']}. Export it again."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name. inputs: float32 arrays with the shapes of the manifest; the first dim, the batch, is free."""
        names = list(self.about["outputs"])
        values = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
        return dict(zip(names, self.session.run(names, values), strict=True))


def detect(model: Model, image: np.ndarray, threshold: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) x0 y0 x1 y1 in pixels, scores (N,) and labels (N,), by falling score.

    image: (h, w), of a network of several bands (bands, h, w), scaled as the manifest's `scaling` says, of any size: it is
    cut into tiles of the network's input that share `margin` pixels. threshold: lowest score; None: that of the manifest.
    """
    about = model.about
    side, margin, overlap = about["side"], about["margin"], about["overlap"]
    lowest = about["threshold"] if threshold is None else threshold
    parts = []
    image = image[None] if image.ndim == 2 else image
    rows, columns = image.shape[1:]
    tops, lefts = _starts(rows, side, margin), _starts(columns, side, margin)
    for top in tops:
        for left in lefts:
            tile = np.asarray(image[:, top : top + side, left : left + side], np.float32)
            tile = np.where(np.isfinite(tile), tile, np.float32(0))
            high, wide = tile.shape[1:]
            whole = np.pad(tile, ((0, 0), (0, side - high), (0, side - wide)), "reflect")
            out = model.run(image=whole[None])
            box, score, label = _candidates(out["box"][0], out["score"][0], about["strides"], side, (high, wide), lowest)
            kept = _nms(box, score, label, overlap)
            box, score, label = box[kept], score[kept], label[kept]
            inner = np.array([left > 0, top > 0, left + wide < columns, top + high < rows])
            near = np.stack([box[:, 0], box[:, 1], wide - box[:, 2], high - box[:, 3]], 1) < TOUCH
            cut = (near & inner).any(1) & ((box[:, 2:] - box[:, :2]).max(1, initial=0) < margin - TOUCH)
            parts.append((box[~cut] + np.array([left, top, left, top], np.float32), score[~cut], label[~cut]))
    box, score, label = (np.concatenate([p[n] for p in parts]) for n in range(3))
    order = np.lexsort((label, *box.T))  # of boxes with equal scores, always the same one is kept
    box, score, label = box[order], score[order], label[order]
    kept = _nms(box, score, label, overlap)[: about["most"]]
    return box[kept], score[kept], label[kept]


def _starts(length: int, side: int, margin: int) -> list[int]:
    """First pixels of the tiles along one side; the last one is moved back."""
    return [*range(0, max(length - side, 0), side - margin), max(length - side, 0)]


def _candidates(
    box: np.ndarray, score: np.ndarray, strides: list[int], side: int, size: tuple[int, int], lowest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best points of each level whose centres are in the image, cut at its borders."""
    high, wide = size
    boxes, scores, labels, start = [], [], [], 0
    for stride in strides:
        cells = side // stride
        here = slice(start, start + cells * cells)
        start += cells * cells
        y, x = (np.mgrid[:cells, :cells].reshape(2, -1) + 0.5) * stride
        own = np.where(((x < wide) & (y < high))[:, None], score[here], -1.0).T  # (classes, points)
        order = np.argsort(-own.ravel(), kind="stable")[:PER_LEVEL]
        order = order[own.ravel()[order] >= lowest]
        label, cell = np.divmod(order, cells * cells)
        edges = np.clip(box[here][cell], 0, np.array([wide, high, wide, high], np.float32))
        solid = (edges[:, 2:] > edges[:, :2]).all(1)
        boxes.append(edges[solid])
        scores.append(own.ravel()[order][solid])
        labels.append(label[solid])
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)


def _nms(box: np.ndarray, score: np.ndarray, label: np.ndarray, overlap: float) -> np.ndarray:
    """Positions that greedy suppression keeps within each class, by falling score."""
    order = np.argsort(-score, kind="stable")
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        low, high = np.maximum(box[first, :2], box[rest, :2]), np.minimum(box[first, 2:], box[rest, 2:])
        common = np.clip(high - low, 0, None).prod(1)
        union = (box[first, 2:] - box[first, :2]).prod() + (box[rest, 2:] - box[rest, :2]).prod(1) - common
        order = rest[(common <= overlap * union) | (label[rest] != label[first])]
    return np.array(kept, int)


if __name__ == "__main__":
    for edges, value, number in zip(*detect(Model(sys.argv[1]), np.load(sys.argv[2], allow_pickle=False)), strict=True):
        print(number, f"{value:.3f}", *(f"{e:.1f}" for e in edges))
