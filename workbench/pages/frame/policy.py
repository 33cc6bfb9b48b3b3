"""What visitors of a server may do: `workbench serve` writes it into the environment, pages read it here.

In a notebook, and without that variable, there is one user who may do everything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import panel as pn
from pydantic import BaseModel, ConfigDict, Field

from workbench.config import files_read, files_written, override, processes
from workbench.data.roots import ROOTS, roots
from workbench.errors import InputError
from workbench.methods import load
from workbench.runs.collection import size
from workbench.runs.files import write_json
from workbench.runs.folder import OWNER
from workbench.runs.loader import read_json

VARIABLE = "WORKBENCH_POLICY"
BLOCK = 4096  # bytes that the smallest file takes on a disk
TYPES = (
    ".mat",
    ".hdr",
    ".raw",
    ".img",
    ".dat",
    ".bsq",
    ".bil",
    ".bip",
    ".tif",
    ".tiff",
    ".nc",
    ".h5",
    ".he5",
    ".npy",
    ".png",
    ".zip",
)


class Policy(BaseModel):
    """The limits of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auth: bool = Field(False, description="visitors have names")
    users_file: str = Field("", description="file of users and passwords")
    users: tuple[str, ...] = Field((), description="whom an OAuth provider lets in, names or @DOMAIN; empty for all")
    origins: tuple[str, ...] = Field((), description="HOST:PORT by which browsers may name the server")
    admins: tuple[str, ...] = Field((), description="may pause, stop and delete the runs of all")
    max_runs: int | None = Field(None, description="runs of pages at once")
    max_runs_per_user: int | None = Field(None, description="of one visitor at once")
    upload_mb: float = Field(2000.0, description="of all uploads together")
    upload_days: float = Field(7.0, description="days after which an upload is deleted")
    runs_gb: float | None = Field(None, description="of all runs together; above it none begins")
    free_gb: float = Field(0.0, description="free on the disk of the runs; below it none begins")
    catalogue_only: bool = Field(False, description="no own files")


@cache
def _parsed(text: str) -> Policy:
    return Policy.model_validate_json(text)


def policy() -> Policy | None:
    """The limits of this server; None where this is none."""
    text = os.environ.get(VARIABLE)
    return None if text is None else _parsed(text)


def user() -> str:
    """The name of this visitor; empty without authentication, and for one who says to be a guest."""
    limits = policy()
    if limits is None or not limits.auth or pn.state.cookies.get("is_guest"):  # a cookie that any visitor can set
        return ""
    return str(pn.state.user or "")


def lets_in(name: str) -> bool:
    """Whether a visitor with this name, who has logged in at some time, may see the pages now."""
    limits = policy()
    if limits is None or not limits.auth:
        return True
    if limits.users_file:
        try:
            return name in read_json(limits.users_file)
        except (InputError, TypeError):
            return False
    name, users = name.casefold(), [one.casefold() for one in limits.users]
    return not users or any(name == one or (one[:1] == "@" and name.endswith(one)) for one in users)


def own(folder: Path) -> None:
    """Note that this visitor has started the run of a folder that is about to be made; one that is continued keeps its owner."""
    if (name := user()) and not (folder / "run.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / OWNER, {"user": name})


def owner(folder: Path) -> str:
    """Who started a run on a page; empty for a run of a terminal or a notebook, and for a damaged note."""
    try:
        about = read_json(folder / OWNER)
    except InputError:
        return ""
    return str(about.get("user", "")) if isinstance(about, dict) else ""


def check_owner(folder: Path) -> None:
    """Raise InputError unless this visitor may pause, stop, continue, tag or delete the run."""
    limits = policy()
    if limits is None or not limits.auth:
        return
    name = user()
    if not name or name not in (owner(folder), *limits.admins):
        whose = owner(folder) or "somebody outside of this server"
        raise InputError(
            f"{folder.name} was started by {whose}; only they and the administrators of this server may change it."
        )


def settings(method: str, overrides: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The settings of a run that a visitor starts: one that names a file is the name of a run, or of an upload.

    Raises InputError for any other path to read, and for every path to write.
    """
    changed = dict(overrides)
    if policy() is None:
        return changed
    config = override(load(method).Config(), overrides)
    for name, given in files_written(config).items():
        raise InputError(
            f"setting {name}={given!r} writes a file; that is possible on the command line, and not on a served page."
        )
    base = root.resolve()
    for name, given in files_read(config).items():
        path = (base / given).resolve()
        if base not in path.parents or not path.exists():
            raise InputError(f"setting {name}={given!r} has to be the name of a run, or of an upload, of this server.")
        changed[name] = str(path)
    return changed


def places(method: str, changed: Mapping[str, Any]) -> int:
    """How many places at work a run with these settings takes: one for each of its processes.

    Raises InputError for more than this server has; two are always allowed, so that ranks can be shown anywhere.
    """
    count, limits = processes(override(load(method).Config(), changed)), policy()
    if limits is not None and limits.max_runs is not None and count > (most := max(2, limits.max_runs)):
        raise InputError(f"This run would be computed by {count} processes; this server allows {most} at once (--max-runs).")
    return count


def check_room(root: Path) -> None:
    """Raise InputError where no run may begin: the runs have more than they may, or their disk is nearly full. root: of the runs."""
    limits = policy()
    if limits is None:
        return
    place = root.resolve()
    advice = f"Delete some on the page `runs`, or with `workbench runs prune --root {place}` (--status, --days, --delete)."
    if limits.runs_gb is not None and (used := size(root, without="uploads") / 1e9) > limits.runs_gb:
        raise InputError(
            f"No run begins: the runs of this server have {used:.3g} GB, and it allows {limits.runs_gb:g} GB (--max-runs-size). {advice}"
        )
    there = next(p for p in (place, *place.parents) if p.exists())
    if (free := shutil.disk_usage(there).free / 1e9) < limits.free_gb:
        raise InputError(
            f"No run begins: {free:.3g} GB are free on the disk of the runs, and this server keeps {limits.free_gb:g} GB "
            f"(--min-free). {advice}"
        )


def expire_uploads(folder: Path) -> int:
    """Delete uploads that have expired; returns the bytes that the others take on the disk. folder: of all uploads."""
    limits = policy()
    if limits is None or not folder.is_dir():
        return 0
    used = 0
    for place in folder.iterdir():
        for path in place.iterdir() if place.is_dir() and not place.is_symlink() else ():
            with contextlib.suppress(OSError):  # another visitor's upload may delete it at the same moment
                about = path.lstat()
                if time.time() - about.st_mtime > limits.upload_days * 86400:
                    path.unlink()
                else:
                    used += max(about.st_size, BLOCK)
        with contextlib.suppress(OSError):
            place.rmdir()  # fails unless it is empty
    return used


def check_uploads(folder: Path, files: Mapping[str, int]) -> None:
    """Delete uploads that have expired; raise InputError if these files (name -> bytes) may not be uploaded. folder: of all uploads."""
    limits = policy()
    if limits is None:
        return
    if limits.catalogue_only:
        raise InputError("This server shows scenes of the catalogue only; nothing can be uploaded.")
    used = expire_uploads(folder)
    for name in files:
        if Path(name).suffix.lower() not in TYPES:
            raise InputError(f"{name} cannot be uploaded here: its type is not one of {', '.join(TYPES)}.")
        if not name.isprintable() or len(name.encode(errors="replace")) > 200:
            raise InputError(
                f"{name[:40]!r} cannot be uploaded here: a name has at most 200 letters, all of them printable."
            )
    if used + sum(max(size, BLOCK) for size in files.values()) > limits.upload_mb * 1e6:
        raise InputError(
            f"The uploads of this server would have more than {limits.upload_mb:g} MB; they are deleted after "
            f"{limits.upload_days:g} days."
        )


def environment(limits: Policy, data_roots: list[Path], root: Path) -> dict[str, str]:
    """The variables of a server with these limits. data_roots: folders of visitors' files. root: of the runs."""
    allowed = [] if limits.catalogue_only else [p.resolve() for p in (*data_roots, root / "uploads")]
    return {VARIABLE: limits.model_dump_json(), ROOTS: os.pathsep.join(map(str, allowed))}


def files_hidden() -> bool:
    """Whether visitors name no files at all."""
    return policy() is not None and not roots()
