"""What a scene is and where it comes from; explanations where there is nothing to draw; errors that name the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import panel as pn
import xarray as xr

__all__ = [
    "badge",
    "card",
    "code",
    "escape",
    "explain",
    "explanation",
    "fact_card",
    "heading",
    "html",
    "problem",
    "samples_card",
    "swatch",
]
TEXT = {"font-size": "0.84rem", "line-height": "1.4"}


def badge(text: str, colour: str) -> str:
    """HTML of a small label in bold on `colour`."""
    return (
        f'<span style="background:{colour};color:#111;border-radius:4px;padding:1px 7px;font-weight:700;'
        f'font-size:0.78em;letter-spacing:0.04em">{escape(text)}</span>'
    )


def swatch(colour: str, text: str) -> str:
    """HTML of an entry of a legend: a small square in a colour, and its text."""
    return (
        '<span style="white-space:nowrap;margin-right:10px"><span style="display:inline-block;width:12px;height:12px;'
        f'border-radius:2px;vertical-align:-1px;background:{colour}"></span> {escape(text)}</span>'
    )


def card(scene: xr.Dataset) -> str:
    """HTML: title, simulated or not, sensor, size, bands, truth, hash, licence, citation, and the reader's notes."""
    a = scene.attrs
    hsi = scene["hsi"]
    bands, rows, columns = hsi.shape
    facts = [("Sensor", escape(str(a["sensor"])))] if a.get("sensor") else []
    facts.append(("Size", f"{rows} × {columns} pixels, {bands} bands"))
    if "wavelength" in hsi.coords:
        nm = hsi["wavelength"].values
        facts.append(("Wavelengths", f"{np.nanmin(nm):.0f} to {np.nanmax(nm):.0f} nm"))
    else:
        facts.append(("Wavelengths", "not known; bands are numbered from 0"))
    if "good" in hsi.coords:
        facts.append(("Good bands", f"{int(hsi['good'].values.sum())} of {bands}"))
    if "truth" in scene:
        truth = scene["truth"].values
        marked = int((truth > 0).sum())
        facts.append(("Anomalous", f"{marked} of {truth.size:,} pixels ({100 * marked / truth.size:.2f} %)"))
    else:
        facts.append(("Truth", "none: no ROC, no AUC; scores only"))
    return fact_card(a, facts)


def samples_card(data: xr.Dataset) -> str:
    """HTML: what the samples are, how many of each class, hash, licence, citation and notes."""
    a, chips = data.attrs, "label" in data
    name = next(n for n in ("image", "hsi", "sar") if n in data)
    rows, columns = data[name].shape[-2:]
    bands = data[name].shape[-3]
    size = f"{bands} band{'s' if bands != 1 else ''}"
    if chips:
        labels, names = data["label"].values, list(data["label"].attrs.get("names", []))
        count = np.bincount(labels)
        facts = [("Samples", f"{len(labels):,} chips of {rows} × {columns} pixels, {size}")]
        facts[0] = facts[0] if rows * columns > 1 else ("Samples", f"{len(labels):,} spectra, {size}")
        facts.append(("Classes", f"{len(names) or len(count)}, {count.min():,} to {count.max():,} each"))
        facts.append(("Split", "of the data set" if "split" in data.coords else "drawn by the seed"))
    else:
        truth = data["truth"].values
        classes = np.unique(truth[truth > 0])
        facts = [("Scene", f"{rows} × {columns} pixels, {size}")]
        facts.append(("Samples", f"{int((truth >= 0).sum() if len(classes) == 1 else (truth > 0).sum()):,} labelled pixels"))
        facts.append(("Classes", str(max(len(classes), 2))))
    return fact_card(a, facts)


def fact_card(attrs: Mapping[str, Any], facts: Sequence[tuple[str, str]], *, untitled: str = "Scene") -> str:
    """HTML: title, simulated or not, facts (name, HTML), hash, licence; folded: citation, source and notes.

    attrs: provenance of a scene, see `workbench.scene.PROVENANCE`. untitled: title of a scene without title and id.
    """
    given = {name: escape(str(attrs[name])) for name in ("sha256", "licence", "citation", "source") if attrs.get(name)}
    rows = list(facts)
    if "sha256" in given:
        rows.append(("SHA-256", f'<code title="{given["sha256"]}">{given["sha256"][:16]}…</code>'))
    if "licence" in given:
        rows.append(("Licence", given["licence"]))
    notes = "".join(f"<li>{escape(n)}</li>" for n in str(attrs.get("notes", "")).splitlines() if n)
    folded = _table([(name.capitalize(), given[name]) for name in ("citation", "source") if name in given])
    folded += f'<ul style="margin:4px 0 0;padding-left:18px">{notes}</ul>' if notes else ""
    head = badge("SIMULATED", "#F2B233") + "<br>" if attrs.get("simulated") else ""
    title = escape(str(attrs.get("title") or attrs.get("id") or untitled))
    top = f'{head}<b style="font-size:.875rem">{title}</b>{_table(rows)}'
    under = f'<summary style="cursor:pointer;opacity:.8">Citation, source, notes</summary>{folded}'
    return f'<div style="font-size:.82rem;line-height:1.4">{top}<details style="margin-top:4px">{under}</details></div>'


def _table(facts: list[tuple[str, str]]) -> str:
    facts = [(k, v.replace(" %", "&nbsp;%")) for k, v in facts]
    rows = "".join(
        f'<tr><td style="opacity:.65;padding:1px 10px 1px 0;vertical-align:top;white-space:nowrap">{k}</td>'
        f'<td style="padding:1px 0;overflow-wrap:anywhere">{v}</td></tr>'
        for k, v in facts
    )
    return f'<table style="border-collapse:collapse;margin-top:3px">{rows}</table>'


def code(text: str) -> str:
    """HTML of lines of code, in the colours of the page, light or dark."""
    style = "font-size:.75rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0;padding:8px 10px;border-radius:4px"
    return f'<pre style="{style};background:rgba(128,128,128,.14);color:inherit">{escape(text)}</pre>'


def html(text: str = "", **options: Any) -> pn.pane.HTML:
    """A pane of HTML in the size of the page's text; full width unless `options` gives a width or sizing_mode."""
    sized = {"sizing_mode": "stretch_width"} if not {"width", "sizing_mode"} & options.keys() else {}
    return pn.pane.HTML(text, **{"margin": 0, "styles": TEXT, **sized, **options})


def explanation(title: str, text: str) -> str:
    """HTML shown in place of a missing picture: what will appear here and how to get it. `text` may contain simple HTML."""
    frame = (
        "box-sizing:border-box;height:100%;display:flex;flex-direction:column;justify-content:center;text-align:center;"
        "border:1px dashed rgba(128,128,128,.55);border-radius:8px;padding:14px 18px;line-height:1.4"
    )
    return (
        f'<div style="{frame}"><div style="font-weight:600;font-size:.875rem;margin-bottom:6px">{escape(title)}</div>'
        f'<div style="opacity:.8;font-size:.82rem">{text}</div></div>'
    )


def explain(title: str, text: str, *, height: int | None = None, width: int | None = None) -> pn.pane.HTML:
    """`explanation` as a pane of a given size in pixels; without `width` it has full width."""
    size: dict[str, object] = {"height": height} if height else {}
    size |= {"width": width} if width else {"sizing_mode": "stretch_width"}
    return pn.pane.HTML(explanation(title, text), margin=4, **size)


def heading(text: str) -> pn.pane.HTML:
    """A small heading with a line above it."""
    style = (
        "font-size:.75rem;font-weight:700;letter-spacing:.08em;text-transform:uppercase;opacity:.6;"
        "border-top:1px solid rgba(128,128,128,.35);padding-top:8px"
    )
    return pn.pane.HTML(f'<div style="{style}">{escape(text)}</div>', sizing_mode="stretch_width", margin=(10, 0, 2, 0))


def problem(message: str) -> str:
    """The message of an error as HTML, one clause per line, so that the fix is easy to see."""
    return "<br>".join(escape(part) for part in message.replace("; ", ";\n").splitlines())
