"""Names beside points do not cover each other, nor another point."""

from __future__ import annotations

import numpy as np

from workbench.views.labels import NOMINAL, POINT, _box, places


def _overlaps(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[:2] < b[2:]).all() and (a[2:] > b[:2]).all())


def test_names_of_near_points_stand_apart():
    """The points of a run on EuroSAT whose names covered each other."""
    names = ["lsq8", "lsq6", "caps", "cap_1", "lsq4", "greedy", "picpq", "shuffled", "dense"]
    x, y = [0.4, 0.32, 0.34, 0.29, 0.21, 0.19, 0.19, 0.19, 0.82], [0.87, 0.9, 0.89, 0.87, 0.82, 0.83, 0.5, 0.47, 0.88]
    made = places(x, y, names)
    at = np.stack([np.array(x) * NOMINAL[0], (1 - np.array(y)) * NOMINAL[1]], 1)
    boxes = [_box(point, place, name) for point, place, name in zip(at, made, names, strict=True)]
    for i, box in enumerate(boxes):
        assert not any(_overlaps(box, other) for other in boxes[i + 1 :]), names[i]
        dots = [np.concatenate([p - POINT, p + POINT]) for j, p in enumerate(at) if j != i]
        assert not any(_overlaps(box, dot) for dot in dots), names[i]
        assert (box[:2] >= 0).all()


def test_a_name_without_a_free_place_stands_at_the_right():
    made = places([0.5] * 30, [0.5] * 30, ["a long name"] * 30)
    assert made[0] == made[-1] == (9, 5, "left")


def test_no_points():
    assert places([], [], []) == []
