"""Data that moved since a run: found again near the run folder, in the folders that the user names, or in the catalogue.

    source = found_again(Source.from_record(scene["open"]), folder, scene)      # scene: that of run.json

The paths of a run are absolute. If a file is no longer there, it is looked for under the same names: in the folder of the
run and the folders above it (a project that was moved as a whole), in `--data-root DIR` (`WORKBENCH_DATA_ROOT`), there also
in all folders below, and by its hash under another name; at last, in the catalogue by its hash. The caller compares hashes, so
that a wrong file is never used.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.data.readers import envi_header
from workbench.data.readers.files import sha256 as hash_of
from workbench.data.readers.files import walk
from workbench.data.source import Source, in_place
from workbench.errors import InputError

ROOTS = "WORKBENCH_DATA_ROOT"  # folders that are searched, separated as in PATH
ABOVE = 6  # folders above the run folder that are looked into
MOST = 50_000  # files of one root whose names are compared


def found_again(source: Source, folder: str | Path, scene: Mapping[str, Any]) -> Source:
    """The source with paths that exist on this machine; the source itself where all do.

    folder: the run folder. scene: what the run recorded of its scene: `sha256`, of the file with the pixels, and `hashes`, those of
    `Source.hashes`, where they are known.

    Raises InputError that names the first file that was not found, and says how to point to it.
    """
    from workbench.data.catalog import names

    if Path(source.scene).expanduser().exists() or source.scene in names():
        place = source.scene
    else:
        place = _find(source.scene, Path(folder), str(scene.get("sha256") or ""))
    known = scene.get("hashes") or {}
    truth = source.truth
    if truth is not None and not Path(truth).expanduser().exists():
        truth = _find(truth, Path(folder), known.get(truth, ""))
    beside = {
        role: p if Path(p).expanduser().exists() else _find(p, Path(folder), known.get(p, ""))
        for role, p in source.beside.items()
    }
    return replace(source, scene=place, truth=truth, beside=beside)


def file_found_again(lost: str, folder: str | Path, same: Callable[[Path], bool]) -> str:
    """Where a file (or a run folder) that a setting of the run names lies now; of several with its name, the first that is the `same`.

    Raises InputError as `found_again` does.
    """
    own = Path(folder).resolve()
    bases = [*roots(), own, *list(own.parents)[:ABOVE]]
    named = list(itertools.chain(_same_names(lost, bases), _below(lost, roots(), "")))
    if not named:
        raise InputError(_nowhere(lost, own, "name"))
    return str(next(filter(same, named), named[0]).resolve())


def roots() -> list[Path]:
    """The folders that the user names in `WORKBENCH_DATA_ROOT`; InputError for one that does not exist."""
    given = [Path(p).expanduser() for p in os.environ.get(ROOTS, "").split(os.pathsep) if p]
    for path in given:
        if not path.is_dir():
            raise InputError(f"--data-root names {path}, which is no folder; give the folder where the data lie now.")
    return given


def _find(lost: str, folder: Path, sha256: str) -> str:
    own = folder.resolve()
    bases = [*roots(), own, *list(own.parents)[:ABOVE]]
    first = None
    for path in itertools.chain(_same_names(lost, bases), _below(lost, roots(), sha256)):
        if not sha256 or path.is_dir() or hash_of(path) == sha256:
            return str(in_place(path))
        first = first or path
    if first is not None:  # the hash is that of another file of the scene, such as the data of a header
        return str(in_place(first))
    entry = _in_catalogue(sha256)
    if entry is not None:
        return entry
    raise InputError(_nowhere(lost, own, "name and hash" if sha256 else "name"))


def _nowhere(lost: str, own: Path, by: str) -> str:
    looked = ", ".join(map(str, [*roots(), own.parent]))
    return (
        f"There is no file {lost}, with which {own} was made, and none of this {by} in {looked}. Say where the data are now: "
        "--data-root DIR (all folders below are searched)."
    )


def _same_names(lost: str, bases: list[Path]) -> Iterator[Path]:
    """Paths that end as the lost one, the longest common end first, in the order of the bases."""
    parts = Path(lost.replace("\\", "/")).parts
    for base in bases:
        for first in range(1, len(parts)):
            path = base.joinpath(*parts[first:])
            if path.exists():
                yield path


def _below(lost: str, bases: list[Path], sha256: str) -> Iterator[Path]:
    """Files below the bases of the same name; then, where the hash is known, those of the same suffix (of a
    header: the data files with a header) with that hash.
    """
    wanted = Path(lost.replace("\\", "/"))
    for base in bases:
        listed = list(itertools.islice(walk(base), MOST))
        yield from (p for p in listed if p.name == wanted.name)
        yield from (p for p in _folders(listed, base) if p.name == wanted.name)
        if sha256:
            headed = wanted.suffix.lower() == ".hdr"  # the hash is that of the data, which have a header beside them
            alike = (p for p in listed if (_data_of_header(p) if headed else p.suffix.lower() == wanted.suffix.lower()))
            yield from (p for p in alike if hash_of(p) == sha256)


def _data_of_header(path: Path) -> bool:
    return path.suffix.lower() != ".hdr" and envi_header.header_of(path) is not None


def _folders(listed: list[Path], base: Path) -> list[Path]:
    return list(dict.fromkeys(above for p in listed for above in p.parents if above != base and base in above.parents))


def _in_catalogue(sha256: str) -> str | None:
    """The path of the file of a catalogue entry with this hash, if it is on this machine or can be fetched."""
    from workbench.data.catalog import fetch, twin_of

    entry = twin_of(sha256) if sha256 else None
    if entry is None:
        return None
    try:
        return str(fetch(entry.id))
    except InputError:
        return None
