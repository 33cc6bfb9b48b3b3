"""The heartbeat of a run: a small file that its process writes every few seconds, also within a long step.

On the machine of the run its process number decides whether it lives. A reader on another machine (another node of a cluster,
another container) sees only the folder: there a run without a sign of life for `DEAD_AFTER` seconds counts as killed. The clocks
of the machines may differ by less than that minus `EVERY`.

The file names its writer. A process that finds another name in it has been taken over and stops.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from pathlib import Path

BEAT = "heartbeat"
EVERY = 15.0  # seconds between two beats
DEAD_AFTER = 300.0  # seconds without a sign of life


class Heartbeat:
    """Beats from a thread until `end`. lost: whether another process has taken the folder over."""

    def __init__(self, folder: Path, every: float = EVERY) -> None:
        self.path = folder / BEAT
        self.lost = False
        self._name, self._count, self._every = uuid.uuid4().hex, 0, every
        self._looked = time.monotonic()
        self._over = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._go, name="workbench-heartbeat", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        self._count += 1
        beat = (
            f"{self._name} {self._count:10}\n".encode()
        )  # of one length, written over the last one: a reader sees no empty file
        with contextlib.suppress(OSError):  # a full disk: the next beat tries again
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.write(file, beat)
                os.ftruncate(file, len(beat))
            finally:
                os.close(file)

    def _go(self) -> None:
        while not self._over.wait(self._every):
            if self._other():
                self.lost = True
                return
            self._write()

    def check(self) -> None:
        """Set `lost` if another process has taken the folder over; the file is read twice a second at most."""
        if time.monotonic() - self._looked > 0.5:
            self._looked = time.monotonic()
            self.lost = self.lost or self._other()

    def _other(self) -> bool:
        """Whether another process has written its name; a file that is missing or empty is nobody's."""
        try:
            words = self.path.read_text().split()
        except (OSError, UnicodeDecodeError):
            return False
        return bool(words) and words[0] != self._name

    def end(self) -> None:
        """Stop beating; the file is removed unless it is another's."""
        self._over.set()
        self._thread.join()
        self.lost = self.lost or self._other()
        if not self.lost:
            with contextlib.suppress(OSError):
                self.path.unlink()


def silent(folder: Path) -> float:
    """Seconds since the last sign of life of a run: its heartbeat, or its newest record, in runs made before there were heartbeats."""
    newest = 0.0
    for name in (BEAT, "events.jsonl", "run.json"):
        with contextlib.suppress(OSError):
            newest = max(newest, os.stat(folder / name).st_mtime)
    return time.time() - newest
