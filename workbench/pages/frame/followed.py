"""One reader of each followed run, and one clock, for all pages of this process.

With a reader and a timer for each visitor, twenty visitors of one run read its folder eighty times a second, and their drawings
leave the server no time for clicks. Here a run is read once for all, a page is called only when its runs have news, and pages
are called one after the other with pauses between them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import weakref
from pathlib import Path
from typing import Any, Protocol

from panel.io.state import set_curdoc

from workbench.runs.watch import Live

PERIOD = 0.25  # seconds between two looks at the runs
FRESH = 0.1  # seconds for which a look is valid for other pages
REST = (
    1.5  # pause after a page was drawn, as a multiple of the time that this took: the share of clicks in the server's time
)
log = logging.getLogger(__name__)


class Followed(Live):
    """A run that any number of pages follow; get it from `followed`.

    log: all lines that were ever read, so that each page remembers only how many it has seen. version: grows with every change
    that a page could show. state: status and error of the last look.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.log: list[dict[str, Any]] = []
        self.version = 0
        self.state: tuple[str, str | None] = ("starting", None)
        self._looked = float("-inf")

    def look(self, *, fresh: float = 0.0) -> None:
        """Read the folder, if the last look is more than `fresh` seconds old."""
        if time.monotonic() - self._looked < fresh:
            return
        new, state = self.poll(), (self.status, self.error)
        if new or state != self.state:
            self.version += 1
        self.log += new
        self.state = state
        self._looked = time.monotonic()


_FOLLOWED: weakref.WeakValueDictionary[Path, Followed] = weakref.WeakValueDictionary()


def followed(folder: Path) -> Followed:
    """The reader of this run folder; the same one for all pages, as long as a page follows the run."""
    key = folder.absolute()
    reader = _FOLLOWED.get(key)
    if reader is None:
        reader = _FOLLOWED[key] = Followed(folder)
    return reader


class Follower(Protocol):
    """A page, or a part of one, that draws runs while they go on."""

    def news(self) -> bool:
        """Whether `poll` would draw something."""

    def poll(self) -> bool:
        """Draw the news; whether there can be more."""


class Clock:
    """Calls the pages that follow active runs, each with its document locked, in the event loop in which they were added."""

    def __init__(self) -> None:
        self._pages: dict[Follower, Any] = {}  # -> its document, or None
        self._task: asyncio.Task | None = None

    def __contains__(self, page: Follower) -> bool:
        return page in self._pages

    def add(self, page: Follower, document: Any) -> None:
        """Call `page` until its `poll` says that there is no more. document: of a served page, else None."""
        self._pages[page] = document
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._run())

    def remove(self, page: Follower) -> None:
        """Do not call `page` again."""
        self._pages.pop(page, None)

    async def _run(self) -> None:
        while self._pages:
            began = time.monotonic()
            for page, document in list(self._pages.items()):
                if page in self._pages and page.news():
                    turn = time.monotonic()
                    try:
                        await self._draw(page, document)
                    except Exception:
                        log.exception("a page could not draw the news of its run")
                    await asyncio.sleep(REST * (time.monotonic() - turn))
            await asyncio.sleep(max(0.02, PERIOD - (time.monotonic() - began)))

    async def _draw(self, page: Follower, document: Any) -> None:
        async def draw(_: Any = None) -> None:
            with set_curdoc(document):
                more = page.poll()
            if not more:
                self.remove(page)

        context = getattr(document, "session_context", None)
        if context is None:
            await draw()
        else:
            pending = context.with_locked_document(draw)
            if inspect.isawaitable(pending):
                await pending


CLOCK = Clock()
