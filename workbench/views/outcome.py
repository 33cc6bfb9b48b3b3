"""The result of any run: its metrics as a table, and two pictures side by side, each of a selected variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.views.card import escape, html
from workbench.views.kinds import Picture, pictures
from workbench.views.picture import PictureView
from workbench.views.plots import batched
from workbench.views.screen import STRETCH, WHOLE, beside

LEAST = (290, 345, 345)  # pixels: width of the table and of each picture at least


class OutcomeView:
    """`show(result, first)` draws a result; `first` names the metrics at the top of the table."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}
        self.metrics = html(margin=(6, 8))
        self.sides = [_Side(self), _Side(self)]
        self.panel = beside(self.metrics, *(s.panel for s in self.sides), least=LEAST)

    def show(self, result: xr.Dataset | None, first: Sequence[str] = (), scene: xr.Dataset | None = None) -> None:
        """Draw a result; None empties the view. scene: its image is the background of boxes."""
        if result is None:
            self._pictures = {}
            self.metrics.object = ""
        else:
            image = None if scene is None else next((scene[n] for n in ("image", "sar", "hsi") if n in scene), None)
            if image is None or "sample" in image.dims:  # of many images, the one that the result brings along
                own = (a for a in result.data_vars.values() if "sample" in a.attrs and a.ndim == 3)
                image = next(own, None)
            made = pictures(result, image)
            self._pictures = {f"{p.name}: {p.title}": p for p in made}
            self.metrics.object = metrics_table(result, first)
        names = list(self._pictures)
        for n, side in enumerate(self.sides):
            side.offer(names, names[min(n, len(names) - 1)] if names else None)

    def picture(self, name: str | None) -> Picture | None:
        """The picture of that name in the lists."""
        return self._pictures.get(name or "")


class _Side:
    """A list of variables and the picture of the selected one."""

    def __init__(self, of: OutcomeView) -> None:
        self.of = of
        self.which = pmui.Select(label="Variable", options=[], size="small", sizing_mode="stretch_width", margin=(8, 8))
        self.view = PictureView(tall=WHOLE)
        self.panel = pn.Column(self.which, self.view.panel, **STRETCH)
        self.which.param.watch(batched(lambda _: self._draw()), "value")

    def offer(self, names: list[str], value: str | None) -> None:
        """Offer these variables; the selected one is kept if it is among them."""
        value = self.which.value if self.which.value in names else value
        self.which.param.update(options=names, value=value)
        self.panel.visible = bool(names)
        self._draw()

    def _draw(self) -> None:
        self.view.show(self.of.picture(self.which.value))


def number(value: Any) -> str:
    """A value as text: four significant digits, whole numbers in full, a dash for None.

    >>> [number(v) for v in (0.483412, 1350001.0, 6.853e-4, 252.37, float("nan"), 1000, None, True, "small")]
    ['0.4834', '1,350,001', '0.0006853', '252.4', 'nan', '1000', '–', 'True', 'small']
    """
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def metrics_line(result: xr.Dataset, first: Sequence[str]) -> str:
    """HTML: the metrics of `first` side by side: name and value, with unit, above the description."""
    return "".join(
        f'<div style="display:inline-block;vertical-align:top;max-width:260px;margin:0 28px 8px 0">{escape(name)} '
        f"<b>{_with_units(result[name])}</b>{_description(result[name])}</div>"
        for name in first
        if name in result
    )


def _with_units(metric: xr.DataArray) -> str:
    units = metric.attrs.get("units")
    return number(float(metric)) + (f" {escape(str(units))}" if units not in (None, "1") else "")


def _description(metric: xr.DataArray) -> str:
    return f'<div style="font-size:.75rem;opacity:.7">{escape(str(metric.attrs.get("long_name", "")))}</div>'


def leak_text(numbers: Mapping[str, float]) -> str:
    """HTML: the leak meter among the metrics of a run on pixels; empty without one.

    >>> leak_text({"leak_random": 0.9, "leak_split": 0.5})[-88:]
    'a nearest neighbour has 0.900 under random pixels and 0.500 under the split of this run.'
    """
    if not {"leak_random", "leak_split"} <= set(numbers):
        return ""
    return (
        f"<br><b>Leak meter</b>: a nearest neighbour has {numbers['leak_random']:.3f} under random pixels and "
        f"{numbers['leak_split']:.3f} under the split of this run."
    )


def metrics_table(result: xr.Dataset, first: Sequence[str]) -> str:
    """HTML: the metrics (variables without dims), those of `first` on top and in bold, with description and unit."""
    numbers = {str(n): v for n, v in result.data_vars.items() if v.ndim == 0 and v.dtype.kind in "biuf"}
    order = [*(n for n in first if n in numbers), *(n for n in numbers if n not in first)]
    cell = "padding:3px 12px 3px 0;vertical-align:top;border-bottom:1px solid rgba(128,128,128,.2)"
    rows = []
    for name in order:
        weight = "700" if name in first else "400"
        rows.append(
            f'<tr><td style="{cell}"><span style="font-weight:{weight}">{escape(name)}</span>{_description(numbers[name])}</td>'
            f'<td style="{cell};text-align:right;font-weight:{weight};white-space:nowrap">{_with_units(numbers[name])}</td></tr>'
        )
    if not rows:
        return "<span style='opacity:.75'>The result has no metrics, because the scene has no reference.</span>"
    return (
        '<div style="max-height:max(560px,78vh);overflow-y:auto"><table style="border-collapse:collapse;font-variant-numeric:'
        f'tabular-nums;width:100%">{"".join(rows)}</table></div>'
    )
