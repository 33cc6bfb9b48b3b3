"""Checks that what documentation and docstrings name exists: imports in examples, `wb.NAME`, dotted names and paths in code font.

    python -m docs.generate.names

Prints each fault as `file: what`, and ends with exit code 1 if there is one. The changelog is left out: it tells of the past.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import workbench

ROOT = Path(__file__).parents[2]
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_DOTTED = re.compile(r"`(workbench(?:\.\w+)+)\b")
_PATH = re.compile(
    r"(?<![\w/.-])((?:workbench|tests|benchmarks|docs|notebooks|recipes|data_catalog|dashboards)/[\w/.-]*\w/?)(?![\w*<{/-])"
)


def texts() -> Iterator[tuple[str, str]]:
    """(path, text) of the Markdown files that the site shows, without the changelog, and of all docstrings of the package."""
    shown = [
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "data_catalog/README.md")
    ]
    for path in (*sorted((ROOT / "docs").rglob("*.md")), *shown):
        yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                yield str(path.relative_to(ROOT)), ast.get_docstring(node) or ""


def faults(text: str) -> list[str]:
    """What a Markdown text names and the repository does not have."""
    found = [fault for block in _PYTHON.findall(text) for fault in _of_example(block)]
    prose = _FENCED.sub("", text)
    found += [f"{name} does not exist" for name in _DOTTED.findall(prose) if not exists(name)]
    found += [f"{path} does not exist" for path in _PATH.findall(prose) if "NAME" not in path and not (ROOT / path).exists()]
    return list(dict.fromkeys(found))


def exists(dotted: str) -> bool:
    """Whether that dotted name is a module of the package or something in one."""
    module, rest = dotted, []
    while module:
        try:
            thing: Any = import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
            continue
        for name in rest:
            if not hasattr(thing, name):
                return False
            thing = getattr(thing, name)
        return True
    return False


def _of_example(code: str) -> Iterator[str]:
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        yield f"an example is not valid Python: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench"):
            for alias in node.names:
                if not exists(f"{node.module}.{alias.name}"):
                    yield f"an example imports {alias.name} from {node.module}, which has no such name"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "wb" and node.attr not in workbench.__all__:
            yield f"an example uses wb.{node.attr}, which `import workbench as wb` does not give"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "wb":
            known = _arguments(node.func.attr)
            unknown = [k.arg for k in node.keywords if k.arg and known and k.arg not in known]
            yield from (f"an example gives {name}= to wb.{node.func.attr}, which does not take it" for name in unknown)


def _arguments(name: str) -> set[str]:
    """The arguments of wb.NAME; empty where it does not exist or takes any."""
    parameters = signature(getattr(workbench, name)).parameters if name in workbench.__all__ else {}
    return set() if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else set(parameters)


def main() -> int:
    """Prints what is wrong with the texts; 0 if nothing is."""
    found = [f"{path}: {fault}" for path, text in texts() for fault in faults(text)]
    print("\n".join(found) or "every name and path in the documentation exists")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
