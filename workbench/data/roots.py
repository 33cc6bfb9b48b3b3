"""The folders from which a served page opens files: `WORKBENCH_ROOTS`, set by `workbench serve`, inherited by the runs it starts.

Without the variable, as on the command line and in notebooks, every path can be opened. Catalogue names are always allowed.
"""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import InputError

ROOTS = "WORKBENCH_ROOTS"


def roots() -> tuple[Path, ...] | None:
    """The folders; None where every path can be opened."""
    text = os.environ.get(ROOTS)
    return None if text is None else tuple(Path(part) for part in text.split(os.pathsep) if part)


def admit_beside(header: str | Path, data: str | Path) -> None:
    """Raise InputError where a header in these folders leads to data outside; the catalogue's own files may lie anywhere."""
    try:
        admit(header)
    except InputError:
        return
    admit(data)


def admit_all(path: str | Path) -> None:
    """As `admit`; of a folder, also for a link in it that leads outside: to a chip, to a whole class, to a piece of a Zarr store."""
    admit(path)
    if roots() is None:
        return
    waiting, seen = [Path(path).expanduser()], set[Path]()
    while waiting:
        folder = waiting.pop()
        if not folder.is_dir() or (place := folder.resolve()) in seen:
            continue
        seen.add(place)
        with os.scandir(folder) as inside:
            for entry in inside:
                if entry.is_symlink():
                    admit(entry.path)
                if entry.is_symlink() or entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))


def admit(path: str | Path) -> None:
    """Raise InputError for a path outside of the folders, also by way of a link; in the same words whether or not it exists."""
    allowed = roots()
    if allowed is None:
        return
    try:
        place = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a null character
        place = Path("/")
    if not any(place == root or root in place.parents for root in allowed):
        where = ", ".join(map(str, allowed)) or "none: only scenes of the catalogue are opened"
        raise InputError(f"{path} is not in a folder from which this server opens files ({where}).")
