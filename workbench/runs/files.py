"""Write files of a run folder atomically; errors of the file system become one InputError."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError


class writing:
    """Context manager: an OSError of writing (permission, full disk, existing file) becomes an InputError with advice.

    what: is written. how: where another place is chosen, for the advice.
    """

    def __init__(self, folder: Path, what: str = "the run", how: str = "choose another folder with --out") -> None:
        self.folder, self.what, self.how = folder, what, how

    def __enter__(self) -> writing:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and self._ours(error):
            advice = {
                errno.ENOSPC: "the disk is full; free some space or",
                errno.EDQUOT: "the disk quota is used up;",
                errno.EACCES: "no permission to write there;",
                errno.EPERM: "no permission to write there;",
                errno.EROFS: "that file system is read-only;",
                errno.ENOTDIR: "part of that path is a file;",
                errno.EEXIST: "a file of that name exists;",
            }.get(error.errno or self.full(), f"{error.strerror or error}: {error.filename or self.folder};")
            raise InputError(f"Cannot write {self.what} into {self.folder}: {advice} {self.how}.") from error

    def full(self, need: int = 1 << 16) -> int:
        """ENOSPC if there is less space than these bytes: GDAL and HDF5 hide the number of the error."""
        place = next((p for p in (self.folder, *self.folder.parents) if p.exists()), Path())
        return errno.ENOSPC if shutil.disk_usage(place).free < max(need, 1 << 16) else 0

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


def write_new_json(path: Path, data: Any) -> bool:
    """Write `data` as `write_json`, unless the file exists; whether it was written. Of two callers at once, one writes."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with open(part, "x") as file:
            file.write(json.dumps(data, indent=2, default=str) + "\n")
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                with open(path, "x") as file:
                    file.write(part.read_text())
            except FileExistsError:
                return False
        return True
    finally:
        part.unlink(missing_ok=True)


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
