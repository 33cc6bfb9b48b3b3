"""Parts of a one-stage detector without anchors: points, assignment, losses, decoding, non-maximum suppression.

    loss = detection_loss(levels, boxes, labels, strides)
    found = detections(levels, strides, sizes)          # one table; `found.apart(len(sizes))`: one `Found` for each image

A network gives one level for each stride s: (B, 4 + classes, H / s, W / s). The first four channels are t, the logarithms of the
distances from the centre of a cell to the left, top, right and bottom side of a box, divided by s; the others are class logits.
Boxes are x0 y0 x1 y1 in pixels, half-open, from the top left corner of the image, so the centre of cell (i, j) is at
x = (j + 0.5) s, y = (i + 0.5) s. The scheme is that of FCOS (Z. Tian et al., ICCV 2019, doi 10.1109/ICCV.2019.00972).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LIMIT = 4.0  # t is clipped to [-LIMIT, LIMIT]: a side is 0.018 to 55 strides away
LIMITS = (
    40.0,
    110.0,
)  # a box whose longest side is at most 40 pixels is learnt at the first level, at most 110 at the second
PER_LEVEL = 1000  # candidates of one level at most
BLOCK = 1000  # boxes that are compared with all others at once
PAIRS = 2**18  # pairs of boxes whose IoU is computed at once


class Found(NamedTuple):
    """Detections of one image by falling score: box (N, 4) in pixels, score (N,) in [0, 1], label (N,) int64."""

    box: Tensor
    score: Tensor
    label: Tensor


# --- points and boxes -------------------------------------------------------------------------------------------------


def points(shape: tuple[int, int], stride: int) -> Tensor:
    """Centres (H * W, 2) of the cells of a level, x and y in pixels, row by row."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride


def encode(box: Tensor, at: Tensor, stride: Tensor | float) -> Tensor:
    """t (..., 4) of boxes (..., 4) seen from points (..., 2). Sides nearer than s exp(-LIMIT), or on the wrong side, are clipped."""
    sides = torch.cat([at - box[..., :2], box[..., 2:] - at], -1) / _column(stride)
    return sides.clamp_min(1e-9).log().clamp(-LIMIT, LIMIT)


def decode(t: Tensor, at: Tensor, stride: Tensor | float) -> Tensor:
    """Boxes (..., 4) of t (..., 4) at points (..., 2); the inverse of `encode`.

    >>> decode(torch.zeros(4), torch.tensor([12.0, 4.0]), 8.0).tolist()
    [4.0, -4.0, 20.0, 12.0]
    """
    sides = t.clamp(-LIMIT, LIMIT).exp() * _column(stride)
    return torch.cat([at - sides[..., :2], at + sides[..., 2:]], -1)


def _column(stride: Tensor | float) -> Tensor | float:
    return stride[..., None] if isinstance(stride, Tensor) else stride


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of a (N, 4) with every box of b (M, 4): (N, M).

    >>> round(float(box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[1.0, 1, 11, 11]]))), 6)
    0.680672
    """
    return _iou(a[:, None], b[None])


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of pairs of boxes (..., 4)."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp_min(0).prod(-1)
    union = _area(a) + _area(b) - common
    return torch.where(union > 0, common / union.clamp_min(1e-12), 0.0)


def _area(box: Tensor) -> Tensor:
    return (box[..., 2:] - box[..., :2]).clamp_min(0).prod(-1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (N,) of pairs of boxes (N, 4), in (-1, 1] (H. Rezatofighi et al., CVPR 2019, doi 10.1109/CVPR.2019.00075)."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(-1)
    union = (_area(a) + _area(b) - common).clamp_min(1e-9)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1).clamp_min(1e-9)
    return common / union - (hull - union) / hull


# --- training ---------------------------------------------------------------------------------------------------------


def assign(
    box: Tensor, shapes: Sequence[tuple[int, int]], strides: Sequence[int], limits: Sequence[float] = LIMITS
) -> Tensor:
    """Which box of one image each point learns: (P,) int64 over the points of all levels, -1 for background.

    A box belongs to one level, by its longest side and `limits`. There it is learnt by those of the 3 x 3 cells around its centre
    whose centres are inside it, and always by the cell that contains its centre. Where boxes compete, the smallest wins.
    """
    longest = (box[:, 2:] - box[:, :2]).amax(1) if len(box) else box.new_zeros(0)
    level = torch.bucketize(longest, torch.tensor(list(limits)[: len(strides) - 1], dtype=box.dtype, device=box.device))
    centre = (box[:, :2] + box[:, 2:]) / 2
    taken = []
    for n, ((high, wide), s) in enumerate(zip(shapes, strides, strict=True)):
        at = points((high, wide), s).to(box.device)
        if len(box) == 0:
            taken.append(torch.full((len(at),), -1, dtype=torch.int64, device=box.device))
            continue
        last = torch.tensor([wide - 1, high - 1], device=box.device)
        home = torch.minimum((centre / s).floor().long().clamp_min(0), last)  # column, row of the cell with the centre
        cell = (at / s).floor().long()
        away = (cell[:, None] - home[None]).abs().amax(-1)  # (P, M)
        inside = ((at[:, None] > box[None, :, :2]) & (at[:, None] < box[None, :, 2:])).all(-1)
        learns = ((away <= 1) & inside | (away == 0)) & (level == n)
        size = torch.where(learns, _area(box)[None], torch.inf)
        smallest, which = size.min(1)
        taken.append(torch.where(torch.isfinite(smallest), which, -1))
    return torch.cat(taken)


def focal(logit: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sum of the focal loss of binary targets (T.-Y. Lin et al., ICCV 2017, doi 10.1109/ICCV.2017.324)."""
    p = torch.sigmoid(logit)
    right = p * target + (1 - p) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * (1 - right) ** gamma * F.binary_cross_entropy_with_logits(logit, target, reduction="none")).sum()


class Losses(NamedTuple):
    """Losses of a batch, each divided by the number of positive points (at least 1)."""

    classes: Tensor
    boxes: Tensor
    positive: int


def detection_loss(
    levels: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    strides: Sequence[int],
    limits: Sequence[float] = LIMITS,
) -> Losses:
    """Focal loss of the classes at all points, and 1 - GIoU at the positive points.

    levels: raw outputs of the network. boxes: of each image (M, 4) in pixels; M = 0 is a valid negative. labels: (M,) int64.
    """
    shapes = [(x.shape[2], x.shape[3]) for x in levels]
    raw = torch.cat([x.flatten(2) for x in levels], 2).transpose(1, 2)  # (B, P, 4 + classes)
    at = torch.cat([points(shape, s) for shape, s in zip(shapes, strides, strict=True)]).to(raw.device)
    stride = torch.cat([torch.full((h * w,), float(s)) for (h, w), s in zip(shapes, strides, strict=True)]).to(raw.device)
    target = torch.zeros_like(raw[..., 4:])
    wanted, given = [], []
    for n, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        which = assign(box, shapes, strides, limits)
        positive = torch.nonzero(which >= 0)[:, 0]
        target[n, positive, label[which[positive]]] = 1.0
        wanted.append(box[which[positive]])
        given.append(decode(raw[n, positive, :4], at[positive], stride[positive]))
    count = sum(map(len, wanted))
    shortfall = (1 - giou(torch.cat(given), torch.cat(wanted))).sum()
    return Losses(focal(raw[..., 4:], target) / max(count, 1), shortfall / max(count, 1), count)


# --- inference --------------------------------------------------------------------------------------------------------


class Together(NamedTuple):
    """Detections of several images in one table, image by image and in each by falling score: image (N,), box (N, 4), score, label.

    Many images, such as tiles, do not cost many small tensors.
    """

    image: Tensor
    box: Tensor
    score: Tensor
    label: Tensor

    def apart(self, images: int, most: int | None = None) -> list[Found]:
        """The detections of each of so many images, at most `most` of one; None: all."""
        counts = self.image.bincount(minlength=images).tolist()
        rows = zip(*(column.split(counts) for column in self[1:]), strict=True)
        return [Found(box[:most], score[:most], label[:most]) for box, score, label in rows]


def detections(
    levels: Sequence[Tensor],
    strides: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    *,
    threshold: float = 0.05,
    overlap: float = 0.6,
    per_level: int = PER_LEVEL,
) -> Together:
    """The detections of a batch of images.

    sizes: true (height, width) of each image, without padding; boxes are cut there, and points beyond it give none. threshold:
    lowest score. overlap: IoU above which the lower of two boxes of one class is removed. per_level: best candidates of a level that
    take part.
    """
    parts = [_candidates(x, s, sizes, threshold, per_level) for x, s in zip(levels, strides, strict=True)]
    image, box, score, label = (torch.cat([p[i] for p in parts]) for i in range(4))
    kept = nms(box, score, overlap, image * (levels[0].shape[1] - 4) + label)
    kept = kept[torch.argsort(image[kept], stable=True)]
    return Together(image[kept], box[kept], score[kept], label[kept])


def _candidates(
    raw: Tensor, stride: int, sizes: Sequence[tuple[int, int]], threshold: float, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, box, score and label of the best cells of one level (B, 4 + classes, h, w), by place: at most `most` of each image."""
    at = points((raw.shape[2], raw.shape[3]), stride).to(raw.device)
    edge = torch.tensor([[w, h, w, h] for h, w in sizes], dtype=at.dtype, device=raw.device)
    score = torch.sigmoid(raw[:, 4:].flatten(2))  # (B, classes, P)
    inside = (at[None] < edge[:, None, :2]).all(2)
    score = torch.where(inside[:, None], score, -1.0).flatten(1)  # below every threshold
    good = score >= threshold
    if int(good.sum()) > most:  # too many of an image, perhaps
        best = torch.zeros_like(good).scatter_(1, score.topk(min(most, score.shape[1])).indices, True)
        good &= best
    image, which = torch.nonzero(good, as_tuple=True)
    label, cell = which // len(at), which % len(at)
    box = decode(raw[:, :4].flatten(2)[image, :, cell], at[cell], float(stride))
    box = torch.minimum(box.clamp_min(0), edge[image])
    solid = (box[:, 2:] > box[:, :2]).all(1)
    return image[solid], box[solid], score[image, which][solid], label[solid]


def nms(box: Tensor, score: Tensor, overlap: float, label: Tensor | None = None) -> Tensor:
    """Positions of the boxes that greedy non-maximum suppression keeps, by falling score.

    A box is removed if its IoU with a kept box of higher score, and of the same label, is above `overlap`, which is at least 0. Only
    boxes of one label that share columns of the image are compared, BLOCK of them at once with those of lower score, so a scene with
    many boxes needs neither the time nor the memory of all pairs.

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    >>> nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
    [0, 2]
    """
    order = torch.argsort(score, descending=True, stable=True)
    box = box[order]
    span = _columns(box, None if label is None else label[order])
    alive = torch.ones(len(box), dtype=torch.bool, device=box.device)

    def covering(some: Tensor, others: Tensor) -> Iterator[Tensor]:
        for pair in _sharing(span, some, others):
            pair = pair[:, pair[0] < pair[1]]
            yield pair[:, _iou(box[pair[0]], box[pair[1]]) > overlap]

    for start in range(0, len(box), BLOCK):
        end = start + BLOCK
        here = start + torch.nonzero(alive[start:end])[:, 0]
        _greedy(torch.cat([here.new_zeros(2, 0), *covering(here, here)], 1), alive)
        if end < len(box):
            kept, behind = (n + torch.nonzero(part)[:, 0] for n, part in ((start, alive[start:end]), (end, alive[end:])))
            for pair in covering(kept, behind):
                alive[pair[1]] = False
    return order[alive]


def _columns(box: Tensor, label: Tensor | None) -> Tensor:
    """(2, N) int64: the ranks of the left and right sides of boxes; those of different labels have no rank in common."""
    _, rank = torch.unique(torch.cat([box[:, 0], box[:, 2]]), return_inverse=True)
    span = rank.reshape(2, -1)
    return span if label is None else span + label * (2 * len(box) + 1)


def _sharing(span: Tensor, some: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Pairs (2, P) of a position of `some` and one of `others` whose spans overlap: all such pairs, about PAIRS at once."""
    if len(some) == 0 or len(others) == 0:
        return
    left, right = span[:, some]
    others = others[torch.argsort(span[0, others])]
    begin, end = span[:, others].contiguous()
    first = torch.searchsorted(begin, left - (end - begin).max(), right=True)
    count = (torch.searchsorted(begin, right) - first).clamp_min(0)
    total = count.cumsum(0)
    parts = [0, *(torch.nonzero(torch.diff(total // PAIRS))[:, 0] + 1).tolist(), len(some)]
    for a, b in pairwise(parts):
        row = torch.arange(a, b, device=span.device).repeat_interleave(count[a:b])
        column = torch.arange(len(row), device=span.device) + (first + count - total + (total[a] - count[a]))[row]
        met = end[column] > left[row]
        yield torch.stack([some[row[met]], others[column[met]]])


def _greedy(over: Tensor, alive: Tensor) -> None:
    """Set to False in alive (N,) what greedy suppression removes: a position that a remaining one covers. over (2, P): first covers second.

    The condition has one solution. After k rounds the first k positions agree with it, and usually all do after a few.
    """
    first, second = over
    candidates, before = alive.clone(), torch.zeros_like(alive)
    while not torch.equal(before, alive):
        before = alive.clone()
        alive.copy_(candidates)
        alive[second[before[first]]] = False
