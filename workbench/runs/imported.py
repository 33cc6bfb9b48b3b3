"""Imported runs: `imported.json` in a run folder says who imported it, when, and from which file.

A run that was imported was made by somebody else. It is shown like any other, but nothing of it is executed unasked: `rerun`
says what it would execute and asks, and an unfinished one is not continued.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import InputError
from workbench.runs.files import write_json
from workbench.runs.loader import read_json

MARK = "imported.json"


class Imported(NamedTuple):
    """by: login name. when: UTC, ISO 8601. file: name of the archive. sha256: hash of the archive."""

    by: str
    when: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"imported by {self.by}, {self.when[:16].replace('T', ' ')} UTC, from {self.file}"


def mark(folder: Path, file: Path, sha256: str, when: str) -> None:
    """Mark a run folder as imported now, by this user, from `file`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may give the user no name
        user = "unknown"
    write_json(folder / MARK, Imported(user, when, file.name, sha256)._asdict())


def imported(folder: str | Path) -> Imported | None:
    """Where a run, or the report or sweep in which it lies, was imported from; None for a run that was made here."""
    for place in (Path(folder).absolute(), *Path(folder).absolute().parents):
        if (place / MARK).exists():
            return _read(place / MARK)
    return None


def _read(path: Path) -> Imported:
    try:
        about: Any = read_json(path)
    except InputError:
        about = None  # a damaged mark still marks
    about = about if isinstance(about, dict) else {}
    return Imported(*(str(about.get(name, "unknown")) for name in Imported._fields))


def refuse_imported(folder: str | Path) -> None:
    """Raise InputError for an imported run: it is not continued here."""
    if origin := imported(folder):
        raise InputError(
            f"{folder} was made elsewhere ({origin}) and is not continued here; start a new run with its settings, which "
            "`workbench runs show` lists."
        )
