"""Text in a CSV file that a spreadsheet would take for a formula."""

from __future__ import annotations

from typing import Any


def csv_field(value: Any) -> Any:
    """The value for a field of a CSV file: text that begins as a formula gets an apostrophe in front; numbers stay.

    >>> [csv_field(v) for v in ("=HYPERLINK(...)", "-0.5", -0.5, "@x", "river", "+ 1")]
    ["'=HYPERLINK(...)", '-0.5', -0.5, "'@x", 'river', "'+ 1"]
    """
    if not isinstance(value, str) or value[:1] not in ("=", "+", "-", "@", "\t", "\r") or not value:
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
