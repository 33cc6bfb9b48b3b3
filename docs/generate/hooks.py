"""What MkDocs calls while it builds the site: adds the generated pages and menus, fills in tables, rewrites links."""

from __future__ import annotations

import logging
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from docs.generate import catalogue, commands, indexes, links, reference, settings

log = logging.getLogger("mkdocs.hooks.generate")
ROOT = Path(__file__).parents[2]

# files outside docs/ that the site shows -> the page that shows them
SHOWN = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "speed.md",
    "data_catalog/README.md": "catalogue_fields.md",
}
# the theme's scripts know two addresses of helpers that we never use
_ELSEWHERE = re.compile(rb"https://unpkg\.com/[\w@./-]*")


def on_config(config: Any) -> Any:
    """Puts the pages of the folders in mkdocs.yml's menu, each folder's index first."""
    config.nav = [_filled(entry) for entry in config.nav]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages."""
    pages = {page: (ROOT / source).read_text() for source, page in SHOWN.items()}
    pages |= {
        "methods/index.md": indexes.methods(),
        "results/index.md": indexes.results(),
        "design/index.md": indexes.design(),
    }
    pages |= {"catalogue.md": catalogue.page(), "commands.md": commands.page(), **reference.pages()}
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    texts = [p.read_text() for p in indexes.sources("methods")]
    for method in settings.without_a_table(texts):
        log.warning(
            "No page of docs/methods has the line <!-- settings: %s -->, so its settings are nowhere explained.", method
        )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Tables of settings filled in, links as this page needs them."""
    source = {shown: path for path, shown in SHOWN.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    published = {f"docs/{f.src_uri}": f.src_uri for f in files if f.inclusion.is_included()} | SHOWN
    published |= {f"docs/{folder}": f"{folder}/index.md" for folder in ("methods", "results", "design", "api")}
    markdown = markdown.replace("<!-- layers -->", reference.layers())
    return links.rewrite(settings.with_tables(markdown), source, page.file.src_uri, published, _titles())


def on_post_build(config: Any) -> None:
    """Takes the addresses of other hosts out of the theme's scripts, and leaves out the word lists of other languages."""
    shutil.rmtree(Path(config.site_dir) / "assets" / "javascripts" / "lunr", ignore_errors=True)
    for path in Path(config.site_dir).rglob("*.js"):
        text = path.read_bytes()
        if _ELSEWHERE.search(text):
            path.write_bytes(_ELSEWHERE.sub(b"about:blank", text))


@cache
def _titles() -> dict[str, str]:
    """Path in the repository -> title, of every page written by hand."""
    return {str(p.relative_to(ROOT)): links.title(p.read_text()) for p in (ROOT / "docs").rglob("*.md")}


def _short(path: Path) -> str:
    """A page's name in the menu: its title up to a colon; of a design note, its number and title."""
    title = links.title(path.read_text())
    return f"{path.name[:4]} {title}" if path.parent.name == "design" else title.partition(":")[0]


def _filled(entry: Any) -> Any:
    """A menu entry, `[folder/]` replaced by the folder's pages."""
    if not isinstance(entry, dict):
        return entry
    ((name, below),) = entry.items()
    if below == ["api/"]:
        return {name: reference.navigation()}
    if isinstance(below, list) and len(below) == 1 and str(below[0]).endswith("/"):
        folder = below[0].rstrip("/")
        return {name: [f"{folder}/index.md", *({_short(p): f"{folder}/{p.name}"} for p in indexes.sources(folder))]}
    return {name: [_filled(e) for e in below]} if isinstance(below, list) else entry
