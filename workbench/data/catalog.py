"""The catalogue: scenes by name, with their publisher, licence, citation and notes.

    entries()                            # every entry of data_catalog/**/*.yml, simulated ones first
    scene = open_scene("hydice-urban-175")
    scene = open_scene("flight.hdr", truth="targets.png")
    scene = open_scene("eurosat-rgb-200")    # labelled chips; see workbench.data.chips
    scene = open_scene("2000.tif", beside={"after": "2003.tif"}, truth="change.png")  # a pair; see workbench.data.pairs

A scene opened here carries its provenance in `attrs`: id, title, source, citation, licence, SHA-256 of its file,
`anomalous_pixels`, and notes. The fields of an entry are described in data_catalog/README.md.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from workbench.data.entries import ENTRY, Entry
from workbench.data.records import Record
from workbench.data.roots import admit_all
from workbench.errors import InputError, reasons

if TYPE_CHECKING:
    import xarray as xr

    from workbench.data.readers.files import Look

LARGE = 2**30  # bytes; a larger file is hashed when the hash is needed, not when the file is opened


class _Collection(Record):
    """One YAML file: fields that its entries share, and the entries."""

    defaults: dict[str, Any] = Field({})
    entries: list[dict[str, Any]]


def entries() -> list[Entry]:
    """Every entry of the catalogue: simulated ones first (they need no files), then by name."""
    return sorted(_by_id().values(), key=lambda e: (e.ORDER, e.id))


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
    beside: Mapping[str, str | Path] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
) -> xr.Dataset:
    """The scene of that catalogue name or path, lazy, with provenance: `hsi (band, y, x)` and, where known, `truth (y, x)`;
    of chips `image (sample, band, y, x)` and `label (sample)`; of pairs `before`, `after (band, y, x)` and `truth (y, x)`.

    name: a name of `names()`, or a path: to a file or product folder that `workbench.data.formats.FORMATS` knows, to a folder
        or zip of chips in class folders, to a folder of pairs (A, B, label), or to a coreset file (.yml). A catalogue name
        wins over a file of the same name (write ./name for the file).
    truth, keys: see `workbench.data.formats.open_file`; they also override those of a catalogue entry. An entry that takes
        none refuses them.
    beside: role -> file; `after=FILE` is short for `beside={"after": FILE}`. `after`, the image of the second date,
        makes the scene a pair (`workbench.data.pairs.open_pair`); `lidar`, `sar` and `infrared` add another sensor on the same grid
        (`workbench.data.beside.put_beside`). `resample` puts the second date, heights and infrared onto the pixels of the first file.
    chunks, ortho: see `open_file`; of cubes only.

    Catalogue files are found by `workbench.data.fetch`, which may download them. Raises InputError for an
    unknown name (with similar ones), for files that cannot be found, and for everything that `open_file` refuses.
    """
    if after is not None:
        if "after" in (beside or {}):
            raise InputError("The second date was given twice, as after and in beside; give it once.")
        beside = {**(beside or {}), "after": after}
    for path in (beside or {}).values():
        admit_all(path)
    if beside:
        from workbench.data.beside import put_beside

        others = {role: path for role, path in beside.items() if role != "after"}
        if others:
            dates = {role: path for role, path in beside.items() if role == "after"}
            how: dict[str, Any] = {"truth": truth, "chunks": chunks, "ortho": ortho, "beside": dates, "resample": resample}
            own = {k: v for k, v in (keys or {}).items() if k.partition(".")[0] not in others}
            first = open_scene(name, keys=own, **how) if dates else _opened(name, truth, own, chunks, ortho, others.values())
            return put_beside(first, others, keys, chunks, resample)
    second = (beside or {}).get("after")
    entry = _by_id().get(str(name))
    if second is not None:
        if entry is not None:
            raise InputError(f"{name} is a scene of the catalogue; a second image (after) needs the path of a first one.")
        from workbench.data.pairs import open_pair

        for path in (name, *([] if truth in (None, "", "none") else [truth])):
            admit_all(path)  # type: ignore[arg-type]
        return open_pair(name, second, truth, resample=resample, keys=keys)
    if resample:
        raise InputError("resample puts a further file onto the pixels of the first; name it with after, or in beside.")
    return _opened(name, truth, keys, chunks, ortho)


def _opened(
    name: str | Path,
    truth: str | Path | None,
    keys: Mapping[str, str] | None,
    chunks: Mapping[str, int] | str | None,
    ortho: bool,
    used: Iterable[str | Path] = (),
) -> xr.Dataset:
    """The scene of a catalogue name or a path. used: files beside it that are opened as well."""
    entry = _by_id().get(str(name))
    if truth is not None and str(truth) != "none":
        admit_all(truth)
    if entry is not None:
        return entry.open(truth=truth, keys=keys, chunks=chunks, ortho=ortho)
    check_name(name)
    admit_all(name)
    from workbench.data.formats import Request, open_path, pixels
    from workbench.data.readers import envi_header
    from workbench.data.readers.files import Look, not_read, same_name

    with Look(name) as look:
        row, scene = open_path(look, Request(truth, keys or {}, chunks, ortho, by_name=open_scene))
        if row.hashed and look.is_file:
            known = [*used, *([] if truth is None else [truth])]
            pair = look.once(envi_header.pair) if row.name.startswith("ENVI") else None
            known += [pixels(look)] if pair is None else [pair.header, pair.data]
            told = not_read(same_name(look, known), "of the same name beside it")
            scene.attrs["notes"] = "\n".join([*str(scene.attrs.get("notes", "")).splitlines(), *told])
        return _signed(scene, look, hashed=row.hashed)


def _signed(scene: xr.Dataset, look: Look, hashed: bool) -> xr.Dataset:
    """A scene from a path with its provenance: the SHA-256 of its file, and the fields of the catalogue entry that has the
    same file.

    hashed: whether the hash is computed from the file; else the scene already has one. Attributes that a scene saved by the
    workbench already has are kept, such as `simulated`.
    """
    from workbench.data import fetch as fetching
    from workbench.data.formats import pixels as pixels_of

    path = look.path
    title = str(scene.attrs.get("title") or path.name)
    about = {"simulated": "", "id": path.stem, "source": f"file {path.name}", **scene.attrs, "title": title}
    if hashed:
        pixels = pixels_of(look)
        if _large(pixels):  # not a catalogue file; it is hashed when a run on it is recorded (`workbench.scene.file_hash`)
            about.pop("sha256", None)
            scene.attrs = {**about, "file": str(pixels.resolve())}
            return scene
        about["sha256"] = fetching.sha256(pixels, look if pixels == path else None)
    scene.attrs = about
    twin = _by_sha256().get(str(about.get("sha256")))
    if twin is None:
        return scene
    note = f"the file is that of the catalogue entry {twin.id} (same SHA-256)"
    known = {k: getattr(twin, k) for k in ("sensor", "citation", "licence")}
    own = [n for n in str(about.get("notes", "")).splitlines() if n]
    scene.attrs.update(known, id=path.stem, source=twin.publisher, simulated="", notes="\n".join([*own, note, *twin.notes]))
    return scene


def fetch(name: str) -> Path:
    """The verified cube file of a catalogue entry on this machine (ENVI: its header is beside it; chips and pairs:
    their folder or first file), downloaded if need be.

    Raises InputError for an unknown name, a simulated scene, or files that cannot be found or downloaded.
    """
    return _entry(name).place()


def content(name: str | Path) -> bytes | None:
    """Bytes that identify the scene of a catalogue entry: its fields, which contain the hashes of its files, and the package
    files that it is simulated from. None for a path, whose file is hashed instead.

    Raises InputError for a name that is neither an entry nor a path.
    """
    entry = _by_id().get(str(name))
    if entry is None:
        if not _is_path(name):
            raise InputError(_unknown(str(name)))
        return None
    return entry.content()


def describe_entry(name: str) -> str:
    """The description of an entry as text, without opening or downloading anything."""
    entry = _entry(name)
    about = [f"  citation: {entry.citation}", f"  licence: {entry.licence}", *(f"  note: {n}" for n in entry.notes)]
    return "\n".join([f"{entry.id}: {entry.title}", *entry.card(), *about])


def _large(pixels: Path) -> bool:
    """Whether a file or folder is too large to be hashed when it is opened. Not where it is as large as a catalogue file:
    it may be that file.
    """
    size = sum(p.stat().st_size for p in pixels.rglob("*") if p.is_file()) if pixels.is_dir() else pixels.stat().st_size
    known = {f.bytes for e in _by_id().values() for f in e.pixel_files()}
    return size > LARGE and size not in known


def _is_path(name: str | Path) -> bool:
    """Whether the name is a path: the file exists, or the name contains a folder or a suffix."""
    text = os.fspath(name)
    return isinstance(name, Path) or any(c in text for c in "/\\.~") or os.path.exists(text)


def _entry(name: str) -> Entry:
    if name not in _by_id():
        raise InputError(_unknown(name))
    return _by_id()[name]


def check_name(name: str | Path) -> None:
    """Raise InputError, with similar names, for a name that is neither in the catalogue nor a path. Opens nothing."""
    if str(name) not in _by_id() and not _is_path(name):
        raise InputError(_unknown(str(name)) + " A path to a file works too, but there is no file of that name.")


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
def _by_sha256() -> dict[str, Any]:
    """SHA-256 of a file -> the entry whose scene it holds."""
    return {str(f.sha256): e for e in _by_id().values() for f in e.pixel_files()}


def twin_of(sha256: str) -> Entry | None:
    """The entry whose file has this SHA-256; None where none has."""
    return _by_sha256().get(sha256)


def read_folder(folder: Path) -> dict[str, Entry]:
    """id -> entry of every YAML file in a folder; `defaults` of a file fill the missing fields of its entries.

    Raises InputError naming file and entry when a field is missing, unknown or wrong, or an id occurs twice.
    """
    from workbench.runs.loader import read_bytes, yaml_of

    by_id: dict[str, Entry] = {}
    for path in sorted(folder.rglob("*.yml")):
        try:
            collection = _Collection.model_validate(yaml_of(read_bytes(path), path.name, aliases=True))
        except ValidationError as error:
            raise InputError(f"{path.name}: {reasons(error)}") from None
        for fields in collection.entries:
            try:
                entry = ENTRY.validate_python({**collection.defaults, **fields})
            except ValidationError as error:
                raise InputError(f"{path.name}, entry {fields.get('id', '?')}: {reasons(error)}") from None
            if entry.id in by_id:
                raise InputError(f"{path.name}: the id {entry.id} occurs twice")
            by_id[entry.id] = entry
    return {name: entry.completed(by_id) for name, entry in by_id.items()}
