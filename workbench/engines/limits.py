"""Limits of a process by the system's own means: memory of its data, and time.

`workbench serve` sets the variables; every `workbench run` that a page starts applies them to itself before it imports anything
large, and its children inherit the limit of memory, each for itself.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from workbench.errors import InputError

MEMORY = "WORKBENCH_RUN_MEMORY_GB"
SECONDS = "WORKBENCH_RUN_SECONDS"


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
    """Raise an InputError after this time; a process that does not come back to Python then is ended by the system."""
    import resource

    def over(*_: Any) -> None:
        raise InputError(f"the run took longer than the {seconds:g} s that this server allows (--run-time)")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(2 * seconds * cores) + 60  # of all threads together
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))
