"""A file before its format is known: whether it opens, its first bytes, its SHA-256; all readers share one open file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, cast

from workbench.errors import InputError
from workbench.scene import digest

FORMATS = (
    "MATLAB (.mat), ENVI (header .hdr or its data file), GeoTIFF (.tif, .tiff), NetCDF (.nc), HDF5 (.h5, .he5), Zarr (.zarr), "
    "NumPy (.npy), EnMAP or DESIS (folder with METADATA.XML)"
)
HEAD = 4096  # bytes that are read to recognise a format

T = TypeVar("T")


class Look:
    """A path whose file is opened once; results that one format computes are cached for the next.

    with Look(path) as look:      # everything opened through it is closed at the end
        look.head                 # the first 4096 bytes
        look.once(parse)          # parse(look), cached
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._made: dict[Callable[..., Any], Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Look:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @cached_property
    def is_dir(self) -> bool:
        """Whether the path is a folder."""
        return self.path.is_dir()

    @cached_property
    def is_file(self) -> bool:
        """Whether the path is an ordinary file."""
        return self.path.is_file()

    @property
    def suffix(self) -> str:
        """The suffix in small letters."""
        return self.path.suffix.lower()

    @cached_property
    def file(self) -> BufferedReader:
        """The open file; InputError where it is absent, a folder, or not readable."""
        try:
            if self.is_dir:
                raise InputError(f"{self.path} is a folder; give one file: {FORMATS}.")
            if not self.is_file and self.path.exists():
                raise InputError(f"{self.path} is not an ordinary file; give one file: {FORMATS}.")
            return self.keep(self.path.open("rb"))
        except FileNotFoundError:
            raise InputError(f"There is no file {self.path}. Check the path, or see `workbench list` for scenes.") from None
        except PermissionError:
            raise InputError(f"{self.path} cannot be read by this user; change its permissions or copy it.") from None
        except InputError:
            raise
        except (OSError, ValueError) as error:  # a name too long, a null character, a broken disk
            raise InputError(f"{self.path} cannot be opened ({error}).") from None

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the file; InputError as for `file`, and where it is empty."""
        return self.begin(HEAD)

    def begin(self, count: int) -> bytes:
        """The first `count` bytes; InputError as for `head`."""
        file = self.file
        try:
            file.seek(0)
            head = file.read(count)
        except OSError as error:
            raise InputError(f"{self.path} cannot be opened ({error}).") from None
        if not head:
            raise InputError(f"{self.path} is empty; get the file again.")
        return head

    def begins(self, *magic: bytes) -> bool:
        """Whether it is a file that begins with one of these; InputError for a file that cannot be read."""
        return self.is_file and self.head.startswith(magic)

    def once(self, make: Callable[[Look], T]) -> T:
        """The result of `make(self)`, cached after the first call."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast(T, self._made[make])

    def keep(self, opened: AbstractContextManager[T]) -> T:
        """Enter a context that is closed with this look."""
        return self._open.enter_context(opened)

    def sha256(self) -> str:
        """SHA-256 of the file, read through the open handle; of a folder, of the names and contents of its files."""
        if self.is_dir:
            return digest(self.path)
        self.begin(1)
        self.file.seek(0)
        return hashlib.file_digest(self.file, "sha256").hexdigest()


def first_bytes(path: Path, count: int = HEAD) -> bytes:
    """The first bytes of a file; InputError where it is absent, a folder, empty, or not readable."""
    with Look(path) as look:
        return look.begin(count)


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder (names and contents of its files), as 64 hexadecimal digits, read in pieces;
    InputError where it cannot be read.
    """
    with Look(path) as look:
        return look.sha256()
