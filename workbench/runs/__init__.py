"""Run folders: create, describe, record, watch and replay them.

Most callers need only the names below. Collections, archives and provenance have their own modules in this package.
"""

import os

from workbench.runs.files import plain, replace, write_json, writing
from workbench.runs.folder import (
    FINAL,
    assumed,
    checkpoint,
    create,
    data_hash,
    iter_status,
    launch_failure,
    list_runs,
    metrics,
    new_folder,
    note_launch,
    now,
    read,
    refuse_existing,
    reopen,
    request,
    result,
    unused,
    weights,
)
from workbench.runs.recorder import Stopped, record
from workbench.runs.watch import ArrayHistory, Live, Tail, events, follow, replay

RUNS = os.environ.get("WORKBENCH_RUNS", "runs")  # default folder of runs, relative to the working directory

__all__ = [
    "FINAL", "RUNS", "ArrayHistory", "Live", "Stopped", "Tail", "assumed", "checkpoint", "create", "data_hash", "events", "follow",
    "iter_status", "launch_failure", "list_runs", "metrics", "new_folder", "note_launch", "now", "plain", "read", "record",
    "refuse_existing", "reopen", "replace", "replay", "request", "result", "unused", "weights", "write_json", "writing",
]  # fmt: skip
