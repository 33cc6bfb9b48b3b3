"""Figures for paper and reports: each function draws one Figure with matplotlib and returns it.

    picture = overlaid({"auc": {"seed 0": (steps, values)}})
    captioned(picture, "<b>Figure 1.</b> AUC.", alt="a rising line")    # shows it in a notebook

Drawn without pyplot, so no figure stays in memory and no backend is needed. Colours, titles and line styles are those of
the pages (`workbench.views.looks`); every axis has its unit.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from workbench.views.looks import BORDER, INK, PICKS, TRUTH, look
from workbench.views.tables import Cell, Column, filled, spread

if TYPE_CHECKING:
    from IPython.display import HTML

WIDTH = 9.2  # inches across a page
DPI = 110
LEGEND: dict[str, Any] = {"framealpha": 0.9, "edgecolor": "none", "fancybox": False}
BELOW: dict[str, Any] = {**LEGEND, "fontsize": 8.5, "ncols": 2, "loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}


# --- text beside the figures ------------------------------------------------------------------------------------------


def captioned(figure: Figure, caption: str, alt: str) -> HTML:
    """The figure as self-contained HTML: an embedded PNG with alternative text `alt`, and a caption below.

    `caption` may contain simple HTML.
    """
    from IPython.display import HTML

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    data = base64.b64encode(picture.getvalue()).decode()
    return HTML(
        f'<figure><img style="max-width:100%" alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def table(columns: Sequence[Column | str], rows: Sequence[Sequence[Any]], caption: str) -> HTML:
    """An HTML table, its cells as in `workbench.views.tables.filled`: the best number of a column is bold. `caption` may contain HTML."""
    from IPython.display import HTML

    titles = [c.title if isinstance(c, Column) else c for c in columns]
    head = "".join(f"<th scope='col' style='text-align:left'>{escape(t)}</th>" for t in titles)
    head = f"<thead><tr>{head}</tr></thead>" if any(titles) else ""
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in filled(columns, rows))
    kind = "" if any(titles) else " class='facts'"
    whole = f"<table{kind}><caption>{caption}</caption>{head}<tbody>{body}</tbody></table>"
    return HTML(f"<div style='overflow-x:auto'>{whole}</div>")  # in a narrow window the table scrolls, not the page


def _cell(cell: Cell) -> str:
    text = escape(cell.text).replace(" ± ", "&nbsp;±&nbsp;")
    return f"<td style='text-align:left'>{f'<b>{text}</b>' if cell.best else text}</td>"


# --- runs of any method -----------------------------------------------------------------------------------------------


def controls(values: Mapping[str, Sequence[float]], label: str = "AUC(D,F), no unit; 1 is perfect") -> Figure:
    """One line per method, by name or title: a dot per seed, and mean and standard deviation for several seeds."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(values)), layout="constrained")
    axes = figure.subplots()
    for y, (name, seeds) in enumerate(values.items()):
        colour = look(name).colour
        seen = np.asarray(seeds, float)
        axes.plot(seen, np.full(len(seen), y), "o", color=colour, markersize=6, alpha=0.85, zorder=3)
        if len(seen) > 1:
            axes.errorbar(seen.mean(), y, xerr=seen.std(ddof=1), fmt="|", color=colour, capsize=4, markersize=14, zorder=2)
        axes.annotate(spread(seen), (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
    if "RX" in values:
        axes.axvline(values["RX"][0], color=look("RX").colour, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(values)), labels=list(values))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.margins(x=0.06)
    finish(axes, grid="x")
    return figure


def overlaid(curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], most: int = 12) -> Figure:
    """Scalars against the step, one panel per scalar, one line per run: scalar -> run -> (steps, values).

    A run has the same colour in all panels. At most `most` panels are drawn, in the order given.
    """
    shown = dict(list(curves.items())[:most])
    runs = list(dict.fromkeys(run for by in shown.values() for run in by))
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * rows + 0.2 * -(-len(runs) // 2)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = dict(zip(runs, shades(len(runs)), strict=True))
    for axes, (scalar, by) in zip(grid, shown.items(), strict=False):
        for n, (run, (steps, values)) in enumerate(by.items()):
            style = ("-", "--", ":", "-.")[runs.index(run) // len(PICKS) % 4]
            marker = "o" if len(steps) < 4 else None
            axes.plot(steps, values, color=colours[run], linestyle=style, linewidth=1.5, marker=marker, zorder=3 + n)
        axes.set_title(scalar.replace("_", " "), fontsize=9)
        axes.set_xlabel("step", fontsize=8.5)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.ticklabel_format(axis="y", useOffset=False)
        finish(axes)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    if len(runs) > 1:
        lines = [
            Line2D([], [], color=colours[r], linestyle=("-", "--", ":", "-.")[n // len(PICKS) % 4], label=r)
            for n, r in enumerate(runs)
        ]
        figure.legend(handles=lines, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return figure


def image(axes: Axes, values: np.ndarray, truth: np.ndarray | None, **how: Any) -> Any:
    """Draw (row, column) or (row, column, 3) values, with outlined truth; returns the AxesImage."""
    drawn = axes.imshow(values, interpolation="nearest", **how)
    if truth is not None and (truth > 0).any():
        outline(axes, truth)
    return drawn


def outline(axes: Axes, truth: np.ndarray) -> None:
    """Outline the pixels with truth > 0, as the pages do."""
    drawn = axes.contour(truth > 0, levels=[0.5], colors=TRUTH, linewidths=0.8)
    drawn.set_path_effects([withStroke(linewidth=2.0, foreground=BORDER)])


def finish(axes: Axes, grid: str = "both") -> None:
    """Remove the top and right frame, and draw a light grid in the background."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#E4E4E4", linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def shades(n: int) -> list[str]:
    """A colour for each of `n` seeds or runs."""
    return [PICKS[i % len(PICKS)] for i in range(n)]
