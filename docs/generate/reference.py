"""The API reference: a page for every public module, found by walking the package, and an index of what `import workbench` gives."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from inspect import getdoc, getmodule
from pathlib import Path

import workbench

ROOT = Path(workbench.__file__).parent
# drawn or typed at, not called: the dashboards' layers and the command line
LEFT_OUT = ("workbench.pages", "workbench.views", "workbench.cli", "workbench.__main__")


@cache
def modules() -> dict[str, Path]:
    """Every public module of the package that users or methods call: dotted name -> its file, packages before what they hold."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("workbench", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        private = any(part.startswith("_") and part != "__init__" for part in parts[1:])
        left_out = any(name == n or name.startswith(n + ".") for n in LEFT_OUT)
        if name != "workbench" and not private and not left_out:
            found[name] = path
    return dict(sorted(found.items()))


def first_line(path: Path) -> str:
    """The first line of a module's docstring, without importing it."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def page_of(module: str) -> str:
    """Where the page of a module lies in the site's source."""
    return f"api/{module}.md"


def address(dotted: str) -> str | None:
    """Page and anchor, below api/ and without suffix (`PAGE#ANCHOR`), of a dotted name; None where no page has it.

    >>> address("workbench.scene.describe")
    'workbench.scene#workbench.scene.describe'
    """
    if dotted in modules():
        return dotted
    module, _, name = dotted.rpartition(".")
    return f"{module}#{dotted}" if name in _defined(module) else None


@cache
def _defined(module: str) -> frozenset[str]:
    """Public functions and classes that a module itself defines."""
    path = modules().get(module)
    body = ast.parse(path.read_text()).body if path else []
    kinds = ast.FunctionDef | ast.ClassDef
    return frozenset(node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_"))


def pages() -> dict[str, str]:
    """Path in the site's source -> Markdown, of every module and of the index."""
    found = {page_of(name): f"---\ntitle: {name}\n---\n\n::: {name}\n" for name in modules()}
    return {"api/index.md": _index(), **found}


def navigation() -> list[object]:
    """The pages as a tree for the site's menu: modules first, then each package with what it holds."""
    known = modules()

    def inside(parent: str) -> list[object]:
        below = [m for m in known if m.rpartition(".")[0] == parent]
        entries: list[object] = []
        for module in below:
            short = module.rpartition(".")[2]
            children = inside(module)
            if children:
                entries.append({short: [{"Overview": page_of(module)}, *children]})
            else:
                entries.append({short: page_of(module)})
        return entries

    return ["api/index.md", *inside("workbench")]


def _index() -> str:
    known = modules()
    lines = [
        "# API reference",
        "",
        "## What `import workbench as wb` gives",
        "",
        "| name | what | defined in |",
        "|---|---|---|",
    ]
    for name in workbench.__all__:
        if name.startswith("_"):
            continue
        thing = getattr(workbench, name)
        home = getattr(getmodule(thing), "__name__", "") or ""
        where = f"[`{home}`]({home}.md#{home}.{name})" if home in known else f"`{home}`"
        lines.append(f"| `wb.{name}` | {_brief(getdoc(thing))} | {where} |")
    lines += ["", "## All modules", "", "Layers from top to bottom are in [conventions](../conventions.md#layers).", ""]
    for package in dict.fromkeys(".".join(m.split(".")[:2]) for m in known):
        of_it = [m for m in known if m == package or m.startswith(package + ".")]
        lines += [f"### `{package}`", "", "| module | what |", "|---|---|"]
        lines += [f"| [`{m}`]({m}.md) | {_brief(first_line(known[m]))} |" for m in of_it] + [""]
    return "\n".join(lines)


def _brief(doc: str | None) -> str:
    """The first sentence or line of a docstring, for a cell of a table."""
    paragraph = " ".join((doc or "").partition("\n\n")[0].split())
    return paragraph.replace("|", "\\|").replace("<", "&lt;")


def layers() -> str:
    """The layers of the package from top to bottom, as the import contract in pyproject.toml has them, in a block of code."""
    contracts = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return "\n".join(["```", "dashboards, notebooks, tests", *rows, "```"])
