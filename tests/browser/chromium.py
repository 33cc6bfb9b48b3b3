"""The system's Chromium, headless, behind Playwright: told to be quiet, and watched for errors and foreign requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
# all is drawn, and the veil that the page wears until then is off: a click before that lands on the veil
IDLE = """() => window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle
    && getComputedStyle(document.getElementById('loader')).display == 'none'"""
# the page is dark
TURNED = "() => getComputedStyle(document.body).backgroundColor != 'rgb(255, 255, 255)'"
# where the frame of the figure that holds a given title begins, in screen pixels, and how large it is
FRAME = """part => {
    for (const view of Bokeh.index.all_views()) {
        if (view.model.type.endsWith("Figure") && view.frame && view.el.getClientRects().length) {
            const title = view.model.title && view.model.title.text || ""
            const label = view.model.below.map(axis => axis.axis_label).join(" ")
            if (title.includes(part) || label.includes(part)) {
                const [outer, inner] = [view.el.getBoundingClientRect(), view.frame.bbox]
                return {x: outer.x + inner.x, y: outer.y + inner.y, width: inner.width, height: inner.height, id: view.model.id}
            }
        }
    }
    return null
}"""
# lengths of the columns called `name` in all sources of the page
LENGTHS = """name => [...Bokeh.documents[0].all_models]
    .filter(m => m.type == "ColumnDataSource" && name in m.data)
    .map(m => m.data[name].length)"""


def chromium() -> str | None:
    """Path of the system's Chromium, or None."""
    return next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)


class Watch:
    """What a page did that it should not: console errors, uncaught exceptions, requests to other hosts."""

    def __init__(self, page: Any) -> None:
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(f"{e}\n{e.stack}"))
        page.on("request", lambda r: self._asked(r.url))
        page.on("websocket", lambda w: self._asked(w.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.foreign.append(url)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


def wait(page: Any, expression: str, arg: Any = None) -> Any:
    """Wait until a JavaScript expression is true. Looks ten times a second: at each frame it would keep the page busy."""
    return page.wait_for_function(expression, arg=arg, polling=100)


def visit(opened: Any, address: str, *, wide: int = 1400, high: int = 900) -> tuple[Any, Watch]:
    """A new page in a context of its own, watched; loaded until it is idle."""
    page = opened.new_context(viewport={"width": wide, "height": high}).new_page()
    page.set_default_timeout(120_000)
    watch = Watch(page)
    page.goto(address)
    wait(page, IDLE)
    return page, watch


def frame(page: Any, part: str) -> dict[str, Any]:
    """Frame of the visible figure whose title or axis label holds `part`, once it is there."""
    return wait(page, FRAME, arg=part).json_value()
