"""A run folder as one zip file that others can check: an RO-Crate 1.1 with a SHA-256 for every file.

    pack("runs/first", "first.zip")
    unpack("first.zip", "runs")          # refuses an archive in which a file was changed

The description `ro-crate-metadata.json` follows https://w3id.org/ro/crate/1.1; `manifest-sha256.txt` has the same sums for
`sha256sum -c`. The same folder always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from workbench import runs
from workbench.errors import InputError

DESCRIPTION = "ro-crate-metadata.json"
MANIFEST = "manifest-sha256.txt"
LEFT_OUT = {"checkpoint.pt", "control.json", "paused", "launch.json", "lock"}  # useful only on this machine
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


def pack(folder: str | Path, out: str | Path) -> Path:
    """Write the run in `folder` to the zip file `out`.

    Raises InputError when the folder is no run or is still being written, and when `out` exists or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    about = runs.read(folder)
    if about["status"] == "running":
        raise InputError(f"{folder} is still being written; wait for it or stop it, then export it.")
    if out.exists():
        raise InputError(f"{out} already exists and nothing is overwritten; choose another name with --out.")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in LEFT_OUT and p.suffix != ".part")
    contents = {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    graph = json.dumps(_description(folder.name, about, runs.metrics(folder), contents, sums), indent=2)
    sums[DESCRIPTION] = hashlib.sha256(graph.encode()).hexdigest()
    contents[DESCRIPTION] = graph.encode()
    contents[MANIFEST] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(contents):
                archive.writestr(zipfile.ZipInfo(f"{folder.name}/{name}", EPOCH), contents[name], zipfile.ZIP_DEFLATED)

    with runs.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        runs.replace(out, write)
    return out


def _description(
    name: str, about: dict[str, Any], metrics: dict[str, float], contents: dict[str, bytes], sums: dict[str, str]
) -> dict[str, Any]:
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
        "hasPart": [{"@id": n} for n in sorted(contents)],
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
            "contentSize": str(len(content)),
            "sha256": sums[n],
        }
        for n, content in sorted(contents.items())
    ]
    descriptor = {
        "@id": DESCRIPTION,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    context = ["https://w3id.org/ro/crate/1.1/context", TERMS]
    return {"@context": context, "@graph": [descriptor, root, action, software, data, *values, *files]}


def unpack(file: str | Path, root: str | Path) -> Path:
    """Check a zip file made by `pack` and put its run folder under `root`; returns the folder.

    Raises InputError when the file is no such crate, when a file in it is missing, changed or not listed, and when the run
    folder exists. Then nothing is written under `root`.
    """
    file, root = Path(file), Path(root)
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read as a zip file: {getattr(error, 'strerror', None) or error}.") from None
    with archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        tops = {n.partition("/")[0] for n in names}
        if len(tops) != 1 or not all(_harmless(n) for n in names):
            raise InputError(f"{file} does not hold one run folder; it was not made by `workbench runs export`.")
        top = tops.pop()
        contents = {}
        for n in names:
            try:
                contents[n.partition("/")[2]] = archive.read(n)
            except (zipfile.BadZipFile, OSError, RuntimeError) as error:
                raise InputError(f"{file} is damaged: {n}: {error}.") from None
    _check(file, contents)
    folder = root / top
    if folder.exists():
        raise InputError(f"{folder} already exists and nothing is overwritten; choose another folder with --root.")
    part = root / f"{top}.part"
    with runs.writing(folder):
        try:
            for name, content in contents.items():
                if name not in (DESCRIPTION, MANIFEST):
                    (part / name).parent.mkdir(parents=True, exist_ok=True)
                    (part / name).write_bytes(content)
            part.rename(folder)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return folder


def _harmless(name: str) -> bool:
    """Whether the file would be unpacked inside the target folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and len(path.parts) > 1


def _check(file: Path, contents: dict[str, bytes]) -> None:
    if MANIFEST not in contents or DESCRIPTION not in contents or "run.json" not in contents:
        raise InputError(f"{file} is not a run that was exported: it lacks {MANIFEST}, {DESCRIPTION} or run.json.")
    lines = contents[MANIFEST].decode("utf-8", "replace").splitlines()
    listed = {m[2]: m[1] for m in (re.match(r"([0-9a-f]{64})  (.+)$", line) for line in lines) if m}
    graph = json.loads(contents[DESCRIPTION])["@graph"]
    listed |= {e["@id"]: e["sha256"] for e in graph if e.get("@type") == "File"}
    for name in sorted(listed.keys() | (contents.keys() - {MANIFEST})):
        if name not in contents:
            raise InputError(f"{file} lacks {name}, which its manifest names; it was changed after it was made.")
        if name not in listed:
            raise InputError(f"{file} holds {name}, which its manifest does not name; it was changed after it was made.")
        if hashlib.sha256(contents[name]).hexdigest() != listed[name]:
            raise InputError(
                f"{name} in {file} does not have the SHA-256 of the manifest; it was changed after it was made."
            )
