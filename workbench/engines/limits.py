"""Limits of a process by the system's own means: memory of its data, and time.

`workbench serve` sets the variables; every `workbench run` that a page starts applies them to itself before it imports anything
large, and its children inherit the limit of memory, each for itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from workbench.errors import InputError

MEMORY = "WORKBENCH_RUN_MEMORY_GB"
SECONDS = "WORKBENCH_RUN_SECONDS"
GRACE = 15.0  # seconds after the limit of time until the error is raised again; after as many more the process is ended


def apply() -> None:
    """Limit this process as the variables say: beyond the memory allocations fail; after the time an InputError is raised."""
    memory, seconds = os.environ.get(MEMORY), os.environ.get(SECONDS)
    if memory:
        limit_memory(float(memory))
    if seconds:
        limit_seconds(float(seconds))


def limit_memory(gigabytes: float) -> None:
    """No more than this many GB of data in this process (RLIMIT_DATA, which leaves out mapped files)."""
    import resource

    limit = int(gigabytes * 1e9)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def limit_seconds(seconds: float) -> None:
    """Raise an InputError after this time, and again after GRACE, where code took it for an error of its own.

    After another GRACE this process is ended, with those that it started: it does not come back to Python, or goes on.
    """
    import resource

    told = f"the run took longer than the {seconds:g} s that this server allows (--run-time)"

    def over(*_: Any) -> None:
        raise InputError(told)

    def end() -> None:
        os.write(sys.stderr.fileno(), f"workbench: {told}, and did not end by itself\n".encode())
        if os.getpgrp() == os.getpid():  # launched by a page: its ranks are in its group
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(2)

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, GRACE)
    ending = threading.Timer(seconds + 2 * GRACE, end)
    ending.daemon = True
    ending.start()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(2 * seconds * cores) + 60  # of all threads together: where even that thread does not come to its turn
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))
