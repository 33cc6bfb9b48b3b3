"""One reader for all pages that follow a run, and the clock that calls the pages."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import panel as pn
import pytest

from tests.dashboards.conftest import TINY
from workbench import execution
from workbench.event import drain
from workbench.pages.frame import followed as module
from workbench.pages.frame.followed import Clock, followed
from workbench.runs.watch import Live, Tail


class Page:
    """Counts its calls; has news `times` times."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left, self.calls, self.error = times, 0, error

    def news(self) -> bool:
        return True

    def poll(self) -> bool:
        self.calls += 1
        self.left -= 1
        if self.error is not None and self.calls == 1:
            raise self.error
        return self.left > 0


@pytest.fixture
def folder(tmp_path: Path, small_scene: Any) -> Path:
    drain(execution.start("bsdm", small_scene, {**TINY, "steps": 4}, tmp_path / "runs" / "a"))
    return tmp_path / "runs" / "a"


def test_a_run_is_read_once_for_all_pages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    lines = Tail.lines
    monkeypatch.setattr(Tail, "lines", lambda tail: read.append(1) or lines(tail))
    one, other = followed(folder), followed(folder.parent / "." / "a")
    assert one is other
    one.look()
    version, seen = one.version, len(one.log)
    assert (one.state, seen > 4) == (("finished", None), True)
    for _ in range(5):
        other.look(fresh=60)
    assert (len(read), one.version) == (1, version)
    other.look()
    assert (len(read), one.version, len(one.log)) == (2, version, seen)
    del one, other
    gc.collect()
    assert folder.absolute() not in module._FOLLOWED


def test_two_visitors_draw_all_events_and_then_have_no_news(page: Any, folder: Path, small_scene: Any) -> None:
    for _ in range(2):
        explorer = page(small_scene, tabs=(2,))
        explorer.root = folder.parent
        runner = explorer.train.runner
        runner.follow("a")
        assert len(explorer.train.loss.sources["loss"].data["x"]) == 4
        assert not explorer.news()
        assert runner.live is followed(folder)


def test_a_tab_that_nobody_sees_is_drawn_when_it_is_shown_or_when_the_run_has_ended(
    page: Any, folder: Path, small_scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, status = folder / "events.jsonl", ["running"]
    lines = events.read_bytes().splitlines(keepends=True)
    monkeypatch.setattr(Live, "status", property(lambda _: status[0]))
    events.write_bytes(b"".join(lines[:2]))
    explorer = page(small_scene, tabs=(2, 1))
    explorer.root = folder.parent

    def drawn() -> tuple[int, bool]:
        return len(explorer.train.loss.sources["loss"].data["x"]), "trained" in explorer.scores

    explorer.train.runner.follow("a")
    assert drawn() == (0, False)
    explorer.tab = 2
    assert drawn() == (1, False)
    explorer.tab = 1
    assert drawn() == (1, True)
    events.write_bytes(b"".join(lines))
    explorer.poll()
    assert drawn() == (1, True)
    explorer.train.runner.take()  # another run, or none: nothing waits
    explorer.tab = 2
    assert drawn() == (0, False)
    explorer.tab = 0
    explorer.train.runner.follow("a")
    status[0] = "finished"
    explorer.poll()
    assert drawn() == (4, True)


def test_the_clock_calls_each_page_until_it_has_no_more(caplog: pytest.LogCaptureFixture) -> None:
    clock, pages = Clock(), [Page(1), Page(3), Page(2, ValueError("broken"))]

    async def drawn() -> None:
        for one in pages:
            clock.add(one, None)
        clock.add(pages[0], None)  # twice is once
        while any(one in clock for one in pages):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(drawn(), 20))
    assert [one.calls for one in pages] == [1, 3, 2]
    assert caplog.messages == ["a page could not draw the news of its run"]
    asyncio.run(asyncio.wait_for(drawn_again(clock, pages[1]), 20))  # another loop: another task
    assert pages[1].calls == 4


async def drawn_again(clock: Clock, page: Page) -> None:
    clock.add(page, None)
    while page in clock:
        await asyncio.sleep(0.01)


def test_a_page_without_news_is_not_called() -> None:
    clock, quiet, busy = Clock(), Page(1), Page(2)
    quiet.news = lambda: False  # type: ignore[method-assign]

    async def drawn() -> None:
        clock.add(quiet, None)
        clock.add(busy, None)
        while busy in clock:
            await asyncio.sleep(0.01)
        clock.remove(quiet)

    asyncio.run(asyncio.wait_for(drawn(), 20))
    assert (quiet.calls, busy.calls) == (0, 2)


def test_no_page_is_linked_to_the_state_that_every_callback_changes(page: Any, scene_file: Path) -> None:
    def linked() -> int:
        return len(pn.state.param.watchers.get("busy", {}).get("value", []))

    before = linked()
    made = page(scene_file).page()
    assert linked() == before
    assert made.busy_indicator is None


def test_the_button_of_a_row_removes_its_pick(page: Any, scene_file: Path) -> None:
    explorer = page(scene_file)
    for pixel in ((0, 0), (1, 1)):
        explorer.pick(*pixel)
    table = explorer.explore.table
    (pressed,) = table._msg__callbacks
    pressed(SimpleNamespace(data=1))
    assert explorer.picked == {2: (1, 1)}
    assert [row["cells"][0] for row in table.rows] == ["1, 1"]
