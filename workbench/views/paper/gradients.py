"""Figures of the gradient compression report, drawn with matplotlib like those of `workbench.views.paper.base`.

Colours belong to compressors and are the same in every figure and on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from workbench.views.looks import BLUE, COMPRESSORS, GREEN, STATES, YELLOW, look
from workbench.views.paper.base import INK, LEGEND, WIDTH, finish

if TYPE_CHECKING:
    import xarray as xr

RATIOS = {
    "ratio_counted": ("counted (ratio_counted): ring all-reduce of float32 / messages and headers sent", BLUE),
    "measured_ratio": ("measured (measured_ratio): the same / bytes on the loopback, whoever sent them", GREEN),
    "ratio_upload": ("upload (ratio_upload): float32 gradient / one worker's message", YELLOW),
    "ratio_entries": ("entries (ratio_entries): entries / entries sent; positions not counted", "#BBBBBB"),
}
WINDOW = (24, 48)  # rows and columns of a layer's matrix in the importance maps; few, so that single entries are visible
QUANTITIES = {"gradient": "gradient v", "mean": "mean μ", "sigma": "spread σ", "score": "score S", "kept": "sent"}


def mean_and_spread(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n - 1; 0 for one) over the first axis, the seeds."""
    seen = np.asarray(values, float)
    return seen.mean(0), seen.std(0, ddof=1) if len(seen) > 1 else np.zeros(seen.shape[1:])


# --- accuracy --------------------------------------------------------------------------------------------------------


def accuracy_by_bytes(curves: Mapping[str, tuple[Sequence[Any], Sequence[Any]]]) -> Figure:
    """compressor -> (bytes, accuracies), each (seed, step): the mean as a line, the standard deviation as a band."""
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    axes = figure.subplots()
    for name, (sent, accuracies) in curves.items():
        _band(axes, name, np.asarray(sent, float).mean(0) / 1e6, accuracies)
    axes.set_xscale("log")
    _plain(axes)
    axes.set(xlabel="messages sent so far by all workers together (10⁶ bytes, log)", ylabel="test accuracy (share of chips)")
    axes.legend(**LEGEND, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    finish(axes)
    return figure


def accuracy_by_step(curves: Mapping[str, tuple[Sequence[int], Sequence[Any]]]) -> Figure:
    """compressor -> (steps, accuracies (seed, step)). Right: the last step, a dot for each seed, mean and deviation."""
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for y, (name, (steps, accuracies)) in enumerate(curves.items()):
        _band(left, name, np.asarray(steps), accuracies)
        one = look(name, COMPRESSORS)
        last = np.asarray(accuracies, float)[:, -1]
        mean, spread = mean_and_spread(last)
        right.plot(last, np.full(len(last), y - 0.16), one.marker, color=one.colour, markersize=5, alpha=0.8)
        right.errorbar(mean, y + 0.16, xerr=spread, fmt="|", color=one.colour, capsize=4, markersize=13, linewidth=1.8)
    left.set(xlabel="optimiser step", ylabel="test accuracy (share of chips)")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_yticks(range(len(curves)), labels=[look(n, COMPRESSORS).title for n in curves], fontsize=9)
    right.invert_yaxis()
    right.set_title("after the last step", fontsize=9.5)
    right.set_xlabel("test accuracy (share of chips)")
    right.margins(x=0.06)
    finish(left)
    finish(right)
    return figure


def _band(axes: Axes, name: str, x: np.ndarray, values: Sequence[Any]) -> None:
    one = look(name, COMPRESSORS)
    mean, spread = mean_and_spread(values)
    axes.fill_between(x, mean - spread, mean + spread, color=one.colour, alpha=0.15, linewidth=0)
    order = 4 if name == "rsdgc" else 3
    end: dict[str, Any] = {"marker": one.marker, "markevery": [-1], "markersize": 7, "markeredgecolor": "white"}
    axes.plot(x, mean, one.line, color=one.colour, linewidth=1.7, label=one.title, zorder=order, **end)


# --- traffic ---------------------------------------------------------------------------------------------------------


def traffic(
    counted: Mapping[str, Sequence[float]],
    measured: Mapping[str, Sequence[float]],
    ratios: Mapping[str, Mapping[str, float]],
) -> Figure:
    """Left: bytes counted, and measured if available, one number for each seed. Right: name of RATIOS -> rival -> ratio.

    A ratio that is undefined for a compressor is NaN and has no bar.
    """
    names = list(counted)
    figure = Figure(figsize=(WIDTH, 1.7 + 0.5 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    y = np.arange(len(names))
    groups: list[tuple[str, Mapping[str, Sequence[float]], dict[str, Any]]] = [
        ("counted, with headers", counted, {"color": [look(n, COMPRESSORS).colour for n in names]})
    ]
    if any(np.isfinite(measured[n]).any() for n in names):
        groups.append(("measured on the loopback", measured, {"color": "white", "edgecolor": INK, "hatch": "////"}))
    numbers = []
    wide = 0.8 / len(groups)
    for g, (_, values, how) in enumerate(groups):
        mean, spread = (np.array(v) / 1e6 for v in zip(*(mean_and_spread(values[n]) for n in names), strict=True))
        at = y - 0.4 + (g + 0.5) * wide
        left.barh(at, mean, wide * 0.92, linewidth=0.8, **how)
        if spread.any():
            left.errorbar(mean, at, xerr=spread, fmt="none", ecolor=INK, capsize=2, linewidth=1)
        for where, value, over in zip(at, mean, spread, strict=True):
            if np.isfinite(value):
                left.annotate(f" {value:.3g}", (value + over, where), va="center", fontsize=7.5, color=INK)
        numbers += mean[np.isfinite(mean) & (mean > 0)].tolist()
    left.set_xscale("log")
    left.set_xlim(10 ** np.floor(np.log10(min(numbers)) - 0.3), max(numbers) * 4)
    left.set_yticks(y, labels=[look(n, COMPRESSORS).title for n in names])
    left.invert_yaxis()
    left.set_xlabel("sent by all workers in the whole training (10⁶ bytes, log)")
    left.set_title("filled: " + "; hatched: ".join(g[0] for g in groups), fontsize=8.5)
    _ratio_bars(right, names, ratios)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, **LEGEND, fontsize=8.5, loc="outside lower center", ncols=1)
    for axes in (left, right):
        _plain(axes)
        finish(axes, grid="x")
    return figure


def _ratio_bars(axes: Axes, names: Sequence[str], ratios: Mapping[str, Mapping[str, float]]) -> None:
    wide = 0.8 / len(ratios)
    least = most = 1.0
    for r, (ratio, by_rival) in enumerate(ratios.items()):
        values = np.array([by_rival[n] for n in names], float)
        at = np.arange(len(names)) - 0.4 + (r + 0.5) * wide
        label, colour = RATIOS[ratio]
        axes.barh(at, values - 1, wide * 0.92, left=1, color=colour, label=label)
        least, most = np.nanmin([least, *values]), np.nanmax([most, *values])
        for where, value in zip(at, values, strict=True):
            if np.isfinite(value):
                axes.annotate(f" {value:.3g}", (value, where), va="center", fontsize=7.5, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(0.85 * least, 2.2 * most)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.tick_params(labelleft=False)
    axes.set_xlabel("times less than float32 (no unit, log)")
    axes.set_title("four ratios", fontsize=8.5)


# --- decisions of RS-DGC ---------------------------------------------------------------------------------------------


def layer_budget(budget: xr.DataArray, signal: xr.DataArray, entries: xr.DataArray) -> Figure:
    """budget, signal (step, layer), entries (layer): entries sent, stacked; share of each layer's entries; the signal."""
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    grid = figure.subplot_mosaic([["stack", "stack"], ["share", "signal"]], height_ratios=(1, 1))
    layers = [str(n) for n in budget["layer"].values]
    colours = colormaps["viridis"](np.linspace(0.0, 0.95, len(layers)))
    steps = budget["step"].values
    lines = ("-", "--", "-.", ":")
    sizes = entries.values.astype(float)
    labels = [f"{n} ({int(s):,})" for n, s in zip(layers, sizes, strict=True)]
    grid["stack"].stackplot(steps, budget.values.T, colors=colours, labels=labels, linewidth=0.3, edgecolor="white")
    grid["stack"].set(ylabel="entries each worker may send", ylim=(0, None))
    grid["stack"].margins(x=0)
    for n, colour in enumerate(colours):
        how: dict[str, Any] = {"color": colour, "linestyle": lines[n % 4], "linewidth": 1.5}
        grid["share"].plot(steps, 100 * budget.values[:, n] / sizes[n], **how)
        grid["signal"].plot(steps, signal.values[:, n], **how)
    grid["share"].set(ylabel="of the layer's own entries (%)")
    grid["signal"].set(ylabel="signal of importance I (no unit)")
    for axes in grid.values():
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(axes)
    handles, names = grid["stack"].get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        names[::-1],
        **LEGEND,
        fontsize=8,
        loc="outside right upper",
        title="layer (its entries)",
        title_fontsize=8,
    )
    return figure


def window(A: xr.DataArray) -> tuple[slice, slice]:
    """Rows and columns of at most WINDOW around the highest score."""
    score = A.sel(quantity="score").values
    peak = np.unravel_index(int(np.argmax(score)), score.shape)
    begins = [max(0, min(int(p) - w // 2, n - w)) for p, w, n in zip(peak, WINDOW, score.shape, strict=True)]
    rows, columns = (slice(b, min(b + w, n)) for b, w, n in zip(begins, WINDOW, score.shape, strict=True))
    return rows, columns


def importance_maps(maps: Mapping[str, xr.DataArray]) -> Figure:
    """layer -> (quantity, row, column): a row of panels for each layer, cut to the `window` around its highest score.

    Every panel has its own scale, up to the 99th percentile of its values; the number is written below the panel.
    """
    views = {layer: A.isel(row=window(A)[0], column=window(A)[1]) for layer, A in maps.items()}
    side = (WIDTH - 0.9) / len(QUANTITIES)
    heights = [min(1.0, v.sizes["row"] / v.sizes["column"]) * side for v in views.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.62 * len(heights) + 0.8), layout="constrained")
    grid = figure.subplots(len(views), len(QUANTITIES), squeeze=False, height_ratios=[max(h, 0.3) for h in heights])
    drawn: list[Any] = [None] * len(QUANTITIES)
    for row, (layer, view) in zip(grid, views.items(), strict=True):
        own = (view["column"].values[[0, -1]] + (-0.5, 0.5)).tolist() + (view["row"].values[[-1, 0]] + (0.5, -0.5)).tolist()
        for column, (axes, quantity) in enumerate(zip(row, QUANTITIES, strict=True)):
            values = view.sel(quantity=quantity).values
            drawn[column], note = _map(axes, values, quantity, own)
            axes.set_xlabel(f"column · {note}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            if column:
                axes.tick_params(labelleft=False)
        row[0].set_ylabel(f"{layer}\n{view.attrs['of_rows']} × {view.attrs['of_columns']}\nrow", fontsize=8)
    for axes, name in zip(grid[0], QUANTITIES.values(), strict=True):
        axes.set_title(name, fontsize=9.5)
    ends = {"gradient": ("−a", "0", "+a"), "mean": ("−a", "0", "+a"), "sigma": ("0", "a"), "score": ("0", "a")}
    for column, quantity in enumerate(QUANTITIES):
        bar = figure.colorbar(drawn[column], ax=grid[:, column].tolist(), location="bottom", shrink=0.8, aspect=14, pad=0.02)
        if quantity == "kept":
            bar.set_ticks([0.25, 0.75], labels=["not sent", "sent"])
        else:
            bar.set_ticks(np.linspace(drawn[column].norm.vmin, 1, len(ends[quantity])).tolist(), labels=ends[quantity])
        bar.ax.tick_params(labelsize=8, length=2)
    return figure


def _map(axes: Axes, values: np.ndarray, quantity: str, extent: Sequence[float]) -> tuple[Any, str]:
    """Draw one panel; returns the AxesImage and the text below it."""
    box = (extent[0], extent[1], extent[2], extent[3])
    if quantity == "kept":
        how: dict[str, Any] = {"cmap": ListedColormap(["#E8E8E8", STATES["kept"].colour]), "vmin": 0, "vmax": 1}
        return axes.imshow(values, interpolation="nearest", extent=box, **how), f"{int(values.sum())} of {values.size}"
    top = float(np.percentile(np.abs(values), 99)) or float(np.abs(values).max()) or 1.0
    how = {"cmap": "PuOr_r", "vmin": -1} if quantity in ("gradient", "mean") else {"cmap": "cividis", "vmin": 0}
    return axes.imshow(values / top, interpolation="nearest", extent=box, vmax=1, **how), f"a = {top:.2g}"


# --- helpers ---------------------------------------------------------------------------------------------------------


def _plain(axes: Axes) -> None:
    """Write the numbers of a logarithmic x axis as decimals."""
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
