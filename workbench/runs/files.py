"""Write files of a run folder atomically; errors of the file system become one InputError."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError


class writing:
    """Context manager: an OSError of writing (permission, full disk, existing file) becomes an InputError with advice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and self._ours(error):
            advice = {
                errno.ENOSPC: "the disk is full; free some space or choose another folder with --out",
                errno.EDQUOT: "the disk quota is used up; choose another folder with --out",
                errno.EACCES: "no permission to write there; choose another folder with --out",
                errno.EPERM: "no permission to write there; choose another folder with --out",
                errno.EROFS: "that file system is read-only; choose another folder with --out",
                errno.ENOTDIR: "part of that path is a file; choose another folder with --out",
                errno.EEXIST: "a file of that name exists; choose another folder with --out",
            }.get(error.errno or 0)
            if advice:
                raise InputError(f"Cannot write the run into {self.folder}: {advice}.") from error

    def _ours(self, error: OSError) -> bool:
        """Whether the error concerns the run folder, and not a data file that the method was reading."""
        name = error.filename
        return name is None or str(self.folder).startswith(str(name)) or str(name).startswith(str(self.folder))


def replace(path: Path, write: Callable[[Any], object]) -> None:
    """Write to a temporary name beside `path`, then rename: readers never see an incomplete file."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically; values that JSON does not know are written as their text."""
    text = json.dumps(data, indent=2, default=str) + "\n"
    replace(path, lambda f: f.write(text.encode()))


def plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes that both JSON and NetCDF can hold."""
    plain: dict[str, Any] = {}
    for key, value in attrs.items():
        if isinstance(value, bool | np.bool_):
            plain[str(key)] = int(value)
        elif isinstance(value, np.generic):
            plain[str(key)] = value.item()
        elif isinstance(value, str | int | float):
            plain[str(key)] = value
        elif isinstance(value, np.ndarray):
            plain[str(key)] = value.tolist()
        elif isinstance(value, list | tuple):
            plain[str(key)] = list(value)
        elif value is not None:
            plain[str(key)] = str(value)
    return plain
