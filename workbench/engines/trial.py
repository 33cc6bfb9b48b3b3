"""A trial: a visitor's file is opened in a child process with limits before the server opens it.

    try_opening(source)      # InputError where the file is refused, takes too long, or needs too much memory

What a file needs is known only when it is read: a few kB can unpack to many GB. The child reads what the server would read, so the
server's own process, which all visitors share, meets only files that keep the limits.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from workbench.data.source import Source
from workbench.errors import InputError

MEMORY_GB = 4.0
SECONDS = 60.0
IN_MEMORY = 1 << 30  # bytes up to which a scene is read as a whole
_MODULE = (sys.executable, "-m", "workbench.engines.trial")


def try_opening(
    source: Source, *, memory_gb: float = MEMORY_GB, seconds: float = SECONDS, command: Sequence[str] = _MODULE
) -> None:
    """Open the scene in a child process; raise its InputError, or one that names the limit that was exceeded."""
    work = json.dumps({"source": source.record(), "memory_gb": memory_gb, "in_memory": IN_MEMORY})
    try:
        done = subprocess.run(command, input=work, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{source.scene} was not opened within {seconds:g} s, which is the limit of this server.") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
        refused = answer["refused"]
    except (ValueError, IndexError, KeyError, TypeError):
        raise InputError(
            f"{source.scene} cannot be opened: its reader ended without an answer (exit code {done.returncode}), which more "
            f"than {memory_gb:g} GB of memory can cause."
        ) from None
    if refused:
        raise InputError(refused)


def _main() -> None:
    work = json.load(sys.stdin)
    from workbench.engines.limits import limit_memory

    limit_memory(work["memory_gb"])
    source = Source.from_record(work["source"])
    try:
        scene = source.open()
        if scene.nbytes <= work["in_memory"]:
            scene.load()
        refused = ""
    except InputError as error:
        refused = str(error)
    except MemoryError:
        refused = (
            f"{source.scene} needs more than {work['memory_gb']:g} GB of memory to be opened, the limit of this server."
        )
    print(json.dumps({"refused": refused}))


if __name__ == "__main__":
    _main()
