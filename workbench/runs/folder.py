"""The run folder: settings, data, environment, events and result of one run.

    run.json           method, config, scene (id, hash, how to open it), versions, hash of the code, commit, command, device,
                       threads, times, status, error
    packages.txt       all installed packages as name==version
    events.jsonl       one JSON object per event, appended, never rewritten
    frames/000120.npz  the labelled arrays of event 120, if it had any
    checkpoint.pt      the state to continue from; replaced atomically, so never incomplete
    control.json       a request of another process: pause, resume or stop
    paused             exists while the run waits because of such a request
    tags.json          the tags that somebody gave the run
    result.nc  metrics.json  weights.safetensors      written at the end
    result.zarr        instead of result.nc, where the result does not fit in memory: written block by block
    stderr.txt         what the process printed, when it was launched in the background

Notebooks, dashboards, the command line and CI use the same folder. It stays readable after a crash at any moment.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.runs import provenance
from workbench.runs.files import replace, write_json, writing

if TYPE_CHECKING:
    import xarray as xr

REMEMBERED = 4096  # run.json files whose content is kept in memory
SETTLED = 20_000_000  # ns; clocks of file systems tick every 1 to 10 ms
FINAL = ("finished", "stopped", "failed", "killed")


# --- creating and describing a run ------------------------------------------------------------------------------------


def new_folder(root: str | Path, method: str, scene_id: str) -> Path:
    """An unused path such as `root/20261123-201945-bsdm-abu-airport-1`; the folder is not created."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in scene_id)
    return unused(Path(root) / f"{stamp}-{method}-{safe}")


def unused(folder: Path) -> Path:
    """This path if nothing exists there; else the first unused one with `-2`, `-3`, ... appended."""
    free, n = folder, 2
    while free.exists():
        free, n = Path(f"{folder}-{n}"), n + 1
    return free


def data_hash(about: Mapping[str, Any]) -> str:
    """SHA-256 of the data in `run.json`: of the scene's pixels and truth or, for a cell of a sweep, which does not open the
    scene, of its files; empty where there is none.
    """
    scene = about.get("scene") or {}
    return str(next((scene[k] for k in ("fingerprint", "digest", "source_hash") if scene.get(k)), ""))


def create(folder: str | Path, about: Mapping[str, Any]) -> Path:
    """Make a run folder and write `run.json` with `about`, the environment and status `running`.

    Raises InputError when the folder holds a run already (nothing is overwritten) or cannot be written.
    """
    folder = Path(folder)
    refuse_existing(folder)
    made = [p for p in (folder / "frames", folder, *folder.parents) if not p.exists()]
    try:
        with writing(folder):
            (folder / "frames").mkdir(parents=True, exist_ok=True)
            replace(folder / "packages.txt", lambda f: f.write(provenance.lock().encode()))
            facts = {**about, **provenance.environment(), "status": "running", "start": now(), "end": None}
            write_json(folder / "run.json", facts)
    except InputError:
        with contextlib.suppress(OSError):
            (folder / "packages.txt").unlink()
        for path in made:  # remove only the folders that this call created
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    return folder


def refuse_existing(folder: str | Path) -> None:
    """Raise InputError when the folder holds a run already; the error offers only what can be done with that run."""
    if not (Path(folder) / "run.json").exists():
        return
    try:
        about = read(folder)
    except InputError:  # damaged: nothing is known of it
        about = {}
    status, report = about.get("status"), "notebook" in about
    what = f"a {'report' if report else 'run'}{f' ({status})' if status else ''}"
    more = f", or continue this run with `workbench run --resume {folder}`"
    continued = not report and status in ("stopped", "failed", "killed")  # only runs without a notebook have checkpoints
    raise InputError(
        f"{folder} holds {what} and nothing is overwritten; choose another folder (--out){more if continued else ''}."
    )


def note_launch(folder: str | Path, pid: int) -> None:
    """Write the process id to `launch.json`, so that `launch_failure` sees a process that died before it created the run."""
    write_json(
        Path(folder) / "launch.json", {"pid": pid, "pid_start": provenance.pid_start(pid), "host": socket.gethostname()}
    )


def launch_failure(folder: str | Path) -> str | None:
    """Last line that a launched process printed before it died without creating a run; None while it lives or has created one."""
    folder = Path(folder)
    if (folder / "run.json").exists() or not (folder / "launch.json").exists():
        return None
    if _alive(json.loads((folder / "launch.json").read_text())):
        return None
    printed = (folder / "stderr.txt").read_text(errors="replace").strip()
    return printed.splitlines()[-1] if printed else "the process exited before it created a run, and printed nothing"


def reopen(folder: str | Path, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Prepare an unfinished run to be continued; returns its `run.json`, updated with `facts` of this process.

    Raises InputError when the run has finished or is still running.
    """
    folder = Path(folder)
    about = read(folder)
    if about["status"] == "running":
        raise InputError(f"{folder} is still being written by process {about['pid']}; stop it first.")
    if about["status"] == "finished":
        raise InputError(f"{folder} has finished; there is nothing to continue. Its metrics are in metrics.json.")
    with writing(folder):
        for name in ("control.json", "paused"):
            (folder / name).unlink(missing_ok=True)
        _cut_half_line(folder / "events.jsonl")
        replace(folder / "packages.txt", lambda f: f.write(provenance.lock().encode()))
        about = {**about, **provenance.environment(), **(facts or {}), "status": "running", "end": None, "error": None}
        about["resumed"] = [*about.get("resumed", []), now()]
        write_json(folder / "run.json", about)
    return about


def _cut_half_line(path: Path) -> None:
    """Remove an incomplete last line. No reader has used it, because readers take complete lines only."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def read(folder: str | Path) -> dict[str, Any]:
    """`run.json` as a dict; its status is `killed`, not `running`, where the process of the run no longer exists."""
    path = Path(folder) / "run.json"
    try:
        about = _parsed(path)
    except FileNotFoundError:
        raise InputError(f"{folder} is not a run folder: it has no run.json.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); the folder was damaged after it was written.") from None
    if about.get("status") == "running" and not _alive(about):
        about["status"] = "killed"
        about["error"] = "the process ended without an error message: killed, out of memory, or the machine went down"
    return about


_READ: OrderedDict[str, tuple[tuple[int, ...], dict[str, Any]]] = OrderedDict()  # path -> (stamp, content), newest last
_LOCK = threading.Lock()


def _parsed(path: Path) -> dict[str, Any]:
    """A JSON file as a dict that the caller may change. It is parsed again only when the file has changed.

    A file changed less than `SETTLED` ago is parsed every time: a second change within one tick of the file system's
    clock would leave time and size as they are.
    """
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
    key = os.path.abspath(path)
    with _LOCK:
        cached_stamp, content = _READ.get(key, (None, {}))
    if cached_stamp != stamp:
        content = json.loads(path.read_text())
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED:
            with _LOCK:
                _READ[key] = stamp, content
                _READ.move_to_end(key)
                while len(_READ) > REMEMBERED:
                    _READ.popitem(last=False)
    return copy.deepcopy(content)


def metrics(folder: str | Path) -> dict[str, float]:
    """`metrics.json` of a finished run; empty for a run that has not finished."""
    path = Path(folder) / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}


def result(folder: str | Path, chunks: Any = "auto") -> xr.Dataset:
    """The result of a finished run: `result.nc`, loaded, or `result.zarr`, lazy.

    chunks: Dask chunks of a lazy result; None: no Dask, values are read when they are used.
    """
    import xarray as xr

    path = Path(folder) / "result.nc"
    if (large := path.with_suffix(".zarr")).exists():
        return xr.open_dataset(large, engine="zarr", consolidated=False, chunks=chunks, decode_coords="all")
    if not path.exists():
        raise InputError(f"{folder} has no result yet; its status is {read(folder)['status']!r}.")
    with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as data:
        return data.load()


def list_runs(root: str | Path) -> list[Path]:
    """All run folders directly under `root`, oldest first."""
    return sorted(p.parent for p in Path(root).glob("*/run.json"))


def request(folder: str | Path, what: str) -> None:
    """Ask a run to `pause`, `resume` or `stop`; the recorder obeys between two events."""
    if what not in ("pause", "resume", "stop"):
        raise InputError(f"A run can be asked to pause, resume or stop, not {what!r}.")
    read(folder)
    write_json(Path(folder) / "control.json", {"request": what, "time": now()})


# --- what is left to continue from ------------------------------------------------------------------------------------


def checkpoint(folder: str | Path) -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the last checkpoint, or None where the run left none."""
    import torch

    path = Path(folder) / "checkpoint.pt"
    if not path.exists():
        return None
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return saved["step"], saved["state"]


def weights(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The weights of a finished run: network name -> state dict; empty where the method has none."""
    path = Path(folder) / "weights.safetensors"
    if not path.exists():
        return {}
    from safetensors.torch import load_file

    states: dict[str, dict[str, Any]] = {}
    for name, tensor in load_file(path).items():
        net, key = name.split("/", 1)
        states.setdefault(net, {})[key] = tensor
    return states


# --- small things -----------------------------------------------------------------------------------------------------


def now() -> str:
    """The time in UTC as ISO 8601 text, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _alive(about: Mapping[str, Any]) -> bool:
    """Whether the process that writes a run still lives; a process on another host is assumed to live."""
    if about.get("host") != socket.gethostname():
        return True
    pid = int(about.get("pid", 0))
    if about.get("pid_start") is not None:
        return provenance.pid_start(pid) == about["pid_start"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def iter_status(root: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(folder, run.json) of every run under `root`; damaged folders are left out."""
    for folder in list_runs(root):
        try:
            yield folder, read(folder)
        except InputError:
            continue
