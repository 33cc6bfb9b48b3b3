"""Numbers in tables of pages and reports: how they are spelled, and which number of a column is the best.

    columns = ["", Column("F1", "higher"), Column("AURC", "lower", digits=3)]
    html_table(columns, [[Marked("CVA", "#F2B233"), [0.71], [0.20]], [Marked("ours", "#D9541E"), [0.91, 0.93], [0.11, 0.13]]])

A cell is a text (or an `int`), or the numbers of a row: one float per seed. Only numbers compete for the best of their column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, NamedTuple

import numpy as np

NONE = "–"  # where a row has no number
CELL = "padding:2px 18px 2px 0;white-space:nowrap"
SHADE = "background:rgba(128,128,128,.18)"


@dataclass(frozen=True)
class Column:
    """A column. better: which of its numbers is the best, if any. digits: after the point. about: what it means."""

    title: str
    better: Literal["", "higher", "lower"] = ""
    digits: int = 4
    about: str = ""


class Marked(NamedTuple):
    """A text with a square of its colour, as the lines of a plot have it."""

    text: str
    colour: str


class Cell(NamedTuple):
    """What a cell says, and whether it is the best number of its column."""

    text: str
    best: bool = False
    colour: str = ""


def spread(values: Sequence[float], digits: int = 4) -> str:
    """`0.9500 ± 0.0100`: mean and standard deviation (n - 1) over seeds; a dash without a number.

    Without a deviation for a single number, and for equal ones: nothing was drawn at random.

    >>> spread([0.94, 0.95, 0.96])
    '0.9500 ± 0.0100'
    >>> spread([0.25, 0.25]), spread([0.25], 2), spread([])
    ('0.2500', '0.25', '–')
    >>> spread([0.25, 0.2500001])
    '0.2500 ± <0.0001'
    """
    array = np.asarray(values, float)
    if not array.size or not np.isfinite(array).all():
        return NONE
    mean = f"{array.mean() + 0.0:.{digits}f}"
    mean = mean.removeprefix("-") if float(mean) == 0 else mean
    if _equal(array):
        return mean
    deviation = f"{array.std(ddof=1):.{digits}f}"
    return f"{mean} ± " + (deviation if float(deviation) else f"<{10.0**-digits:.{digits}f}")


def _equal(array: np.ndarray) -> bool:
    """Whether all values are the same up to rounding."""
    return bool(np.ptp(array) <= 1e-12 * np.abs(array).max())


def filled(columns: Sequence[Column | str], rows: Sequence[Sequence[Any]]) -> list[list[Cell]]:
    """All cells as text. Best: every number that is printed with the best mean of its column, if another one is worse.

    rows: a text, a `Marked` or numbers (a float, or one per seed) for every column; no number, or one that is not finite: a dash.

    >>> [[c.text + "*" * c.best for c in row] for row in filled(["", Column("F1", "higher", 1)], [["a", 0.5], ["b", [0.7, 0.9]]])]
    [['a', '0.5'], ['b', '0.8 ± 0.1*']]
    """
    typed = [c if isinstance(c, Column) else Column(c) for c in columns]
    made = [[_cell(value, column) for value, column in zip(row, typed, strict=True)] for row in rows]
    for n, column in enumerate(typed):
        means = {k: m for k, row in enumerate(rows) if (m := _mean(row[n])) is not None}
        if not column.better or len(means) < 2:
            continue
        printed = {k: round(m, column.digits) for k, m in means.items()}
        best = (max if column.better == "higher" else min)(printed.values())
        if len(set(printed.values())) > 1:
            for k, value in printed.items():
                made[k][n] = made[k][n]._replace(best=value == best)
    return made


def _cell(value: Any, column: Column) -> Cell:
    if isinstance(value, Marked):
        return Cell(value.text, colour=value.colour)
    numbers = _numbers(value)
    return Cell(str(value) if numbers is None else spread(numbers, column.digits))


def _numbers(value: Any) -> np.ndarray | None:
    """The numbers of a cell; None if it is a text."""
    if isinstance(value, str | int | Marked):
        return None
    return np.atleast_1d(np.asarray(() if value is None else value, float))


def _mean(value: Any) -> float | None:
    """The mean of a cell's numbers; None if it has none, or one that is not finite."""
    numbers = _numbers(value)
    return float(numbers.mean()) if numbers is not None and numbers.size and np.isfinite(numbers).all() else None


def html_table(columns: Sequence[Column | str], rows: Sequence[Sequence[Any]], shaded: int | None = None) -> str:
    """HTML of a table on a page; columns of texts to the left, those of numbers to the right, the best of a column in bold.

    shaded: number of a row that is shaded, because the visitor has chosen it.
    """
    typed = [c if isinstance(c, Column) else Column(c) for c in columns]
    look = [f"{CELL};{_side(n, rows)}" for n in range(len(typed))]
    head = "".join(
        f'<th style="{look[n]};font-weight:500;opacity:.7" title="{escape(c.about)}">{escape(c.title)}</th>'
        for n, c in enumerate(typed)
    )
    body = "".join(
        f'<tr style="{SHADE if k == shaded else ""}">'
        + "".join(_html(cell, look[n]) for n, cell in enumerate(row))
        + "</tr>"
        for k, row in enumerate(filled(typed, rows))
    )
    style = "border-collapse:collapse;font-size:.84rem;font-variant-numeric:tabular-nums;margin-top:4px"
    return f'<div style="overflow-x:auto"><table style="{style}"><tr>{head}</tr>{body}</table></div>'


def _side(n: int, rows: Sequence[Sequence[Any]]) -> str:
    """The first column keeps its words in one line; a column of sentences is wide enough to be read, and wraps."""
    if not n:
        return "text-align:left"
    sentences = bool(rows) and all(isinstance(row[n], str) for row in rows) and any(len(row[n]) > 24 for row in rows)
    return "text-align:left;white-space:normal;min-width:16em" if sentences else "text-align:right"


def _html(cell: Cell, style: str) -> str:
    square = f'<span style="color:{cell.colour}">■</span> ' if cell.colour else ""
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    return f'<td style="{style}">{square}{text}</td>'
