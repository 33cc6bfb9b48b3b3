"""Where the names of points in a plot stand, so that none covers another name or a point.

    at = places(x, y, names)                   # for each point (x offset, y offset, text align)

The places are chosen for a plot of NOMINAL pixels, the smallest in which it is shown; in a larger one the names are farther apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOMINAL = 330, 250  # pixels of the frame
LETTER, HIGH = 6.2, 13  # pixels of a letter and of a line of 11 px
POINT = 6  # radius of a point
# right, right above, right below, left, left above, left below, above, below: in the order in which they are tried
TRIED = (
    (9, 5, "left"), (7, -8, "left"), (7, 19, "left"), (-9, 5, "right"), (-7, -8, "right"), (-7, 19, "right"),
    (0, -10, "center"), (0, 20, "center"), (7, -21, "left"), (7, 32, "left"), (-7, -21, "right"), (-7, 32, "right"),
)  # fmt: skip
Place = tuple[float, float, str]


def places(x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> list[Place]:
    """(x offset, y offset, alignment) of each name, in pixels from its point; offsets downwards are positive, as Bokeh has them.

    x, y: of the points, as shares of the frame from 0 to 1; y upwards. A name without a free place stands at the right.

    >>> places([0.2, 0.2], [0.5, 0.5], ["one", "two"])
    [(9, 5, 'left'), (7, -8, 'left')]
    """
    wide, high = NOMINAL
    at = np.stack([np.asarray(x, float) * wide, (1 - np.asarray(y, float)) * high], 1)
    dots = np.concatenate([at - POINT, at + POINT], 1)
    taken: list[np.ndarray] = []
    made: list[Place] = []
    for i, name in enumerate(names):
        others = np.concatenate([np.delete(dots, i, 0), np.reshape(taken, (-1, 4))])
        free = [p for p in TRIED if not _meets(_box(at[i], p, name), others) and _inside(_box(at[i], p, name))]
        own = free[0] if free else TRIED[0]
        taken.append(_box(at[i], own, name))
        made.append(own)
    return made


def _box(point: np.ndarray, place: Place, name: str) -> np.ndarray:
    """(left, top, right, bottom) of a name whose base line is at the offset."""
    dx, dy, align = place
    width = LETTER * len(name)
    left = point[0] + dx - {"left": 0, "center": width / 2, "right": width}[align]
    return np.array([left, point[1] + dy - HIGH + 3, left + width, point[1] + dy + 3])


def _meets(box: np.ndarray, others: np.ndarray) -> bool:
    return bool(((others[:, :2] < box[2:]) & (others[:, 2:] > box[:2])).all(1).any())


def _inside(box: np.ndarray) -> bool:
    return bool((box[:2] >= 0).all() and box[2] <= NOMINAL[0] and box[3] <= NOMINAL[1])
