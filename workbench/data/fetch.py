"""The files of a catalogue entry on this machine, verified: from your own folder, the user cache, or a download.

All files of an entry come from one place (an ENVI header from the folder of its data), in this order:

1. the folder named by `WORKBENCH_DATA`, at the path in the catalogue;
2. the user cache (`WORKBENCH_CACHE` names another folder);
3. the address in the catalogue, into the cache.

Every file is checked against the SHA-256 of the catalogue before it is used; once per process, unless it changes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from workbench.data.readers import files as _files
from workbench.errors import InputError


class Wanted(Protocol):
    """A file as the catalogue describes it: path below the folders, checksum and download address."""

    @property
    def path(self) -> str:
        """Relative path below WORKBENCH_DATA or the cache."""

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""

    @property
    def url(self) -> str | None:
        """Download address; None where there is none."""


_hashes: dict[tuple[str, int, int], str] = {}


def sha256(path: Path, look: _files.Look | None = None) -> str:
    """SHA-256 of a file; cached until its size or modification time changes.

    look: a `Look` at the same path; its open file is then read.
    """
    path = path.resolve()
    try:
        state = path.stat()
    except OSError:
        return _files.sha256(path)  # raises InputError that says what is wrong
    key = (str(path), state.st_size, state.st_mtime_ns)
    if key not in _hashes:
        _hashes[key] = _files.sha256(path) if look is None else look.sha256()
    return _hashes[key]


def cache() -> Path:
    """The folder of downloads: `WORKBENCH_CACHE`, else the cache folder of this user (it may not exist yet)."""
    import pooch

    named = os.environ.get("WORKBENCH_CACHE")
    return Path(named).expanduser() if named else Path(pooch.os_cache("workbench"))


def find(wanted: Sequence[Wanted]) -> list[Path] | None:
    """Paths of all the files, verified, if they are on this machine; else None.

    Raises InputError when a file in `WORKBENCH_DATA` has a wrong checksum; a damaged file in the cache counts as absent.
    """
    named = os.environ.get("WORKBENCH_DATA")
    if named:
        own = Path(named).expanduser()
        if not own.is_dir():
            raise InputError(f"WORKBENCH_DATA is {named!r}, which is not a folder; correct it, or unset it.")
        paths = [own / w.path for w in wanted]
        if all(p.is_file() for p in paths):
            for path, w in zip(paths, wanted, strict=True):
                if sha256(path) != w.sha256:
                    raise InputError(
                        f"{path} is not the file of the catalogue: its SHA-256 is {sha256(path)}, not {w.sha256}. Copies of "
                        "the same scene differ. Remove or replace it, or open it by its path to use it as it is."
                    )
            return paths
    paths = [cache() / w.path for w in wanted]
    return paths if all(p.is_file() and sha256(p) == w.sha256 for p, w in zip(paths, wanted, strict=True)) else None


def get(name: str, wanted: Sequence[Wanted]) -> list[Path]:
    """Paths of all the files of the entry `name`, downloaded where they are not on this machine.

    Raises InputError when they are absent and cannot be downloaded (the message says what to do), when a checksum is wrong, or
    when the cache cannot be written. A download with a wrong checksum is not stored.
    """
    return find(wanted) or [_download(name, w) for w in wanted]


def _download(name: str, wanted: Wanted) -> Path:
    import pooch
    import requests

    target = cache() / wanted.path
    if target.is_file() and sha256(target) == wanted.sha256:
        return target
    try:
        pooch.retrieve(
            wanted.url,
            known_hash=f"sha256:{wanted.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60),
        )
    except requests.exceptions.RequestException as error:
        raise InputError(
            f"{name} is not on this machine and could not be downloaded from {wanted.url} ({type(error).__name__}). "
            f"Three solutions: (1) with a network connection, run `workbench fetch {name}`; (2) put it at {wanted.path} "
            "below a folder and name that folder in WORKBENCH_DATA; (3) open a simulated scene (see `workbench list`), or a "
            "file of your own by its path."
        ) from None
    except ValueError:  # pooch raises this for a wrong checksum, after removing its temporary file
        raise InputError(
            f"The download of {name} from {wanted.url} does not have the SHA-256 {wanted.sha256} of the catalogue; it was removed. "
            "Try again later, or get the file from the original publisher."
        ) from None
    except OSError as error:
        raise InputError(
            f"{name} cannot be stored in the cache {target.parent} ({error.strerror or error}); free some space, or "
            "name another folder in WORKBENCH_CACHE."
        ) from None
    return target
