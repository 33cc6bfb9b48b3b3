"""The dashboards served in a process of their own, as `workbench serve` does it, on a free port, and ended by its id."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh.client import ClientSession
from bokeh.client.util import websocket_url_for_server_url
from bokeh.util.token import get_session_id

import workbench
from workbench import runs
from workbench.pages.frame.memory import ALLOCATOR

if TYPE_CHECKING:
    from workbench.pages.frame.policy import Policy

PACKAGE = Path(workbench.__file__).parent


@dataclass(frozen=True)
class Served:
    """base: address of the server. pid: of its process. log: what it printed. folder: where its runs lie."""

    base: str
    pid: int
    log: Path
    folder: Path

    def address(self, name: str) -> str:
        """Of the page that `dashboards/<name>.py` makes."""
        return f"{self.base}/{name}"

    def pull(self, name: str, query: str = "") -> ClientSession:
        """A page as a client without a browser holds it, with its document; to be closed."""
        with urllib.request.urlopen(self.address(name) + query) as answer:
            found = re.search(r'"token":\s*"([^"]+)"', answer.read().decode())
        assert found is not None
        signed = type("Signed", (ClientSession,), {"token": found[1]})  # its own would not be signed by the server
        session = signed(get_session_id(found[1]), websocket_url_for_server_url(self.address(name)))
        session.pull()
        return session

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def complaints(self) -> str:
        """What the server said since this was asked last, if anything in it went through our code or a callback failed; a tab closed
        while something is sent is no complaint."""
        seen = self.log.with_suffix(".seen")
        said = self.said()
        begin = int(seen.read_text()) if seen.exists() else 0
        seen.write_text(str(len(said)))
        signs = ("Error running application handler", "Callback failed", f"{PACKAGE}/", "_pending_writes")
        return said[begin:] if any(sign in said[begin:] for sign in signs) else ""


@contextmanager
def served(
    folder: Path,
    *names: str,
    root: Path | None = None,
    warm: bool = False,
    patience: float = 120,
    unused: int = 30_000,
    processes: int = 1,
    limits: Policy | None = None,
) -> Iterator[Served]:
    """Serve the dashboards of these names, or all, with `folder` as working directory; ready when it answers.

    root: folder of the runs, by default `folder/runs`. warm: make every page once before it answers; else the first visit of a page
    makes it. unused: ms after which a closed page is given up. processes: that share the port. limits: of visitors, who then open files
    below `folder`.
    """
    from workbench.pages.frame.policy import environment as limited
    from workbench.pages.landing.serving import command as serve
    from workbench.pages.landing.serving import protected

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    environment = {
        **protected(os.environ),
        **ALLOCATOR,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "WORKBENCH_RUNS": str(root or "runs"),
    }
    if limits is not None:
        environment |= limited(limits, [folder], root or folder / "runs")
    command = [*serve(names, port=port, warm=warm, processes=processes), "--unused-session-lifetime", str(unused)]
    command += ["--check-unused-sessions", "1000"]
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)
    try:
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + patience
        while True:
            try:
                with urllib.request.urlopen(f"{base}/", timeout=patience) as answer:
                    answer.read()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not come up:\n{log.read_text(errors='replace')[-3000:]}") from None
                time.sleep(0.2)
        yield Served(base, process.pid, log, folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        for run, about in runs.iter_status(
            root or folder / "runs"
        ):  # where a test failed, what it began outlives the server
            if about["status"] not in runs.FINAL:
                runs.request(run, "stop")
