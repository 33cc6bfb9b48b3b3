"""The queue of runs that visitors start: a ticket for each in `.queue` of the folder of runs, shared by all processes of a server.

    submit(command, folder)      # starts it now, or when it is its turn
    place(folder)                # 1: the next; 0: it does not wait
    cancel(folder)               # takes a waiting run out

Without a server, or where it sets no limits, runs start at once. Tickets are in files, so a server that starts again goes on with
those that wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench import execution
from workbench.errors import InputError
from workbench.pages.frame.policy import OWNER, own, policy, user
from workbench.runs.files import write_json, writing
from workbench.runs.folder import launched
from workbench.runs.loader import read_json

PERIOD = 1.0  # seconds between two looks


def submit(command: Sequence[str], folder: Path) -> None:
    """Start a process that writes the run `folder`, as soon as the limits of the server allow."""
    limits = policy()
    own(folder)
    if limits is None or (limits.max_runs is None and limits.max_runs_per_user is None):
        execution.spawn(command, folder)
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _tickets(folder.parent) as place:
        ticket = {"folder": folder.name, "user": user(), "command": list(command), "time": time.time(), "launched": False}
        write_json(place / f"{folder.name}.json", ticket)
    pump(folder.parent)
    _watch(folder.parent)


def place(folder: Path) -> int:
    """The place of a run among those that wait; 0 if it does not wait."""
    if not _ticket(folder).exists():
        return 0
    waiting = [t["folder"] for t in _read(folder.parent / ".queue") if not t["launched"]]
    return waiting.index(folder.name) + 1 if folder.name in waiting else 0


def cancel(folder: Path) -> bool:
    """Take a run that waits out of the queue, and its folder if it has not begun; whether it waited."""
    with _tickets(folder.parent):
        if not place(folder):
            return False
        _ticket(folder).unlink(missing_ok=True)
        if not (folder / "run.json").exists():  # else it is an unfinished run, which waited to be continued
            (folder / OWNER).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        return True


def pump(root: Path) -> int:
    """Start the runs whose turn it is; returns the number of tickets that are left."""
    limits = policy()
    if limits is None or not (root / ".queue").is_dir():
        return 0
    with _tickets(root) as place:
        tickets = _read(place)
        for ticket in [t for t in tickets if t["launched"] and not launched(root / t["folder"])]:
            (place / f"{ticket['folder']}.json").unlink(missing_ok=True)
            tickets.remove(ticket)
        at_work = Counter(t["user"] for t in tickets if t["launched"])
        for ticket in tickets:
            if ticket["launched"] or (limits.max_runs is not None and at_work.total() >= limits.max_runs):
                continue
            if limits.max_runs_per_user is not None and at_work[ticket["user"]] >= limits.max_runs_per_user:
                continue
            at_work[ticket["user"]] += 1
            write_json(place / f"{ticket['folder']}.json", {**ticket, "launched": True})
            execution.spawn(ticket["command"], root / ticket["folder"])
        return len(tickets)


def _ticket(folder: Path) -> Path:
    return folder.parent / ".queue" / f"{folder.name}.json"


@contextlib.contextmanager
def _tickets(root: Path) -> Iterator[Path]:
    """The folder of the tickets, locked against other threads and processes."""
    place = root / ".queue"
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    with _LOCK, open(place / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield place


def _read(place: Path) -> list[dict[str, Any]]:
    """The tickets, the oldest first; a damaged one is left out."""
    found = []
    for path in place.glob("*.json"):
        with contextlib.suppress(InputError, TypeError, KeyError):
            ticket = read_json(path)
            found.append({k: ticket[k] for k in ("folder", "user", "command", "time", "launched")})
    return sorted(found, key=lambda t: (t["time"], t["folder"]))


_LOCK = threading.RLock()
_watched: set[Path] = set()


def _watch(root: Path) -> None:
    """Pump this folder from a thread until no ticket is left."""

    def go() -> None:
        while True:
            with _LOCK:
                if not pump(root):
                    _watched.discard(root)
                    return
            time.sleep(PERIOD)

    with _LOCK:
        if root in _watched:
            return
        _watched.add(root)
    threading.Thread(target=go, name="workbench-queue", daemon=True).start()
