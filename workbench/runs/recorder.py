"""Record a trace into a run folder, obeying pause and stop requests between two events."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.runs.files import plain, replace, write_json, writing
from workbench.runs.folder import now, read
from workbench.runs.frames import frame_file
from workbench.runs.heartbeat import Heartbeat
from workbench.runs.schema import requested

CHECKPOINT_SECONDS = 20.0


class Stopped(Exception):
    """Raised by `record` when a stop was requested; the run ends with status `stopped`."""


def record(trace: Trace, folder: str | Path, *, resumed_from: int | None = None) -> Trace:
    """Yield the events of a trace and write them into a run folder made by `create` (or reopened by `reopen`).

    Obeys pause and stop requests between two events, and stops when another process has taken the run over. `run.json` then has the
    status `finished`, `stopped` or `failed`. `seconds`, of events and of the run, leaves pauses out. resumed_from: the step of the
    checkpoint that the trace continues from; later events of the file are superseded.
    """
    folder = Path(folder)
    saved_at = time.monotonic()
    pending: Event | None = None
    seconds = float(read(folder).get("seconds", 0.0))
    begun = time.monotonic()

    beat = Heartbeat(folder)

    def close(status: str, error: str | None = None) -> None:
        beat.end()
        if beat.lost:
            return  # another process continues the run: its run.json is not ours any more
        spent = seconds + time.monotonic() - begun
        about = json.loads((folder / "run.json").read_text())
        about |= {"status": status, "error": error, "end": now(), "seconds": spent}
        try:
            write_json(folder / "run.json", about)
        except OSError:  # full disk: no room for a second file; overwriting the same one usually works
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
                beat.check()
                if beat.lost:
                    raise InputError(f"{folder} was taken over by another process (--take-over); this one stops.")
                yield event
                begun += _obey(folder)
            with _here():
                _write_outcome(folder, outcome)
        close("finished")
        return outcome
    except (GeneratorExit, Stopped, KeyboardInterrupt):
        try:
            if pending is not None and pending.state is not None:
                _write_checkpoint(folder, pending)  # before trace.close(), which ends the processes that have the state
        finally:
            trace.close()
            close("stopped")
        raise
    except BaseException as error:
        trace.close()
        close("failed", str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")
        raise


def _here() -> Any:
    """Within: what is written is computed and locked in this process, also while a client of a Dask cluster is active.

    The locks of a cluster fail when files are written from outside of its event loop, and its workers need not see the folder.
    """
    import dask

    return dask.config.set(scheduler="sync")


def _obey(folder: Path) -> float:
    """Sleep while `control.json` requests a pause, and return how long, in seconds; raise Stopped when it requests a stop.

    The file `paused` exists during the pause.
    """
    control, paused = folder / "control.json", folder / "paused"
    begun = time.monotonic()
    try:
        while control.exists():
            asked = requested(control)  # empty while it is just being written: read it again
            if asked == "stop":
                raise Stopped
            if asked == "resume":
                break
            if asked == "pause":
                paused.touch()
            time.sleep(0.1)
    finally:
        paused.unlink(missing_ok=True)
    return time.monotonic() - begun


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
    replace(frame_file(folder, event.step), lambda f: np.savez(f, **parts))  # type: ignore[arg-type]


def _write_checkpoint(folder: Path, event: Event) -> None:
    import torch

    assert event.state is not None
    buffer = io.BytesIO()  # torch and HDF5 hide the errno of a failed write; a plain write does not
    torch.save({"step": event.step, "state": event.state()}, buffer)
    replace(folder / "checkpoint.pt", lambda f: f.write(buffer.getbuffer()))


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
