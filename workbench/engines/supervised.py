"""A supervised child process: its memory is limited, and it ends when its supervisor ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.errors import InputError

MARK = "WORKBENCH_CELL"  # environment variable of every process of a cell: the cell's folder
MEMORY_GB = 8.0  # resident memory at which a cell is ended, if its sweep says nothing else
WATCH_SECONDS = 0.2  # between two looks at the memory, and at the parent process


def supervise(work: Mapping[str, Any], stop: threading.Event | None = None) -> dict[str, Any]:
    """Compute a cell of a sweep in its own process; returns `{"status": ..., "error": text or None}`.

    status: `finished`, `failed`, `out of memory` or `killed`.

    The process and its children are killed when their resident memory together exceeds the limit, or when `stop` is set.
    Processes of this cell that remain from an earlier, killed supervisor are killed first.
    """
    import psutil

    folder = Path(work["folder"])
    end_leftovers(folder)
    threads = {name: str(work["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    environment = {**os.environ, **threads, MARK: str(folder)}
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "stderr.txt", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench.reports.sweep"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps({**work, "supervisor": os.getpid()}).encode())
    peak = 0.0
    limit = float(work["memory_gb"])
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_SECONDS)
            break
        with contextlib.suppress(psutil.Error):
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            peak = max(peak, _resident_gb(family))
        if peak > limit or (stop is not None and stop.is_set()):
            _end_family(process.pid)
            process.wait()
            break
    end_leftovers(folder)
    if peak > limit:
        error = f"stopped at {peak:.2f} GB of memory; the limit of a cell is {limit:g} GB (memory_gb, --memory)"
        return {"status": "out of memory", "error": error}
    if process.returncode == 0:
        return {"status": "finished", "error": None}
    if process.returncode < 0:
        return {"status": "killed", "error": f"its process was killed by {signal.Signals(-process.returncode).name}"}
    with contextlib.suppress(InputError):
        return {"status": "failed", "error": runs.read(folder).get("error") or "no error message; see stderr.txt"}
    last = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
    return {"status": "failed", "error": last[-1].removeprefix("workbench: ") if last else "it printed no error message"}


def _resident_gb(family: Sequence[Any]) -> float:
    import psutil

    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 1e9


def _end_family(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in [*first.children(recursive=True), first]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def end_leftovers(folder: Path) -> None:
    """Kill processes that still compute a cell after its supervisor has ended: those of this user with its folder in MARK."""
    import psutil

    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=10)


def die_with(parent: int) -> None:
    """Kill this process and its children as soon as the parent has ended, for whatever reason."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        _end_family(os.getpid())

    threading.Thread(target=watch, daemon=True).start()
