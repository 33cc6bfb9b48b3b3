"""Until its first point a plot shows words, not an empty axis from 0 to 1."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.views.coresets import Accuracy, ClassBars, Cumulative, DataMap, Overlap, Trajectory
from workbench.views.curves import Curves
from workbench.views.decide import HistogramView, RocView
from workbench.views.lines import Lines
from workbench.views.looks import Look
from workbench.views.rasters import Kind, Rasters

LINE = ("a", "#111111", [1, 2], [0.5, 0.6])
LOOK = Look("loss", "#111111")
FILLED = {
    "curves": (lambda: Curves("step", "loss", [LOOK]), lambda v: v.set("loss", [1], [0.5])),
    "lines": (lambda: Lines("step", "loss"), lambda v: v.show([(LOOK, *LINE[2:])])),
    "roc": (RocView, lambda v: v.show({"RX": (np.array([0, 1.0]), np.array([0, 1.0]), "#111111")}, "RX", 10)),
    "histogram": (HistogramView, lambda v: v.show(np.arange(9.0), "RX")),
    "samples": (DataMap, lambda v: v.show(np.array([0.5]), np.array([1.0]), ["one"], np.array([True]), None)),
    "trajectory": (Trajectory, lambda v: v.show([LINE], [LINE], ([], []), 2, None)),
    "classes": (ClassBars, lambda v: v.show(["a"], np.array([3]), np.array([1]))),
    "cumulative": (Cumulative, lambda v: v.show({"tdds": np.array([1.0, 2.0])}, 0.5)),
    "overlap": (Overlap, lambda v: v.show(["a", "b"], np.eye(2))),
    "accuracy": (Accuracy, lambda v: v.show({"tdds": {0.1: [0.9]}}, [])),
}


@pytest.mark.parametrize("name", FILLED)
def test_words_give_way_to_the_plot_with_its_first_point(name):
    make, fill = FILLED[name]
    view = make()
    words, plot = view.panel.objects
    assert (words.visible, plot.visible) == (True, False)
    assert words.object
    fill(view)
    assert (words.visible, plot.visible) == (False, True)


def test_reference_lines_alone_are_not_a_plot():
    view = Curves("step", "AUC", [Look("ours", "#111111")], [Look("RX", "#222222", "dashed")], words="Drawn later.")
    view.refer("RX", 0.9)
    assert "Drawn later." in view.panel[0].object
    assert not view.panel[1].visible
    view.set("ours", [0], [0.8])
    assert view.panel[1].visible
    view.clear()
    assert view.panel[0].visible
    assert not view.panel[1].visible


def test_the_legend_of_trajectories_names_means_and_window():
    view = Trajectory()
    means = [("mean of kept", "#D9541E", [1, 2], [0.5, 0.6]), ("mean of dropped", "#8A8A8A", [1, 2], [0.8, 0.9])]
    view.show([], [], (means, means), 12, (8, 12))
    assert all(text in view.legend.object for text in ("mean of kept", "mean of dropped", "epochs 8 to 12"))
    view.show([LINE], [LINE], ([], []), 2, None)
    assert "mean" not in view.legend.object


def test_rasters_below_each_other_have_one_right_edge():
    view = Rasters({"g": Kind("gradient", signed=True), "sent": Kind("sent", choice=True)})
    assert len({figure.min_border_right for figure in view.figures.values()}) == 1


def test_a_raster_waits_for_its_own_matrix():
    view = Rasters({"g": Kind("gradient", signed=True), "sent": Kind("sent", choice=True)})
    view.show("g", np.ones((2, 3)))
    assert [view.panels[n][1].visible for n in ("g", "sent")] == [True, False]
    view.clear()
    assert not view.panels["g"][1].visible
