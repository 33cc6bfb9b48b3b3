"""Links between pages: to the landing page, from a run to the page that shows it, and to the report that a run belongs to.

Addresses are relative to the pages, which all lie directly below the root of the server.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from workbench.data.catalog import names
from workbench.data.readers.files import LONGEST
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.methods import METHODS, page
from workbench.runs.collection import Entry
from workbench.views.card import escape

HOME = "./"
REPORTS = (
    "landing/report/"  # the landing page's routes serve `report.html` of the run folder whose path below the root follows
)
SAFE = ",;|/"  # as in the addresses that pages write themselves
WHITE = 'style="color:#fff;white-space:nowrap;margin-right:18px"'


def run_folder(root: str | Path, name: str) -> Path:
    """The folder of a run by its path below `root`: `first`, or `report/inner` for a run within a report.

    Raises InputError for a path that leaves `root`.
    """
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or not path.parts
        or any(p == ".." or "\0" in p or len(p.encode(errors="replace")) > LONGEST for p in path.parts)
    ):
        raise InputError(f"{name!r} is not the name of a run: give the path of its folder below {root}.")
    return Path(root) / path


def run_name(root: str | Path, folder: Path) -> str:
    """The inverse of `run_folder`."""
    return folder.relative_to(root).as_posix()


def served() -> set[str] | None:
    """Names of the pages of this server, `panel serve FILES`; None in another process, as a notebook, which links all."""
    words = sys.orig_argv
    return {Path(word).stem for word in words if word.endswith(".py")} if "serve" in words else None


def page_of(entry: Entry, root: str | Path, served: Container[str] | None = None) -> str:
    """Address that shows a run: on its method's page, else on the page `watch`, else replayed on the page `runs`.

    served: names of the pages that can be linked; None for all. Empty if none of the three is served. A run whose scene cannot be
    named in an address (it was made in memory, or has further files besides a second date) is replayed.
    """
    name = run_name(root, entry.folder)
    scene = _scene(entry.about)
    if scene and entry.method in METHODS:
        for place in (page(entry.method), f"watch?method={entry.method}"):
            stem, _, more = place.partition("?")
            if served is None or stem in served:
                return f"{stem}?" + urlencode({**dict(parse_qsl(more)), **scene, "run": name}, safe=SAFE)
    if served is None or "runs" in served:
        inside = {"inside": "True"} if "/" in name else {}
        return "runs?" + urlencode({**inside, "picked": entry.name, "tab": 2}, safe=SAFE)
    return ""


def _scene(about: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of an address that open the scene of a run; empty if an address cannot name it."""
    scene = about.get("scene") or {}
    if scene.get("open"):
        try:
            source = Source.from_record(scene["open"])
        except InputError:  # of a damaged or foreign folder
            return {}
        if set(source.beside) - {"after"}:
            return {}
        named = source.parameters()
        named["keys"] = ", ".join(f"{k}={v}" for k, v in source.keys.items())
        return {name: str(value) for name, value in named.items() if value}
    return {"scene": scene["id"]} if scene.get("id") in names() else {}


def report_of(folder: Path, root: str | Path) -> str:
    """Address of the report of a run folder, or of the folder in which it lies; empty if there is none."""
    for place in (folder, folder.parent):
        if place != Path(root) and (place / "report.html").is_file():
            return REPORTS + quote(run_name(root, place))
    return ""


def ways(report: str = "") -> str:
    """HTML for the title bar of a page: links to the landing page and, where there is one, to the report of the run."""
    home = f'<a {WHITE} href="{HOME}">All pages</a>'
    return home + (f'<a {WHITE} href="{escape(report)}" target="_blank">Report of this run</a>' if report else "")
