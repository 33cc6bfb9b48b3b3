"""Checks the built site: every link inside it leads somewhere, and nothing is loaded from another host.

    python -m docs.generate.check site

Prints each fault as `page: what`, and ends with exit code 1 if there is one. Links that a reader follows to other hosts
(citations) are counted and not visited.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_CSS_LOAD = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_JS_ADDRESS = re.compile(r"https?://[\w.-]+\.[a-z]{2,}[\w./@-]*", re.IGNORECASE)
_JS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# names of XML vocabularies; the text of a warning; the button of a repository, which this site does not have
_JS_NAMES = ("http://www.w3.org/", "https://bit.ly/2s3ChXG", "https://api.github.com/", "https://gitlab.com/")


class _Page(HTMLParser):
    """What one page defines (anchors) and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.anchors |= {has[name] for name in ("id", "name") if has.get(name)}
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        elif "href" in has:
            self.loads.append(has["href"])
        self.loads += [has[name] for name in ("src", "data", "poster") if has.get(name)]
        self.loads += [part.split()[0] for part in has.get("srcset", "").split(",") if part.split()]
        self.loads += _CSS_LOAD.findall(has.get("style", ""))


def faults(site: Path) -> tuple[list[str], int]:
    """(faults, number of links to other hosts) of the site in that folder."""
    pages = {}
    found: list[str] = []
    for path in sorted(site.rglob("*.html")):
        parser = _Page()
        text = path.read_text()
        parser.feed(text)
        pages[path.resolve()] = parser
        found += [f"{path.relative_to(site)}: a style loads {url}" for url in _CSS_LOAD.findall(text)]
    if not pages:
        return [f"{site}: has no pages"], 0
    outside = 0
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for url in page.loads:
            parts = urlsplit(url)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{name}: loads {url} from another host")
            elif parts.path and not _target(path, parts.path, site).exists():
                found.append(f"{name}: loads {url}, which does not exist")
        for url in page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                outside += 1
                continue
            target = _target(path, parts.path, site) if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: links to {url}, which does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: links to {url}; that page has no such anchor")
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)}: loads {url}" for url in _CSS_LOAD.findall(path.read_text())]
    for path in sorted(site.rglob("*.js")):
        if path.name != "search_index.js":
            urls = sorted(set(_JS_ADDRESS.findall(_JS_COMMENT.sub("", path.read_text()))))
            found += [
                f"{path.relative_to(site)}: contains the address {url}" for url in urls if not url.startswith(_JS_NAMES)
            ]
    return found, outside


def _target(page: Path, url: str, site: Path) -> Path:
    """The file that a relative (or, from the site's root, absolute) address names."""
    path = unquote(url)
    return (site / path.lstrip("/") if path.startswith("/") else page.parent / path).resolve()


def main(site: str = "site") -> int:
    """Prints what is wrong with the site; 0 if nothing is."""
    found, outside = faults(Path(site))
    print(
        "\n".join(found)
        or f"{site}: every internal link works; nothing is loaded from another host ({outside} links to other hosts)"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
