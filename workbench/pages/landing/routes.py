"""What the server answers besides the pages: `panel serve ... --plugins workbench.pages.landing.routes`.

/                      the landing page
/landing/recent        its list of runs alone, which it asks for again every few seconds
/landing/picture/NAME  the pictures of the pages
/landing/report/RUN    `report.html` of a run folder, by its path below the folder of runs
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import HTTPError, StaticFileHandler, authenticated

from workbench.errors import InputError
from workbench.execution import RUNS
from workbench.pages.frame.links import run_folder
from workbench.pages.landing.guard import check_request, check_user
from workbench.pages.landing.page import PICTURES, landing, recent
from workbench.reports.html import report_page

# of the landing page, and of a report: no other host, and for a report no script either
OWN = "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"
STILL = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class _Page(AuthRequestHandler):
    """Sends HTML that is never kept by the browser."""

    async def prepare(self) -> None:
        """Check what every page checks."""
        check_request(self)
        await super().prepare()
        check_user(self)

    def send(self, html: str, policy: str) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", policy)
        self.finish(html)

    def served(self) -> list[str]:
        """Names of the pages of this server."""
        return sorted(path.strip("/") for path in self.application.app_paths)


class Landing(_Page):
    """The landing page."""

    @authenticated
    async def get(self) -> None:
        """Answer with the landing page."""
        self.send(await asyncio.to_thread(landing, RUNS, self.served()), OWN)


class Recent(_Page):
    """The list of recent runs."""

    @authenticated
    async def get(self) -> None:
        """Answer with the rows of the list."""
        self.send(await asyncio.to_thread(recent, RUNS, self.served()), OWN)


class Report(_Page):
    """The report of a run folder."""

    @authenticated
    async def get(self, name: str) -> None:
        """Answer with `report.html` of the run `name`."""
        self.send(await asyncio.to_thread(_report, RUNS, name), STILL)


def _report(root: str | Path, name: str) -> str:
    try:
        path = run_folder(root, name) / "report.html"
    except InputError as error:
        raise HTTPError(404, str(error)) from None
    if not path.is_file() or not (path.parent / "run.json").is_file():
        raise HTTPError(404, "%s has no report", path.parent)
    try:
        return report_page(path.parent)
    except InputError as error:
        raise HTTPError(404, str(error)) from None


ROUTES = [
    (r"/?", Landing),
    (r"/landing/recent", Recent),
    (r"/landing/report/(.+)", Report),
    (r"/landing/picture/(.+)", StaticFileHandler, {"path": str(PICTURES)}),
]
