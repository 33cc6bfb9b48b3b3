"""The queue of runs that visitors start: a ticket for each in `.queue` of the folder of runs, shared by all processes of a server.

    folder = begin(method, source, overrides, root, "flight")      # a new run: starts now, or when it is its turn
    go_on(folder)                                                  # the same for an unfinished run
    place(folder)                                                  # 1: the next; 0: it does not wait
    cancel(folder)                                                 # takes a waiting run out

Without a server, or where it sets no limits, runs start at once. Tickets are in files, so a server that starts again goes on with
those that wait (`wake`). A ticket names no command: it says what a visitor asked for, and that is checked again when its turn comes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench import execution, runs
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.pages.frame.policy import check_room, own, places, policy, settings, user
from workbench.runs.files import write_json, writing
from workbench.runs.folder import OWNER, launched, new_folder
from workbench.runs.loader import read_json

PERIOD = 1.0  # seconds between two looks
AGAIN = 10.0  # seconds until a folder of runs without room is looked through again
MOST = 20  # runs of one visitor that wait; of all visitors together, where they have no names
log = logging.getLogger(__name__)


def begin(method: str, source: Source, overrides: Mapping[str, Any] | None, root: Path, name: str) -> Path:
    """Start the method in a new process, as soon as the limits of the server allow; returns the new run folder at once.

    name: a short one of the scene. Raises InputError for settings that a visitor may not give.
    """
    changed = settings(method, overrides or {}, root)
    scene = {"scene": source.scene, "truth": source.truth, "keys": dict(source.keys)}
    scene |= {"beside": dict(source.beside), "resample": source.resample}
    size = places(method, changed)
    check_room(root)
    folder = _claimed(root, method, name)
    try:
        _submit(folder, {"method": method, "source": scene, "overrides": changed}, size)
    except InputError:
        _drop(folder)
        raise
    return folder


def go_on(folder: Path) -> None:
    """Continue an unfinished run in a new process, as soon as the limits of the server allow."""
    about = runs.read(folder)
    execution.resume_command(folder)  # raises for an imported one
    check_room(folder.parent)
    _submit(folder, None, places(about["method"], about["config"]))


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
        _drop(folder)
        return True


def pump(root: Path) -> int:
    """Start the runs whose turn it is; returns the number of tickets that are left."""
    limits = policy()
    execution.reap()
    if limits is None or not (root / ".queue").is_dir():
        return 0
    with _tickets(root) as place:
        tickets = _read(place)
        for ticket in [t for t in tickets if t["launched"] and not launched(root / t["folder"])]:
            (place / f"{ticket['folder']}.json").unlink(missing_ok=True)
            tickets.remove(ticket)
        at_work: Counter[str] = Counter()
        for ticket in [t for t in tickets if t["launched"]]:
            at_work[ticket["user"]] += ticket["places"]
        for ticket in [t for t in tickets if not t["launched"]]:
            if _full(at_work[ticket["user"]], ticket["places"], limits.max_runs_per_user):
                continue
            if _full(at_work.total(), ticket["places"], limits.max_runs):
                break  # nobody overtakes a run of many processes
            if not _room(root):
                break
            folder = root / ticket["folder"]
            try:
                command = _command(folder, ticket["start"])
            except InputError as error:
                log.error("%s leaves the queue: %s", folder, error)
                _drop(folder)
                tickets.remove(ticket)
                continue
            at_work[ticket["user"]] += ticket["places"]
            write_json(place / f"{ticket['folder']}.json", {**ticket, "launched": True})
            execution.spawn(command, folder)
        return len(tickets)


def wake(root: Path) -> None:
    """Go on with the runs that wait, from a thread, until none is left."""
    with _LOCK:
        if root in _watched or not any((root / ".queue").glob("*.json")):
            return
        _watched.add(root)
    threading.Thread(target=lambda: _watch(root), name="workbench-queue", daemon=True).start()


def _claimed(root: Path, method: str, name: str) -> Path:
    """A new folder that no other visitor gets, although many may ask within the same second."""
    while True:
        folder = new_folder(root, method, name)
        with writing(folder), contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


def _submit(folder: Path, start: Mapping[str, Any] | None, size: int) -> None:
    limits = policy()
    own(folder)
    if limits is None or (limits.max_runs is None and limits.max_runs_per_user is None):
        execution.spawn(_command(folder, start), folder)
        return
    ticket = {"folder": folder.name, "user": user(), "start": start, "places": size, "time": time.time(), "launched": False}
    with _tickets(folder.parent) as place, writing(folder):
        waiting = sum(t["user"] == ticket["user"] and not t["launched"] for t in _read(place))
        if waiting >= MOST:
            raise InputError(f"{waiting} of your runs wait already; wait until one has begun, or take one out (Stop).")
        write_json(place / f"{folder.name}.json", ticket)
    pump(folder.parent)
    wake(folder.parent)


def _command(folder: Path, start: Mapping[str, Any] | None) -> list[str]:
    if start is None:
        return execution.resume_command(folder)
    try:
        method, source = str(start["method"]), Source.from_record(start["source"])
        changed = settings(method, start["overrides"], folder.parent)
    except (KeyError, TypeError, AttributeError):
        raise InputError("its ticket is damaged.") from None
    return execution.run_command(method, source, changed, folder)


def _room(root: Path) -> bool:
    """Whether runs may begin; those that wait go on waiting until others are deleted, and the log says it once."""
    if time.monotonic() < _without_room.get(root, 0.0):
        return False
    try:
        check_room(root)
    except InputError as error:
        if root not in _without_room:
            log.warning("the queue of %s waits: %s", root, error)
        _without_room[root] = time.monotonic() + AGAIN
        return False
    _without_room.pop(root, None)
    return True


def _full(at_work: int, more: int, most: int | None) -> bool:
    """Whether these processes more are too many. A run that is larger than the limit begins when no other is at work."""
    return most is not None and at_work > 0 and at_work + more > most


def _drop(folder: Path) -> None:
    _ticket(folder).unlink(missing_ok=True)
    if not (folder / "run.json").exists():  # else it is an unfinished run, which waited to be continued
        (folder / OWNER).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


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
        with contextlib.suppress(InputError, TypeError, KeyError, ValueError):
            ticket = read_json(path)
            kept = {k: ticket[k] for k in ("user", "start", "launched")}
            found.append({**kept, "folder": path.stem, "places": int(ticket["places"]), "time": float(ticket["time"])})
    return sorted(found, key=lambda t: (t["time"], t["folder"]))


_LOCK = threading.RLock()
_watched: set[Path] = set()
_without_room: dict[Path, float] = {}  # folders of runs without room -> when they are looked through again


def _watch(root: Path) -> None:
    """Pump this folder until no ticket is left."""
    while True:
        try:
            with _LOCK:
                if not pump(root):
                    _watched.discard(root)
                    return
        except Exception:  # a full disk for example: the runs of others wait for this thread
            log.exception("the queue of %s could not go on; it is tried again", root)
        time.sleep(PERIOD)
