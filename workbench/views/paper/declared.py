"""Figures of any method, drawn from its declaration and its result; kinds as in `workbench.views.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from workbench.event import Curves, Film, standing_for
from workbench.views.image import as_colours
from workbench.views.kinds import Picture, picture
from workbench.views.looks import PICKS, STATES, class_colours, look, looks_in_curves
from workbench.views.paper.base import LEGEND, WIDTH, finish

History = Mapping[str, tuple[Sequence[float], Sequence[float]]]
FILMED = 5  # steps of a film that are printed at most
SHOWN = 9  # pictures in one figure at most
NAMES = 24  # names along an axis at most


def curves(groups: Sequence[Curves], histories: Mapping[str, History]) -> Figure | None:
    """A panel for each group: a line for each series and run, references dashed. None if nothing was logged.

    histories: name of a run -> its scalars. Runs of one series have one colour; only the first is opaque.
    """
    names = list(dict.fromkeys(n for history in histories.values() for n in history))
    groups = [g for g in groups if any(standing_for(s, names) for s in g.series)]
    if not groups:
        return None
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 0.62 * WIDTH, 0.2 + 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, group in zip(grid, groups, strict=False):
        series = [n for s in group.series for n in standing_for(s, names)]
        levels = [n for r in group.references for n in standing_for(r, names)]
        quantities = sorted({n.partition("/")[0] for n in series})
        drawn = [*series, *levels]
        looks = dict(zip(drawn, looks_in_curves(drawn, quantities), strict=True))
        for name in series:
            for n, history in enumerate(h for h in histories.values() if name in h):
                steps, values = group.points(name, history)
                how: dict[str, Any] = {"color": looks[name].colour, "alpha": 1 if n == 0 else 0.45}
                how |= {"marker": "o" if len(steps) < 4 else None, "markersize": 3.5, "linewidth": 1.5}
                axes.plot(steps, values, label=looks[name].title if n == 0 else None, **how)
        for name in levels:
            value = next(h[name][1][-1] for h in histories.values() if name in h)
            axes.axhline(value, color=looks[name].colour, linewidth=1.3, linestyle="--", label=looks[name].title)
        if group.log:
            axes.set_yscale("log")
        axes.set(
            xlabel=group.against or "step",
            ylabel=f"{group.group} ({group.units})" if group.units not in ("", "1") else group.group,
        )
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(series) + len(group.references) > 1:
            axes.legend(**LEGEND, fontsize=8, ncols=2)
        finish(axes)
    for axes in grid[len(groups) :]:
        axes.set_visible(False)
    return figure


def film(show: Film, steps: Mapping[str, Sequence[int]], frame: Callable[[str, int], xr.DataArray | None]) -> Figure | None:
    """A row for each array, a column for each of a few steps from the first to the last. None if there are no frames.

    steps: array -> steps at which it was yielded. frame: `(name, step) -> array`.
    """
    names = [n for s in show.arrays for n in standing_for(s, steps)]
    every = sorted({step for n in names for step in steps[n]})
    if not every:
        return None
    chosen = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(FILMED, len(every))).round().astype(int))]
    side = min(WIDTH / len(chosen), 2.6)
    figure = Figure(figsize=(max(side * len(chosen), 5), side * 0.95 * len(names) + 0.5), layout="constrained")
    grid = figure.subplots(len(names), len(chosen), squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for axes, step in zip(row, chosen, strict=True):
            earlier = [s for s in steps[name] if s <= step]
            array = frame(name, earlier[-1]) if earlier else None
            made = None if array is None else picture(name, array)
            if made is None:
                axes.set_axis_off()
                continue
            draw(axes, made, small=True)
            axes.set_title(f"step {earlier[-1]}", fontsize=8)
        lines = (name.replace("_", " "), row[0].get_ylabel())
        row[0].set_ylabel("\n".join(filter(None, lines)), fontsize=8.5)
    return figure


def together(made: Sequence[Picture]) -> Figure | None:
    """Up to SHOWN pictures, each with its title, unit and scale. None if there are none."""
    shown = list(made)[:SHOWN]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 0.6 * WIDTH, 0.2 + rows * 0.95 * WIDTH / 3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(grid, shown, strict=False):
        draw(axes, one)
        where = f", {one.positions[0]}" if len(one.positions) > 1 else ""
        axes.set_title(_wrapped(one.title + where), fontsize=8.5)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    return figure


def declared(
    show: Any, array: xr.DataArray, name: str, image: xr.DataArray | None, beside: Mapping[str, Any]
) -> Picture | None:
    """The picture of a declared Map, Boxes, Bars or Matrix, with its title and units."""
    made = picture(name, array, beside, image)
    if made is None:
        return None
    kind = {"Bars": "bars", "Matrix": "matrix"}.get(type(show).__name__, made.kind)
    units = getattr(show, "units", "") or made.units
    return replace(made, kind=kind, title=show.title or made.title, units=units)  # type: ignore[arg-type]


def draw(axes: Axes, made: Picture, *, small: bool = False) -> None:
    """Draw a picture's first position into axes. small: without colour bar and legend; with few ticks, or none."""
    array = made.at(0)
    if made.kind in ("map", "matrix"):
        values = np.asarray(array.values, float)
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), np.percentile(finite, 99.5)) if finite.size else (0.0, 1.0)
        aspect = "equal" if made.kind == "map" else "auto"
        colours = "viridis" if made.kind == "map" else "cividis"
        scale = {"vmin": low, "vmax": max(high, low + 1e-12)}
        drawn = axes.imshow(values, cmap=colours, interpolation="nearest", aspect=aspect, **scale)
        if not small:
            bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8, extend="max")
            bar.ax.tick_params(labelsize=7.5)
            bar.set_label(made.units, fontsize=8)
        if made.kind == "matrix" and not small:
            _names(axes.yaxis, array, str(array.dims[0]))
            _names(axes.xaxis, array, str(array.dims[-1]))
            axes.set(xlabel=str(array.dims[-1]), ylabel=str(array.dims[0]))
    elif made.kind == "classes":
        _classes(axes, made, array, small)
    elif made.kind in ("composite", "boxes"):
        _image(axes, made, array)
    elif made.kind == "kept":
        kept = array.values.astype(bool)
        axes.imshow(
            kept[None],
            aspect="auto",
            interpolation="nearest",
            cmap=ListedColormap([look(n, STATES).colour for n in ("dropped", "kept")]),
            vmin=0,
            vmax=1,
        )
        axes.set_yticks([])
        axes.set_xlabel(f"sample; {int(kept.sum()):,} of {kept.size:,} kept (orange)", fontsize=8)
    elif made.kind == "lines":
        values = np.atleast_2d(array.values)
        dim = str(array.dims[-1])
        x = array[dim].values if dim in array.coords else np.arange(values.shape[1])
        labels = array[array.dims[0]].values if array.ndim > 1 and array.dims[0] in array.coords else range(len(values))
        for n, row in enumerate(values):
            axes.plot(x, row, color=PICKS[n % len(PICKS)], label=str(labels[n]), marker="o", markersize=2.5, linewidth=1.3)
        if array.ndim > 1 and not small:
            axes.legend(**LEGEND, fontsize=7)
        axes.set(xlabel=dim, ylabel=made.units)
        finish(axes)
    else:
        _bars(axes, made, array)
    if small and made.kind in ("lines", "histogram"):
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
    elif small or made.kind in ("map", "classes", "composite", "boxes"):
        axes.set(xticks=[], yticks=[])
    axes.tick_params(labelsize=7.5)


def _image(axes: Axes, made: Picture, array: xr.DataArray) -> None:
    """Draw a colour composite; or boxes on their image."""
    ground = array if made.kind == "composite" else made.image
    if ground is not None:
        axes.imshow(as_colours(ground), interpolation="nearest")
    if made.kind != "boxes":
        return
    label = np.zeros(len(array), int) if made.label is None else made.label.values.astype(int)
    for n, (x0, y0, x1, y1) in enumerate(array.values):
        colour = PICKS[label[n] % len(PICKS)]
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.2))
        if made.score is not None:
            axes.annotate(f"{float(made.score[n]):.2f}", (x0 - 0.5, y0 - 0.5), color=colour, fontsize=6, va="bottom")
    if ground is None:
        axes.autoscale_view()
        axes.invert_yaxis()
        axes.set_aspect("equal")


def _classes(axes: Axes, made: Picture, array: xr.DataArray, small: bool) -> None:
    """Draw a class map with a legend of the classes that occur in it."""
    values = np.asarray(array.values, float)
    present = np.unique(values[values >= 0]).astype(int)
    names = made.classes
    count = max(len(names), int(present.max()) + 1 if present.size else 1)
    colours = class_colours(count)
    shown = np.ma.masked_less(values, 0)
    axes.imshow(shown, cmap=ListedColormap(colours), vmin=-0.5, vmax=count - 0.5, interpolation="nearest")
    if not small and present.size <= 16:
        entries = [Patch(color=colours[n], label=names[n] if n < len(names) else str(n)) for n in present]
        axes.legend(handles=entries, **LEGEND, fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3)


def _bars(axes: Axes, made: Picture, array: xr.DataArray) -> None:
    """Draw bars by name, counts of classes, or a histogram of samples."""
    values = np.asarray(array.values, float)
    if made.kind == "histogram":
        axes.hist(values[np.isfinite(values)], bins=30, color=PICKS[1])
        axes.set(xlabel=made.units or "value", ylabel="samples")
    else:
        dim = str(array.dims[-1])
        if made.kind == "counts":
            names = made.classes
            values = np.bincount(values[values >= 0].astype(int), minlength=len(names)).astype(float)
        else:
            names = [str(v) for v in array[dim].values] if dim in array.coords else [str(n) for n in range(len(values))]
        axes.bar(range(len(values)), values, color=PICKS[1])
        axes.set_xticks(range(len(names)), labels=names, **({} if sum(map(len, names)) < 24 else turned(len(names))))
        axes.set(ylabel="samples" if made.kind == "counts" else made.units, xlabel="" if made.kind == "counts" else dim)
    finish(axes, grid="y")


def turned(count: int) -> dict[str, Any]:
    """Style of names below an axis: each ends at its tick; many are upright and small, so that they do not overlap."""
    many = count > 14
    return {
        "rotation": 90 if many else 60,
        "ha": "right",
        "rotation_mode": "anchor",
        "va": "center" if many else "baseline",
    } | ({"fontsize": 6} if many else {})


def _names(axis: Any, array: xr.DataArray, dim: str) -> None:
    """Label ticks with the names of a dim, if it has at most NAMES."""
    if dim in array.coords and array.sizes[dim] <= NAMES:
        style = turned(array.sizes[dim]) if axis.axis_name == "x" and array[dim].dtype.kind in "US" else {}
        axis.set_ticks(range(array.sizes[dim]), labels=[str(v) for v in array[dim].values], **style)


def _wrapped(text: str, width: int = 44) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:3])
