"""Class maps and the confusion matrix of a page."""

from __future__ import annotations

import numpy as np
import pytest

from tests.taps import tap
from workbench.views.classes import MASKED, ClassMap, Confusion, legend
from workbench.views.looks import CLASSES, class_colours
from workbench.views.plots import Frame

NAMES = ["sea", "sand", "a town with a name that is much too long"]


def test_colours_differ_and_depend_on_the_number_alone():
    assert len(set(CLASSES)) == len(CLASSES) == 24
    assert class_colours(30)[24:] == class_colours(6)


# linear red, green and blue as colour-blind eyes see them: tables of Machado, Oliveira and Fernandes (2009), severity 1
EYES = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(colours: tuple[str, ...], seen: np.ndarray) -> np.ndarray:
    """(n, 3): CIELAB of sRGB colours, white of D65."""
    value = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(seen), 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.transpose(to_xyz) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize(("count", "least"), [(8, 23), (16, 15), (24, 11)])
def test_colour_blind_eyes_tell_the_classes_apart(eyes, count, least):
    """A difference of 2.3 is just seen; two of the first eight colours differed by 1.6 for deuteranopic eyes."""
    seen = _lab(CLASSES[:count], EYES[eyes])
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert apart[np.triu_indices(count, 1)].min() > least


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
