"""Where the number of a pick stands."""

from __future__ import annotations

import pytest

from workbench.views.plots import Frame


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((50, 20), ("bottom", "left", 6, -5)),
        ((2, 20), ("top", "left", 6, 5)),
        ((50, 99), ("bottom", "right", -6, -5)),
        ((0, 99), ("top", "right", -6, 5)),
    ],
)
def test_a_number_stands_within_the_image(place, expected):
    frame = Frame()
    frame.fit(80, 100)
    frame.mark(place)
    marks = frame.marks.data
    assert tuple(marks[name][0] for name in ("baseline", "align", "right", "down")) == expected
    frame.mark(None)
    assert all(len(column) == 0 for column in frame.marks.data.values())
