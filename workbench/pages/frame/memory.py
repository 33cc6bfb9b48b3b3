"""Memory of a server: imported libraries are spared by garbage collections, and that of closed pages goes back to the system.

Freed memory is kept for later by the C library, and by Python, which gives a block of 1 MB back only when nothing in it is used any more.
A server that once had twenty visitors would be as large as with twenty visitors.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
from functools import cache

import panel as pn

from workbench.pages.frame.cache import SharedResults
from workbench.runs.frames import CACHE as FRAMES

# variables of a server's process: Python takes memory from the C library, which can give back each page of 4 kB
ALLOCATOR = {"PYTHONMALLOC": "malloc"} if sys.platform == "linux" else {}
# new objects after which garbage is searched for. With Python's own number, 700, up to a fifth of the time in which a page is made goes
# into searches that find nothing; the garbage of closed pages is collected below.
SELDOM = 50_000
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
    gc.set_threshold(SELDOM)


def settle() -> None:
    """Drop the pages that `panel serve --warm` has made, and spare all that is left. Called when the server begins.

    Panel would keep these pages, which no visitor gets, until the server stops. Processes that the server launches have Python's own
    memory again.
    """
    for name in ALLOCATOR:
        os.environ.pop(name, None)
    if pn.state._sessions:
        SharedResults.wait_for_all()  # what has been asked for holds the page that asked
        pn.state._sessions.clear()
        pn.state._session_key_funcs.clear()
        gc.unfreeze()
        give_back()
        gc.freeze()


def give_back() -> None:
    """Drop the decoded frames of runs, collect garbage, and return free memory to the system (the last: Linux with glibc).

    A followed training fills the cache of frames, up to 256 MB; visitors who are still there read from the files again.
    """
    FRAMES.clear()
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
