"""Plugin of `panel serve`: it is imported when all pages have been made once, before the server is made and listens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from workbench.execution import RUNS
from workbench.pages.frame.memory import settle
from workbench.pages.frame.queue import wake
from workbench.pages.landing.guard import install

ROUTES: list[Any] = []
install()
settle()
if "--num-procs" in sys.argv:  # each process is forked from this one, which must have no thread and no lock then
    os.register_at_fork(after_in_child=lambda: wake(Path(RUNS)))
else:
    wake(Path(RUNS))
