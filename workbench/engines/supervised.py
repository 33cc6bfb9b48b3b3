"""A child process under supervision: bounded memory, ended with its supervisor, nothing left behind."""

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

MARK = "WORKBENCH_CELL"  # in the environment of every process of a cell: its folder


MEMORY_GB = 8.0


WATCH_SECONDS = 0.2


def supervise(work: Mapping[str, Any], stop: threading.Event | None = None) -> dict[str, Any]:
    """Make a cell in a process of its own and give `{"status": one of STATUSES, "error": text or None}`.

    The process and all that it starts are ended when together they hold more resident memory than allowed, or when `stop`
    is set. What an earlier supervisor, itself killed, has left of this cell is ended before.
    """
    import psutil

    folder = Path(work["folder"])
    end_leftovers(folder)
    threads = {name: str(work["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    environment = {**os.environ, **threads, MARK: str(folder)}
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "stderr.txt", "ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench.reports.sweep"],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=environment,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps({**work, "supervisor": os.getpid()}).encode())
    most = 0.0
    limit = float(work["memory_gb"])
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_SECONDS)
            break
        with contextlib.suppress(psutil.Error):
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            most = max(most, _resident_gb(family))
        if most > limit or (stop is not None and stop.is_set()):
            _end_family(process.pid)
            process.wait()
            break
    end_leftovers(folder)
    if most > limit:
        error = f"ended at {most:.2f} GB of memory; a cell of this sweep may have {limit:g} GB (memory_gb, --memory)"
        return {"status": "out of memory", "error": error}
    if process.returncode == 0:
        return {"status": "finished", "error": None}
    if process.returncode < 0:
        return {"status": "killed", "error": f"its process was killed by {signal.Signals(-process.returncode).name}"}
    with contextlib.suppress(InputError):
        return {"status": "failed", "error": runs.read(folder)["error"] or "without a word; see stderr.txt"}
    last = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
    return {"status": "failed", "error": last[-1].removeprefix("workbench: ") if last else "without a word"}


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
    """End what still works on a cell though its supervisor is gone: processes of this user marked with its folder."""
    import psutil

    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=10)


def die_with(parent: int) -> None:
    """End this process and all it has started as soon as that parent is gone, whatever killed it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        _end_family(os.getpid())

    threading.Thread(target=watch, daemon=True).start()
