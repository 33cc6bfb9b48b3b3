"""Figures of the anomaly report: the scene, the detectors, and BSDM: its training and its passes.

Each function draws one figure with matplotlib, like those of `workbench.views.paper.base`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from workbench.views.image import composite, departures, presets
from workbench.views.looks import ANOMALY, BLUE, INK, ORANGE, REFERENCES, look
from workbench.views.maps import exceedance
from workbench.views.paper.base import BELOW, LEGEND, WIDTH, finish, image, shades

if TYPE_CHECKING:
    import xarray as xr

# --- the scene --------------------------------------------------------------------------------------------------------


def scene(opened: xr.Dataset) -> Figure:
    """Left: colour composite with outlined truth. Right: spectra of anomalous and other pixels."""
    hsi = opened["hsi"]
    cube = hsi.values
    name, bands = next(iter(presets(hsi).items()))
    truth = opened["truth"].values if "truth" in opened else None
    figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    image(left, composite(cube, bands), truth)
    left.set(xlabel="column (pixels)", ylabel="row (pixels)")
    if "wavelength" in hsi.coords:
        nm = hsi["wavelength"].values
        caption = ", ".join(f"{nm[b]:.0f}" for b in bands) + " nm"
        x, label = nm.astype(float), "wavelength (nm)"
    else:
        caption = "bands " + ", ".join(str(b) for b in bands)
        x, label = np.arange(len(cube), dtype=float), "band (number; wavelengths not known)"
    left.set_title(f"{name}: {caption}", fontsize=9)
    _spectra(right, x, cube, truth, hsi["good"].values if "good" in hsi.coords else None)
    units = hsi.attrs.get("units")
    right.set(xlabel=label, ylabel=units or "value in the file (no unit given)")
    right.set_title("median spectrum; band: 10th to 90th percentile", fontsize=9)
    return figure


def _spectra(axes: Axes, x: np.ndarray, cube: np.ndarray, truth: np.ndarray | None, good: np.ndarray | None) -> None:
    groups = [("all pixels", np.ones(cube.shape[1:], bool), INK)]
    if truth is not None and (truth > 0).any() and (truth == 0).any():
        groups = [("background", truth == 0, BLUE), ("anomalous", truth > 0, ORANGE)]
    order = np.argsort(x, kind="stable")
    gaps = np.flatnonzero(np.diff(x[order]) > 6 * np.median(np.abs(np.diff(x[order])))) + 1
    for name, where, colour in groups:
        values = cube[:, where].astype(float)
        seen = np.isfinite(values).any(1) & (np.ones(len(x), bool) if good is None else good.astype(bool))
        low, mid, high = np.full((3, len(x)), np.nan)
        low[seen], mid[seen], high[seen] = np.nanpercentile(values[seen], (10, 50, 90), axis=1)
        low, mid, high = (np.insert(v[order], gaps, np.nan) for v in (low, mid, high))
        at = np.insert(x[order], gaps, np.nan)
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(at, mid, color=colour, linewidth=1.6, label=f"{name} ({int(where.sum()):,} pixels)")
    finish(axes)
    axes.legend(**LEGEND, fontsize=9)


# --- detectors --------------------------------------------------------------------------------------------------------


def score_maps(scores: Mapping[str, np.ndarray], truth: np.ndarray | None, notes: Mapping[str, str]) -> Figure:
    """Score maps (row, column) side by side on one scale: the share of pixels that score at least as high.

    `notes`: name -> text below the title, such as an AUC.
    """
    columns = 2 if len(scores) == 4 else min(3, len(scores))
    rows = -(-len(scores) // columns)
    height, width = next(iter(scores.values())).shape
    figure = Figure(figsize=(WIDTH, 0.35 + rows * (WIDTH / columns * 0.82 * height / width + 0.5)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    top = max(1.0, float(np.log10(height * width)))
    drawn = None
    for axes, (name, score) in zip(grid.flat, scores.items(), strict=False):
        with np.errstate(divide="ignore"):
            drawn = image(axes, -np.log10(exceedance(score)), truth, cmap="cividis", vmin=0, vmax=top)
        axes.set_title(f"{name}\n{notes.get(name, '')}".strip(), fontsize=9)
    for axes in list(grid.flat)[len(scores) :]:
        axes.set_axis_off()
    for column in range(columns):
        lowest = max(r for r in range(rows) if r * columns + column < len(scores))
        grid[lowest, column].set_xlabel("column (pixels)")
        grid[lowest, column].xaxis.set_tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("row (pixels)")
    assert drawn is not None
    bar = figure.colorbar(drawn, ax=grid, shrink=0.75, pad=0.015)
    ticks = np.arange(0, int(top) + 1)
    bar.set_ticks(ticks, labels=[f"{100 / 10.0**t:g} %" for t in ticks])
    bar.set_label("pixels that score at least as high")
    return figure


def roc(curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], negatives: int) -> Figure:
    """ROC curves, name -> one (pf, pd) per seed, on a logarithmic and on a linear false-alarm axis."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    least = 1 / max(negatives, 10)
    for axes, log in zip(panels, (True, False), strict=True):
        for name, seeds in curves.items():
            drawn = look(name, ANOMALY)
            for n, (pf, pd) in enumerate(seeds):
                axes.plot(
                    np.maximum(pf, 0.5 * least) if log else pf,
                    pd,
                    drawn.line,
                    color=drawn.colour,
                    linewidth=1.5,
                    alpha=1 if len(seeds) == 1 else 0.75,
                    drawstyle="steps-post",
                    label=name if n == 0 else None,
                )
        if log:
            axes.set_xscale("log")
            axes.set_xlim(0.7 * least, 1)
        else:
            axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8, zorder=0)
            axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("false-alarm rate PF, share of background pixels" + (" (log)" if log else ""))
        finish(axes)
    panels[0].set_ylabel("detection rate PD, share of anomalous pixels")
    panels[1].legend(**LEGEND, fontsize=8.5, loc="lower right")
    return figure


# --- BSDM -------------------------------------------------------------------------------------------------------------


def training(
    losses: Mapping[int, tuple[Sequence[float], Sequence[float]]],
    aucs: Mapping[int, tuple[Sequence[float], Sequence[float]]],
    references: Mapping[str, float],
    untrained: Mapping[int, float],
    rx: float | None,
) -> Figure:
    """Left: loss against step, one line per seed, with reference lines. Right: AUC against step.

    losses, aucs: seed -> (steps, values). untrained: seed -> AUC before training, dashed. Without AUCs only the left
    half is drawn.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, *rest = figure.subplots(1, 2 if aucs else 1, squeeze=False)[0]
    colours = shades(len(losses))
    for (seed, (steps, values)), colour in zip(losses.items(), colours, strict=True):
        left.plot(steps, values, color=colour, linewidth=1.5, label=f"seed {seed}", marker="o" if len(steps) < 4 else None)
    left.set_yscale("log")
    _plain_log(left, [v for _, values in losses.values() for v in values] + [v for v in references.values() if v > 0])
    for (name, value), line in zip(references.items(), ("--", ":"), strict=False):
        if value > 0:
            left.axhline(value, color=INK, linewidth=1.1, linestyle=line, label=f"{name} = {value:.4g}")
    left.set(xlabel="training step", ylabel="loss: mean squared error of the noise\n(scaled scene², no unit)")
    left.legend(**BELOW)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(left)
    for axes in rest:
        for (seed, (steps, values)), colour in zip(aucs.items(), colours, strict=True):
            axes.plot(steps, values, color=colour, linewidth=1.5, marker="o", markersize=3.5, label=f"seed {seed}")
            axes.axhline(untrained[seed], color=colour, linewidth=1.1, linestyle="--")
        axes.plot([], [], color=INK, linewidth=1.1, linestyle="--", label="untrained, same weights")
        if rx is not None:
            axes.axhline(rx, color=look("RX").colour, linewidth=1.1, linestyle=":", label="RX")
        axes.set(xlabel="training step", ylabel="AUC(D,F) after all passes (no unit)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(**BELOW)
        finish(axes)
    return figure


def by_pass(trained: np.ndarray, untrained: np.ndarray, levels: Mapping[str, float]) -> Figure:
    """AUC against the pass k, (seed, k) each: the mean as a line, lowest to highest seed as a band; levels as thin lines."""
    figure = Figure(figsize=(WIDTH * 0.72, 3.6), layout="constrained")
    axes = figure.subplots()
    k = np.arange(trained.shape[1])
    for name, values in (("BSDM trained", trained), ("BSDM untrained", untrained)):
        drawn = look(name, ANOMALY)
        axes.fill_between(k, values.min(0), values.max(0), color=drawn.colour, alpha=0.18, linewidth=0)
        axes.plot(
            k,
            values.mean(0),
            drawn.line,
            color=drawn.colour,
            marker="o",
            markersize=4,
            label=f"{name}, " + (f"mean of {len(values)} seeds" if len(values) > 1 else "one seed"),
        )
    for name, value in levels.items():
        level = look(name, REFERENCES, ANOMALY)
        axes.axhline(value, color=level.colour, linewidth=1.1, linestyle=level.line, label=name)
    axes.set(xlabel="passes through the network, k (0: the scene itself)", ylabel="AUC(D,F) of RX after pass k (no unit)")
    axes.set_xticks(k)
    axes.legend(**LEGEND, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    finish(axes)
    return figure


def film(result: xr.Dataset, truth: np.ndarray | None, most: int = 6) -> Figure:
    """The denoising film of one network: for up to `most` passes k the cube, the next background to subtract, and the score.

    result: with `quiet_k`, `background_k (k, quiet_band, y, x)`, `score_k (k, y, x)`, and `auc_k`, `range_k (k)` where known.
    """
    last = result.sizes["k"] - 1
    wanted = (
        (0, 1, 2, 3, 5, 10) if last == 10 and most == 6 else np.unique(np.linspace(0, last, min(most, last + 1)).round())
    )
    ks = [int(k) for k in wanted]
    height, width = result["score_k"].shape[1:]
    side = min(WIDTH / len(ks), 2.2)
    figure = Figure(figsize=(side * len(ks), 3 * side * height / width + 0.75), layout="constrained")
    grid = figure.subplots(3, len(ks), squeeze=False)
    top = max(1.0, float(np.log10(height * width)))
    for column, k in enumerate(ks):
        now = result.isel(k=k)
        stretched = departures if k else composite  # before the first pass the cube is the scene itself
        image(grid[0, column], stretched(now["quiet_k"].values), None)
        image(grid[1, column], departures(now["background_k"].values), None)
        with np.errstate(divide="ignore"):
            image(grid[2, column], -np.log10(exceedance(now["score_k"].values)), truth, cmap="cividis", vmin=0, vmax=top)
        caption = f"k = {k}\nlargest {_short(float(now['range_k']))}"
        grid[0, column].set_title(caption, fontsize=9)
        grid[2, column].set_xlabel(f"AUC {float(now['auc_k']):.4f}" if "auc_k" in result else "no truth", fontsize=9)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[:, 0], ("cube after k passes", "subtracted next", "RX score, rank"), strict=True):
        axes.set_ylabel(name, fontsize=9)
    return figure


# --- helpers ----------------------------------------------------------------------------------------------------------


def _short(value: float) -> str:
    """`36`; from 10⁴ on `5.1·10⁶`."""
    if value < 1e4:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    power = int(np.log10(value))
    return f"{value / 10.0**power:.1f}·10" + str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _plain_log(axes: Axes, values: Sequence[float]) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, as decimal numbers: a loss rarely covers a whole decade."""
    low, high = min(values), max(values)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 1)
    axes.set_ylim(low / 1.25, high * 1.25)
    axes.yaxis.set_major_locator(FixedLocator(np.sort(np.concatenate([powers, 2 * powers, 5 * powers]))))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
