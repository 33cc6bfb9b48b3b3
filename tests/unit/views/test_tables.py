"""Numbers of tables: spelling, and the best of a column."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.views.paper import base
from workbench.views.tables import Column, Marked, filled, html_table, spread


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([0.5], 4, "0.5000"),
        ([0.94, 0.95, 0.96], 4, "0.9500 ± 0.0100"),
        ([0.3, 0.3, 0.3], 4, "0.3000"),  # nothing was drawn at random
        ([0.1 + 0.2, 0.3], 2, "0.30"),  # equal up to rounding
        ([0.3, 0.30001], 4, "0.3000 ± <0.0001"),  # drawn at random, with hardly any spread
        ([-1e-9], 3, "0.000"),
        ([], 4, "–"),
        ([0.5, np.nan], 4, "–"),
        ([0.0, 0.0], 1, "0.0"),
    ],
)
def test_spread(values: list[float], digits: int, text: str) -> None:
    assert spread(values, digits) == text


def bold(columns: list, rows: list) -> list[list[bool]]:
    return [[cell.best for cell in row] for row in filled(columns, rows)]


def test_best_is_of_a_column_and_not_of_a_row() -> None:
    columns = ["", Column("F1", "higher"), Column("AURC", "lower"), Column("mean U")]
    rows = [["a", [0.5], [0.2], [0.1]], ["b", [0.7, 0.9], [0.3], [0.9]], ["c", None, np.array([np.nan]), 0.5]]
    assert bold(columns, rows) == [[False, False, True, False], [False, True, False, False], [False] * 4]


def test_texts_do_not_compete_and_ties_as_printed_share_the_bold() -> None:
    column = Column("accuracy", "higher", 2)
    assert bold([column], [["0.99"], [0.8], [0.801], [0.7]]) == [[False], [True], [True], [False]]
    assert bold([column], [[0.8], [0.8]]) == [[False], [False]]  # nobody is better
    assert bold([column], [[0.8], ["–"]]) == [[False], [False]]
    assert filled(["seed"], [[3]])[0][0].text == "3"


def test_both_renderers_write_the_same_cells() -> None:
    columns, rows = ["<a>", Column("x", "lower", 1, "what & why")], [[Marked("one", "#123456"), 0.1], ["two", [0.4, 0.6]]]
    page, report = html_table(columns, rows), base.table(columns, rows, "caption").data
    assert "&lt;a&gt;" in page
    assert "&lt;a&gt;" in report
    assert "<b>0.1</b></td>" in page
    assert "<b>0.1</b></td>" in report
    assert "0.5 ± 0.1</td>" in page
    assert "0.5&nbsp;±&nbsp;0.1</td>" in report
    assert 'title="what &amp; why"' in page
    assert 'color:#123456">■' in page


def test_a_chosen_row_is_shaded_and_not_bold() -> None:
    made = html_table(["", Column("AUC", "higher", 1)], [["a", 0.5], ["b", 0.9]], shaded=0)
    first, second = made.split("<tr")[2:]
    assert "background" in first
    assert "<b>" not in first
    assert "background" not in second
    assert "<b>0.9</b>" in second


def test_sentences_stand_to_the_left_and_wrap() -> None:
    long = "our bits, no teacher, trained as long as the others"
    head = html_table(["", Column("AP", "higher", 1), "about"], [["a", 0.5, long], ["b", 0.9, "short"]]).split("<th")[1:]
    assert ["text-align:left" in h for h in head] == [True, False, True]
    assert "white-space:normal" in head[2]
    assert "text-align:right" in html_table(["", "share"], [["a", "1 %"], ["b", "2 %"]]).split("<th")[2]  # numbers as texts
