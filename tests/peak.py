"""The largest memory of this process, on Linux. `ru_maxrss` will not do: a child begins with what its parent held when it was started."""

from __future__ import annotations

import re
from pathlib import Path


def peak() -> float:
    """MiB, since the start of the program or since `forget`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "no VmHWM in /proc/self/status"
    return int(found[1]) / 1024


def forget() -> None:
    """Count from what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
