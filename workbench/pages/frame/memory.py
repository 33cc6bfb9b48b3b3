"""Memory of a server: imported libraries are spared by garbage collections, and that of closed pages goes back to the system.

The C library keeps freed memory for later. A server that once had twenty visitors would be as large as with twenty visitors.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from functools import cache

DELAY = 5.0  # seconds after the last visitor has left: many leave together
_waiting: asyncio.TimerHandle | None = None


@cache
def spare_imports() -> None:
    """Leave what is loaded so far out of garbage collections, once: it stays until the process ends.

    The document of the session in which it is called stays too: that of the first page of a server. Panel collects when a visitor
    has left. To search a million objects of the imported libraries stops the server for a third of a second each time.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Collect garbage and return free memory to the system (Linux with glibc; elsewhere garbage is collected only)."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def give_back_later() -> None:
    """Call `give_back` once, DELAY seconds after the last call of this; at once without an event loop."""
    global _waiting
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        give_back()
        return
    if _waiting is not None:
        _waiting.cancel()
    _waiting = loop.call_later(DELAY, give_back)
