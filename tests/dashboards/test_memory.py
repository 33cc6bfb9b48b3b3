"""Memory of closed pages goes back to the system, once for visitors who leave together."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time

import numpy as np
import panel as pn
import pytest
import xarray as xr

from workbench.pages.frame import memory
from workbench.pages.frame.cache import SharedResults
from workbench.runs.frames import CACHE as FRAMES


def test_memory_is_given_back_once_for_visitors_who_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(memory, "DELAY", 0.02)
    monkeypatch.setattr(memory, "give_back", lambda: given.append(1))

    async def leave() -> None:
        for _ in range(5):
            memory.give_back_later()
        assert given == []
        await asyncio.sleep(0.1)
        assert given == [1]
        memory.give_back_later()
        await asyncio.sleep(0.1)

    asyncio.run(leave())
    assert given == [1, 1]
    memory.give_back_later()  # no loop: at once
    assert given == [1, 1, 1]


def test_frames_of_runs_are_given_back_too() -> None:
    FRAMES.put("a frame", xr.DataArray(np.zeros(1000)))
    assert FRAMES.nbytes >= 8000
    memory.give_back()
    assert FRAMES.nbytes == 0
    assert FRAMES.get("a frame") is None


def test_a_server_drops_the_pages_that_it_made_to_be_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(gc, "unfreeze", lambda: done.append("unfreeze"))  # the tests' own garbage stays collectable
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(memory, "give_back", lambda: done.append("give back"))
    monkeypatch.setattr(pn.state, "_sessions", {})
    monkeypatch.setattr(pn.state, "_session_key_funcs", {"/anomaly": len})
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    memory.settle()
    assert (done, os.environ.get("PYTHONMALLOC")) == ([], None if sys.platform == "linux" else "malloc")
    slow = SharedResults(1).ask("scene", lambda: time.sleep(0.1), lambda: time.sleep(0.1))
    pn.state._sessions["/anomaly"] = object()
    memory.settle()
    assert slow.done()
    assert (pn.state._sessions, pn.state._session_key_funcs) == ({}, {})
    assert done == ["unfreeze", "give back", "freeze"]
