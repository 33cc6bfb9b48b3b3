"""Docstrings as Markdown, for the API reference: lists of arguments, doctests, and the descriptions of settings."""

from __future__ import annotations

import ast
import re
from textwrap import dedent
from typing import Any

import griffe

from docs.generate.indexes import DOCS
from docs.generate.links import title
from docs.generate.reference import address

_ARGUMENTS = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): (?=\S)")
_ITEM = re.compile(r"^(-|\d+\.) ")
_PAGE = re.compile(r"`?\bdocs/([\w/-]+)\.md\b`?")  # from a page in api/
_DOTTED = re.compile(r"`(workbench(?:\.\w+)+)(?:\(.*\))?`")
_TAG = re.compile(r"<(?=[A-Za-z/!])")


def as_markdown(text: str) -> str:
    """A docstring of ours as Markdown: `name: meaning` lines become a list, doctests and indented lines become code."""
    paragraphs = re.split(r"\n[ \t]*\n", text.strip("\n"))
    first, *others = (p.split("\n") for p in paragraphs)
    return "\n\n".join([_paragraph(first, may_list=False), *(_paragraph(lines) for lines in others)])


def _paragraph(lines: list[str], may_list: bool = True) -> str:
    if lines[0].lstrip().startswith(">>>"):
        return "```pycon\n" + dedent("\n".join(lines)) + "\n```"
    if all(line.startswith("    ") for line in lines):
        return "\n".join(lines)
    if len(lines) > 1 and _is_python("\n".join(lines)):  # the formatter takes the indent of a docstring's only example
        return "\n".join(["```python", *lines, "```"])
    starts = [_ARGUMENTS.match(line) for line in lines]
    begin = next((i for i, start in enumerate(starts) if start), len(lines)) if may_list else len(lines)
    if begin < len(lines) and all(s or line.startswith(" ") for s, line in zip(starts[begin:], lines[begin:], strict=True)):
        pairs = zip(starts[begin:], lines[begin:], strict=True)
        items = [_ARGUMENTS.sub(r"- **`\1`**: ", line) if start else "    " + line.strip() for start, line in pairs]
        return "\n\n".join([*([_paragraph(lines[:begin], may_list=False)] if begin else []), _plain("\n".join(items))])
    if not any(line.startswith(" ") or _ITEM.match(line) for line in lines):
        return _plain(" ".join(lines))  # one line: what the tables of contents show of it is the whole paragraph
    out: list[str] = []
    for i, line in enumerate(lines):
        if i and _ITEM.match(line) and not any(_ITEM.match(before) for before in lines[:i]):
            out.append("")
        out.append(line)
    return _plain("\n".join(out))


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _plain(text: str) -> str:
    """Text in which nothing outside code can be taken for HTML or for a reference."""
    parts = re.split(r"(`[^`]*`)", text)
    text = "".join(_linked(part) if i % 2 else _escaped(part) for i, part in enumerate(parts))
    return _PAGE.sub(lambda match: f"[{title((DOCS / f'{match[1]}.md').read_text())}](../{match[1]}.html)", text)


def _escaped(prose: str) -> str:
    return _TAG.sub("&lt;", prose).replace("][", "]\\[").replace(")**", ")\\*\\*")


def _linked(code: str) -> str:
    """A dotted name of the package, in code font, as a link to where the reference describes it."""
    dotted = _DOTTED.fullmatch(code)
    page, _, anchor = (address(dotted[1]) or "").partition("#") if dotted else ("", "", "")
    return f"[{code}]({page}.html{'#' * bool(anchor)}{anchor})" if page else code


class Ours(griffe.Extension):
    """Called by griffe for every object it has read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring; gives an attribute made by pydantic's `Field` its description and its default."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
        if isinstance(obj, griffe.Attribute) and obj.value is not None and str(obj.value).startswith("Field("):
            call = ast.parse(str(obj.value), mode="eval").body
            assert isinstance(call, ast.Call)
            words = {k.arg: k.value for k in call.keywords}
            described = words.get("description")
            if isinstance(described, ast.Constant) and obj.docstring is None:
                obj.docstring = griffe.Docstring(_plain(str(described.value)), parent=obj)
            default = call.args[0] if call.args else words.get("default")
            obj.value = ast.unparse(default) if default is not None else None
