"""Decides the kind of picture of an array, by its name and dims, for pages and for paper.

    for picture in pictures(result):            # or the arrays of an event
        picture.kind, picture.positions         # "map", ["k 0", "k 1", "k 2"]
        picture.at(1)                           # the map (y, x) at the second position

The names are those of `workbench.scene.RESULT`; an array with another name is drawn by its dims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import xarray as xr

from workbench.scene import OVER, RESULT, TABLE, names_of

Kind = Literal["map", "classes", "composite", "boxes", "matrix", "lines", "bars", "counts", "histogram", "kept"]
LINES = 12  # rows that are drawn as lines at most; more are drawn as a matrix


@dataclass(frozen=True)
class Picture:
    """An array and how it is drawn.

    map: values (y, x). classes: integers (y, x); `classes` names them. composite: bands (band, y, x). boxes: (object,
    edge) over `image`, with `score` and `label` if present. matrix: (row, column). lines: (line, x), or (x). bars:
    one value for each name. counts: how many samples each class has. histogram: values of samples. kept: bool (sample).
    """

    name: str
    kind: Kind
    array: xr.DataArray
    title: str
    units: str = ""
    image: xr.DataArray | None = None
    score: xr.DataArray | None = None
    label: xr.DataArray | None = None
    _leading: tuple[str, ...] = field(default=(), repr=False)

    @property
    def positions(self) -> list[str]:
        """Names of the positions along the leading dims, such as `k 3`; without leading dims, one empty name."""
        return [
            " ".join(f"{d} {_name(self.array, d, n)}" for d, n in zip(self._leading, at, strict=True)) for at in self._all()
        ]

    def at(self, position: int = 0) -> xr.DataArray:
        """The part of the array at a position."""
        where = self._all()[position]
        return self.array.isel(dict(zip(self._leading, where, strict=True)))

    def _all(self) -> list[tuple[int, ...]]:
        return list(np.ndindex(*(self.array.sizes[d] for d in self._leading)))

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by their number."""
        if "names" in self.array.attrs:
            return names_of(self.array)
        values = self.array.values
        return [str(n) for n in range(int(values.max()) + 1)] if values.size else []


def pictures(arrays: Mapping[str, xr.DataArray] | xr.Dataset, image: xr.DataArray | None = None) -> list[Picture]:
    """The arrays that can be drawn, those with a name of RESULT first. image: background of boxes.

    If a map has an overview, the overview is drawn instead.
    """
    named = {str(n): a for n, a in (arrays.data_vars if isinstance(arrays, xr.Dataset) else arrays).items()}
    order = list(RESULT)
    named = {n.removesuffix(OVER): a for n, a in named.items() if n + OVER not in named}
    names = sorted(named, key=lambda n: order.index(n) if n in order else len(order))
    return [p for n in names if n not in ("box_score", "box_label") and (p := picture(n, named[n], named, image))]


def picture(
    name: str, array: xr.DataArray, beside: Mapping[str, xr.DataArray] | None = None, image: xr.DataArray | None = None
) -> Picture | None:
    """How an array is drawn; None for a scalar, texts, an empty array, and a column of a table. beside: other arrays, by name."""
    if array.ndim == 0 or array.size == 0 or array.dtype.kind not in "biuf" or TABLE in array.attrs:
        return None
    quantity, _, who = name.partition("/")
    title = str(array.attrs.get("long_name") or quantity.replace("_", " ")) + (f", {who}" if who else "")
    units = "" if array.attrs.get("units") in (None, "1") else str(array.attrs["units"])
    kind, own = _kind(quantity, array)
    beside = beside or {}
    parts = {"score": beside.get("box_score"), "label": beside.get("box_label")} if kind == "boxes" else {}
    if kind == "boxes":
        image = image if image is not None else beside.get("image")
        if "box_sample" in beside and own == array.ndim:
            array, parts, who = _of_one_image(array, parts, beside["box_sample"], image)
            title += f", image {who}"
        parts["image"] = image
    leading = tuple(map(str, array.dims[: array.ndim - own]))
    return Picture(name, kind, array, title, units, **parts, _leading=leading)


def _of_one_image(
    box: xr.DataArray, parts: Mapping[str, xr.DataArray | None], owner: xr.DataArray, image: xr.DataArray | None
) -> tuple[xr.DataArray, dict[str, xr.DataArray | None], str]:
    """The boxes, scores and labels of one of many images: of that in `image`, else of the one with most boxes; and its identifier."""
    names, counts = np.unique(owner.values, return_counts=True)
    shown = None if image is None else image.attrs.get("sample")
    shown = str(names[counts.argmax()] if shown is None else shown)
    here = np.flatnonzero(owner.values == shown)
    return box[here], {n: None if a is None else a[here] for n, a in parts.items()}, shown


def _kind(quantity: str, array: xr.DataArray) -> tuple[Kind, int]:
    """The kind, and the number of trailing dims of one picture."""
    dims = tuple(str(d).removesuffix(OVER) for d in array.dims)
    whole = array.dtype.kind in "biu"
    if dims[-2:] == ("object", "edge"):
        return "boxes", 2
    last = [d.rpartition("_")[2] for d in dims[-3:]]  # view_y is a y, quiet_band a band
    if last[-2:] == ["y", "x"]:
        if last[0] == "band" and array.shape[-3] >= 3:
            return "composite", 3
        return ("classes" if whole else "map"), 2
    if dims[-1] == "sample" and len(dims) == 1:
        if quantity.startswith("kept") or array.dtype.kind == "b":
            return "kept", 1
        return ("counts" if whole else "histogram"), 1
    if len(dims) == 1:
        return ("lines" if _ordered(array, dims[0]) else "bars"), 1
    few = array.shape[-2] <= LINES and not _ordered(array, dims[-2])
    if few and _ordered(array, dims[-1]) and dims[-1] != "sample":
        return "lines", 2
    return "matrix", 2


def _ordered(array: xr.DataArray, dim: str) -> bool:
    """Whether a dim is an ordered quantity, such as steps, and not a list of names."""
    return (dim in array.coords and array[dim].dtype.kind in "iuf") or (dim not in array.coords and dim != "layer")


def _name(array: xr.DataArray, dim: str, n: int) -> str:
    return str(array[dim].values[n]) if dim in array.coords else str(n)
