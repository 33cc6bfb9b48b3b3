"""The page of the catalogue: every entry with what it provides, its size, its terms and what to cite."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from workbench.data import catalog

TITLES = {
    "simulated": "Simulated scenes",
    "simulated-pairs": "Simulated pairs of dates",
    "simulated-boxes": "Simulated chips with boxes",
    "simulated-sensors": "Simulated places of two sensors",
    "hyperspectral": "Hyperspectral cubes",
    "chips": "Labelled chips and pixels",
    "boxes": "Images with boxes",
    "boxes-joined": "Images with boxes, joined",
    "pairs": "Pairs of dates",
    "sar": "SAR rasters",
    "multimodal": "Several sensors on one place",
    "plots": "Many plots of several sensors",
}


def page() -> str:
    """Markdown of all entries, grouped by kind."""
    entries = catalog.entries()
    lines = ["# Catalogue", "", f"The {len(entries)} entries of `data_catalog/`, opened by their name: `wb.open_scene(NAME)`,",
             "`workbench describe NAME`. The catalogue holds descriptions and checksums, no data: [where files are looked",
             "up](data.md#where-catalogue-files-are-looked-up), [what the fields mean](catalogue_fields.md).", ""]  # fmt: skip
    groups: dict[str, list[Any]] = {}
    for entry in entries:
        groups.setdefault(entry.kind, []).append(entry)
    for kind, members in groups.items():
        terms = list(dict.fromkeys((e.licence, e.citation) for e in members))
        columns = {
            "name": [f"`{e.id}`" for e in members],
            "title": [_cell(e.title) for e in members],
            "provides": [", ".join(f"`{name}`" for name in e.provides) for e in members],
            "bands, rows, columns": [_shape(e) for e in members],
            "samples": [str(getattr(e, "samples", None) or "") for e in members],
            "terms": [f"[{n}](#{kind}-{n})" for n in (terms.index((e.licence, e.citation)) + 1 for e in members)],
        }
        filled = {name: cells for name, cells in columns.items() if any(cells)}
        lines += [f"## {TITLES.get(kind, kind)}", "", _row(filled), _row("---" for _ in filled)]
        lines += [*(_row(cells) for cells in zip(*filled.values(), strict=True)), "", "Terms, and what to cite:", ""]
        for n, (licence, citation) in enumerate(terms, 1):
            lines.append(f'{n}. <a id="{kind}-{n}"></a>**{_cell(licence)}.** {_cell(citation)}')
        lines.append("")
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shape(entry: Any) -> str:
    shape = getattr(entry, "shape", None)
    numbers = shape if isinstance(shape, tuple) else (n for _, n in shape or ())
    return ", ".join(str(n) for n in numbers if n is not None)


def _cell(text: str) -> str:
    text = re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"(https?://[^\s;,)]+[^\s;,).])", r"<\1>", text)
