"""The files of an entry: their fields in the catalogue, and their verified paths on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from workbench.data.readers.files import LONGEST
from workbench.data.records import Record, Sourced
from workbench.errors import InputError


def relative(path: str) -> str:
    """The unchanged path; ValueError unless it is relative, with forward slashes, and stays below its folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or ":" in path:
        raise ValueError("must be a relative path with forward slashes and without ..")
    if not path.isprintable() or len(path) > 1000 or any(len(part.encode()) > LONGEST for part in parts):
        raise ValueError(f"must be printable, with at most {LONGEST} bytes between two slashes and 1000 letters")
    return path


class Part(Record):
    """A file or folder of an entry, below WORKBENCH_DATA or the cache."""

    path: Annotated[str, AfterValidator(relative)]
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of this file; a folder has the entry's listing_sha256"
    )
    bytes: int = Field(gt=0)
    url: str | None = Field(None, pattern=r"^https://", description="pinned public mirror of exactly this file")


class Kept(Sourced):
    """A published entry with keys for the reader."""

    keys: dict[str, str] = Field({}, description="options of the reader, as in --key")


class Listed(Protocol):
    """The fields of a file or folder that `locate` needs."""

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
    """The fields of an entry that `locate` needs."""

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
    """Paths of these files, or this folder, of an entry on this machine.

    Files are compared with their checksums, and downloaded if they have an address; a folder is only looked up.
    Raises InputError when they are absent (it says where to put them and where to get them) or a checksum is wrong.
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
        "WORKBENCH_DATA; or open your own data by its path. Simulated scenes and 'digits' need no files."
    )
