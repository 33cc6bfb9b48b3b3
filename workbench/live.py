"""Live: watch a run through its folder, whichever process writes it, and ask it to pause, resume or stop.

It polls and holds no thread: whoever watches calls `poll()` from a timer of its own (a page) or a loop (a notebook).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import runs
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Live:
    """A window onto one run folder.

    `history`: scalar name -> (steps, values) so far. `frames`: the newest event's step per array name; `frame(name)`
    reads the newest, `frame(name, step)` an older one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tail = runs.Tail(folder)
        self.lines: list[dict[str, Any]] = []
        self.history: dict[str, tuple[list[int], list[float]]] = {}
        self.frames: dict[str, list[int]] = {}

    def poll(self) -> list[dict[str, Any]]:
        """Take in what the run has added; gives the new lines (see `runs.Tail.lines`)."""
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
            status = runs.read(self.folder)["status"]
        except InputError:
            return "failed" if runs.launch_failure(self.folder) else "starting"
        return "paused" if status == "running" and self._asked() == "pause" else status

    @property
    def error(self) -> str | None:
        """Why the run failed or was killed; None otherwise."""
        try:
            return runs.read(self.folder).get("error")
        except InputError:
            return runs.launch_failure(self.folder)

    def _asked(self) -> str | None:
        path = self.folder / "control.json"
        try:
            return json.loads(path.read_text())["request"]
        except (OSError, ValueError):
            return None

    def pause(self) -> None:
        """Ask the run to wait before its next event."""
        runs.request(self.folder, "pause")

    def resume(self) -> None:
        """Ask a paused run to go on."""
        runs.request(self.folder, "resume")

    def stop(self) -> None:
        """Ask the run to end; it leaves a checkpoint where its method can continue from one."""
        runs.request(self.folder, "stop")
