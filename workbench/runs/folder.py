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
    owner.json         who started the run on a page of a server whose visitors have names
    heartbeat          touched every 15 s while the run goes on, also within a long step; removed at its end
    imported.json      who imported the run, when, and from which archive; absent in runs that were made here
    result.nc  metrics.json  weights.safetensors      written at the end
    result.zarr        instead of result.nc, where the result does not fit in memory: written block by block
    stderr.txt         what the process printed, when it was launched in the background

Notebooks, dashboards, the command line and CI use the same folder. It stays readable after a crash at any moment.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle  # for the error that torch raises; nothing is unpickled
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
from workbench.runs.files import replace, write_json, write_new_json, writing
from workbench.runs.heartbeat import DEAD_AFTER, silent
from workbench.runs.schema import UNREADABLE, Damaged, launch_record, numbers, run_record

if TYPE_CHECKING:
    import xarray as xr

OWNER = "owner.json"
REMEMBERED = 4096  # run.json files whose content is kept in memory
SWELLS = 20  # times its size that a result may need in memory; it is written without compression
SETTLED = 20_000_000  # ns; clocks of file systems tick every 1 to 10 ms
FINAL = ("finished", "stopped", "failed", "killed", "damaged")


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
    claimed = False
    try:
        with writing(folder):
            (folder / "frames").mkdir(parents=True, exist_ok=True)
            facts = {**about, **provenance.environment(), "status": "running", "start": now(), "end": None}
            claimed = write_new_json(folder / "run.json", facts)
            if claimed:
                replace(folder / "packages.txt", lambda f: f.write(provenance.lock().encode()))
        if not claimed:
            refuse_existing(folder)
            raise InputError(f"{folder} was begun by another process at the same moment; choose another folder (--out).")
    except InputError:
        for name in ("run.json", "packages.txt") if claimed else ():
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        for path in (
            made if claimed or not (folder / "run.json").exists() else ()
        ):  # remove only the folders that this call created
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
        Path(folder) / "launch.json",
        {
            "pid": pid,
            "pid_start": provenance.pid_start(pid),
            "host": socket.gethostname(),
            "processes": provenance.processes(),
        },
    )


def launch_failure(folder: str | Path) -> str | None:
    """Last line that a launched process printed before it died without creating a run; None while it lives or has created one."""
    folder = Path(folder)
    if (folder / "run.json").exists() or not (folder / "launch.json").exists():
        return None
    try:
        if _alive(launch_record(folder / "launch.json")):
            return None
        printed = (folder / "stderr.txt").read_text(errors="replace").strip()
    except Damaged as error:
        return str(error)
    except OSError:
        printed = ""
    return printed.splitlines()[-1] if printed else "the process exited before it created a run, and printed nothing"


def launched(folder: Path) -> bool:
    """Whether the process that was launched for this folder still lives."""
    try:
        return _alive(launch_record(folder / "launch.json"))
    except Damaged:
        return False


def reopen(folder: str | Path, facts: Mapping[str, Any] | None = None, *, take_over: bool = False) -> dict[str, Any]:
    """Prepare an unfinished run to be continued; returns its `run.json`, updated with `facts` of this process.

    take_over: continue it also if its process, on another machine, may still be running; see `assumed`. A process that finds its
    run taken over stops at its next event.

    Raises InputError when the run has finished or is still running.
    """
    folder = Path(folder)
    about = read(folder)
    if about["status"] == "running" and (_here(about) or not take_over):
        advice = (
            "stop it first" if _here(about) else f"stop it first, or say --take-over: that assumes that {assumed(about)}"
        )
        raise InputError(f"{folder} is still being written by {_writer(about)}; {advice}.")
    if about["status"] == "finished":
        raise InputError(f"{folder} has finished; there is nothing to continue. Its metrics are in metrics.json.")
    with writing(folder):
        for name in ("control.json", "paused"):
            (folder / name).unlink(missing_ok=True)
        (folder / "frames").mkdir(exist_ok=True)
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


def assumed(about: Mapping[str, Any]) -> str:
    """What taking over this run assumes, as text."""
    return f"{_writer(about)} has ended; if it lives, it stops at its next event"


def _writer(about: Mapping[str, Any]) -> str:
    return f"process {about.get('pid', '?')}" + ("" if _here(about) else f" on {about.get('host', 'another machine')}")


def read(folder: str | Path) -> dict[str, Any]:
    """`run.json` as a dict (`schema.RunRecord`); its status is `killed`, not `running`, where the process of the run no longer
    exists, or where a run of another machine has given no sign of life for `heartbeat.DEAD_AFTER` seconds.

    Raises InputError where there is no run, Damaged where its record cannot be read.
    """
    path = Path(folder) / "run.json"
    try:
        about = _parsed(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is not a run folder: it has no run.json.") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror}).") from None
    if about.get("status") != "running":
        return about
    if _here(about):
        if not _alive(about):
            about["status"] = "killed"
            about["error"] = "the process ended without an error message: killed, out of memory, or the machine went down"
    elif (seconds := silent(Path(folder))) > DEAD_AFTER:
        about["status"] = "killed"
        about["error"] = (
            f"no sign of life for {seconds / 60:.0f} min from {_writer(about)}: killed, or the machine went down or lost its disk"
        )
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
        content = run_record(path)
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
    return numbers(path) if path.exists() else {}


def result(folder: str | Path, chunks: Any = "auto") -> xr.Dataset:
    """The result of a finished run: `result.nc`, loaded, or `result.zarr`, lazy.

    chunks: Dask chunks of a lazy result; None: no Dask, values are read when they are used.
    """
    import xarray as xr

    path = Path(folder) / "result.nc"
    if (large := path.with_suffix(".zarr")).exists():
        try:
            return xr.open_dataset(large, engine="zarr", consolidated=False, chunks=chunks, decode_coords="all")
        except UNREADABLE as error:
            raise _unreadable(large, error) from None
    if not path.exists():
        raise InputError(f"{folder} has no result yet; its status is {read(folder)['status']!r}.")
    try:
        import h5py

        h5py.File(path, "r").close()  # h5netcdf would leave a half-made object that complains when it is collected
        with xr.open_dataset(path, engine="h5netcdf", decode_coords="all") as data:
            if data.nbytes > SWELLS * (path.stat().st_size + (1 << 20)):  # damaged sizes: more than the machine has
                raise ValueError(f"its arrays claim {data.nbytes / 1e9:.1f} GB")
            return data.load()
    except UNREADABLE as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: BaseException) -> Damaged:
    why = (str(error).splitlines() or [""])[0][:200]
    return Damaged(f"{path} cannot be read ({type(error).__name__}: {why}); the folder was damaged after it was written.")


def list_runs(root: str | Path) -> list[Path]:
    """All run folders directly under `root`, oldest first."""
    try:
        return sorted(p for p in Path(root).iterdir() if os.path.lexists(p / "run.json"))  # also a link that leads nowhere
    except OSError:
        return []


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
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        step, state = saved["step"], saved["state"]
        if not isinstance(step, int) or not isinstance(state, dict):
            raise ValueError("it holds no step and no state")
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from None
    return step, state


def weights(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The weights of a finished run: network name -> state dict; empty where the method has none."""
    path = Path(folder) / "weights.safetensors"
    if not path.exists():
        return {}
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    states: dict[str, dict[str, Any]] = {}
    try:
        for name, tensor in load_file(path).items():
            net, key = name.split("/", 1)
            states.setdefault(net, {})[key] = tensor
    except (*UNREADABLE, SafetensorError) as error:
        raise _unreadable(path, error) from None
    return states


# --- small things -----------------------------------------------------------------------------------------------------


def now() -> str:
    """The time in UTC as ISO 8601 text, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _here(about: Mapping[str, Any]) -> bool:
    """Whether the process of a run is one of this machine; another container may have the same name and other processes."""
    known = about.get("processes")
    return about.get("host") == socket.gethostname() and known in (None, provenance.processes())


def _alive(about: Mapping[str, Any]) -> bool:
    """Whether the process that writes a run still lives; a process on another machine is assumed to live."""
    if not _here(about):
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
