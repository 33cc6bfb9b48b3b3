"""Limits of a run by the system's own means: memory of all its processes together, and time.

`workbench serve` sets the variables; every `workbench run` that a page starts applies them to itself before it imports anything
large. Each process inherits the limit of its own memory; what it and the processes that it starts have together is watched, once a second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

from workbench.errors import InputError

MEMORY = "WORKBENCH_RUN_MEMORY_GB"
SECONDS = "WORKBENCH_RUN_SECONDS"
GRACE = 15.0  # seconds after a limit until the error is raised again; after as many more the process is ended
LOOK = 1.0  # seconds between two looks at the memory
FAR = 1.5  # times the memory at which the processes are ended at once


def apply() -> None:
    """Limit this process as the variables say: beyond the memory allocations fail, or an InputError is raised where several
    processes have it together; after the time an InputError is raised."""
    memory, seconds = os.environ.get(MEMORY), os.environ.get(SECONDS)
    if memory:
        limit_memory(float(memory))
        limit_memory_together(float(memory))
    if seconds:
        limit_seconds(float(seconds))


def limit_memory(gigabytes: float) -> None:
    """No more than this many GB of data in this process (RLIMIT_DATA, which leaves out mapped files)."""
    import resource

    limit = int(gigabytes * 1e9)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def limit_memory_together(gigabytes: float) -> None:
    """Raise an InputError when this process and those that it started have more GB together, and again after GRACE.

    They are ended after another GRACE, or as soon as they have FAR times as much. Shared pages count once, mapped files do not (Linux;
    elsewhere the resident memory of each counts). A look a second does not see a shorter peak: each process keeps `limit_memory`.
    """
    told = ""

    def over(*_: Any) -> None:
        raise InputError(told)

    def watch() -> None:
        nonlocal told
        raised, since = 0, 0.0
        while True:
            time.sleep(LOOK)
            used, count = together()
            if used <= gigabytes and not raised:
                continue
            if not raised:
                since = time.monotonic()
                told = (
                    f"the {count} processes of this run had {used:.2f} GB together, more than the {gigabytes:g} GB that this server "
                    "allows a run (--run-memory); choose settings with fewer processes or smaller pieces"
                )
            if used > FAR * gigabytes or time.monotonic() - since > 2 * GRACE:
                _end(told)
            if raised < 2 and time.monotonic() - since >= raised * GRACE:
                raised += 1
                os.kill(os.getpid(), signal.SIGUSR2)

    signal.signal(signal.SIGUSR2, over)
    threading.Thread(target=watch, name="workbench-memory", daemon=True).start()


def together() -> tuple[float, int]:
    """(GB of memory of this process and all that it started, their number)."""
    import psutil

    family = [psutil.Process()]
    with contextlib.suppress(psutil.Error):
        family += family[0].children(recursive=True)
    used = 0
    for process in family:
        with contextlib.suppress(psutil.Error, OSError):
            used += _memory(process)
    return used / 1e9, len(family)


def _memory(process: Any) -> int:
    """Bytes of a process: its share of what is not a mapped file; its resident memory where the system does not say that."""
    try:
        with open(f"/proc/{process.pid}/smaps_rollup") as file:
            parts = dict(line.split(":", 1) for line in file if line.startswith("Pss_"))
        return sum(int(parts[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss_Shmem"))
    except (FileNotFoundError, KeyError, PermissionError):
        return int(process.memory_info().rss)


def limit_seconds(seconds: float) -> None:
    """Raise an InputError after this time, and again after GRACE, where code took it for an error of its own.

    After another GRACE this process is ended, with those that it started: it does not come back to Python, or goes on.
    """
    import resource

    told = f"the run took longer than the {seconds:g} s that this server allows (--run-time)"

    def over(*_: Any) -> None:
        raise InputError(told)

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, GRACE)
    ending = threading.Timer(seconds + 2 * GRACE, _end, (told,))
    ending.daemon = True
    ending.start()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(2 * seconds * cores) + 60  # of all threads together: where even that thread does not come to its turn
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))


def _end(told: str) -> None:
    """End this process and those that it started."""
    os.write(sys.stderr.fileno(), f"workbench: {told}, and did not end by itself\n".encode())
    if os.getpgrp() == os.getpid():  # launched by a page: its ranks are in its group
        os.killpg(os.getpgrp(), signal.SIGKILL)
    import psutil

    with contextlib.suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
    os._exit(2)
