"""How tests run a trace of events to its end, and on which disks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

E = TypeVar("E")


def played(trace: Generator[E, None, Any], listener: Callable[[E], object] = lambda event: None) -> tuple[list[E], Any]:
    """(all events, what the trace returns). listener: called after each event."""
    events: list[E] = []
    while True:
        try:
            event = next(trace)
        except StopIteration as end:
            return events, end.value
        events.append(event)
        listener(event)


@contextmanager
def mounted(disk: Path, options: str) -> Iterator[Path]:
    """A new tmpfs at `disk`, such as a tiny or a read-only one; skips the test where nothing may be mounted."""
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # a child may end a moment later
