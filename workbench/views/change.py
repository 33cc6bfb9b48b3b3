"""Pictures of two dates, and the HTML card of the pair."""

from __future__ import annotations

import numpy as np
import xarray as xr

from workbench.views.card import escape, fact_card
from workbench.views.fields import MISSING
from workbench.views.image import presets
from workbench.views.plots import LARGEST

OURS = "ours"  # what results call the change and uncertainty of the network itself


def step_of(rows: int, columns: int) -> int:
    """Stride with which an image of this size is thinned: at most LARGEST pixels a side are sent."""
    return -(-max(rows, columns) // LARGEST)


def pictures(before: xr.DataArray, after: xr.DataArray) -> tuple[np.ndarray, np.ndarray, str]:
    """Two (row, column, 3) uint8 pictures of (band, y, x) images, and a text with the bands shown.

    Both dates share one stretch, between the 2nd and 98th percentile of both, so that a difference in brightness stays visible.
    SAR is shown in decibels. Missing pixels are grey. The percentiles use only the pixels of the thinned pictures.
    """
    bands = before.sizes["band"]
    caption = "grey"
    which: tuple[int, ...] = (0,)
    if bands == 3 and "wavelength" not in before.coords:
        which, caption = (0, 1, 2), "bands 1, 2, 3"
    elif bands > 2:
        name, which = next(iter(presets(before).items()))
        caption = f"{name[0].lower()}{name[1:]}, bands " + ", ".join(str(b + 1) for b in which)
    step = step_of(before.sizes["y"], before.sizes["x"])
    both = [d.isel(band=list(which)).values.astype(float) for d in (before, after)]
    if before.attrs.get("kind") == "sar":
        caption = "backscatter in dB"
        with np.errstate(divide="ignore", invalid="ignore"):
            both = [np.where(v > 0, 10 * np.log10(v), np.nan) for v in both]
    seen = np.concatenate([v[:, ::step, ::step] for v in both], axis=2)
    images = []
    for values in both:
        layers = []
        for band, layer in enumerate(values):
            known = seen[band][np.isfinite(seen[band])]
            low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
            scaled = np.clip((layer - low) / (high - low if high > low else 1.0), 0, 1)
            layers.append(np.where(np.isfinite(layer), np.nan_to_num(scaled) * 255, MISSING[0]).astype(np.uint8))
        images.append(np.dstack(layers if len(layers) == 3 else layers * 3))
    return images[0], images[1], caption


def pair_card(data: xr.Dataset) -> str:
    """HTML: how many pairs, size, bands, dates, reference, georeference, hash, licence, citation and notes."""
    a, before = data.attrs, data["before"]
    bands, rows, columns = before.shape[-3:]
    what = "SAR" if before.attrs.get("kind") == "sar" else "optical"
    count = f"{data.sizes['sample']:,} pairs" if "sample" in data.dims else "one pair"
    facts = [("Pair", f"{count} of {rows:,} × {columns:,} pixels, {bands} band{'s' if bands > 1 else ''}, {what}")]
    times = [str(data[d].attrs["time"])[:10] for d in ("before", "after") if data[d].attrs.get("time")]
    facts.append(("Dates", escape(" and ".join(times)) if len(times) == 2 else "not known: order as given"))
    if "split" in data.coords and "sample" in data["split"].dims:
        names, counts = np.unique(data["split"].values.astype(str), return_counts=True)
        facts.append(("Split", escape(", ".join(f"{n:,} {s}" for s, n in zip(names, counts, strict=True)))))
    if "truth" in data:
        truth = data["truth"].values
        known, yes = int((truth >= 0).sum()), int((truth > 0).sum())
        facts.append(("Changed", f"{yes:,} of {known:,} labelled pixels ({100 * yes / max(known, 1):.1f} %)"))
        if known < truth.size:
            facts.append(("Not labelled", f"{100 * (1 - known / truth.size):.1f} % of all pixels"))
    else:
        facts.append(("Reference", "none: a trained network can be applied, but not scored"))
    if "spatial_ref" in data.coords:
        facts.append(("Map", escape(_place(data))))
    return fact_card(a, facts, untitled="Pair")


def _place(data: xr.Dataset) -> str:
    """Coordinate system and pixel size."""
    crs = data.rio.crs
    x, y = data["x"].values, data["y"].values
    size = f"{abs(x[1] - x[0]):g} × {abs(y[1] - y[0]):g}" if len(x) > 1 and len(y) > 1 else "unknown size"
    unit = getattr(crs, "linear_units", "") if crs is not None and crs.is_projected else "degrees"
    code = ":".join(crs.to_authority() or (crs.name,)) if crs is not None else "no CRS"
    return f"{code}, pixels of {size} {unit}"
