"""The list of boxes of VEDAI: one text file, `annotation512.txt` or `annotation1024.txt`, with a line for each vehicle.

A line has 15 numbers: image; x and y of the centre; orientation in radians; x of four corners, y of four corners; class; whether the
vehicle is whole, and whether it is hidden in part. Pixels are counted from 1, as the development kit of the data does.

S. Razakarivony, F. Jurie, Journal of Visual Communication and Image Representation 34, 187-203, 2016.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from workbench.data.readers import text
from workbench.errors import InputError

LIST = re.compile(r"annotations?(512|1024)?\.txt", re.IGNORECASE)
BANDS = {"_co": 3, "_ir": 1}  # endings of the files of an image, and bands to take: the near infrared is stored three times
CLASSES = {
    1: "car",
    2: "truck",
    4: "tractor",
    5: "camping car",
    9: "van",
    10: "other",
    11: "pickup",
    23: "boat",
    31: "plane",
}
NUMBERS = 15
EXAMPLE = "'00000000 100.5 60.0 0.3 90 111 111 90 55 55 65 65 1 1 0'"


class Vehicle(NamedTuple):
    """A line. image: beginning of the file names. corners: x and y of four, in pixels from the top left corner of the image."""

    image: str
    corners: tuple[tuple[float, float], ...]
    label: str


def vehicles(path: Path) -> list[Vehicle]:
    """The lines of a list. Raises InputError, with file and line, for a line that is none."""
    found = []
    for number, line in enumerate(text.lines(path), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(w) for w in words[1:]]
            if len(words) != NUMBERS or not all(map(math.isfinite, values)) or not values[11].is_integer():
                raise ValueError
        except ValueError:
            raise InputError(
                f"Line {number} of {path.name} is not the {NUMBERS} numbers of a vehicle (image, centre, orientation, x of four corners, "
                f"y of four corners, class, whole, hidden): {line[:80]!r}; for example {EXAMPLE}."
            ) from None
        code = int(values[11])
        corners = tuple((x - 1, y - 1) for x, y in zip(values[3:7], values[7:11], strict=True))
        found.append(
            Vehicle(words[0].zfill(8) if words[0].isdecimal() else words[0], corners, CLASSES.get(code, f"class {code}"))
        )
    return found
