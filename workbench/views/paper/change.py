"""Figures of the change report, drawn with matplotlib like those of `workbench.views.paper.base`.

Colours belong to detectors and to measures of uncertainty, as in `workbench.views.looks`, and are the same in every figure.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from workbench.views.change import pictures
from workbench.views.fields import OUTCOMES, outcomes
from workbench.views.looks import CHANGE, INK, PARTS, REFERENCES, UNCERTAINTY, look
from workbench.views.paper.base import BELOW, WIDTH, finish
from workbench.views.tables import spread

# --- maps -------------------------------------------------------------------------------------------------------------


def maps(shown: Sequence[xr.Dataset], titles: Sequence[str], truth: bool = True, *, mask: bool = False) -> Figure:
    """Rows of before, after, decisions, P, U and |y - P|. shown: `before`, `after`, `change`, and `truth`, `uncertainty` if known.

    mask: `change` is a mask of 0 and 1, which the decisions show already; P and |y - P| are left out.
    """
    own = "uncertainty" in shown[0]
    names = [
        "before",
        "after",
        "decisions" if mask else "decisions P > 0.5",
        *(["change P"] if not mask else []),
        *(["uncertainty U"] if own else []),
        *(["error |y − P|"] if truth and not mask else []),
    ]
    rows, wide = shown[0]["before"].shape[-2:]
    side = min((WIDTH - 1.3) / len(names), 2.6)
    height = len(shown) * (side * rows / wide + 0.06) + 0.75
    figure = Figure(figsize=(side * len(names) + 1.3, height), layout="constrained")
    grid = figure.subplots(len(shown), len(names), squeeze=False)
    drawn: dict[str, Any] = {}
    for line, one, title in zip(grid, shown, titles, strict=True):
        p = one["change"].values
        y = one["truth"].values if truth else None
        before, after, _ = pictures(one["before"], one["after"])
        layers: list[tuple[np.ndarray, dict[str, Any]]] = [(before, {}), (after, {}), (outcomes(p, y), {})]
        scale = {"vmin": 0, "vmax": 1}
        if not mask:
            layers.append((p, {"cmap": "viridis", **scale}))
        if own:
            layers.append((one["uncertainty"].values, {"cmap": "cividis", **scale}))
        if y is not None and not mask:
            layers.append((np.where(y < 0, np.nan, np.abs((y > 0) - p)), {"cmap": "cividis", **scale}))
        for axes, (values, how) in zip(line, layers, strict=True):
            image = axes.imshow(values, interpolation="nearest", **how)
            if how:
                drawn[how["cmap"]] = image
        line[0].set_ylabel(title, fontsize=8.5)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=9)
    _bare(grid)
    for cmap, label in (("viridis", "change P"), ("cividis", "U and error")):
        if cmap in drawn:
            figure.colorbar(drawn[cmap], ax=grid, shrink=0.9, aspect=22, pad=0.012, ticks=[0, 0.5, 1], label=label)
    if truth:
        patches = [Patch(facecolor=np.array(c) / 255, edgecolor=INK, label=n) for n, c in OUTCOMES.items()]
        figure.legend(handles=patches, loc="outside lower left", ncols=4, fontsize=8.5, frameon=False)
    return figure


def maps_png(
    one: xr.Dataset, change: np.ndarray, uncertainty: np.ndarray | None, title: str, *, mask: bool = False
) -> io.BytesIO:
    """`maps` of one pair as the bytes of a PNG."""
    shown = one.assign(change=(("y", "x"), change))
    if uncertainty is not None:
        shown = shown.assign(uncertainty=(("y", "x"), uncertainty))
    figure = maps([shown], [""], truth="truth" in one, mask=mask)
    figure.suptitle(title, fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    out.seek(0)
    return out


def _bare(grid: np.ndarray) -> None:
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)


# --- training ---------------------------------------------------------------------------------------------------------


def learning(history: Mapping[str, tuple[Sequence[float], Sequence[float]]], watched: Sequence[Mapping[str, Any]]) -> Figure:
    """Left: parts of the loss of one seed and the entropy floor. Right: scores of the validation pairs, one line per seed.

    history: name -> (steps, values) of one seed. watched: one such history per seed.
    """
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    parts = {"loss_change": "final", **{f"loss_side_{k}": f"side_{k}" for k in range(2, 6)}}
    parts |= {"loss_uncertainty": "uncertainty", "floor": "floor"}
    for key, part in parts.items():
        if key in history:
            steps, values = history[key]
            smooth = _smooth(np.asarray(values, float))
            one = PARTS[part]
            left.plot(steps, smooth, one.line, color=one.colour, linewidth=1.5, label=one.title)
    left.set(xlabel="training step", ylabel="loss (running mean of 10 steps)")
    left.legend(**{**BELOW, "ncols": 3})
    for n, seen in enumerate(watched):
        for key, (name, colour, line) in {
            "val_f1": ("F1", CHANGE["ours"].colour, "-"),
            "val_error_auroc": ("AUROC of U", UNCERTAINTY["ours"].colour, "--"),
            "val_error_auroc_entropy": ("AUROC of entropy", UNCERTAINTY["entropy"].colour, "--"),
        }.items():
            if key in seen:
                right.plot(*seen[key], line, color=colour, linewidth=1.4, alpha=0.85, label=name if n == 0 else None)
    right.axhline(0.5, color=REFERENCES["chance"].colour, linewidth=0.9, linestyle=REFERENCES["chance"].line)
    right.set(xlabel="training step", ylabel="on validation pixels (no unit)", ylim=(-0.02, 1.02))
    right.legend(**{**BELOW, "ncols": 3})
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(axes)
    return figure


def _smooth(values: np.ndarray, window: int = 10) -> np.ndarray:
    """Running mean over the newest `window` values."""
    total = np.cumsum(np.insert(values, 0, 0.0))
    at = np.arange(1, len(values) + 1)
    start = np.maximum(at - window, 0)
    return (total[at] - total[start]) / (at - start)


# --- scores -----------------------------------------------------------------------------------------------------------


def scores(
    values: Mapping[str, Sequence[float]], label: str, *, measures: bool = False, level: float | None = None
) -> Figure:
    """One line per detector or measure: a dot per seed, mean and standard deviation, and the numbers on the right."""
    group = UNCERTAINTY if measures else CHANGE
    figure = Figure(figsize=(WIDTH, 0.95 + 0.34 * len(values)), layout="constrained")
    axes = figure.subplots()
    for y, (name, seeds) in enumerate(values.items()):
        colour = look(name, group).colour
        seen = np.asarray(seeds, float)
        axes.plot(seen, np.full(len(seen), y), "o", color=colour, markersize=6, alpha=0.85, zorder=3)
        if len(seen) > 1:
            axes.errorbar(seen.mean(), y, xerr=seen.std(ddof=1), fmt="|", color=colour, capsize=4, markersize=14, zorder=2)
        axes.annotate(spread(seen, 3), (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
    if level is not None:
        axes.axvline(level, color=REFERENCES["chance"].colour, linewidth=0.9, linestyle=":", zorder=1)
    axes.set_yticks(range(len(values)), labels=[look(n, group).title for n in values])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.margins(x=0.06, y=0.12)
    finish(axes, grid="x")
    return figure


# --- trust ------------------------------------------------------------------------------------------------------------

Curves = Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]  # measure -> one (x, y) per seed


def trust(risk: Curves, reliability: Curves) -> Figure:
    """Left: error rate of the answered pixels against their share. Right: mean error against mean uncertainty. A line per seed."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves in ((left, risk), (right, reliability)):
        for name, seeds in curves.items():
            one = look(name, UNCERTAINTY)
            for n, (x, y) in enumerate(seeds):
                if axes is left:  # the error rate of the first few pixels is noise
                    x, y = x[x >= 0.02], y[x >= 0.02]
                marker = "o" if axes is right else None
                axes.plot(
                    x,
                    y,
                    one.line,
                    color=one.colour,
                    linewidth=1.4,
                    alpha=0.8,
                    marker=marker,
                    markersize=3.5,
                    label=one.title if n == 0 else None,
                )
        finish(axes)
    _diagonal(right)
    left.set(xlabel="share of test pixels answered, surest first", ylabel="error rate of the answered pixels")
    right.set(xlabel="mean uncertainty in the bin", ylabel="mean |y − P| in the bin")
    left.legend(**BELOW)
    right.legend(**BELOW)
    return figure


def _diagonal(axes: Axes) -> None:
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    equal = REFERENCES["equal"]
    axes.plot([0, top], [0, top], color=equal.colour, linewidth=1, linestyle=equal.line, label=equal.title, zorder=0)
