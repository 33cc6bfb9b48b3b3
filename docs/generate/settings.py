"""Tables of settings, generated from each method's `Config` where a page of docs/methods asks for one.

A line `<!-- settings: NAME -->` becomes the table of that method; with several names, the settings are told apart by method.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from workbench.config import Settings
from workbench.methods import METHODS, load

MARK = re.compile(r"^<!-- settings: ([\w -]+?) -->$", re.MULTILINE)
_BOUNDS = (("ge", "at least {}"), ("gt", "above {}"), ("le", "at most {}"), ("lt", "below {}"))


def with_tables(text: str) -> str:
    """A page's Markdown, every mark replaced by its table. Raises InputError for a name that is no method."""
    return MARK.sub(lambda match: table(match[1].split()), text)


def asked_for(texts: Iterable[str]) -> set[str]:
    """The methods whose table stands on one of the pages."""
    return {name for text in texts for match in MARK.finditer(text) for name in match[1].split()}


def without_a_table(texts: Iterable[str]) -> list[str]:
    """Methods of the table of methods whose settings stand on none of the pages."""
    return [name for name in METHODS if name not in asked_for(texts)]


def table(methods: list[str]) -> str:
    """A Markdown table of all settings: name, type, default, range, description."""
    several = len(methods) > 1
    head = [*(["method"] if several else []), "setting", "type", "default", "range", "what it does"]
    rows = [head, ["---"] * len(head)]
    shared = Settings.model_fields
    for name, field in shared.items():
        rows.append([*(["all"] if several else []), *_row(name, field)])
    for method in methods:
        own = ((name, field) for name, field in load(method).Config.model_fields.items() if name not in shared)
        rows += [[*([f"`{method}`"] if several else []), *_row(name, field)] for name, field in own]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(name: str, field: Any) -> list[str]:
    return [f"`{name}`", kind(field.annotation), _default(field), _range(field), cell(field.description or "")]


def kind(annotation: Any) -> str:
    """A type in words: "int", "number", "text", "yes or no", "one of: a, b", "list of ...", "... or none"."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0])
    if origin is Literal:
        return "one of " + ", ".join(f"`{cell(str(value))}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join([*(kind(a) for a in inner if a is not type(None)), *(["none"] if type(None) in inner else [])])
    if origin in (list, tuple, set, frozenset):
        of = " or ".join(dict.fromkeys(kind(a) for a in inner if a is not Ellipsis))
        return "list of " + of.replace("one of", "any of")
    if origin is dict:
        return f"{kind(inner[0])} -> {kind(inner[1])}"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation, cell(getattr(annotation, "__name__", str(annotation))))


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return "`[" + cell(", ".join(str(v) for v in value)) + "]`"
    return f"`{cell(format(value, 'g') if isinstance(value, float) else str(value))}`"


def _range(field: Any) -> str:
    """Bounds of the value; of a list, of how many it holds and of each element."""
    found = []
    for rule in field.metadata:
        found += [
            words.format(_number(limit)) for name, words in _BOUNDS if (limit := getattr(rule, name, None)) is not None
        ]
        found += [f"multiple of {_number(n)}"] if (n := getattr(rule, "multiple_of", None)) is not None else []
        found += [f"at least {n} of them"] if (n := getattr(rule, "min_length", None)) else []
        found += [f"at most {n} of them"] if (n := getattr(rule, "max_length", None)) is not None else []
        found += [f"like `{cell(pattern)}`"] if (pattern := getattr(rule, "pattern", None)) else []
    found += [f"each {words}" for words in _of_elements(field.annotation)]
    return ", ".join(found)


def _of_elements(annotation: Any) -> list[str]:
    """Bounds written at the type of a list's elements, or of one branch of a union."""
    found = []
    for inner in get_args(annotation):
        if get_origin(inner) is Annotated:
            for rule in get_args(inner)[1:]:
                rules = getattr(rule, "metadata", None) or [rule]
                for r in rules:
                    found += [
                        words.format(_number(limit))
                        for name, words in _BOUNDS
                        if (limit := getattr(r, name, None)) is not None
                    ]
        elif get_args(inner) and get_origin(inner) is not Literal:
            found += _of_elements(inner)
    return found


def _number(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def cell(text: str) -> str:
    """Text that stays in one cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
