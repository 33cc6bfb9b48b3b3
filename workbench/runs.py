"""The run folder: what was done, with which data, and how it came out.

    run.json           method, config, scene (id, hash, how to open it), versions, hash of the code, commit, command, device,
                       threads, times, status, error
    packages.txt       every installed package as name==version
    events.jsonl       one JSON object per event, appended, never rewritten
    frames/000120.npz  the labelled arrays of event 120, where it had any
    checkpoint.pt      everything needed to continue; always whole, because it is renamed into place
    control.json       a request from outside: pause, resume or stop
    result.nc  metrics.json  weights.safetensors      written at the end
    result.zarr        instead of result.nc, where the result is too large to hold: written block by block
    stderr.txt         what the process printed, when it was launched in the background

Notebook, dashboard, command line and CI all read and write the same folder. A crash at any moment leaves it readable.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import provenance
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace

if TYPE_CHECKING:
    import xarray as xr

CHECKPOINT_SECONDS = 20.0
FINAL = ("finished", "stopped", "failed", "killed")


class Stopped(Exception):
    """Raised inside a recorded trace when the folder asked for a stop; the run ends with status `stopped`."""


# --- creating and describing a run ------------------------------------------------------------------------------------


def new_folder(root: str | Path, method: str, scene_id: str) -> Path:
    """`root/20261123-201945-bsdm-abu-airport-1`, made unique; not yet created."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in scene_id)
    return unused(Path(root) / f"{stamp}-{method}-{safe}")


def unused(folder: Path) -> Path:
    """That path, or the first of `-2`, `-3`, ... behind it where there is nothing yet."""
    free, n = folder, 2
    while free.exists():
        free, n = Path(f"{folder}-{n}"), n + 1
    return free


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
            facts = {**about, **provenance.environment(), "status": "running", "start": _now(), "end": None}
            write_json(folder / "run.json", facts)
    except InputError:
        with contextlib.suppress(OSError):
            (folder / "packages.txt").unlink()
        for path in made:  # leave nothing behind that was not there before
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    return folder


def refuse_existing(folder: str | Path) -> None:
    """Raise InputError when the folder holds a run already."""
    if (Path(folder) / "run.json").exists():
        raise InputError(
            f"{folder} holds a run already and nothing is overwritten; choose another folder, or continue it with --resume."
        )


def note_launch(folder: str | Path, pid: int) -> None:
    """Note which process was started for this folder, so that one which dies before its first word is not waited for."""
    write_json(
        Path(folder) / "launch.json", {"pid": pid, "pid_start": provenance.pid_start(pid), "host": socket.gethostname()}
    )


def launch_failure(folder: str | Path) -> str | None:
    """What a launched process printed before it died without making a run; None while it lives or has made one."""
    folder = Path(folder)
    if (folder / "run.json").exists() or not (folder / "launch.json").exists():
        return None
    if _alive(json.loads((folder / "launch.json").read_text())):
        return None
    said = (folder / "stderr.txt").read_text(errors="replace").strip()
    return said.splitlines()[-1] if said else "the process ended before it began, without a word"


def reopen(folder: str | Path) -> dict[str, Any]:
    """Prepare an unfinished run for being continued; gives its `run.json`.

    Raises InputError when the run has finished, is still going, or left no checkpoint.
    """
    folder = Path(folder)
    about = read(folder)
    if about["status"] == "running":
        raise InputError(f"{folder} is still being written by process {about['pid']}; stop it first.")
    if about["status"] == "finished":
        raise InputError(f"{folder} has finished; there is nothing to continue. Its metrics are in metrics.json.")
    with writing(folder):
        (folder / "control.json").unlink(missing_ok=True)
        _cut_half_line(folder / "events.jsonl")
        replace(folder / "packages.txt", lambda f: f.write(provenance.lock().encode()))
        about = {**about, **provenance.environment(), "status": "running", "end": None, "error": None}
        about["resumed"] = [*about.get("resumed", []), _now()]
        write_json(folder / "run.json", about)
    return about


def _cut_half_line(path: Path) -> None:
    """Take away a last line that was never finished; nobody has read it, because readers take whole lines."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def read(folder: str | Path) -> dict[str, Any]:
    """`run.json`, with the status as it really is: a run whose process is gone reads `killed`, not `running`."""
    path = Path(folder) / "run.json"
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{folder} is not a run folder: it has no run.json.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); the folder was damaged after it was written.") from None
    if about.get("status") == "running" and not _alive(about):
        about["status"] = "killed"
        about["error"] = "the process ended without a word: killed, out of memory, or the machine went down"
    return about


def metrics(folder: str | Path) -> dict[str, float]:
    """`metrics.json` of a finished run; empty for one that has not come so far."""
    path = Path(folder) / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}


def result(folder: str | Path, chunks: Any = "auto") -> xr.Dataset:
    """The result of a finished run: `result.nc`, loaded, or `result.zarr`, lazy.

    chunks: of a lazy result; None reads without Dask what is looked at.
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


def compare(folders: list[Path]) -> dict[str, dict[str, list[Any]]]:
    """What differs between runs: `{"config": {name: [value per run]}, "metrics": {name: [value per run]}}`.

    Settings that are equal in all runs are left out; every metric is kept.
    """
    configs = [read(f).get("config", {}) for f in folders]
    numbers = [metrics(f) for f in folders]
    settings = {k: [c.get(k) for c in configs] for k in dict.fromkeys(k for c in configs for k in c)}
    return {
        "config": {k: v for k, v in settings.items() if any(x != v[0] for x in v)},
        "metrics": {k: [n.get(k) for n in numbers] for k in dict.fromkeys(k for n in numbers for k in n)},
    }


def request(folder: str | Path, what: str) -> None:
    """Ask a run to `pause`, `resume` or `stop`; the recorder obeys between two events."""
    if what not in ("pause", "resume", "stop"):
        raise InputError(f"A run can be asked to pause, resume or stop, not {what!r}.")
    read(folder)
    write_json(Path(folder) / "control.json", {"request": what, "time": _now()})


# --- recording --------------------------------------------------------------------------------------------------------


def record(trace: Trace, folder: str | Path, *, resumed_from: int | None = None) -> Trace:
    """Pass a trace through while writing it into a run folder made by `create` (or reopened by `reopen`).

    Obeys pause and stop requests between two events. However the trace ends - finished, stopped, failed - `run.json`
    says so. `resumed_from`: the step of the checkpoint the trace continues from; later events already on file are
    superseded.
    """
    folder = Path(folder)
    saved_at = time.monotonic()
    pending: Event | None = None
    seconds = float(read(folder).get("seconds", 0.0))
    begun = time.monotonic()

    def close(status: str, error: str | None = None) -> None:
        if pending is not None and pending.state is not None and status == "stopped":
            _write_checkpoint(folder, pending)
        spent = seconds + time.monotonic() - begun
        about = json.loads((folder / "run.json").read_text())
        about |= {"status": status, "error": error, "end": _now(), "seconds": spent}
        try:
            write_json(folder / "run.json", about)
        except OSError:  # a full disk has no room for a second file, but as a rule for the same one a little longer
            (folder / "run.json").write_text(json.dumps(about, default=str))

    try:
        with writing(folder), open(folder / "events.jsonl", "a", buffering=1) as lines:
            if resumed_from is not None:
                lines.write(json.dumps({"resumed_from": resumed_from}) + "\n")
            while True:
                try:
                    event = next(trace)
                except StopIteration as end:
                    outcome = end.value
                    break
                if event.arrays:
                    _write_frame(folder, event)
                lines.write(_event_line(event, seconds + time.monotonic() - begun) + "\n")
                pending = event
                if event.state is not None and time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                    _write_checkpoint(folder, event)
                    saved_at = time.monotonic()
                yield event
                _obey(folder)
            _write_outcome(folder, outcome)
        close("finished")
        return outcome
    except (GeneratorExit, Stopped, KeyboardInterrupt):
        trace.close()
        close("stopped")
        raise
    except BaseException as error:
        trace.close()
        close("failed", str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")
        raise


def _obey(folder: Path) -> None:
    """Sleep while the folder says pause; raise Stopped when it says stop."""
    control = folder / "control.json"
    while control.exists():
        try:
            asked = json.loads(control.read_text())["request"]
        except (json.JSONDecodeError, FileNotFoundError):
            asked = "pause"  # being written this instant: look again
        if asked == "stop":
            raise Stopped
        if asked == "resume":
            return
        time.sleep(0.1)


def _event_line(event: Event, seconds: float) -> str:
    line: dict[str, Any] = {"step": event.step, "seconds": round(seconds, 3), "scalars": dict(event.scalars)}
    if event.of is not None:
        line["of"] = event.of
    if event.arrays:
        line["arrays"] = list(event.arrays)
    return json.dumps(line)


def _write_frame(folder: Path, event: Event) -> None:
    """All arrays of one event in one .npz: values, coordinates, and a JSON note of dims and attributes."""
    parts: dict[str, np.ndarray] = {}
    note: dict[str, Any] = {}
    for name, array in event.arrays.items():
        parts[f"{name}//values"] = np.asarray(array.values)
        coords = {str(c): list(map(str, array[c].dims)) for c in array.coords if array[c].dtype.kind in "biufSU"}
        for c in coords:
            parts[f"{name}//{c}"] = np.asarray(array[c].values)
        note[name] = {"dims": list(map(str, array.dims)), "coords": coords, "attrs": plain(array.attrs)}
    parts["note"] = np.frombuffer(json.dumps(note).encode(), dtype=np.uint8)
    replace(folder / "frames" / f"{event.step:06d}.npz", lambda f: np.savez(f, **parts))  # type: ignore[arg-type]


def _read_frame(folder: Path, step: int) -> dict[str, xr.DataArray]:
    import xarray as xr

    with np.load(folder / "frames" / f"{step:06d}.npz", allow_pickle=False) as parts:
        note = json.loads(parts["note"].tobytes())
        return {
            name: xr.DataArray(
                parts[f"{name}//values"],
                dims=n["dims"],
                coords={c: (dims, parts[f"{name}//{c}"]) for c, dims in n["coords"].items()},
                attrs=n["attrs"],
            )
            for name, n in note.items()
        }


def _write_checkpoint(folder: Path, event: Event) -> None:
    import torch

    assert event.state is not None
    buffer = io.BytesIO()  # torch and HDF5 hide the reason when a disk refuses; a plain write does not
    torch.save({"step": event.step, "state": event.state()}, buffer)
    replace(folder / "checkpoint.pt", lambda f: f.write(buffer.getbuffer()))


def checkpoint(folder: str | Path) -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the last checkpoint, or None where the run left none."""
    import torch

    path = Path(folder) / "checkpoint.pt"
    if not path.exists():
        return None
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return saved["step"], saved["state"]


def _write_outcome(folder: Path, outcome: Outcome) -> None:
    data = outcome.result.copy()
    if not (folder / "result.zarr").exists():
        data.attrs = plain(data.attrs)
        for name in data.variables:
            data[name].attrs = plain(data[name].attrs)
        content = data.to_netcdf(engine="h5netcdf")
        replace(folder / "result.nc", lambda f: f.write(content))
    numbers = {str(n): float(v) for n, v in data.data_vars.items() if v.ndim == 0 and v.dtype.kind in "biuf"}
    write_json(folder / "metrics.json", numbers)
    if outcome.weights:
        from safetensors.torch import save

        flat = {
            f"{net}/{k}": t.detach().cpu().contiguous() for net, state in outcome.weights.items() for k, t in state.items()
        }
        replace(folder / "weights.safetensors", lambda f: f.write(save(flat)))


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


# --- watching ---------------------------------------------------------------------------------------------------------


class Tail:
    """Reads what a run has added to its events since the last call, by byte offset and only whole lines."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._offset = 0

    def lines(self) -> list[dict[str, Any]]:
        """New lines of `events.jsonl` as dicts: `step`, `seconds`, `scalars`, and `of`, `arrays` where given.

        A line `{"resumed_from": n}` says that events after step n given so far are superseded.
        """
        path = self.folder / "events.jsonl"
        if not path.exists():
            return []
        with open(path, "rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]

    def arrays(self, line: Mapping[str, Any]) -> dict[str, xr.DataArray]:
        """The labelled arrays that belong to one line; empty where it has none."""
        return _read_frame(self.folder, line["step"]) if line.get("arrays") else {}

    def event(self, line: Mapping[str, Any]) -> Event:
        """One line as the Event it was."""
        return Event(line["step"], line["scalars"], self.arrays(line), line.get("of"))


def events(folder: str | Path) -> list[dict[str, Any]]:
    """All lines of a run so far, superseded ones removed; arrays not read."""
    return _in_force(Tail(folder).lines())


def _in_force(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for line in lines:
        if "resumed_from" in line:
            kept = [k for k in kept if k["step"] <= line["resumed_from"]]
        else:
            kept.append(line)
    return kept


def replay(folder: str | Path) -> Trace:
    """The events of a run again, identical to what was yielded; returns its outcome, where it has one."""
    tail = Tail(folder)
    for line in _in_force(tail.lines()):
        yield tail.event(line)
    return Outcome(result(folder), weights(folder))


def follow(folder: str | Path, *, poll: float = 0.2) -> Trace:
    """The events of a run as they come, from its start until it ends, whichever process writes it.

    Raises InputError when the run ends without a result, with the reason it left. Events repeated after a resume are
    given once.
    """
    tail, seen = Tail(folder), -1
    while True:
        status = read(folder)["status"]
        for line in tail.lines():
            if "resumed_from" not in line and line["step"] > seen:
                seen = line["step"]
                yield tail.event(line)
        if status in FINAL:
            break
        time.sleep(poll)
    if status != "finished":
        raise InputError(f"the run in {folder} {status}: {read(folder).get('error') or 'on request'}")
    return Outcome(result(folder), weights(folder))


# --- small things -----------------------------------------------------------------------------------------------------


class writing:
    """Turn what a file system refuses (permission, full disk, a file in the way) into one clear InputError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and self._ours(error):
            advice = {
                errno.ENOSPC: "the disk is full; free some space or choose another folder with --out",
                errno.EDQUOT: "the disk quota is used up; choose another folder with --out",
                errno.EACCES: "no permission to write there; choose another folder with --out",
                errno.EPERM: "no permission to write there; choose another folder with --out",
                errno.EROFS: "that file system is read-only; choose another folder with --out",
                errno.ENOTDIR: "part of that path is a file; choose another folder with --out",
                errno.EEXIST: "a file of that name is in the way; choose another folder with --out",
            }.get(error.errno or 0)
            if advice:
                raise InputError(f"Cannot write the run into {self.folder}: {advice}.") from error

    def _ours(self, error: OSError) -> bool:
        """Whether the refusal concerns the run folder, and not a data file that the method was reading."""
        name = error.filename
        return name is None or str(self.folder).startswith(str(name)) or str(name).startswith(str(self.folder))


def replace(path: Path, write: Callable[[Any], object]) -> None:
    """Write to a temporary name beside `path`, then rename: readers never see half a file."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, indent=2, default=str) + "\n"
    replace(path, lambda f: f.write(text.encode()))


def plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes that both JSON and NetCDF can hold."""
    plain: dict[str, Any] = {}
    for key, value in attrs.items():
        if isinstance(value, bool | np.bool_):
            plain[str(key)] = int(value)
        elif isinstance(value, np.generic):
            plain[str(key)] = value.item()
        elif isinstance(value, str | int | float):
            plain[str(key)] = value
        elif isinstance(value, np.ndarray):
            plain[str(key)] = value.tolist()
        elif isinstance(value, list | tuple):
            plain[str(key)] = list(value)
        elif value is not None:
            plain[str(key)] = str(value)
    return plain


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _alive(about: Mapping[str, Any]) -> bool:
    """Whether the process that writes a run still lives; on another host we cannot know and assume so."""
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
