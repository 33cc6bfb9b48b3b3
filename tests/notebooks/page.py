"""A report's page read back, and what every report promises of its page and its notebook."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a page would load, its tables as lists of rows of text, and the alt texts of its images."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.rows: list[list[str]] = []
        self.scripts = 0
        self._cell = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        if tag != "a":
            self.loads += [str(given[name]) for name in ("src", "href", "srcset", "data") if given.get(name)]
        if tag == "img":
            self.alts.append(given.get("alt") or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data.replace("\xa0", " ")


def assert_whole(folder: Path, figures: int) -> None:
    """The page asks nothing of the network and describes its figures; the notebook kept beside it has no trouble in it."""
    page = Page(folder / "report.html")
    assert page.scripts == 0
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:)", page.source)
    assert len(page.alts) == figures
    assert all(len(alt) > 20 for alt in page.alts)
    import nbformat

    cells = nbformat.read(folder / "report.ipynb", as_version=4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
