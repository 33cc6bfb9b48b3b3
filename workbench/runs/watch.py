"""Live: read a run from its folder while any process writes it, and request pause, resume or stop.

Live starts no thread: the caller calls `poll()` from a timer (a page) or a loop (a notebook).
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.runs.folder import FINAL, launch_failure, read, request, result, weights
from workbench.runs.frames import FrameFile
from workbench.runs.schema import Damaged, event_line, requested

if TYPE_CHECKING:
    import xarray as xr


class Live:
    """Reads one run folder while the run goes on.

    `history`: scalar name -> (steps, values) so far. `frames`: array name -> steps that have it; `frame(name)`
    reads the newest array, `frame(name, step)` that of a step.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tail = Tail(folder)
        self.lines: list[dict[str, Any]] = []
        self.history: dict[str, tuple[list[int], list[float]]] = {}
        self.frames: dict[str, list[int]] = {}
        self.damage: str | None = None  # why its events cannot be read
        self.resumed = 0  # how often the run was continued from a checkpoint
        self._names: dict[int, list[str]] = {}  # step -> its arrays

    def poll(self) -> list[dict[str, Any]]:
        """Read the lines that the run has added and return them (see `Tail.lines`), without `resumed_from` lines."""
        if self.damage:
            return []
        try:
            new = self._tail.lines()
        except Damaged as error:
            self.damage = str(error)
            return []
        for line in new:
            if "resumed_from" in line:
                self._forget(line["resumed_from"])
                continue
            self.lines.append(line)
            for name, value in line["scalars"].items():
                steps, values = self.history.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
            names = line.get("arrays", [])
            if names:
                self._names[line["step"]] = names
            for name in names:
                self.frames.setdefault(name, []).append(line["step"])
        return [line for line in new if "resumed_from" not in line]

    def _forget(self, step: int) -> None:
        self.resumed += 1
        self.lines = [line for line in self.lines if line["step"] <= step]
        for name, (steps, values) in self.history.items():
            n = sum(s <= step for s in steps)
            self.history[name] = (steps[:n], values[:n])
        self.frames = {name: [s for s in steps if s <= step] for name, steps in self.frames.items()}
        self._names = {s: names for s, names in self._names.items() if s <= step}

    def frame(self, name: str, step: int | None = None) -> xr.DataArray | None:
        """The array `name` at `step`, or the newest one; None where there is none yet."""
        steps = self.frames.get(name)
        if not steps:
            return None
        step = steps[-1] if step is None else step
        return self.arrays(step).get(name)

    def arrays(self, step: int) -> FrameFile:
        """The arrays of the event of this step, each read when it is used; empty where it has none."""
        return FrameFile(self.folder, step, self._names.get(step, ()))

    def framed_after(self, step: int) -> list[int]:
        """Steps after this one that have arrays, in order."""
        steps = list(self._names)
        return steps[bisect.bisect_right(steps, step) :]

    @property
    def latest(self) -> dict[str, Any] | None:
        """The newest line, or None."""
        return self.lines[-1] if self.lines else None

    @property
    def status(self) -> str:
        """`starting`, `running`, `pausing`, `paused`, `finished`, `stopped`, `failed`, `killed` or `damaged`.

        pausing: it was asked to pause, and computes until its next event.
        """
        try:
            status = "damaged" if self.damage else read(self.folder)["status"]
        except Damaged:
            return "damaged"
        except InputError:
            return "failed" if launch_failure(self.folder) else "starting"
        if status == "running" and requested(self.folder / "control.json") == "pause":
            return "paused" if (self.folder / "paused").exists() else "pausing"
        return status

    @property
    def error(self) -> str | None:
        """Why the run failed or was killed, or what of it is damaged; None otherwise."""
        try:
            return self.damage or read(self.folder).get("error")
        except Damaged as error:
            return str(error)
        except InputError:
            return launch_failure(self.folder)

    def pause(self) -> None:
        """Ask the run to wait before its next event."""
        request(self.folder, "pause")

    def resume(self) -> None:
        """Ask a paused run to continue."""
        request(self.folder, "resume")

    def stop(self) -> None:
        """Ask the run to end; it writes a checkpoint if its method can continue from one."""
        request(self.folder, "stop")


class ArrayHistory:
    """Arrays of a run over its steps, for plots of the whole run. Each frame file is opened once.

    rows: name -> step -> array, in order of the steps. newest: name -> the array of the newest step only.
    """

    def __init__(self, names: Sequence[str], newest: Sequence[str] = ()) -> None:
        self.rows: dict[str, dict[int, xr.DataArray]] = {name: {} for name in names}
        self.newest: dict[str, xr.DataArray] = {}
        self._wanted_newest = tuple(newest)
        self._seen = -1
        self._resumed = 0

    def update(self, live: Live) -> None:
        """Read the frames of the steps that `live` has polled since the last call."""
        if live.resumed != self._resumed:
            self.rows = {name: {} for name in self.rows}
            self._seen, self._resumed = -1, live.resumed
        latest = {name: live.frames[name][-1] for name in self._wanted_newest if live.frames.get(name)}
        for step in live.framed_after(self._seen):
            newest = [name for name, at in latest.items() if at == step]
            arrays = live.arrays(step).read(*self.rows, *newest)
            for name, array in arrays.items():
                if name in self.rows:
                    self.rows[name][step] = array
                else:
                    self.newest[name] = array
            self._seen = step


class Tail:
    """Reads the lines added to `events.jsonl` since the last call, from a byte offset; only complete lines."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._offset = self._count = 0

    def lines(self) -> list[dict[str, Any]]:
        """New lines of `events.jsonl` as dicts: `step`, `seconds`, `scalars`, and, if present, `of` and `arrays`.

        A line `{"resumed_from": n}` means: earlier events with a step after n are superseded. Raises Damaged for a line that is none.
        """
        path = self.folder / "events.jsonl"
        try:
            if not path.is_file():
                if path.exists():
                    raise Damaged(f"{path} is not an ordinary file.")
                return []
            with open(path, "rb") as file:
                file.seek(self._offset)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError as error:
            raise Damaged(f"{path} cannot be read ({error.strerror}).") from None
        lines = []
        for n, line in enumerate(whole.split(b"\n"), self._count + 1):
            if line.strip():
                lines.append(event_line(line, f"{path}, line {n}"))
        self._offset += len(whole) + len(newline)
        self._count += whole.count(b"\n") + len(newline)
        return lines

    def arrays(self, line: Mapping[str, Any]) -> FrameFile:
        """The labelled arrays that belong to one line, each read when it is used; empty where it has none."""
        return FrameFile(self.folder, line["step"], line.get("arrays", ()))

    def event(self, line: Mapping[str, Any]) -> Event:
        """The Event of one line."""
        return Event(line["step"], line["scalars"], self.arrays(line), line.get("of"))


def events(folder: str | Path) -> list[dict[str, Any]]:
    """All lines of a run so far, without superseded ones; arrays are not read."""
    return _not_superseded(Tail(folder).lines())


def _not_superseded(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for line in lines:
        if "resumed_from" in line:
            kept = [k for k in kept if k["step"] <= line["resumed_from"]]
        else:
            kept.append(line)
    return kept


def replay(folder: str | Path) -> Trace:
    """Yield the recorded events of a finished run again, identical to the original ones; returns its outcome."""
    tail = Tail(folder)
    for line in _not_superseded(tail.lines()):
        yield tail.event(line)
    return Outcome(result(folder), weights(folder))


def follow(folder: str | Path, *, poll: float = 0.2) -> Trace:
    """Yield the events of a run from its start until it ends, while any process writes it. poll: seconds between two reads.

    Raises InputError, with the recorded reason, when the run ends without a result. Events repeated after a resume are
    yielded once.
    """
    tail, last_step = Tail(folder), -1
    while True:
        status = read(folder)["status"]
        for line in tail.lines():
            if "resumed_from" not in line and line["step"] > last_step:
                last_step = line["step"]
                yield tail.event(line)
        if status in FINAL:
            break
        time.sleep(poll)
    if status != "finished":
        raise InputError(f"the run in {folder} {status}: {read(folder).get('error') or 'on request'}")
    return Outcome(result(folder), weights(folder))
