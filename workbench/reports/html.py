"""One self-contained HTML page: the executed notebook, or any body, in the style of the reports."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.reports.cells import without_grammars
from workbench.runs.imported import imported
from workbench.runs.loader import read_bytes

if TYPE_CHECKING:
    from nbformat import NotebookNode


_STYLE = """
body { font: 16px/1.55 Georgia, "Times New Roman", serif; color: #1d1d1f; background: #fff; margin: 0; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, h3, table, figcaption, .meta { font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .5rem; border-bottom: 1px solid #ddd; padding-bottom: .25rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
a { color: #0b57a4; } .anchor-link { display: none; }
figure { margin: 1.2rem 0 1.6rem; } figure img { display: block; max-width: 100%; margin: 0 auto; }
figcaption, caption { font-size: .86rem; line-height: 1.45; color: #444; text-align: left; padding: .5rem 0; }
caption { caption-side: top; }
table { border-collapse: collapse; font-size: .86rem; margin: 1rem 0 1.4rem; width: 100%; }
th { text-align: left; border-bottom: 2px solid #333; padding: .35rem .9rem .35rem 0; vertical-align: bottom; }
td { border-bottom: 1px solid #e3e3e3; padding: .35rem .9rem .35rem 0; vertical-align: top; overflow-wrap: break-word;
     font-variant-numeric: tabular-nums; }
table.facts td { overflow-wrap: anywhere; }
table.facts td:first-child { white-space: nowrap; overflow-wrap: normal; width: 1%; padding-right: 1.6rem; }
th:last-child, td:last-child { padding-right: 0; }
.simulated { background: #fff4d6; border-left: 4px solid #e6a100; padding: .6rem .9rem; margin: 1rem 0; }
pre { font-size: .8rem; overflow-x: auto; background: #f6f6f6; padding: .6rem; }
code { font-size: .88em; } .output_stderr pre { background: #fdecea; }
@page { size: A4; margin: 16mm 16mm 18mm; }
@media print {
  body { font-size: 10.5pt; line-height: 1.45; } main { max-width: none; padding: 0; } p { orphans: 3; widows: 3; }
  h1, h2, h3, caption { break-after: avoid; } figure, tr, .simulated { break-inside: avoid; } thead { display: table-header-group; }
  figure { margin: .8rem 0 1rem; } figure img { max-height: 150mm; } h2 { margin-top: 1.5rem; }
  td, th { padding-top: .22rem; padding-bottom: .22rem; } a { color: inherit; text-decoration: none; }
}
"""


# Inline and important, so that no style of the report hides it
_NOTICE = (
    '<p style="all:initial!important;display:block!important;font:15px sans-serif!important;color:#1d1d1f!important;'
    'background:#fff4d6!important;padding:10px 16px!important"><b>Made elsewhere</b>: this run was {}.</p>'
)


def html(executed: NotebookNode, title: str, method: str = "") -> str:
    """The executed notebook as one HTML page without code, scripts or external files.

    Cells tagged `lab-only`, and those tagged `only-NAME` for another method than this one, are left out. The content
    security policy of the page forbids every request, whatever the output of a cell.
    """
    with without_grammars():
        from nbconvert import HTMLExporter

    notebook = copy.deepcopy(executed)
    notebook.cells = [c for c in notebook.cells if _belongs(c.metadata.get("tags", []), method)]
    notebook.metadata.pop("widgets", None)
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    return page(title, body)


def report_page(folder: Path) -> str:
    """`report.html` of a run folder; of an imported run, with a line on top that says so. InputError if it cannot be read."""
    try:
        text = read_bytes(folder / "report.html").decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{folder / 'report.html'} is not UTF-8; the folder was damaged after it was written.") from None
    origin = imported(folder)
    return f"{_NOTICE.format(escape(str(origin)))}\n{text}" if origin else text


def page(title: str, body: str) -> str:
    """An HTML page in the style of the reports, without scripts and external files, and with a policy that forbids both."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _belongs(tags: Sequence[str], method: str) -> bool:
    return "lab-only" not in tags and all(t == f"only-{method}" for t in tags if t.startswith("only-"))
