"""Live: watch a run through its folder, whichever process writes it, and ask it to pause, resume or stop.

It polls and holds no thread: whoever watches calls `poll()` from a timer of its own (a page) or a loop (a notebook).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.runs.folder import FINAL, launch_failure, read, request, result, weights

if TYPE_CHECKING:
    import xarray as xr


class Live:
    """A window onto one run folder.

    `history`: scalar name -> (steps, values) so far. `frames`: the newest event's step per array name; `frame(name)`
    reads the newest, `frame(name, step)` an older one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tail = Tail(folder)
        self.lines: list[dict[str, Any]] = []
        self.history: dict[str, tuple[list[int], list[float]]] = {}
        self.frames: dict[str, list[int]] = {}

    def poll(self) -> list[dict[str, Any]]:
        """Take in what the run has added; gives the new lines (see `Tail.lines`)."""
        new = self._tail.lines()
        for line in new:
            if "resumed_from" in line:
                self._forget(line["resumed_from"])
                continue
            self.lines.append(line)
            for name, value in line["scalars"].items():
                steps, values = self.history.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
            for name in line.get("arrays", []):
                self.frames.setdefault(name, []).append(line["step"])
        return [line for line in new if "resumed_from" not in line]

    def _forget(self, step: int) -> None:
        self.lines = [line for line in self.lines if line["step"] <= step]
        for name, (steps, values) in self.history.items():
            n = sum(s <= step for s in steps)
            self.history[name] = (steps[:n], values[:n])
        self.frames = {name: [s for s in steps if s <= step] for name, steps in self.frames.items()}

    def frame(self, name: str, step: int | None = None) -> xr.DataArray | None:
        """The array `name` at `step`, or the newest; None where there is none yet."""
        steps = self.frames.get(name)
        if not steps:
            return None
        return self._tail.arrays({"step": steps[-1] if step is None else step, "arrays": [name]}).get(name)

    @property
    def latest(self) -> dict[str, Any] | None:
        """The newest line, or None."""
        return self.lines[-1] if self.lines else None

    @property
    def status(self) -> str:
        """`starting`, `running`, `paused`, `finished`, `stopped`, `failed` or `killed`."""
        try:
            status = read(self.folder)["status"]
        except InputError:
            return "failed" if launch_failure(self.folder) else "starting"
        return "paused" if status == "running" and self._asked() == "pause" else status

    @property
    def error(self) -> str | None:
        """Why the run failed or was killed; None otherwise."""
        try:
            return read(self.folder).get("error")
        except InputError:
            return launch_failure(self.folder)

    def _asked(self) -> str | None:
        path = self.folder / "control.json"
        try:
            return json.loads(path.read_text())["request"]
        except (OSError, ValueError):
            return None

    def pause(self) -> None:
        """Ask the run to wait before its next event."""
        request(self.folder, "pause")

    def resume(self) -> None:
        """Ask a paused run to go on."""
        request(self.folder, "resume")

    def stop(self) -> None:
        """Ask the run to end; it leaves a checkpoint where its method can continue from one."""
        request(self.folder, "stop")


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
