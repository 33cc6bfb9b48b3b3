"""Points, assignment, losses, decoding and non-maximum suppression, against worked numbers and slow direct code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.parts import detect
from workbench.parts.detect import assign, box_iou, decode, detection_loss, detections, encode, focal, giou, nms, points

STRIDES = (8, 16, 32)


def shapes(side):
    return [(side // s, side // s) for s in STRIDES]


def random_boxes(seed, n, side=128, low=8, high=60):
    draw = torch.Generator().manual_seed(seed)
    size = low + (high - low) * torch.rand((n, 2), generator=draw)
    corner = torch.rand((n, 2), generator=draw) * (side - size)
    return torch.cat([corner, corner + size], 1)


def test_a_cell_is_seen_at_its_centre():
    assert points((2, 3), 8).tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


def test_iou_and_suppression_of_the_worked_example():
    pair = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11]])
    assert float(box_iou(pair[:1], pair[1:])) == pytest.approx(81 / 119, abs=1e-6)
    assert nms(pair, torch.tensor([0.5, 0.6]), 0.5).tolist() == [1]
    assert nms(pair, torch.tensor([0.5, 0.6]), 0.7).tolist() == [1, 0]
    assert nms(pair, torch.tensor([0.5, 0.6]), 0.5, torch.tensor([0, 1])).tolist() == [1, 0]
    assert nms(pair[:0], torch.zeros(0), 0.5).tolist() == []


def slow_nms(box, score, overlap, label):
    left, kept = sorted(range(len(box)), key=lambda i: (-score[i].item(), i)), []
    while left:
        first, left = left[0], left[1:]
        kept.append(first)
        left = [i for i in left if label[i] != label[first] or box_iou(box[first][None], box[i][None]) <= overlap]
    return kept


@pytest.mark.parametrize(("block", "pairs"), [(7, 5), (7, 10**6), (1000, 50), (1000, 10**6)])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_equals_the_slow_loop_in_any_blocks(monkeypatch, seed, block, pairs):
    monkeypatch.setattr(detect, "BLOCK", block)
    monkeypatch.setattr(detect, "PAIRS", pairs)
    draw = torch.Generator().manual_seed(seed)
    box, score = random_boxes(seed, 80), (torch.rand(80, generator=draw) * 20).round() / 20  # many equal scores
    label = torch.randint(0, 2, (80,), generator=draw)
    expected = slow_nms(box, score, 0.3, label)
    assert 5 < len(expected) < 75
    assert nms(box, score, 0.3, label).tolist() == expected


@pytest.mark.parametrize("block", [3, 1000])
def test_suppression_of_equal_touching_and_empty_boxes(monkeypatch, block):
    """Sides at the same columns: boxes that only touch, that are equal, without area, and wide ones that hold many small ones."""
    monkeypatch.setattr(detect, "BLOCK", block)
    draw = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 6, (120, 2), generator=draw).float()
    box = torch.cat([corner, corner + torch.randint(0, 4, (120, 2), generator=draw)], 1)
    box[::20, 0], box[::20, 2] = 0.0, 40.0
    score = torch.randint(0, 9, (120,), generator=draw) / 9
    label = torch.randint(0, 3, (120,), generator=draw)
    for overlap in (0.0, 0.5, 1.0):
        assert nms(box, score, overlap, label).tolist() == slow_nms(box, score, overlap, label)
    assert nms(box, score, 0.3).tolist() == slow_nms(box, score, 0.3, torch.zeros(120))


def test_giou_of_equal_apart_and_nested_boxes():
    a = torch.tensor([[0.0, 0, 4, 4], [0, 0, 1, 1], [0, 0, 4, 4]])
    b = torch.tensor([[0.0, 0, 4, 4], [3, 0, 4, 1], [1, 1, 3, 3]])
    assert giou(a, b).tolist() == pytest.approx([1.0, -0.5, 0.25])


def test_focal_loss_of_worked_numbers():
    logit, target = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0])
    assert float(focal(logit, target)) == pytest.approx((0.25 + 0.75) * 0.25 * math.log(2))


def test_positive_points_decode_to_their_box():
    box = random_boxes(0, 40)
    at = torch.cat([points(shape, s) for shape, s in zip(shapes(128), STRIDES, strict=True)])
    stride = torch.cat([torch.full((h * w,), float(s)) for (h, w), s in zip(shapes(128), STRIDES, strict=True)])
    which = assign(box, shapes(128), STRIDES)
    positive = which >= 0
    own = box[which[positive]]
    back = decode(encode(own, at[positive], stride[positive]), at[positive], stride[positive])
    nearest = torch.cat([at[positive] - own[:, :2], own[:, 2:] - at[positive]], 1).amin(1)
    clear = nearest > stride[positive] * math.exp(-detect.LIMIT)
    assert clear.float().mean() > 0.9
    torch.testing.assert_close(back[clear], own[clear], atol=1e-4, rtol=0)
    assert (back - own).abs()[(nearest > 0)].max() <= 32 * math.exp(-detect.LIMIT) + 1e-4


def test_a_ship_of_eight_pixels_always_has_a_point():
    for x in np.arange(0, 24, 0.5):
        for y in (0.0, 3.5, 7.0):
            box = torch.tensor([[x, y, x + 8, y + 8]])
            which = assign(box, shapes(64), STRIDES)
            assert (which == 0).sum() >= 1
            assert (which[64:] == -1).all()  # of the first level only


def test_level_by_longest_side_and_the_smallest_box_wins():
    box = torch.tensor([[0.0, 0, 40, 10], [0, 0, 41, 10], [0, 0, 111, 10]])
    which = assign(box, shapes(128), STRIDES)
    ends = np.cumsum([0, *(h * w for h, w in shapes(128))])
    for n in range(3):
        assert set(which[ends[n] : ends[n + 1]].tolist()) == {-1, n}
    nested = torch.tensor([[10.0, 10, 50, 50], [26.0, 26, 36, 36]])
    assert int(assign(nested, [(16, 16)], [8])[3 * 16 + 3]) == 1


def test_the_loss_is_smaller_for_the_truth_and_finite_without_boxes():
    box, label = random_boxes(3, 3), torch.tensor([0, 1, 0])
    which = assign(box, shapes(128), STRIDES)
    perfect, at = [], 0
    for (h, w), s in zip(shapes(128), STRIDES, strict=True):
        part = which[at : at + h * w]
        at += h * w
        raw = torch.full((h * w, 6), -8.0)
        positive = part >= 0
        raw[positive, :4] = encode(box[part[positive]], points((h, w), s)[positive], float(s))
        raw[positive, 4 + label[part[positive]]] = 8.0
        perfect.append(raw.T.reshape(1, 6, h, w))
    good = detection_loss(perfect, [box], [label], STRIDES)
    bad = detection_loss([torch.zeros_like(x) for x in perfect], [box], [label], STRIDES)
    assert good.positive == bad.positive == int((which >= 0).sum())
    assert float(good.classes) < 1e-4 < float(bad.classes)
    assert float(good.boxes) < 0.05 < float(bad.boxes)
    perfect = [x.requires_grad_() for x in perfect]
    none = detection_loss(perfect, [box[:0]], [label[:0]], STRIDES)
    assert none.positive == 0
    assert float(none.boxes.detach()) == 0
    none.classes.backward()
    assert all(torch.isfinite(x.grad).all() for x in perfect)


def test_detections_are_inside_the_true_image_and_at_most_as_many_as_asked():
    levels = [torch.zeros(1, 5, 16 // k, 16 // k) for k in (1, 2, 4)]
    (all_,) = detections(levels, STRIDES, [(100, 90)], overlap=1.0).apart(1)
    assert float(all_.box[:, [0, 2]].max()) == 90
    assert float(all_.box[:, [1, 3]].max()) == 100
    assert len(all_.box) == 12 * 11 + 6 * 6 + 3 * 3  # points inside 90 x 100: padding gives none
    (few,) = detections(levels, STRIDES, [(128, 128)], overlap=1.0, per_level=10).apart(1)
    assert len(few.box) == 30
    (none,) = detections(levels, STRIDES, [(128, 128)], threshold=0.6).apart(1)
    assert none.box.shape == (0, 4)


def test_a_huge_regression_does_not_overflow():
    levels = [torch.full((1, 5, 4, 4), 1e4)]
    (found,) = detections(levels, (8,), [(32, 32)]).apart(1)
    assert torch.isfinite(found.box).all()


@pytest.mark.parametrize("per_level", [1000, 12])
def test_images_of_a_batch_are_suppressed_as_if_each_were_alone(per_level):
    """Also an empty image, one with more candidates than are compared at once, and a limit on the candidates of a level."""
    torch.manual_seed(3)
    levels = [torch.randn(5, 6, 64 // k, 64 // k) for k in (1, 2, 4)]
    for x in levels:
        x[:, :4] *= 0.5
        x[2, 4:] = -9.0
        x[3, 4:] += 2.0
    sizes = [(512, 512), (500, 300), (512, 512), (512, 512), (20, 512)]
    together = detections(levels, STRIDES, sizes, threshold=0.8, per_level=per_level).apart(len(sizes))
    assert len(together[2].box) == 0
    assert min(len(f.box) for n, f in enumerate(together) if n != 2) > 0
    for n, one in enumerate(together):
        one_only = [x[n : n + 1] for x in levels]
        (alone,) = detections(one_only, STRIDES, sizes[n : n + 1], threshold=0.8, per_level=per_level).apart(1)
        for a, b in zip(one, alone, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert (one.score.diff() <= 0).all()
