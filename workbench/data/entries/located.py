"""The files of an entry: how the catalogue names them, and where they are on this machine, verified."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from workbench.data.records import Record, Sourced
from workbench.errors import InputError


def relative(path: str) -> str:
    """The path as it is, where it is a relative one with forward slashes that stays below its folder; else ValueError."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or ":" in path:
        raise ValueError("must be a relative path with forward slashes and without ..")
    return path


class Part(Record):
    """A file or folder of an entry, below WORKBENCH_DATA or the cache."""

    path: Annotated[str, AfterValidator(relative)]
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of this file; a folder has the entry's listing_sha256"
    )
    bytes: int = Field(gt=0)
    url: str | None = Field(None, pattern=r"^https://", description="pinned public mirror of exactly this file")


class Kept(Sourced):
    """An entry that says how its files are read."""

    keys: dict[str, str] = Field({}, description="choices of the reader, as --key brings them")


class Listed(Protocol):
    """What `locate` has to know of a file or folder."""

    @property
    def path(self) -> str:
        """Relative path below WORKBENCH_DATA or the cache."""

    @property
    def sha256(self) -> str | None:
        """64 hexadecimal digits; None for a folder."""

    @property
    def bytes(self) -> int:
        """Size in bytes."""

    @property
    def url(self) -> str | None:
        """Download address; None where there is none."""


class Located(Protocol):
    """What `locate` has to know of an entry."""

    @property
    def id(self) -> str:
        """Name of the entry."""

    @property
    def publisher(self) -> str:
        """Who published the files."""

    @property
    def obtain(self) -> str | None:
        """Where a person gets the files by hand; None where the entry does not say."""


def locate(entry: Located, files: Sequence[Listed]) -> list[Path]:
    """Where these files, or this folder, of an entry are on this machine.

    Files are compared with their checksums, and downloaded where they can be; a folder is only looked up.
    Raises InputError when they are absent (it says where they belong and who has them) or a checksum is wrong.
    """
    from workbench.data import fetch

    if all(part.sha256 for part in files):
        if all(part.url for part in files):
            return fetch.get(entry.id, files)  # type: ignore[arg-type]
        places = fetch.find(files)  # type: ignore[arg-type]
        if places is not None:
            return places
    else:
        named = os.environ.get("WORKBENCH_DATA")
        for folder in [*([Path(named).expanduser()] if named else []), fetch.cache()]:
            places = [folder / part.path for part in files]
            if all(p.exists() for p in places):
                return places
    raise InputError(
        f"{entry.id} is not on this machine, and it cannot be downloaded file by file. Get it from "
        f"{entry.obtain or entry.publisher}, put it at {files[0].path} below a folder, and name that folder in "
        "WORKBENCH_DATA; or open data of yours by its path. Simulated scenes and 'digits' need no files."
    )
