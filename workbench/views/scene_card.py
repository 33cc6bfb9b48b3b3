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
        sizes = " × ".join(f"{size:,} {escape(str(dim))}" for dim, size in array.sizes.items())
        units = str(array.attrs.get("units", "1")).removesuffix(" (1)")
        facts.append((name, sizes + (f", {escape(units)}" if units != "1" else "")))
    if "wavelength" in scene.coords:
        nm = scene["wavelength"].values
        facts.append(("Wavelengths", f"{np.nanmin(nm):.0f} to {np.nanmax(nm):.0f} nm"))
    if "label" in scene:
        count = np.bincount(scene["label"].values)
        facts.append(("Classes", f"{len(count)}, {count.min():,} to {count.max():,} samples each"))
    if "truth" in scene and scene["truth"].size <= 2**24:
        truth = scene["truth"].values
        facts.append(("Marked", f"{int((truth > 0).sum()):,} of {int((truth >= 0).sum()):,} labelled pixels"))
    return fact_card(a, facts)
