"""Class maps and the confusion matrix of a page."""

from __future__ import annotations

import numpy as np

from tests.taps import tap
from workbench.views.classes import MASKED, ClassMap, Confusion, legend
from workbench.views.looks import CLASSES, class_colours
from workbench.views.plots import Frame

NAMES = ["sea", "sand", "a town with a name that is much too long"]


def test_colours_differ_and_depend_on_the_number_alone():
    assert len(set(CLASSES)) == len(CLASSES) == 24
    assert class_colours(30)[24:] == class_colours(6)


def test_a_pixel_without_a_class_is_masked():
    view = ClassMap(Frame(), "map")
    view.show(np.array([[0, 2], [-1, 2]]), NAMES)
    np.testing.assert_array_equal(view.source.data["image"][0], [[0, 2], [np.nan, 2]])
    assert view.mapper.nan_color == MASKED
    first = list(view.mapper.palette)
    view.show(np.array([[2, 2], [2, 2]]), NAMES)  # a map with one class has the same colours
    assert view.mapper.palette == first
    view.show(None)
    assert view.source.data["image"] == []


def test_the_legend_names_all_classes_and_escapes():
    text = legend(["sea", "<b>"], [3, 1234])
    assert "sea (3)" in text
    assert "&lt;b&gt; (1,234)" in text
    assert text.count("background:") == 3
    assert "no class" in text


def test_rows_of_the_matrix_are_the_true_classes():
    matrix = Confusion()
    matrix.show(np.array([[8, 2, 0], [0, 5, 5], [0, 0, 0]]), NAMES)
    cells = matrix.cells.data
    at = {(t, g): n for n, (t, g) in enumerate(zip(cells["y"], cells["x"], strict=True))}
    assert cells["count"][at[0, 1]] == "2"
    assert cells["share"][at[0, 1]] == 0.2
    assert cells["share"][at[1, 2]] == 0.5
    assert cells["share"][at[2, 2]] == 0  # a class without samples
    assert cells["count"][at[2, 0]] == ""
    assert (cells["true"][at[0, 1]], cells["given"][at[0, 1]]) == ("sea", "sand")
    assert max(map(len, matrix.figure.xaxis.major_label_overrides.values())) == 18


def test_a_click_gives_the_cell_and_beside_the_matrix_nothing():
    matrix, found = Confusion(), []
    matrix.on_cell(lambda true, given: found.append((true, given)))
    matrix.show(np.eye(3, dtype=int), NAMES)
    tap(matrix.figure, 1.4, 0.2)
    tap(matrix.figure, 3.2, 0)
    tap(matrix.figure, -0.9, 1)
    assert found == [(0, 1)]
    matrix.mark((0, 1))
    assert matrix.marked.data == {"x": [1], "y": [0]}
    matrix.mark(None)
    assert matrix.marked.data == {"x": [], "y": []}
