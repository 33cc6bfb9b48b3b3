"""HTML card of any scene: its variables and its provenance."""

from __future__ import annotations

import numpy as np
import xarray as xr

from workbench.scene import VOCABULARY
from workbench.views.card import escape, fact_card


def scene_card(scene: xr.Dataset) -> str:
    """Title, simulated or not, each variable with its sizes and units, classes and labelled pixels, hash, licence, citation."""
    a = scene.attrs
    facts: list[tuple[str, str]] = [("Sensor", escape(str(a["sensor"])))] if a.get("sensor") else []
    for name in (n for n in VOCABULARY if n in scene):
        array = scene[name]
        if "object" in array.dims:
            continue  # boxes are one fact
        units = str(array.attrs.get("units", "1")).removesuffix(" (1)") if "y" in array.dims else "1"
        facts.append((name, _size(array) + (f", {escape(units)}" if units != "1" else "")))
    if "wavelength" in scene.coords:
        nm = scene["wavelength"].values
        facts.append(("Wavelengths", f"{np.nanmin(nm):.0f} to {np.nanmax(nm):.0f} nm"))
    if "label" in scene:
        count = np.bincount(scene["label"].values)
        facts.append(("Classes", f"{len(count)}, {count.min():,} to {count.max():,} samples each"))
    if "box_label" in scene:
        names = list(map(str, scene["box_label"].attrs.get("names", ())))
        named = f" of the class {names[0]}" if len(names) == 1 else f" of {len(names)} classes" if names else ""
        facts.append(("Boxes", f"{scene.sizes['object']:,}{escape(named)}"))
    if "truth" in scene and scene["truth"].size <= 2**24:
        facts.append(_truth(scene["truth"]))
    return fact_card(a, facts)


def _size(array: xr.DataArray) -> str:
    """The sizes in words: `256 samples of 128 × 128 pixels, 1 band`."""
    sizes = {str(dim): size for dim, size in array.sizes.items()}
    high, wide = sizes.pop("y", None), sizes.pop("x", None)
    many = "sample" if "sample" in sizes else "object" if "object" in sizes else None
    words = [_count(sizes.pop(many), many)] if many else []
    if high is not None and wide is not None:
        pixels = f"{high:,} × {wide:,} pixels"
        words = [f"{words[0]} of {pixels}" if words else pixels]
    words += [
        _count(size, "band" if dim.endswith("band") else dim)
        for dim, size in sizes.items()
        if dim not in ("edge", "corner", "xy")
    ]
    return ", ".join(words)


def _count(number: int, word: str) -> str:
    return f"{number:,} {escape(word)}{'' if number == 1 else 's'}"


def _truth(truth: xr.DataArray) -> tuple[str, str]:
    """Classes with a pixel, and how many pixels have one; of a mask, how many pixels are marked."""
    values = truth.values
    if values.max() <= 1:
        return "Marked", f"{int((values > 0).sum()):,} of {int((values >= 0).sum()):,} labelled pixels"
    names = list(truth.attrs.get("names", ()))
    labelled = values[values >= (1 if names[:1] == ["unlabelled"] else 0)]
    return "Classes", f"{len(np.unique(labelled))}; {labelled.size:,} of {values.size:,} pixels are labelled"
