"""A run folder as one zip file that others can check: an RO-Crate 1.1 with a SHA-256 for every file.

    pack("runs/first", "first.zip")
    unpack("first.zip", "runs")          # refuses an archive in which a file was changed

The description `ro-crate-metadata.json` follows https://w3id.org/ro/crate/1.1; `manifest-sha256.txt` has the same sums for
`sha256sum -c`. The same folder always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from workbench import runs
from workbench.errors import InputError
from workbench.runs.folder import OWNER
from workbench.runs.heartbeat import BEAT
from workbench.runs.imported import MARK, mark
from workbench.runs.loader import LARGEST, json_of

DESCRIPTION = "ro-crate-metadata.json"
MANIFEST = "manifest-sha256.txt"
OURS = ("uploads", "scenes")  # folders beside the runs that hold something else
# useful only on this machine
LEFT_OUT = {"checkpoint.pt", "control.json", "paused", "launch.json", "lock", OWNER, BEAT, MARK}
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
KINDS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".html": "text/html",
    ".ipynb": "application/x-ipynb+json",
    ".nc": "application/netcdf",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".png": "image/png",
    ".yml": "application/yaml",
}
EPOCH = (1980, 1, 1, 0, 0, 0)
PIECE = 1 << 20  # bytes that are read at a time
LARGEST_GB = 4.0  # of the files of an imported run, if the user allows no more
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)  # what reading a damaged member raises


class File(NamedTuple):
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


def pack(folder: str | Path, out: str | Path) -> Path:
    """Write the run in `folder` to the zip file `out`.

    Raises InputError when the folder is no run, is still being written, or has a link or a file that is not an ordinary one,
    and when `out` exists or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    about = runs.read(folder)
    if about["status"] == "running":
        raise InputError(f"{folder} is still being written; wait for it or stop it, then export it.")
    if out.exists():
        raise InputError(f"{out} already exists and nothing is overwritten; choose another name with --out.")
    files = {p.relative_to(folder).as_posix(): p for p in _ordinary(folder)}
    try:
        facts = {name: File(path.stat().st_size, _sha256(path)) for name, path in files.items()}
    except OSError as error:
        raise InputError(f"{folder} cannot be exported: {error.filename}: {error.strerror}.") from None
    graph = json.dumps(_description(folder.name, about, runs.metrics(folder), facts), indent=2).encode()
    sums = {name: file.sha256 for name, file in facts.items()} | {DESCRIPTION: hashlib.sha256(graph).hexdigest()}
    made = {DESCRIPTION: graph, MANIFEST: "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()}

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files.keys() | made.keys()):
                entry = zipfile.ZipInfo(f"{folder.name}/{name}", EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                source: IO[bytes] = io.BytesIO(made[name]) if name in made else open(files[name], "rb")  # noqa: SIM115
                with source, archive.open(entry, "w", force_zip64=True) as into:
                    shutil.copyfileobj(source, into, PIECE)

    with runs.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        runs.replace(out, write)
    return out


def _ordinary(folder: Path) -> list[Path]:
    """The files of a run, sorted. Raises InputError for a link, which could lead out of the folder, and for a pipe or a device."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            what = f"a link to {path.readlink()}" if path.is_symlink() else "not an ordinary file"
            raise InputError(
                f"{path} is {what}; only ordinary files are exported. Put the file itself in its place, or delete it."
            )
        if path.is_file() and path.name not in LEFT_OUT and path.suffix != ".part":
            found.append(path)
    return found


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _description(name: str, about: dict[str, Any], metrics: dict[str, float], facts: dict[str, File]) -> dict[str, Any]:
    """The JSON-LD: the crate, its files, the software, the scene, and the run as a `CreateAction`."""
    scene = about.get("scene") or {}
    described = f"Run of {about.get('method')} on {scene.get('title') or scene.get('id')}"
    if scene.get("simulated"):
        described += " (simulated data)"
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": name,
        "description": described,
        "datePublished": about.get("end") or about.get("start"),
        "license": f"The run has no licence of its own; licence of its data: {scene.get('licence') or 'none stated'}",
        "hasPart": [{"@id": n} for n in sorted(facts)],
        "mentions": {"@id": "#run"},
        "variableMeasured": [{"@id": f"#{metric}"} for metric in metrics],
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": described,
        "startTime": about.get("start"),
        "endTime": about.get("end"),
        "actionStatus": {
            "@id": "http://schema.org/"
            + ("CompletedActionStatus" if about["status"] == "finished" else "FailedActionStatus")
        },
        "instrument": {"@id": "#workbench"},
        "object": {"@id": "#scene"},
        "result": {"@id": "./"},
    }
    software = {
        "@id": "#workbench",
        "@type": "SoftwareApplication",
        "name": "workbench",
        "softwareVersion": (about.get("versions") or {}).get("workbench"),
        "identifier": about.get("commit") or about.get("code"),
        "softwareRequirements": {"@id": "packages.txt"},
    }
    data = {
        "@id": "#scene",
        "@type": "Dataset",
        "name": str(scene.get("title") or scene.get("id") or "scene"),
        "identifier": runs.data_hash(about),
        "creditText": str(scene.get("citation") or ""),
        "license": str(scene.get("licence") or "none stated"),
    }
    values = [{"@id": f"#{n}", "@type": "PropertyValue", "name": n, "value": v} for n, v in metrics.items()]
    files = [
        {
            "@id": n,
            "@type": "File",
            "name": PurePosixPath(n).name,
            "encodingFormat": KINDS.get(PurePosixPath(n).suffix, "application/octet-stream"),
            "contentSize": str(file.size),
            "sha256": file.sha256,
        }
        for n, file in sorted(facts.items())
    ]
    descriptor = {
        "@id": DESCRIPTION,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    context = ["https://w3id.org/ro/crate/1.1/context", TERMS]
    return {"@context": context, "@graph": [descriptor, root, action, software, data, *values, *files]}


def unpack(file: str | Path, root: str | Path, *, largest_gb: float = LARGEST_GB) -> Path:
    """Check a zip file made by `pack` and put its run folder under `root`, marked as imported; returns the folder.

    largest_gb: size of the unpacked files at most, in GB.

    Raises InputError when the file is no such crate, when a file in it is missing, changed or not listed, when its files are too
    large, and when the run folder exists or cannot be written. Then nothing is written under `root`.
    """
    file, root = Path(file), Path(root)
    try:
        if not file.is_file() and file.exists():
            raise InputError(f"{file} cannot be read as a zip file: it is not an ordinary file.")
        archive = zipfile.ZipFile(file)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} cannot be read as a zip file: {getattr(error, 'strerror', None) or error}.") from None
    with archive:
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        tops = {n.partition("/")[0] for n in members}
        if len(tops) != 1 or not all(_harmless(n) for n in members) or len(members) != _count(archive):
            raise InputError(f"{file} does not hold one run folder; it was not made by `workbench runs export`.")
        size = sum(info.file_size for info in members.values())
        if size > largest_gb * 1e9:
            raise InputError(
                f"{file} unpacks to {size / 1e9:.2f} GB; at most {largest_gb:g} GB are unpacked (--largest GB allows more)."
            )
        top = tops.pop()
        folder, part = root / top, root / f"{top}.part"
        if folder.exists():
            raise InputError(f"{folder} already exists and nothing is overwritten; choose another folder with --root.")
        try:
            shutil.rmtree(part, ignore_errors=True)  # of an import that was killed
            listed = _listed(file, archive, top)
            _extract(file, archive, {n.partition("/")[2]: info for n, info in members.items()}, listed, part)
            mark(part, file, _sha256(file), runs.now())
            part.rename(folder)
        except OSError as error:
            why = error.strerror or str(error)
            raise InputError(f"{file} cannot be unpacked into {root}: {why}; choose another folder with --root.") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _count(archive: zipfile.ZipFile) -> int:
    """Number of files in an archive; larger than that of their names if a name is there twice."""
    return sum(not info.is_dir() for info in archive.infolist())


def _harmless(name: str) -> bool:
    """Whether the file would be unpacked inside a run folder: its name is written as a plain path, without an empty part (the rest of
    `run//etc/x` would begin at the root), and the folder is none that the workbench keeps beside the runs, such as `.queue`.
    """
    path = PurePosixPath(name)
    plain = str(path) == name and name.isprintable() and not path.is_absolute()
    hidden = name.startswith(".") or path.parts[0] in OURS
    return plain and not hidden and ".." not in path.parts and "\\" not in name and len(path.parts) > 1


def _listed(file: Path, archive: zipfile.ZipFile, top: str) -> dict[str, str]:
    """File -> SHA-256, from the manifest and the description of an archive."""
    texts = {}
    for name in (MANIFEST, DESCRIPTION):
        try:
            info = archive.getinfo(f"{top}/{name}")
            if info.file_size > LARGEST:
                raise zipfile.BadZipFile(f"it has {info.file_size / 1e6:.0f} MB")
            texts[name] = archive.read(info)
        except KeyError:
            raise InputError(_lacks(file)) from None
        except DAMAGE as error:
            raise InputError(f"{file} is damaged: {name}: {error}.") from None
    lines = texts[MANIFEST].decode("utf-8", "replace").splitlines()
    listed = {m[2]: m[1] for m in (re.match(r"([0-9a-f]{64})  (.+)$", line) for line in lines) if m}
    try:
        graph = json_of(texts[DESCRIPTION], f"{DESCRIPTION} in {file}")["@graph"]
        return listed | {str(e["@id"]): str(e["sha256"]) for e in graph if e.get("@type") == "File"}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{DESCRIPTION} in {file} does not describe files; it was changed after it was made.") from None


def _lacks(file: Path) -> str:
    return f"{file} is not a run that was exported: it lacks {MANIFEST}, {DESCRIPTION} or run.json."


def _extract(
    file: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], listed: dict[str, str], part: Path
) -> None:
    """Write the files of an archive below `part`, piece by piece, each checked against its sum."""
    if "run.json" not in members:
        raise InputError(_lacks(file))
    for name in sorted(listed.keys() | (members.keys() - {MANIFEST})):
        if name not in members:
            raise InputError(f"{file} lacks {name}, which its manifest names; it was changed after it was made.")
        if name not in listed:
            raise InputError(f"{file} holds {name}, which its manifest does not name; it was changed after it was made.")
    part.mkdir(parents=True)
    for name, info in members.items():
        if name == MANIFEST:
            continue
        kept = name != DESCRIPTION and PurePosixPath(name).name not in LEFT_OUT
        path = part / name if kept else Path(os.devnull)
        if kept and not path.resolve().is_relative_to(part.resolve()):
            raise InputError(f"{file} names {name}, which lies outside of its folder; nothing was unpacked.")
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        try:
            with archive.open(info) as source, open(path, "wb") as into:
                while piece := source.read(PIECE):
                    digest.update(piece)
                    into.write(piece)
        except DAMAGE as error:
            raise InputError(f"{file} is damaged: {name}: {error}.") from None
        if digest.hexdigest() != listed[name]:
            raise InputError(
                f"{name} in {file} does not have the SHA-256 of the manifest; it was changed after it was made."
            )
