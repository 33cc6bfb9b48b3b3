"""Lists of numbers in text of other people: separators, decimal commas, units behind the numbers.

numbers_of("400,5; 410,5")               # ([400.5, 410.5], "were read with decimal commas")
joined(["Geographic Lat/Lon", "1", ...], notes)     # the values of ENVI's `map info`
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNIT = re.compile(r"\s*(nm|nanomet(er|re)s?|[uµμ]m|micromet(er|re)s?)\s*$", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"true": "1", "false": "0"}
DECIMAL = "read with decimal commas"


def numbers_of(words: str, count: int | None = None) -> tuple[list[float], str]:
    """The numbers of a list with commas, semicolons, spaces or lines between them; and a remark, "" where there is nothing to say.

    count: how many are expected; with twice as many whole numbers between commas, each second one is a decimal part.

    >>> numbers_of("400 nm, 500 nm"), numbers_of("400,5, 410,25", 2)
    (([400.0, 500.0], ''), ([400.5, 410.25], 'was read with decimal commas'))

    Raises ValueError for other words than numbers, true and false.
    """
    text = words.replace("\n", " ").strip(" ,;")
    told = ""
    if ";" in text:
        parts = [p.strip() for p in text.split(";")]
        if any("," in p for p in parts):
            told = f"was {DECIMAL}"
        if any(p.count(",") > 1 for p in parts):
            raise ValueError("commas and semicolons")
        parts = [p.replace(",", ".") for p in parts]
    elif "," in text:
        parts = [p.strip() for p in text.split(",")]
        if count is not None and len(parts) == 2 * count and _split_decimals(parts):
            parts, told = _pairs(parts), f"was {DECIMAL}"
    else:
        parts = text.split() if not _UNIT.search(text) else [text]
    return [float(_WORDS.get(p.lower(), _UNIT.sub("", p))) for p in parts if p], told


def joined(info: list[str], notes: list[str]) -> list[str] | None:
    """The values of ENVI's `map info`, put together again where commas were decimal signs (with a note); None, with a note, where it
    holds more numbers than it should and they cannot be put together.
    """
    kind = info[0].lower() if info else ""
    zone = kind == "utm"
    numbers = next((i for i, v in enumerate(info[1:]) if not _NUMBER.fullmatch(v)), len(info) - 1)
    if numbers <= 6 + zone or (numbers <= 8 and kind != "geographic lat/lon" and not zone):
        return info  # other projections have up to two zones
    if numbers - zone == 12 and _split_decimals(info[1:13]):
        notes.append(f"map info was {DECIMAL}")
        return [info[0], *_pairs(info[1:13]), *info[13:]]
    notes.append(
        f"map info ignored: it holds {numbers} numbers where {6 + zone} are expected, so x and y count pixels; are they written with "
        "decimal commas? Write decimal points"
    )
    return None


def _split_decimals(parts: Sequence[str]) -> bool:
    """Whether all are whole numbers, and each second one can be a decimal part."""
    return all(map(_WHOLE.fullmatch, parts)) and not any(p[0] in "+-" for p in parts[1::2])


def _pairs(parts: Sequence[str]) -> list[str]:
    return [f"{a}.{b}" for a, b in zip(parts[0::2], parts[1::2], strict=True)]
