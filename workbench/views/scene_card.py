"""HTML card of any scene: its variables and its provenance."""

from __future__ import annotations

import numpy as np
import xarray as xr

from workbench.scene import VOCABULARY
from workbench.views.card import badge, escape


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
        facts.append(("wavelength", f"{np.nanmin(nm):.0f} to {np.nanmax(nm):.0f} nm"))
    if "label" in scene:
        count = np.bincount(scene["label"].values)
        facts.append(("classes", f"{len(count)}, {count.min():,} to {count.max():,} samples each"))
    if "truth" in scene and scene["truth"].size <= 2**24:
        truth = scene["truth"].values
        facts.append(("marked", f"{int((truth > 0).sum()):,} of {int((truth >= 0).sum()):,} labelled pixels"))
    if a.get("sha256"):
        facts.append(("SHA-256", f'<code title="{escape(str(a["sha256"]))}">{escape(str(a["sha256"])[:16])}…</code>'))
    if a.get("licence"):
        facts.append(("licence", escape(str(a["licence"]))))
    rows = "".join(
        f'<tr><td style="opacity:.65;padding:1px 10px 1px 0;vertical-align:top;white-space:nowrap">{k}</td>'
        f'<td style="padding:1px 0;overflow-wrap:anywhere">{v}</td></tr>'
        for k, v in facts
    )
    more = "".join(f"<li>{escape(str(a[k]))}</li>" for k in ("citation", "source") if a.get(k))
    more += "".join(f"<li>{escape(n)}</li>" for n in str(a.get("notes", "")).splitlines() if n)
    head = badge("SIMULATED", "#F2B233") + "<br>" if a.get("simulated") else ""
    title = escape(str(a.get("title") or a.get("id") or "Scene"))
    return (
        f'<div style="font-size:13px;line-height:1.4">{head}<b style="font-size:14px">{title}</b>'
        f'<table style="border-collapse:collapse;margin-top:3px">{rows}</table>'
        '<details style="margin-top:4px"><summary style="cursor:pointer;opacity:.8">Citation, source, notes</summary>'
        f'<ul style="margin:4px 0 0;padding-left:18px">{more}</ul></details></div>'
    )
