"""The page of the catalogue: every entry with what it provides, its terms and what to cite."""

from __future__ import annotations

import re
from typing import Any

from workbench.data import catalog

TITLES = {
    "simulated": "Simulated scenes",
    "simulated-pairs": "Simulated pairs of dates",
    "hyperspectral": "Hyperspectral cubes",
    "chips": "Labelled chips and pixels",
    "boxes": "Images with boxes",
    "pairs": "Pairs of dates",
    "sar": "SAR rasters",
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
        lines += [
            f"## {TITLES.get(kind, kind)}",
            "",
            "| name | title | size | licence | citation |",
            "|---|---|---|---|---|",
        ]
        for e in members:
            cells = [_cell(e.title), _cell(_size(e)), _cell(e.licence), _cell(e.citation)]
            lines.append(f"| `{e.id}` | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _size(entry: Any) -> str:
    shape = getattr(entry, "shape", None)
    if shape is not None:
        return ", ".join(f"{n} {d}" for d, n in shape.model_dump().items() if n is not None)
    samples = getattr(entry, "samples", None)
    return f"{samples} samples" if samples else ""


def _cell(text: str) -> str:
    text = re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"(https?://[^\s;,)]+[^\s;,).])", r"<\1>", text)
