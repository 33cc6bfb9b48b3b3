"""A file before its format is known: whether it opens, its first bytes, its kind, its SHA-256; all readers share one open file.

`KINDS` is the one table of first bytes; `visible` and `walk` leave out hidden files and those that systems put into folders.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, cast

from workbench.errors import InputError
from workbench.scene import digest

FORMATS = (
    "MATLAB (.mat), ENVI (header .hdr or its data file), GeoTIFF (.tif, .tiff), NetCDF (.nc), HDF5 (.h5, .he5), Zarr (.zarr), "
    "NumPy (.npy, .npz), EnMAP or DESIS (folder with METADATA.XML)"
)
HEAD = 4096  # bytes that are read to recognise a format
LONGEST = 255  # bytes of a file name, on most file systems

KINDS: dict[bytes, str] = {  # first bytes -> kind of file
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"\xff\xd8\xff": "JPEG",
    b"\x93NUMPY": "NPY",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"MATLAB": "MATLAB",
    b"CDF": "NetCDF 3",
    b"PK\x03\x04": "ZIP",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x0e\x03\x13\x01": "HDF4",
    b"\x1f\x8b": "gzip",
    b"%PDF": "PDF",
    b"NITF": "NITF",
}
SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "system volume information", "lost+found"}
WORLD = (".tfw", ".tifw", ".tiffw", ".wld")  # endings of world files of a TIFF
BESIDE = (".msk", ".aux.xml", ".hdr", ".prj", ".ovr", *WORLD)  # endings of files that describe an image

READ_WITH = {  # kind of file -> endings of the files beside it that its readers use
    "TIFF": (".msk", ".aux.xml", ".hdr", ".ovr", *WORLD),
    **dict.fromkeys(("PNG", "JPEG", "BMP"), (".aux.xml", ".msk", ".wld", ".pgw", ".jgw", ".bpw", ".pngw", ".jpgw", ".bmpw")),
}
_FOR_PEOPLE = re.compile(
    r"(?i)(read[ _-]?me|licen[cs]e|copying|citation|changelog|authors)(\..*)?|.*\.(md|md5|sha1|sha256|sha512)|(sha|md)\d+sums?"
)
_LISTED = 20_000  # files of a folder among which those of one name are looked for

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

    @property
    def kind(self) -> str:
        """The kind of the file by its first bytes, a value of `KINDS`; "" for another kind."""
        return kind_of(self.head) if self.is_file else ""

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


def kind_of(head: bytes) -> str:
    """The kind of a file that begins with these bytes, a value of `KINDS`; "" for another kind.

    >>> kind_of(b"\\x89PNG\\r\\n")
    'PNG'
    """
    kind = next((kind for magic, kind in KINDS.items() if head.startswith(magic)), "")
    return kind if kind != "BMP" or head[6:10] == bytes(4) else ""  # two letters alone may be the first pixels of raw data


def visible(name: str) -> bool:
    """Whether a file or folder of this name holds data: not hidden, and not one that a system puts into folders.

    >>> [visible(n) for n in ("a.png", "._a.png", ".ipynb_checkpoints", "__MACOSX", "Thumbs.db")]
    [True, False, False, False, False]
    """
    return not name.startswith(".") and name.lower() not in SYSTEM


def visible_below(parts: Iterable[str]) -> bool:
    """Whether all parts of a path are `visible`."""
    return all(visible(part) for part in parts)


def of_system(parts: Iterable[str]) -> bool:
    """Whether a path, by its parts, is of a file that systems and notebooks put into folders, and that changes without the data.

    >>> [of_system(p.split("/")) for p in ("a/.DS_Store", "__MACOSX/._a.png", ".zattrs", "a.png")]
    [True, True, False, False]
    """
    return any(p.startswith("._") or p.lower() in (*SYSTEM, ".ds_store", ".ipynb_checkpoints") for p in parts)


def inside(folder: Path) -> list[Path]:
    """The visible files and folders in a folder, sorted by name; nothing where it cannot be read."""
    try:
        return sorted(p for p in folder.iterdir() if visible(p.name))
    except OSError:
        return []


def walk(folder: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The visible files in a folder and the folders below it, sorted; links to folders above are not followed again."""
    real = folder.resolve()
    for path in inside(folder) if real not in seen else []:
        if path.is_dir():
            yield from walk(path, seen | {real})
        elif path.is_file():
            yield path


def located(path: Path) -> Path:
    """The absolute path under which a file has its companions (`BESIDE`): the path as given, or the target of a link where
    only the target has some beside it.
    """
    given = path.absolute()
    if not given.is_symlink() or _companions(given):
        return given
    target = given.resolve()
    return target if _companions(target) else given


def _companions(path: Path) -> bool:
    return any(path.with_name(base + ending).is_file() for ending in BESIDE for base in {path.name, path.stem})


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


def same_name(look: Look, used: Iterable[str | Path] = ()) -> list[Path]:
    """The files beside a file that have its name with another ending, without those that its readers use, and without `used`.

    Nothing in a folder of more than 20,000 files, which are not looked through.
    """
    given, kind = look.path.absolute(), look.kind
    known = {os.path.realpath(p) for p in (given, *used)}
    begin = f"{given.stem.lower()}."
    ends = tuple(f"{begin}{e[1:]}" for e in READ_WITH.get(kind, ()))
    ends += tuple(f"{given.name.lower()}{e}" for e in READ_WITH.get(kind, ()))
    found = []
    try:
        with os.scandir(given.parent) as entries:
            for count, entry in enumerate(entries):
                if count > _LISTED:
                    return []
                name = entry.name.lower()
                if name.startswith(begin) and name not in ends and visible(entry.name) and entry.is_file():
                    found.append(given.parent / entry.name)
    except OSError:
        return []
    return sorted(p for p in found if os.path.realpath(p) not in known)


def not_read(files: Iterable[Path], where: str) -> list[str]:
    """One note on files that no reader uses, with the names of three at most; none where there are only files for people, such as
    README and checksums.

    >>> not_read(map(Path, ["a/README.md", "a/train.txt", "a/b.csv"]), "of the folder")
    ['2 files of the folder are not read: b.csv, train.txt']
    """
    names = sorted(p.name for p in files if visible(p.name) and not _FOR_PEOPLE.fullmatch(p.name))
    if not names:
        return []
    several = len(names) > 1
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{len(names)} file{'s' * several} {where} {'are' if several else 'is'} not read: {', '.join(names[:3])}{more}"]
