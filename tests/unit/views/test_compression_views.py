"""Views of the compression page: strips, bars, ladder, waterfall and Pareto."""

from __future__ import annotations

import numpy as np

from tests.taps import tap
from workbench.views.compression import LEVELS, BitLadder, FilterStrips, LayerBars, Pareto, Point, Step, Waterfall, front


def test_strips_have_a_tick_for_each_filter_and_a_click_is_a_score():
    view, found = FilterStrips(), []
    view.on_cut(found.append)
    view.show(["one", "two"], [np.array([1.0, 3.0]), np.array([2.0])], [np.array([False, True]), np.array([True])], 1.5)
    data = view.source.data
    assert data["layer"] == ["one", "one", "two"]
    assert data["what"] == ["removed", "kept", "kept"]
    assert list(data["number"]) == [0, 1, 0]
    assert view.line.data["x"] == [1.5]
    tap(view.figure, 2.5, 0)
    assert found == [2.5]
    view.show([], [], [], np.nan)
    assert view.line.data["x"] == []


def test_bars_show_what_is_left_and_an_error():
    view = LayerBars("MACs")
    view.show(["a", "b"], np.array([4.0, 2.0]), np.array([1.0, -0.5]), np.array([0.5, 0.25]))
    assert list(view.source.data["kept"]) == [1.0, -0.5]
    assert list(view.errors.data["high"]) == [1.5, -0.25]
    assert view.figure.y_range.start < -0.75
    log = LayerBars("BOPs", log=True)
    log.show(["a", "b"], np.array([4.0, 2.0]), np.array([0.01, 0.0]))
    assert 0 < log.figure.y_range.start < 0.01


def test_the_ladder_marks_run_and_cap_and_gives_bits():
    view, found = BitLadder(), []
    view.on_set(lambda layer, bits: found.append((layer, bits)))
    view.show(["a", "b"], [8, 3], [8, 4], [8, 6])
    cells = view.cells.data
    lit = {(x, LEVELS[y]) for x, y, a in zip(cells["x"], cells["y"], cells["alpha"], strict=True) if a > 0.5}
    assert lit == {(0, 8), (1, 3)}
    assert [LEVELS[y] for y in view.marks.data["y"]] == [8, 4]
    tap(view.figure, 1.1, len(LEVELS) - 1)
    tap(view.figure, 5, 0)
    assert found == [(1, 32)]
    view.show(["a"], [16], [32], None)
    assert len(view.caps.data["y"]) == 0


def test_a_waterfall_says_how_many_times_less():
    view = Waterfall("BOPs")
    view.show([Step("float", 8.0), Step("pruned", 2.0), Step("dearer", 24.0), Step("nothing", 0.0)])
    assert view.source.data["text"] == ["8", "2\n\N{DIVISION SIGN} 4", "24\n\N{MULTIPLICATION SIGN} 3"]
    assert view.figure.y_range.start < 2


def test_the_front_has_no_point_that_a_cheaper_one_equals():
    points = [Point(n, x, y, "#000000") for n, x, y in (("a", 2, 0.5), ("b", 1, 0.5), ("c", 3, 0.7), ("d", 4, 0.6))]
    assert [p.name for p in front(points)] == ["b", "c"]
    view = Pareto("cost", "accuracy")
    view.show([*points, Point("no cost", np.nan, 0.9, "#000000")], 2.5)
    assert "no cost" not in view.points.data["name"]
    assert view.front.data["x"] == [1, 3]
    assert view.cost.data["x"] == [2.5]
