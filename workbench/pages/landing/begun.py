"""Plugin of `panel serve`: it is imported when all pages have been made once, before the server is made and listens."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from workbench.execution import RUNS
from workbench.pages.frame.memory import settle
from workbench.pages.frame.queue import wake
from workbench.pages.landing.guard import install

ROUTES: list[Any] = []
install()
settle()


def _end_with(parent: int) -> None:
    """End this process of a server when the first one has ended, which does not tell the others; runs go on."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _forked() -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), name="workbench-parent", daemon=True).start()
    wake(Path(RUNS))


if "--num-procs" in sys.argv:  # each process is forked from this one, which must have no thread and no lock then
    os.register_at_fork(after_in_child=_forked)
else:
    wake(Path(RUNS))
