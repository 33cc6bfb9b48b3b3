"""Memory of closed pages goes back to the system, once for visitors who leave together."""

from __future__ import annotations

import asyncio

import pytest

from workbench.pages.frame import memory


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


def test_it_can_be_done_on_this_platform() -> None:
    memory.give_back()
