"""The catalogue: scenes by name, with where they come from, under which terms, and what is known about them.

    entries()                            # every entry of data_catalog/**/*.yml, simulated ones first
    scene = open_scene("hydice-urban-175")
    scene = open_scene("flight.hdr", truth="targets.png")
    scene = open_scene("eurosat-rgb-200")    # labelled chips; see workbench.data.chips
    scene = open_scene("2000.tif", after="2003.tif", truth="change.png")  # a pair; see workbench.data.pairs

A scene opened here carries its provenance in `attrs`: id, title, source, citation, licence, SHA-256 of its file,
`anomalous_pixels`, and notes. The fields of an entry are described in data_catalog/README.md.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from workbench.data import chips, multimodal, pairs, records
from workbench.data import entries as kinds
from workbench.data.chips import Chips, open_chips, relative
from workbench.data.coresets import open_coreset
from workbench.data.entries import Boxes, Sar
from workbench.data.multimodal import Multimodal
from workbench.data.pairs import Pairs
from workbench.data.records import Record
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

LARGE = 2**30  # bytes of a file above which its hash is made when it is needed, not when it is opened


class File(Record):
    """One file of an entry."""

    role: Literal["cube", "header", "truth"]
    path: Annotated[str, AfterValidator(relative)] = Field(description="below WORKBENCH_DATA and below the cache")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    url: str | None = Field(None, pattern=r"^https://", description="pinned public mirror of exactly this file")


class Keys(Record):
    """Names of the arrays in a file that holds several; truth "none" says that nothing in it is a truth."""

    cube: str | None = None
    truth: str | None = None
    wavelength: str | None = None


class Shape(Record):
    band: int = Field(gt=1)
    y: int = Field(gt=1)
    x: int = Field(gt=1)


class Reference(Record):
    """A number computed independently of this package, and how."""

    rx_auc: float = Field(ge=0, le=1)
    source: str


class Hyperspectral(records.Sourced):
    """A hyperspectral cube in one file (ENVI: two), with or without a truth mask or a map of classes."""

    kind: Literal["hyperspectral"]
    mask: str | None = Field(None, description="where the truth mask comes from")
    shape: Shape
    files: list[File]
    keys: Keys = Keys()
    anomalous_pixels: int | None = Field(None, ge=1)
    classes: list[str] = Field(
        [], description="names of the classes 1, 2, ... of a truth file that holds classes; 0 is not labelled"
    )
    labelled_pixels: int | None = Field(None, ge=1, description="with classes")
    wavelengths: list[float] = Field([], description="nm, one for each band, where the file has none")
    reference: Reference | None = None

    @model_validator(mode="after")
    def _one_cube(self) -> Hyperspectral:
        roles = [f.role for f in self.files]
        if roles.count("cube") != 1 or len(set(roles)) != len(roles):
            raise ValueError("needs exactly one cube file, and at most one header and one truth file")
        if len({PurePosixPath(f.path).parent for f in self.files}) != 1:
            raise ValueError("the files of an entry must lie in one folder")
        if self.wavelengths and len(self.wavelengths) != self.shape.band:
            raise ValueError("wavelengths must be one number for each band")
        if self.classes and ("truth" not in roles or self.labelled_pixels is None):
            raise ValueError("classes need a truth file and labelled_pixels")
        return self

    def file(self, role: str) -> File | None:
        return next((f for f in self.files if f.role == role), None)


class Simulated(records.Entry):
    """A simulated scene, made when it is opened."""

    kind: Literal["simulated"]
    generator: str = Field(description="name that `workbench.data.synth.make` takes")


class SimulatedPairs(records.Entry):
    """A simulated pair or set of pairs, made when it is opened."""

    kind: Literal["simulated-pairs"]
    generator: str = Field(description="name that `workbench.data.synth_change.make` takes")


# Further kinds join this union and a branch of `open_scene`.
Entry = Hyperspectral | Simulated | SimulatedPairs | Chips | Pairs | Boxes | Sar | Multimodal
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


class _Collection(Record):
    """One YAML file: fields that its entries share, and the entries."""

    defaults: dict[str, Any] = Field({})
    entries: list[dict[str, Any]]


def entries() -> list[Entry]:
    """Every entry of the catalogue: simulated ones first (they work anywhere), then by name."""
    first = {"simulated": 0, "simulated-pairs": 1}
    return sorted(_by_id().values(), key=lambda e: (first.get(e.kind, 2), e.id))


def names() -> list[str]:
    """The names that `open_scene` knows, in the order of `entries`."""
    return [e.id for e in entries()]


def open_scene(
    name: str | Path,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    chunks: Mapping[str, int] | str | None = "auto",
    ortho: bool = False,
    after: str | Path | None = None,
    resample: bool = False,
) -> xr.Dataset:
    """The scene of that catalogue name or path, lazy, with provenance: `hsi (band, y, x)` and, where known, `truth (y, x)`;
    of chips `image (sample, band, y, x)` and `label (sample)`; of pairs `before`, `after (band, y, x)` and `truth (y, x)`.

    name: a name of `names()`, or a path: to a file or product folder that `workbench.data.readers.open_file` reads, to a folder
        or zip of chips in class folders, to a folder of pairs (A, B, label), or to a coreset file (.yml). A catalogue name
        wins over a file of the same name (write ./name for the file).
    truth, keys: see `workbench.data.readers.open_file`; they also override what the catalogue says.
    after, resample: the image of the second date makes a pair of it; see `workbench.data.pairs.open_pair`.
    chunks, ortho: see `open_file`; of cubes only.

    Catalogue files are looked up as `workbench.data.fetch` says, which may download them. Raises InputError for an
    unknown name (with near ones), for files that cannot be had, and for everything that `open_file` refuses.
    """
    from workbench.data.readers import sar

    entry = _by_id().get(str(name))
    if after is not None:
        if entry is not None:
            raise InputError(
                f"{name} is a scene of the catalogue; a second image (after) goes with the path of a first one."
            )
        return pairs.open_pair(name, after, truth, resample=resample, keys=keys)
    if resample:
        raise InputError("resample puts the second image of a pair onto the first; name the second with after.")
    if isinstance(entry, Simulated | SimulatedPairs):
        return _simulated(entry, truth, keys)
    if isinstance(entry, Chips):
        if truth is not None or keys:
            raise InputError(f"{entry.id} has a label for every chip; leave truth and key out.")
        return chips.open_entry(entry)
    if isinstance(entry, Pairs):
        if truth is not None or keys:
            raise InputError(f"{entry.id} brings its own reference of what changed; leave truth and key out.")
        return pairs.open_entry(entry)
    if isinstance(entry, Sar):
        return kinds.open_sar_entry(entry, truth, keys, chunks)
    if isinstance(entry, Boxes):
        return kinds.open_boxes_entry(entry, truth, keys, chunks)
    if isinstance(entry, Multimodal):
        return multimodal.open_entry(entry, truth, keys, chunks)
    if entry is not None:
        return _catalogued(entry, truth, keys, {"chunks": chunks, "ortho": ortho})
    path = Path(name).expanduser()
    reader = sar.opener(path, keys)
    if reader is not None:
        return _own(reader(path, truth=truth, keys=keys, chunks=chunks), path)
    opener = _labelled(path)
    if opener is not None:
        if truth is not None or keys:
            raise InputError(f"{path.name} holds samples with labels of their own; leave truth and key out.")
        return opener(path)
    if not _is_path(name):
        raise InputError(_unknown(str(name)) + " A path to a file works too, but there is no file of that name.")
    return _bare(path, truth, keys, {"chunks": chunks, "ortho": ortho})


def _own(scene: xr.Dataset, path: Path) -> xr.Dataset:
    """A SAR scene or chips with boxes from a path, with the SHA-256 of its file where the reader gave none, and a note where it is
    that of a catalogue entry."""
    from workbench.data import fetch as fetching

    if not scene.attrs.get("sha256"):
        if _large(path):
            scene.attrs["file"] = str(path.resolve())
            return scene
        scene.attrs["sha256"] = fetching.sha256(path)
    found = scene.attrs["sha256"]
    twin = next((e for e in _by_id().values() if isinstance(e, Sar) and any(f.sha256 == found for f in e.files)), None)
    if twin is not None:
        note = f"the file is that of the catalogue entry {twin.id} (same SHA-256)"
        about = {"source": twin.publisher, "sensor": twin.sensor, "citation": twin.citation, "licence": twin.licence}
        notes = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
        scene.attrs.update(about, notes="\n".join([*notes, note]))
    return scene


def _labelled(path: Path) -> Callable[[Path], xr.Dataset] | None:
    """What opens a path to labelled samples: a coreset file, a folder of pairs, or a folder or zip of chips; else None."""
    if pairs.sets_in(path):
        return pairs.open_pairs
    if path.suffix.lower() in (".yml", ".yaml") and path.is_file():
        return lambda p: open_coreset(p, open_scene)
    from workbench.data.readers import is_folder_scene

    if is_folder_scene(path):
        return None
    return open_chips if path.is_dir() or (path.suffix.lower() == ".zip" and path.is_file()) else None


def fetch(name: str) -> Path:
    """The verified cube file of a catalogue entry on this machine (ENVI: its header is beside it; chips and pairs:
    their folder or first file), downloaded if need be.

    Raises InputError for an unknown name, a simulated scene, or when the files cannot be had.
    """
    entry = _entry(name)
    if isinstance(entry, Simulated | SimulatedPairs):
        raise InputError(f"{name} is simulated: it is made when it is opened, and there is nothing to fetch.")
    if isinstance(entry, Sar | Boxes):
        return kinds.place(entry)
    if isinstance(entry, Multimodal):
        return multimodal.place(entry)
    if isinstance(entry, Chips):
        if not entry.files:
            raise InputError(f"{name} comes with the package; there is nothing to fetch.")
        return chips.locate(entry)[0]
    if isinstance(entry, Pairs):
        return pairs.locate(entry)[0]
    paths = kinds.verified(entry)
    return next(p for p, f in zip(paths, entry.files, strict=True) if f.role == "cube")


def source_hash(name: str | Path, truth: str | Path | None = None) -> str:
    """SHA-256 that changes when the scene of that name or path does, without opening it.

    Of a catalogue entry, what the catalogue says of it (its files' own hashes are in there, and are checked when it is
    opened); of a path, the contents of the file and of those that belong to it, or of the whole folder.

    Raises InputError for a name that is neither.
    """
    import hashlib

    digest = hashlib.sha256()
    entry = _by_id().get(str(name))
    if entry is not None:
        digest.update(entry.model_dump_json().encode())
        if isinstance(entry, Simulated):
            digest.update(b"".join(p.read_bytes() for p in sorted((_folder() / "spectra").glob("*.csv"))))
    else:
        path = Path(name).expanduser()
        if not path.exists():
            raise InputError(_unknown(str(name)) if not _is_path(name) else f"There is no file {path}.")
        _hash_into(digest, path)
    if truth is not None:
        _hash_into(digest, Path(truth).expanduser())
    return digest.hexdigest()


def _hash_into(digest: Any, path: Path) -> None:
    from workbench.data import fetch as fetching

    if path.is_dir():
        files = [(p.relative_to(path).as_posix(), p) for p in sorted(path.rglob("*")) if p.is_file()]
    else:  # the header of an ENVI file lies beside it, under the same name with another suffix, or with one more
        beside = [p for p in path.parent.glob(f"{path.stem}*") if path.stem in (p.stem, p.name)] if path.exists() else [path]
        files = [(p.name, p) for p in sorted({path, *beside}) if p == path or p.is_file()]
    for name, file in files:
        digest.update(f"{name} {fetching.sha256(file)}\n".encode())


def describe_entry(name: str) -> str:
    """A printed card of an entry, without opening or downloading anything."""
    from workbench.data import fetch as fetching

    entry = _entry(name)
    lines = [f"{entry.id}: {entry.title}"]
    if isinstance(entry, Simulated | SimulatedPairs):
        lines.append("  SIMULATED data, made when it is opened")
    elif isinstance(entry, Chips):
        lines += chips.card(entry)
    elif isinstance(entry, Pairs):
        lines += pairs.card(entry)
    elif isinstance(entry, Sar | Boxes):
        lines += kinds.card(entry)
    elif isinstance(entry, Multimodal):
        lines += multimodal.card(entry)
    else:
        s = entry.shape
        lines.append(f"  cube: {s.y} x {s.x} pixels, {s.band} bands, {entry.sensor}")
        if entry.anomalous_pixels is not None:
            lines.append(f"  truth: {entry.anomalous_pixels} anomalous pixels of {s.y * s.x}; {entry.mask or 'mask'}")
        elif entry.classes:
            labelled = f"{entry.labelled_pixels} labelled pixels of {s.y * s.x}"
            lines.append(f"  truth: {len(entry.classes)} classes, {labelled}; {entry.mask or 'map of classes'}")
        else:
            lines.append("  truth: none")
        if entry.reference is not None:
            lines.append(f"  global RX: AUC {entry.reference.rx_auc:.6f} ({entry.reference.source})")
        lines.append(f"  publisher: {entry.publisher}")
    lines += [f"  citation: {entry.citation}", f"  licence: {entry.licence}"]
    if isinstance(entry, Hyperspectral):
        here = fetching.find(entry.files)
        for i, f in enumerate(entry.files):
            absent = f"not on this machine ({f.bytes / 1e6:.1f} MB at {f.url or entry.obtain})"
            lines.append(f"  {f.role}: {here[i] if here else absent}")
            lines.append(f"    sha256 {f.sha256}")
    return "\n".join([*lines, *(f"  note: {n}" for n in entry.notes)])


def _simulated(entry: Simulated | SimulatedPairs, truth: Any, keys: Any) -> xr.Dataset:
    if truth is not None or keys:
        raise InputError(f"{entry.id} is simulated and brings its own truth; leave truth and key out.")
    about = {"source": "simulated by workbench", "citation": entry.citation, "licence": entry.licence}
    if isinstance(entry, SimulatedPairs):
        from workbench.data import synth_change

        scene = synth_change.make(entry.generator)
        scene.attrs = {**about, **scene.attrs}
        return scene
    from workbench.data import synth

    scene = synth.make(entry.generator)
    scene.attrs = {**about, **scene.attrs, "anomalous_pixels": int((scene["truth"] > 0).sum())}
    return scene


def _catalogued(
    entry: Hyperspectral, truth: str | Path | None, keys: Mapping[str, str] | None, how: Mapping[str, Any]
) -> xr.Dataset:
    from workbench.data.readers import open_file
    from workbench.data.readers.truth import read_classes

    places = {f.role: p for f, p in zip(entry.files, kinds.verified(entry), strict=True)}
    known = entry.keys.model_dump(exclude_none=True)
    if truth is not None:
        known.pop("truth", None)  # a name in the cube's file, not in the one given
    elif (keys or {}).get("truth") is None and not entry.classes:
        truth = places.get("truth")
    scene = open_file(places["cube"], truth=truth, keys={**known, **(keys or {})}, **how)
    if entry.classes and truth is None and (keys or {}).get("truth") is None:
        classes = read_classes(places["truth"], (entry.shape.y, entry.shape.x), len(entry.classes))
        scene["truth"] = (("y", "x"), classes, {"names": ["background", *entry.classes]})
    if entry.wavelengths and "wavelength" not in scene.coords:
        about = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
        scene = scene.assign_coords(wavelength=("band", np.array(entry.wavelengths), about))
    cube = entry.file("cube")
    assert cube is not None
    return _signed(scene, entry, id=entry.id, title=entry.title, sha256=cube.sha256, notes=entry.notes)


def _bare(path: Path, truth: str | Path | None, keys: Mapping[str, str] | None, how: Mapping[str, Any]) -> xr.Dataset:
    from workbench.data import fetch as fetching
    from workbench.data.readers import cube_file, open_file

    scene = open_file(path, truth=truth, keys=keys, **how)
    pixels = cube_file(path)
    title = str(scene.attrs.get("title") or path.name)
    if _large(pixels):  # no file of the catalogue; it is hashed when a run on it is recorded (`workbench.scene.file_hash`)
        about = {"id": path.stem, "title": title, "source": f"file {path.name}", "file": str(pixels.resolve())}
        scene.attrs = {"simulated": "", **about, **scene.attrs}
        return scene
    found = fetching.sha256(pixels)
    twin = _by_sha256().get(found)
    if twin is None:
        about = {"id": path.stem, "title": title, "source": f"file {path.name}", "sha256": found}
        # what a scene of ours says about itself stays, above all that it is simulated
        scene.attrs = {"simulated": "", **about, **scene.attrs, "sha256": found}
        return scene
    note = f"the file is that of the catalogue entry {twin.id} (same SHA-256)"
    return _signed(scene, twin, id=path.stem, title=title, sha256=found, notes=[note, *twin.notes])


def _large(pixels: Path) -> bool:
    """Whether reading all of a file or folder only to know its hash would keep its user waiting."""
    size = sum(p.stat().st_size for p in pixels.rglob("*") if p.is_file()) if pixels.is_dir() else pixels.stat().st_size
    known = {f.bytes for e in _by_sha256().values() for f in e.files}
    return size > LARGE and size not in known


def _signed(scene: xr.Dataset, entry: Hyperspectral, *, id: str, title: str, sha256: str, notes: list[str]) -> xr.Dataset:
    """The scene with the provenance of `entry`; notes of the reader stay."""
    own = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
    scene.attrs.update(
        id=id,
        title=title,
        source=entry.publisher,
        sensor=entry.sensor,
        citation=entry.citation,
        licence=entry.licence,
        sha256=sha256,
        simulated="",
        notes="\n".join([*own, *notes]),
    )
    return scene


def _is_path(name: str | Path) -> bool:
    """Whether somebody who wrote this meant a file: it exists, has a folder in it, or has a suffix."""
    text = os.fspath(name)
    return isinstance(name, Path) or any(c in text for c in "/\\.~") or os.path.exists(text)


def _entry(name: str) -> Entry:
    if name not in _by_id():
        raise InputError(_unknown(name))
    return _by_id()[name]


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), _by_id(), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"There is no scene {name!r} in the catalogue.{hint} `workbench list` shows all."


@cache
def _by_id() -> dict[str, Entry]:
    return read_folder(_folder())


def _folder() -> Path:
    from workbench.resources import folder

    return folder("data_catalog")


@cache
def _by_sha256() -> dict[str, Hyperspectral]:
    return {f.sha256: e for e in _by_id().values() if isinstance(e, Hyperspectral) for f in e.files if f.role == "cube"}


def read_folder(folder: Path) -> dict[str, Entry]:
    """id -> entry of every YAML file in a folder; `defaults` of a file are put under each of its entries.

    Raises ValueError naming file and entry when a field is missing, unknown or wrong, or an id is there twice.
    """
    import yaml

    found: dict[str, Entry] = {}
    for path in sorted(folder.rglob("*.yml")):
        try:
            collection = _Collection.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValidationError, yaml.YAMLError) as error:
            raise ValueError(f"{path.name}: {error}") from None
        for fields in collection.entries:
            try:
                entry = _ENTRY.validate_python({**collection.defaults, **fields})
            except ValidationError as error:
                raise ValueError(f"{path.name}, entry {fields.get('id', '?')}: {error}") from None
            if entry.id in found:
                raise ValueError(f"{path.name}: the id {entry.id} is there twice")
            found[entry.id] = entry
    return found
