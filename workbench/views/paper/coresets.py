"""Figures of the coreset report, drawn with matplotlib like those of `workbench.views.paper.base`.

Colours belong to selectors and are the same in every figure and on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.views.gallery import mosaic
from workbench.views.looks import GREY, INK, REFERENCES, SELECTORS, STATES, look, rgb
from workbench.views.paper.base import LEGEND, WIDTH, finish
from workbench.views.ranks import rank_ticks, ranked

if TYPE_CHECKING:
    import xarray as xr


def examples(pictures: np.ndarray, rows: Sequence[str], columns: int) -> Figure:
    """(len(rows) * columns, y, x, 3) pictures, one row for each name."""
    grid = mosaic(pictures, columns, gap=max(1, pictures.shape[1] // 12))
    height, width = grid.shape[:2]
    wide = min(WIDTH - 2.2, 0.55 * columns)
    figure = Figure(figsize=(wide + 1.9, wide * height / width + 0.15), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks((np.arange(len(rows)) + 0.5) * height / len(rows), labels=[str(r) for r in rows], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def histogram(score: np.ndarray, cuts: Mapping[float, float], flipped: np.ndarray | None, label: str) -> Figure:
    """Histogram of the scores (sample). cuts: share kept -> the lowest score kept. flipped: wrong labels, in another colour."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(score.min(), score.max() if score.max() > score.min() else score.min() + 1, 61)
    if (
        score.min() >= 0 and score.max() > 20 * np.median(score) and (score > 0).any()
    ):  # on a linear axis a few large scores would hide all others
        edges = np.geomspace(max(score[score > 0].min(), 1e-4 * score.max()), score.max(), 61)
        score, label = np.clip(score, edges[0], None), f"{label} (log; the first bar includes lower values)"
        axes.set_xscale("log")
    if flipped is None:
        axes.hist(score, edges, color=GREY, alpha=0.75)
    else:
        axes.hist(
            [score[~flipped], score[flipped]],
            edges,
            stacked=True,
            color=[GREY, STATES["wrong label"].colour],
            label=["right label", "wrong label"],
        )
        axes.legend(**LEGEND, fontsize=8.5)
    axes.set_yscale("log")
    for n, (keep, cut) in enumerate(sorted(cuts.items(), reverse=True)):
        axes.axvline(cut, color=INK, linewidth=1, linestyle="--")
        where = (cut, 0.98 - 0.11 * n)
        axes.annotate(f" keep {keep:g}", where, xycoords=("data", "axes fraction"), fontsize=8.5, va="top", color=INK)
    axes.set(xlabel=label, ylabel="samples (log)")
    finish(axes)
    return figure


def trajectories(p: np.ndarray, epochs: np.ndarray, groups: Mapping[str, np.ndarray], window: tuple[float, float]) -> Figure:
    """p (epoch, sample): one panel for each group of samples; the last window that the score uses is shaded."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        axes.axvspan(*window, color=STATES["window"].colour, alpha=0.22, linewidth=0)
        for n, row in enumerate(rows):
            axes.plot(epochs, p[:, row], color=f"C{n % 10}", linewidth=1.2, alpha=0.9)
        axes.set_title(name, fontsize=9.5)
        axes.set(xlabel="epoch", ylim=(-0.03, 1.03))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        finish(axes)
    panels[0].set_ylabel("probability of the label")
    return figure


def data_map(easy: np.ndarray, score: np.ndarray, kept: np.ndarray, flipped: np.ndarray | None, label: str) -> Figure:
    """Every sample: x is the mean probability of its label, y its score; kept and dropped coloured, wrong labels ringed.

    Both axes are by rank, with values at their ticks: else most samples pile up in one corner.
    """
    figure = Figure(figsize=(WIDTH * 0.78, 3.9), layout="constrained")
    axes = figure.subplots()
    x, y = ranked(easy), ranked(score)
    for where, name in ((~kept, "dropped"), (kept, "kept")):
        axes.plot(x[where], y[where], ".", color=STATES[name].colour, markersize=5, alpha=0.6, label=name)
    if flipped is not None and flipped.any():
        ring = {
            "markersize": 6,
            "markeredgecolor": STATES["wrong label"].colour,
            "markeredgewidth": 1.2,
            "fillstyle": "none",
        }
        axes.plot(x[flipped], y[flipped], "o", color="none", label="wrong label", **ring)
    for axis, values in ((axes.xaxis, easy), (axes.yaxis, score)):
        ticks = rank_ticks(values)
        axis.set_ticks(list(ticks), labels=list(ticks.values()))
    axes.set(
        xlabel="mean probability of the label over the run (easy to the right; axis by rank)",
        ylabel=f"{label}\n(axis by rank)",
    )
    axes.legend(**LEGEND, fontsize=8.5)
    finish(axes)
    return figure


def overlap(matrix: xr.DataArray) -> Figure:
    """Jaccard overlap of all pairs of selectors as a coloured matrix with numbers."""
    names = [look(str(n), SELECTORS).title for n in matrix["selector"].values]
    figure = Figure(figsize=(WIDTH * 0.8, WIDTH * 0.62), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(matrix.values, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), labels=names, rotation=45, ha="right", fontsize=8.5)
    axes.set_yticks(range(len(names)), labels=names, fontsize=8.5)
    for (i, j), value in np.ndenumerate(matrix.values):
        axes.text(j, i, f"{value:.2f}"[1:] if value < 1 else "1", ha="center", va="center", fontsize=7.5,
                  color="white" if value < 0.55 else "black")  # fmt: skip
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="shared samples over all samples of both")
    return figure


def accuracy_by_budget(values: Mapping[str, Mapping[float, Sequence[float]]], full: Sequence[float]) -> Figure:
    """selector -> share kept -> one accuracy per seed: mean and standard deviation; dotted: trained on all samples."""
    figure = Figure(figsize=(WIDTH * 0.85, 4.1), layout="constrained")
    axes = figure.subplots()
    for n, (name, by_keep) in enumerate(values.items()):
        one = look(name, SELECTORS)
        keeps = np.array(sorted(by_keep))
        seen = [np.asarray(by_keep[k], float) for k in keeps]
        shift = 1 + 0.012 * (n - (len(values) - 1) / 2)  # shift sideways, so that error bars do not overlap
        axes.errorbar(
            keeps * shift,
            [v.mean() for v in seen],
            yerr=[v.std(ddof=1) if len(v) > 1 else 0.0 for v in seen],
            fmt=one.marker,
            linestyle=one.line,
            color=one.colour,
            capsize=3,
            linewidth=1.6,
            markersize=5,
            label=one.title,
        )
    if len(full):
        every = REFERENCES["full"]
        axes.axhline(float(np.mean(full)), color=every.colour, linewidth=1.1, linestyle=every.line, label=every.title)
    ticks = sorted({k for by_keep in values.values() for k in by_keep})
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels=[f"{k:g}" for k in ticks])
    axes.minorticks_off()
    axes.set(xlabel="share of training samples kept (log)", ylabel="test accuracy, last step")
    axes.legend(**LEGEND, fontsize=8.5)
    finish(axes)
    return figure


def balance(per_class: Mapping[str, np.ndarray], total: np.ndarray, names: Sequence[str], keep: float) -> Figure:
    """Share of each class that is kept, a bar for every selector; the dashed line is the budget."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    wide = 0.8 / len(per_class)
    for n, (selector, counts) in enumerate(per_class.items()):
        at = np.arange(len(names)) - 0.4 + (n + 0.5) * wide
        one = look(selector, SELECTORS)
        axes.bar(at, counts / np.maximum(total, 1), wide, color=one.colour, label=one.title)
    axes.axhline(keep, color=INK, linewidth=1, linestyle="--")
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if max(map(len, map(str, names))) > 4 else {}
    axes.set_xticks(range(len(names)), labels=[str(n) for n in names], fontsize=8.5, **turned)
    axes.set_ylabel("share of the class kept")
    axes.legend(**LEGEND, fontsize=8.5, ncols=len(per_class), loc="upper center", bbox_to_anchor=(0.5, 1.16))
    finish(axes, grid="y")
    return figure


def painted(background: np.ndarray, score: np.ndarray, kept: np.ndarray, label: str) -> Figure:
    """Left: a scene with the score of its training pixels. Right: which of them were kept."""
    height, width = score.shape
    figure = Figure(figsize=(WIDTH, 0.5 + WIDTH / 2 * 0.9 * height / width), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes in (left, right):
        axes.imshow(background, interpolation="nearest", alpha=0.35)
        axes.set(xlabel="column (pixels)")
    drawn = left.imshow(score, interpolation="nearest", cmap="cividis")
    left.set_ylabel("row (pixels)")
    figure.colorbar(drawn, ax=left, shrink=0.75, label=label)
    paint = np.full((*kept.shape, 4), 0.0)
    for value, name, alpha in ((1.0, "kept", 1.0), (0.0, "dropped on a scene", 0.55)):
        paint[kept == value] = (*(v / 255 for v in rgb(STATES[name].colour)), alpha)
    right.imshow(paint, interpolation="nearest")
    right.set_title("orange: kept; blue: dropped; no colour: not a training sample", fontsize=9)
    return figure
