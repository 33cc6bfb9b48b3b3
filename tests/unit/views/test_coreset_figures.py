"""Figures of the coreset report: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.views.looks import STATES, rgb
from workbench.views.paper import coresets as cf


def test_accuracy_is_mean_and_spread_over_seeds():
    figure = cf.accuracy_by_budget({"tdds": {0.1: [0.5, 0.7], 0.3: [0.9, 0.9]}, "random": {0.1: [0.4, 0.4]}}, [0.95, 0.97])
    axes = figure.axes[0]
    line, _, (bars,) = axes.containers[0]
    assert line.get_ydata() == pytest.approx([0.6, 0.9])
    low, high = np.array([s[:, 1] for s in bars.get_segments()])[0]
    assert (high - low) / 2 == pytest.approx(0.141421, abs=1e-6)  # of 0.5 and 0.7: 0.2 / sqrt 2
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["all samples", "TDDS", "random"]
    assert axes.lines[-1].get_ydata()[0] == pytest.approx(0.96) or any(
        np.allclose(drawn.get_ydata(), 0.96) for drawn in axes.lines
    )


def test_the_histogram_counts_all_and_marks_the_cuts():
    score = np.array([0.0, 0.1, 0.1, 1.0])
    axes = cf.histogram(score, {0.25: 1.0, 0.5: 0.1}, np.array([True, False, False, False]), "S").axes[0]
    assert sum(p.get_height() for p in axes.patches) == 4
    assert sorted(line.get_xdata()[0] for line in axes.lines) == [0.1, 1.0]
    assert {t.get_text().strip() for t in axes.texts} == {"keep 0.25", "keep 0.5"}


def test_trajectories_shade_the_window():
    p = np.array([[0.1, 0.9], [0.5, 0.8], [0.6, 0.7]])
    figure = cf.trajectories(p, np.array([1, 2, 3]), {"all": np.array([1, 0])}, (2, 3))
    axes = figure.axes[0]
    assert axes.lines[0].get_ydata().tolist() == [0.9, 0.8, 0.7]
    assert axes.patches[0].get_x() == 2
    assert axes.patches[0].get_width() == 1


def test_the_overlap_is_written_into_its_cells():
    names = ["tdds", "random"]
    matrix = xr.DataArray([[1.0, 0.25], [0.25, 1.0]], {"selector": names, "other": names}, ("selector", "other"))
    axes = cf.overlap(matrix).axes[0]
    assert [t.get_text() for t in axes.texts] == ["1", ".25", ".25", "1"]


def test_balance_is_the_share_of_each_class():
    axes = cf.balance({"tdds": np.array([1, 3])}, np.array([4, 4]), ["a", "b"], 0.5).axes[0]
    assert [p.get_height() for p in axes.patches] == [0.25, 0.75]


def test_the_map_tells_kept_from_dropped_and_rings_wrong_labels():
    kept, wrong = np.array([True, False, False]), np.array([False, True, False])
    axes = cf.data_map(np.array([0.1, 0.5, 0.9]), np.array([3.0, 2.0, 1.0]), kept, wrong, "S").axes[0]
    drawn = {line.get_label(): line.get_xdata().tolist() for line in axes.lines}
    places = np.array([1, 3, 5]) / 6  # by rank
    assert drawn == {"dropped": places[1:].tolist(), "kept": places[:1].tolist(), "wrong label": places[1:2].tolist()}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.1", "0.5", "0.9"]


def test_examples_and_painted_scene_are_pictures():
    figure = cf.examples(np.zeros((4, 6, 6, 3), np.uint8), ["one", "two"], 2)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["one", "two"]
    score = np.array([[np.nan, 1.0], [2.0, np.nan]])
    painted = cf.painted(np.zeros((2, 2, 3), np.uint8), score, np.where(np.isnan(score), np.nan, [[0, 1], [0, 0]]), "S")
    right = painted.axes[1].images[-1].get_array()
    assert right[0, 1].tolist() == pytest.approx([*(v / 255 for v in rgb(STATES["kept"].colour)), 1.0])
    assert right[0, 0, 3] == 0  # no sample
