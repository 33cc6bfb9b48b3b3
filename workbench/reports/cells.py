"""The cells of a notebook file, checked: whoever reads a notebook begins here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from workbench.errors import InputError, reason
from workbench.runs.loader import read_json

_KEPT = ConfigDict(strict=True, extra="allow")


@with_config(_KEPT)
class _About(TypedDict):
    tags: NotRequired[list[str]]
    name: NotRequired[str]


@with_config(_KEPT)
class _Cell(TypedDict):
    cell_type: Literal["code", "markdown", "raw"]
    source: str | list[str]
    metadata: _About
    outputs: NotRequired[list[dict[str, Any]]]
    execution_count: NotRequired[int | None]
    id: NotRequired[str]


@with_config(_KEPT)
class _Kernel(TypedDict):
    name: NotRequired[str]
    language: NotRequired[str]


@with_config(_KEPT)
class _Metadata(TypedDict):
    kernelspec: NotRequired[_Kernel]
    language_info: NotRequired[dict[str, Any]]


@with_config(_KEPT)
class _Notebook(TypedDict):
    cells: list[_Cell]
    metadata: _Metadata
    nbformat: Literal[4]
    nbformat_minor: int


_MODEL = TypeAdapter(_Notebook)


def cells_of(notebook: str | Path) -> list[dict[str, Any]]:
    """The cells of an .ipynb file of version 4, as its JSON has them.

    Raises InputError that names the place: `cells.3.source: Field required`.
    """
    try:
        return _MODEL.validate_python(read_json(notebook))["cells"]  # type: ignore[return-value]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{notebook} cannot be read as a notebook: {place}: {reason(first)}.") from None


@contextmanager
def without_grammars() -> Iterator[None]:
    """Import nbformat, papermill or nbconvert here: a second sooner.

    Their library of schemas builds 38 grammars of addresses where `rfc3987_syntax` is installed, as Jupyter does; no notebook needs them.
    """
    name = "rfc3987_syntax"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
