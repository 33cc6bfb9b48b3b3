"""Downloads of what a page shows: maps as PNG, maps as NetCDF, spectra as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import panel_material_ui as pmui
import xarray as xr

from workbench.runs.spreadsheet import csv_field
from workbench.views.maps import exceedance


def download(label: str, make: Callable[[], io.BytesIO | io.StringIO], filename: str) -> pmui.FileDownload:
    """A button that makes and downloads the file when it is clicked."""
    button = pmui.FileDownload(
        label=label, callback=make, filename=filename, auto=True, embed=False, size="small", margin=(6, 6, 4, 0)
    )
    button.variant = "outlined"  # as an argument of the constructor it causes a deprecation warning in the library
    return button


def maps_png(scores: Mapping[str, np.ndarray], title: str, truth: np.ndarray | None = None) -> io.BytesIO:
    """A figure of named (row, column) score maps on the rank scale, one colour bar, truth outlined."""
    from matplotlib.figure import Figure

    from workbench.views.paper.base import outline

    n = len(scores)
    columns = min(n, 3)
    lines = -(-n // columns)
    figure = Figure(figsize=(4.2 * columns + 1.2, 4.2 * lines + 0.7), layout="constrained", dpi=150)
    axes = np.atleast_1d(figure.subplots(lines, columns, squeeze=False)).ravel()
    drawn = None
    for ax, (name, score) in zip(axes, scores.items(), strict=False):
        with np.errstate(divide="ignore"):
            rank = -np.log10(exceedance(score))
        top = max(1.0, np.log10(max(np.isfinite(score).sum(), 10)))
        drawn = ax.imshow(rank, cmap="cividis", vmin=0, vmax=top, interpolation="nearest")
        if truth is not None:
            outline(ax, truth)
        ax.set_title(name)
        ax.set_xlabel("column (pixels)")
        ax.set_ylabel("row (pixels)")
    for ax in axes[n:]:
        ax.set_visible(False)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(axes), label="share of pixels scoring at least as high")
        ticks = [t for t in range(7) if t <= drawn.norm.vmax]
        bar.set_ticks(ticks, labels=[f"{100 / 10**t:g} %" for t in ticks])
    figure.suptitle(title)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    out.seek(0)
    return out


def maps_netcdf(scores: Mapping[str, xr.DataArray], scene: xr.Dataset, truth: bool = True) -> io.BytesIO:
    """One `score_<name>` variable per map on the scene's coordinates, with the scene's provenance, as NetCDF."""
    data = xr.Dataset(
        {f"score_{n}": s.rename(None).assign_attrs(long_name=f"anomaly score, {n}") for n, s in scores.items()}
    )
    if truth and "truth" in scene:
        data["truth"] = scene["truth"]
        data["truth"].attrs = {k: v for k, v in scene["truth"].attrs.items() if isinstance(v, str | int | float)}
    data.attrs = {
        k: int(v) if isinstance(v, bool) else v for k, v in scene.attrs.items() if isinstance(v, bool | str | int | float)
    }
    return io.BytesIO(bytes(data.load().to_netcdf(engine="h5netcdf")))


def spectra_csv(columns: Mapping[str, Sequence[float] | np.ndarray]) -> io.StringIO:
    """Named columns of equal length, one row per band; NaN becomes an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_field, columns))
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if isinstance(v, float | np.floating) and np.isnan(v) else csv_field(v) for v in row])
    out.seek(0)
    return out
