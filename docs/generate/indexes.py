"""Pages that list other pages: methods, results, design notes."""

from __future__ import annotations

import re
from pathlib import Path

from docs.generate.links import title
from docs.generate.settings import MARK
from workbench.methods import METHODS, load, summary

DOCS = Path(__file__).parents[1]
_DATE = re.compile(r"^# .*\(([^()]*\d{4}[^()]*)\)$", re.MULTILINE)
_STATUS = re.compile(r"^Status: (.+?)\.?$", re.MULTILINE)


def paragraph(text: str) -> str:
    """The first paragraph below the heading that is no note in italics and no picture."""
    for block in re.split(r"\n\s*\n", text)[1:]:
        if not block.startswith(("#", "*", "!", "|", "<", "Status:", "```")):
            return " ".join(block.split())
    return ""


def sources(folder: str) -> list[Path]:
    """The Markdown files of a folder of docs/, by name."""
    return sorted(p for p in (DOCS / folder).glob("*.md") if p.name != "index.md")


def methods() -> str:
    """A table of all methods with what they need, and links to their pages; pages about more than one method below it."""
    page_of = {name: p.name for p in sources("methods") for m in MARK.finditer(p.read_text()) for name in m[1].split()}
    lines = ["# Methods", "", "Each page says what a method is for, how to run it, every setting and every logged name, the",
             "details that decide the numbers, and our numbers beside rivals and controls.", "",
             "| method | what | needs |", "|---|---|---|"]  # fmt: skip
    for name in METHODS:
        needs = ", ".join(
            " or ".join(f"`{n}`" for n in ([need] if isinstance(need, str) else need)) for need in load(name).NEEDS
        )
        shown = f"[`{name}`]({page_of[name]})" if name in page_of else f"`{name}`"
        lines.append(f"| {shown} | {summary(name)} | {needs} |")
    others = [p for p in sources("methods") if p.name not in page_of.values()]
    if others:
        lines += ["", "Also here:", "", *(f"- [{title(p.read_text())}]({p.name})" for p in others)]
    return "\n".join(lines) + "\n"


def results() -> str:
    """A list of the pages of results."""
    lines = ["# Results", "", "Numbers that one command computes again (see [sweeps, runs, results](../sweeps.md#results-reproducible-"
             "numbers)): each links to its runs. What they say of the papers' claims: [the ledger](../claims.md).", ""]  # fmt: skip
    for p in sources("results"):
        text = p.read_text()
        lines += [f"**[{title(text)}]({p.name})**. {paragraph(text)}", ""]
    return "\n".join(lines)


def design() -> str:
    """A table of the design notes: number, title, date, status. A note without a line `Status: ...` is in force."""
    lines = ["# Design notes", "", "Why things are built as they are, with the road not taken. One note for each decision that needed",
             "an hour of thought. A note is in force unless a line `Status: ...` below its title says otherwise.", "",
             "| note | what | date | status |", "|---|---|---|---|"]  # fmt: skip
    for p in sources("design"):
        text = p.read_text()
        date = _DATE.search(text)
        status = _STATUS.search(text)
        row = [
            f"[{p.name[:4]}]({p.name})",
            title(text).replace("|", "\\|"),
            date[1] if date else "",
            status[1] if status else "in force",
        ]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"
