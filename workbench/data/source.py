"""Reference to a scene: all names of its files and options, as one value.

    source = Source("flight.hdr", truth="targets.png")
    source = Source("2000.tif", beside={"after": "2003.tif"}, resample=True)
    scene = source.open()            # as `workbench.data.catalog.open_scene`
    source.digest()                  # changes when a byte of any named file changes
    source.argv()                    # ["2000.tif", "--after", "2003.tif", "--resample"]

The command line, the pages, the notebooks, run folders and sweeps all use this value.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from workbench.data.readers.files import LONGEST, of_system
from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

BESIDE = ("after", "lidar", "sar", "infrared")  # roles of a second file: the later date, or another sensor

# Suffixes of files that belong to a file of the same stem: ENVI headers, georeferencing, tags and masks kept by GDAL.
COMPANIONS = (".hdr", ".xml", ".tfw", ".pgw", ".jgw", ".bpw", ".wld", ".prj", ".msk")


@dataclass(frozen=True)
class Source:
    """Reference to one scene. Hashable; equal if all fields are equal.

    scene: a name of the catalogue, or a path. truth: a file with the truth, where the scene's file has none. keys: options
    that the file does not state, such as `{"cube": "data"}`. beside: role (of `BESIDE`) -> file. resample: put
    further files that have another grid onto the pixels of the first (`workbench.data.catalog.open_scene`). An empty truth, and an
    empty file in `beside`, count as none.

    Raises InputError for a role that does not exist.
    """

    scene: str
    truth: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    resample: bool = False

    def __post_init__(self) -> None:
        beside = {role: str(path) for role, path in dict(self.beside).items() if str(path or "")}
        for name in (str(self.scene), str(self.truth or ""), *beside.values()):
            if name.startswith("-"):  # another process would read it as an option
                raise InputError(f"The name of a scene or a file cannot begin with -; for the file {name}, give ./{name}.")
            if "\0" in name or any(len(part.encode(errors="replace")) > LONGEST for part in name.split("/")):
                raise InputError(
                    f"The name of a file has at most {LONGEST} bytes and no null character; got {name[:40]!r}, {len(name)} characters."
                )
        for role in beside:
            if role not in BESIDE:
                raise InputError(
                    f"{role!r} is not a role of a second file; use {', '.join(BESIDE[:-1])} or {BESIDE[-1]}."
                    + did_you_mean(role, BESIDE)
                )
        object.__setattr__(self, "scene", str(self.scene))
        object.__setattr__(self, "truth", str(self.truth) if str(self.truth or "") else None)
        object.__setattr__(self, "keys", MappingProxyType({str(k): str(v) for k, v in dict(self.keys).items()}))
        object.__setattr__(self, "beside", MappingProxyType({role: beside[role] for role in BESIDE if role in beside}))

    def __hash__(self) -> int:
        return hash((self.scene, self.truth, frozenset(self.keys.items()), tuple(self.beside.items()), self.resample))

    def __reduce__(self) -> tuple[Any, ...]:
        return Source, (self.scene, self.truth, dict(self.keys), dict(self.beside), self.resample)

    @classmethod
    def of(cls, scene: str | Path | Source) -> Source:
        """The source itself, or the source of a name or path."""
        return scene if isinstance(scene, Source) else cls(str(scene))

    @property
    def stem(self) -> str:
        """A short name for folders: `sim-coast-town`, `flight`."""
        return Path(self.scene).stem

    def files(self) -> list[str]:
        """All paths: the scene (or its name), the truth, and the files of `beside`."""
        return [self.scene, *([] if self.truth is None else [self.truth]), *self.beside.values()]

    def open(self, **how: Any) -> xr.Dataset:
        """The scene, lazy. how: `chunks` and `ortho` of `workbench.data.catalog.open_scene`, which also lists the errors."""
        from workbench.data.catalog import open_scene

        return open_scene(
            self.scene,
            truth=self.truth,
            keys=dict(self.keys),
            beside=dict(self.beside),
            resample=self.resample,
            **how,
        )

    def digest(self) -> str:
        """SHA-256 over the files, without `keys` and `resample` and without opening the scene; 64 hexadecimal digits.

        For a catalogue entry, its fields are hashed (they contain the hashes of its files, which are checked when it is
        opened); for a path, the contents of the file and its companion files, or of the whole folder. The hash of a file is
        cached until its size or modification time changes.

        Raises InputError for a name or a file that does not exist.
        """
        from workbench.data.catalog import content

        digest = hashlib.sha256()
        known = content(self.scene)
        if known is None:
            _add(digest, self.scene)
        else:
            digest.update(known)
        if self.truth is not None:
            _add(digest, self.truth)
        for role, path in self.beside.items():
            digest.update(f"{role}\n".encode())
            _add(digest, path)
        return digest.hexdigest()

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the truth and of the files of `beside`, by absolute path; of a header, of its data file. Folders are left out."""
        from workbench.data.fetch import sha256
        from workbench.data.formats import cube_file

        paths = map(_absolute, [*([] if self.truth is None else [self.truth]), *self.beside.values()])
        return {path: sha256(cube_file(path)) for path in paths if Path(path).is_file()}

    def argv(self) -> list[str]:
        """The arguments of the command line that name this scene."""
        words = [self.scene]
        if self.truth is not None:
            words += ["--truth", self.truth]
        for name, key in self.keys.items():
            words += ["--key", f"{name}={key}"]
        for role, path in self.beside.items():
            words += ["--after", path] if role == "after" else ["--beside", f"{role}={path}"]
        return [*words, "--resample"] if self.resample else words

    def arguments(self) -> str:
        """The arguments in Python: `"'flight.hdr', truth='targets.png'"`, for `open_scene` and `Source`."""
        given = {"truth": self.truth, "keys": dict(self.keys), "beside": dict(self.beside), "resample": self.resample}
        return ", ".join([repr(self.scene), *(f"{name}={value!r}" for name, value in given.items() if value)])

    def absolute(self) -> Source:
        """The same with absolute paths, valid in any working folder; a catalogue name is not changed."""
        return Source(
            _absolute(self.scene),
            None if self.truth is None else _absolute(self.truth),
            self.keys,
            {role: _absolute(path) for role, path in self.beside.items()},
            self.resample,
        )

    def record(self) -> dict[str, Any]:
        """Plain JSON, paths absolute: `scene.open` of a run folder's `run.json`."""
        absolute = self.absolute()
        record: dict[str, Any] = {"scene": absolute.scene, "truth": absolute.truth, "keys": dict(absolute.keys)}
        return {**record, "beside": dict(absolute.beside), "resample": absolute.resample} if absolute.beside else record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Source:
        """The source of a `record`. Older records name the second date as `after`."""
        beside = {**({"after": record["after"]} if record.get("after") else {}), **record.get("beside", {})}
        return cls(
            record["scene"], record.get("truth"), record.get("keys") or {}, beside, bool(record.get("resample", False))
        )

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Source:
        """The source of a notebook's parameters `scene`, `truth`, `keys`, `after`, `beside` and `resample`."""
        beside = {"after": parameters.get("after") or "", **(parameters.get("beside") or {})}
        truth, keys = parameters.get("truth"), parameters.get("keys") or {}
        return cls(parameters["scene"], truth, keys, beside, bool(parameters.get("resample", False)))

    def parameters(self) -> dict[str, Any]:
        """The inverse of `from_parameters`; absent fields are left out, because not every notebook has them."""
        other = {role: path for role, path in self.beside.items() if role != "after"}
        given: dict[str, Any] = {"scene": self.scene, "truth": self.truth or "", "keys": dict(self.keys)}
        if "after" in self.beside or self.resample:
            given |= {"after": self.beside.get("after", ""), "resample": self.resample}
        return {**given, "beside": other} if other else given


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file with its companion files, or of a folder: over the names and hashes of its files."""
    digest = hashlib.sha256()
    _add(digest, path)
    return digest.hexdigest()


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(in_place(path)) if path.exists() else name


def in_place(path: Path) -> Path:
    """The absolute path; a link to a file stays a link, because its header may lie beside the link."""
    return path.parent.resolve() / path.name if path.is_symlink() and path.is_file() else path.resolve()


def _add(digest: Any, name: str | Path) -> None:
    """Add the names and hashes of the files of a path."""
    from workbench.data.fetch import sha256

    path = Path(name).expanduser()
    if not path.exists():
        raise InputError(f"There is no file {path}; correct the path.")
    path = in_place(path)
    if path.is_dir():
        inside = (p for p in sorted(path.rglob("*")) if p.is_file())
        files = [(p.relative_to(path).as_posix(), p) for p in inside if not of_system(p.relative_to(path).parts)]
    else:
        files = [(p.name, p) for p in _with_companions(path)]
    for label, file in files:
        digest.update(f"{label} {sha256(file)}\n".encode())


def _with_companions(path: Path) -> list[Path]:
    """A file and the files read with it: the header or data of an ENVI image, `a.tif.aux.xml`, a product's metadata."""
    from workbench.data.formats import pixels
    from workbench.data.readers import dlr
    from workbench.data.readers.files import Look

    same = [p for p in path.parent.iterdir() if path.stem in (p.stem, p.name) or p.name.startswith(f"{path.name}.")]
    belong = {p for p in same if p.is_file() and p.suffix.lower() in COMPANIONS}
    with (
        contextlib.suppress(InputError),
        Look(path) as look,
    ):  # a header without data or a damaged product: opening it raises the error
        belong |= {pixels(look), *(look.once(dlr.parts) or ())}
    return sorted({path, *belong})
