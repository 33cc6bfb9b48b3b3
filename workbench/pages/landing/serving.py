"""The one way in which the dashboards are served: the command line, `make serve` and the tests of the browser use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import InputError, did_you_mean
from workbench.resources import folder

# ms after which a page that no browser holds is given up. With Bokeh's 15 s, a busy server gives pages up before it lets their
# browsers connect, when many visitors come at once.
UNUSED = 60_000
# Waits until the server answers, then opens the browser there. Panel's own --show opens every page at once.
OPEN = """
import sys, time, urllib.request, webbrowser
for _ in range(600):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=60).close()
    except OSError:
        time.sleep(0.2)
    else:
        webbrowser.open(sys.argv[1])
        break
"""


def dashboards() -> dict[str, Path]:
    """Name -> file of every dashboard, in order of the names."""
    return {path.stem: path for path in sorted(folder("dashboards").glob("*.py"))}


def command(names: Sequence[str] = (), *, port: int, warm: bool = True) -> list[str]:
    """The command of a server with the landing page and these dashboards; without names, with all. Raises InputError for an unknown name.

    warm: each page is made once before the server listens, so that the first visitor does not wait.
    """
    known = dashboards()
    for name in names:
        if name not in known:
            raise InputError(f"There is no dashboard {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
    files = [str(known[name]) for name in names or known]
    routes = ["--plugins", "workbench.pages.landing.routes", "--unused-session-lifetime", str(UNUSED)]
    return [sys.executable, "-m", "panel", "serve", *files, "--port", str(port), *routes, *(["--warm"] if warm else [])]


def open_browser(address: str) -> None:
    """Open the address in the browser as soon as the server answers; returns at once."""
    subprocess.Popen([sys.executable, "-c", OPEN, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
