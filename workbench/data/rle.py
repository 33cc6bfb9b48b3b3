"""Boxes of COCO outlines: polygons, and masks as run lengths (plain or packed into text).

The layout of the run lengths is that of the COCO API: counts of pixels, column by column, that are in turn outside and inside; packed,
each count is a number of five-bit characters (from the third on, the difference to the count two before).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.errors import InputError

MAX_PIXELS = 2**30  # of one mask


def box_of(outline: Any, size: tuple[int, int] | None, name: str) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a `segmentation`: a list of polygons, or a mask {"counts": ..., "size": [rows, columns]}.

    size: (width, height) of the image, for masks that do not state theirs. name: of the file, for the message.

    Raises InputError for anything else, for a mask without a pixel, and for one of another size than its image.
    """
    stated = outline.get("size") if isinstance(outline, dict) else None
    if size is not None and stated and list(stated) != [size[1], size[0]]:
        raise InputError(
            f"A mask of {name} has {' x '.join(map(str, stated))} pixels, its image {size[1]} x {size[0]} (rows x columns); "
            "correct the file."
        )
    edges = _mask(outline, size) if isinstance(outline, dict) else _polygons(outline)
    if edges is None:
        raise InputError(
            f"An annotation of {name} has neither a box nor an outline that can be read (polygons, or run lengths): {str(outline)[:80]}."
        )
    x0, y0, x1, y1 = edges
    return x0, y0, x1 - x0, y1 - y0


def _polygons(outline: Any) -> tuple[float, float, float, float] | None:
    rings = outline if isinstance(outline, list) and outline and isinstance(outline[0], list) else [outline]
    points: list[float] = []
    for ring in rings:
        ok = isinstance(ring, list) and len(ring) >= 4 and len(ring) % 2 == 0
        if not ok or not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9 for v in ring):
            return None
        points += ring
    xs, ys = points[0::2], points[1::2]
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def _mask(outline: dict[str, Any], image: tuple[int, int] | None) -> tuple[float, float, float, float] | None:
    size = outline.get("size") or (None if image is None else [image[1], image[0]])
    counts = outline.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) and 0 < n < 2**31 for n in size):
        return None
    rows, columns = size
    if rows * columns > MAX_PIXELS:
        return None
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= rows * columns for n in counts
    ):
        return None
    ends = np.cumsum(np.array(counts, np.int64))
    if not len(ends) or ends[-1] != rows * columns:
        return None
    first, last = ends[0::2][: len(ends) // 2], ends[1::2] - 1  # the odd runs are inside: from the end before to their own
    inside = last >= first
    first, last = first[inside], last[inside]
    if not len(first):
        return None
    low, high = first // rows, last // rows  # columns
    whole = high > low  # a run beyond the end of a column covers its last row, and the first of the next
    top = 0 if whole.any() else int((first % rows).min())
    bottom = rows - 1 if whole.any() else int((last % rows).max())
    return float(low.min()), float(top), float(high.max() + 1), float(bottom + 1)


def _unpacked(text: str) -> list[int] | None:
    counts: list[int] = []
    at = 0
    while at < len(text):
        value, place, more = 0, 0, True
        while more:
            if at >= len(text) or place > 12:
                return None
            code = ord(text[at]) - 48
            if not 0 <= code < 64:
                return None
            value |= (code & 0x1F) << 5 * place
            more = bool(code & 0x20)
            at, place = at + 1, place + 1
            if not more and code & 0x10:
                value -= 1 << 5 * place
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    return counts
