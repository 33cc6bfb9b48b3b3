"""The landing page as HTML: a card for each dashboard, and the recent runs, each linked to the page that shows it.

A card is made from the first paragraph of the dashboard's docstring, `Title: sentence.`, and from its two pictures in
`dashboards/pictures/` (light and dark), which `make pictures` takes from the running page.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader

from workbench.errors import InputError
from workbench.methods import METHODS
from workbench.pages.frame.links import page_of, report_of, run_name
from workbench.pages.landing.serving import dashboards
from workbench.resources import folder
from workbench.runs.collection import Entry, entries
from workbench.runs.schema import event_line

NEWEST = 10
END = 1 << 16  # bytes at the end of a run's events in which the last line is looked for
PICTURES = folder("dashboards") / "pictures"


class Card(NamedTuple):
    """name: of the page. title, sentence: what it is. pictured: whether its pictures exist."""

    name: str
    title: str
    sentence: str
    pictured: bool


@cache
def cards() -> tuple[Card, ...]:
    """A card for each dashboard, in order of the names."""
    made = []
    for name, path in dashboards().items():
        text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name).split("\n\n")[0]
        title, _, sentence = " ".join(text.split()).partition(": ")
        pictured = all((PICTURES / f"{name}-{mode}.webp").is_file() for mode in ("light", "dark"))
        made.append(Card(name, title, sentence[:1].upper() + sentence[1:], pictured))
    return tuple(made)


def landing(root: str | Path, served: Collection[str]) -> str:
    """The page as HTML. root: folder of the runs. served: names of the pages of this server."""
    shown = [card for card in cards() if card.name in served]
    return _template("landing.html").render(cards=shown, **_recent(root, served))


def recent(root: str | Path, served: Collection[str]) -> str:
    """The list of recent runs as HTML."""
    return _template("recent.html").render(**_recent(root, served))


def _template(name: str) -> Any:
    return _templates().get_template(name)


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _recent(root: str | Path, served: Collection[str]) -> dict[str, Any]:
    """Variables of the list: running runs first, then the newest, ten in all."""
    found = entries(root)[::-1]
    chosen = sorted(found, key=lambda e: e.status != "running")[:NEWEST]
    running = sum(e.status == "running" for e in found)
    return {
        "rows": [_row(e, root, served) for e in chosen],
        "root": str(root),
        "count": len(found),
        "running": running,
        "all_runs": "runs" in served,
    }


def _row(entry: Entry, root: str | Path, served: Collection[str]) -> dict[str, Any]:
    report = report_of(entry.folder, root)
    address = report if report and entry.method not in METHODS else page_of(entry, root, served)
    number = next(iter(entry.headline), None)
    return {
        "name": run_name(root, entry.folder),
        "address": address,
        "report": report if report != address else "",
        "method": entry.method,
        "scene": entry.scene,
        "status": entry.status,
        "imported": str(entry.imported or ""),
        "detail": entry.damage or (_progress(entry.folder) if entry.status == "running" else ""),
        "number": "" if number is None else f"{number} {entry.metrics[number]:.4g}",
        "when": _ago(str(entry.about.get("start", ""))),
    }


def _progress(run: Path) -> str:
    """`step 40 of 100` from the last event of a run; empty before the first."""
    path = run / "events.jsonl"
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - END))
        lines = file.read().split(b"\n")
    for line in reversed(lines[:-1]):  # what follows the last newline is not complete
        try:
            event = event_line(line, str(path))
        except InputError:  # the first line of the block is cut
            return ""
        if "step" in event:
            return f"step {event['step']:,}" + (f" of {event['of']:,}" if event.get("of") else "")
    return ""


def _ago(start: str) -> str:
    """How long ago a time in ISO 8601 was: `now`, `5 min ago`, `3 h ago`, `2 days ago`, or after a month the date."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for limit, unit, name in (
        (60, 0, "now"),
        (3600, 60, "min ago"),
        (86400, 3600, "h ago"),
        (30 * 86400, 86400, "days ago"),
    ):
        if seconds < limit:
            return name if not unit else f"{int(seconds // unit)} {name}".replace("1 days", "1 day")
    return start[:10]
