"""Many visitors who follow one live training: how long a click takes, and whether all of them get in.

    python benchmarks/bench_load.py [--followers 20] [--seconds 30] [--num-procs 1] [--idle] [--pages] [--json]
    python benchmarks/bench_load.py --starters 8 [--max-runs 2] [--seconds 60] [--num-procs 1] [--json]

Serves the dashboards on a free port and trains BSDM on sim-coast-town in a process of its own. Each follower is a client of the
page's WebSocket, without a browser: it asks for the page with the run's address, reads the whole document, and then clicks on a
pixel about once a second, as a visitor does to see its spectrum.

    open         seconds from asking for the page until the plots of the run are in the client's document
    round trip   milliseconds from sending the click until the server has sent the changes and says that it is done
    sent         kilobytes that the server sends one follower in a second
    memory       of the server, before the first follower, with all of them, and a minute and a half after the last one left

--num-procs: server processes that share the port; `sockets` are those of each while all followers are there, and memory is that of all.
--starters: instead, so many visitors open the page `watch` and press Start, on a server with `--max-runs`. Ten times a second the runs
at work are counted: `at_once` is the largest number, and more than the limit is an error. `shown` is how many visitors were told their
place in the queue.

--idle: the same without a training. --pages: instead, a browser clicks on the anomaly page while three other pages and a training
are open; needs a Chromium (`make browser`). The machine's load is printed beside the numbers: the training itself uses one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from benchmarks.bench_dashboard import clicks
from tests.browser.chromium import browser, visit
from tests.browser.serving import Served, served
from workbench import runs
from workbench.execution import launch
from workbench.pages.frame.policy import Policy
from workbench.pages.landing.serving import UNUSED

SCENE, NAME = "sim-coast-town", "followed"
OPEN_LIMIT = 150.0  # seconds after which a follower counts as lost


class Follower:
    """A client that opens a page, keeps its WebSocket, and clicks."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.opened: float | None = None  # seconds until the plots were there
        self.trips: list[float] = []  # ms
        self.received = 0  # bytes
        self.lost = ""  # why it has no answers
        self._answers: dict[str, asyncio.Future] = {}
        loop = asyncio.get_running_loop()
        self._plots, self._ready = loop.create_future(), loop.create_future()

    async def open(self) -> None:
        """Ask for the page, connect, read the document, and wait for the plots of the run."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(OPEN_LIMIT):
                reply = await AsyncHTTPClient().fetch(HTTPRequest(self.address, request_timeout=OPEN_LIMIT))
                token = re.search(r'"token":\s*"([^"]+)"', reply.body.decode())
                page, _, query = self.address.partition("?")
                socket = f"ws{page.removeprefix('http')}/ws?{query}"  # as a browser: another process may have to make the page again
                self.socket: WebSocketClientConnection = await websocket_connect(
                    HTTPRequest(socket, connect_timeout=OPEN_LIMIT, request_timeout=OPEN_LIMIT),
                    subprotocols=["bokeh", token.group(1)],
                    max_message_size=1 << 28,
                )
                self._reading = asyncio.create_task(self._read())
                await self._ready
                await self._ask("PULL-DOC-REQ", {})
                await self._event("document_ready", [])
                await self._plots
            self.opened = time.perf_counter() - began
        except (TimeoutError, OSError, WebSocketClosedError) as error:
            self.lost = f"did not open: {type(error).__name__} {error}"

    async def click(self, until: float) -> None:
        """Click on a pixel about once a second; wait for each answer."""
        turn = id(self) % 97
        while time.perf_counter() < until and not self.lost:
            await asyncio.sleep(0.8 + 0.004 * (turn * 37 % 100))
            turn += 1
            where = [["model", {"id": self.plot}], ["sx", 10], ["sy", 10], ["x", turn * 37 % 95], ["y", turn * 61 % 95]]
            where.append(["modifiers", {"type": "map", "entries": [[k, False] for k in ("shift", "ctrl", "alt")]}])
            began = time.perf_counter()
            try:
                async with asyncio.timeout(OPEN_LIMIT):
                    await self._event("tap", where)
            except (TimeoutError, WebSocketClosedError) as error:
                self.lost = f"no answer: {type(error).__name__}"
                return
            self.trips.append(1000 * (time.perf_counter() - began))

    def close(self) -> None:
        """Leave."""
        if hasattr(self, "socket"):
            self._reading.cancel()
            self.socket.close()

    async def _event(self, name: str, values: list[list[Any]]) -> None:
        data = {"type": "event", "name": name, "values": {"type": "map", "entries": values}}
        await self._ask("PATCH-DOC", {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": data}]})

    async def _ask(self, kind: str, content: dict[str, Any]) -> None:
        """Send a message and wait until the server has answered it."""
        number = uuid.uuid4().hex
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        for part in ({"msgid": number, "msgtype": kind}, {}, content):
            await self.socket.write_message(json.dumps(part))
        await answer

    async def _read(self) -> None:
        """Take the server's messages apart: a header, metadata, content, and binary buffers, each a WebSocket message."""
        while True:
            header = json.loads(await self._next())
            await self._next()
            content = await self._next()
            for _ in range(2 * header.get("num_buffers", 0)):
                await self._next()
            if header["msgtype"] == "ACK":  # before it, the server loses what it is sent
                self._ready.set_result(None)
            if header["msgtype"] == "PULL-DOC-REPLY":
                self.take(content)
            if self.looks_like_plots(content) and not self._plots.done():
                self._plots.set_result(None)
            answer = self._answers.pop(header.get("reqid", ""), None)
            if answer is not None and not answer.done():
                answer.set_result(None)

    def take(self, document: str) -> None:
        """Find in the document what will be clicked."""
        self.plot = image_figure(document)

    def looks_like_plots(self, content: str) -> bool:
        """Whether a message has the curves of the run."""
        return "loss (mean squared error)" in content

    async def _next(self) -> str:
        message = await self.socket.read_message()
        if message is None:
            self.lost = self.lost or "the server closed the connection"
            for waiting in (*self._answers.values(), self._plots, self._ready):
                if not waiting.done():
                    waiting.set_exception(WebSocketClosedError())
            raise asyncio.CancelledError
        self.received += len(message)
        return message if isinstance(message, str) else ""


class Starter(Follower):
    """A client that opens the page `watch`, presses Start, and reads what its page says of the queue."""

    place = ""  # in the queue, the first that the page showed
    begun = False

    def take(self, document: str) -> None:
        """Find the button."""
        self.button = button(json.loads(document), "Start")

    def looks_like_plots(self, content: str) -> bool:
        """Whether the scene is open; and from all messages, what they say of the run."""
        found = re.search(r"place (\d+)", content)
        self.place = self.place or (found[1] if found else "")
        self.begun = self.begun or "Running" in content
        return "SIMULATED" in content  # the banner, once the scene is open

    async def press(self) -> None:
        """Press Start."""
        try:
            async with asyncio.timeout(OPEN_LIMIT):
                await self._event("dom_event", [["model", {"id": self.button}], ["node", "click"], ["data", None]])
        except (TimeoutError, WebSocketClosedError) as error:
            self.lost = f"no answer: {type(error).__name__}"


def button(document: Any, label: str) -> str:
    """Id of the button with this label in a document."""
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            about = part.get("attributes", {})
            if about.get("class_name") == "Button" and about["data"]["attributes"].get("label") == label:
                return str(part["id"])
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    raise SystemExit(f"the page has no button {label}")


def image_figure(content: str) -> str:
    """Id of the figure of the scene: the one whose axis is labelled with columns of pixels.

    The text is searched and not parsed: the client shares two cores with the server.
    """
    before = content[: content.index('"column (pixels)"')]
    return re.findall(r'"name":"Figure","id":"(\w+)"', before)[-1]


@contextmanager
def training(server: Served) -> Iterator[Path]:
    """A BSDM run that lasts as long as the block."""
    folder = server.folder / "runs" / NAME
    launch("bsdm", SCENE, {"steps": 100_000, "show_every": 10}, folder)
    deadline = time.monotonic() + 120
    while not (folder / "events.jsonl").exists():
        if time.monotonic() > deadline:
            raise SystemExit("the training did not begin within two minutes")
        time.sleep(0.2)
    try:
        yield folder
    finally:
        runs.request(folder, "stop")
        while runs.read(folder)["status"] not in runs.FINAL:
            time.sleep(0.5)


async def crowd(address: str, count: int, seconds: float) -> list[Follower]:
    """Followers who all open the page at once, click for some seconds, and leave."""
    AsyncHTTPClient.configure(None, max_clients=count)
    followers = [Follower(address) for _ in range(count)]
    await asyncio.gather(*(f.open() for f in followers))
    until = time.perf_counter() + seconds
    for follower in followers:
        follower.received = 0
    await asyncio.gather(*(f.click(until) for f in followers))
    return followers


def processes(server: Served) -> list[psutil.Process]:
    """Those that share the port; not the runs that they have started."""
    first = psutil.Process(server.pid)
    return [p for p in (first, *first.children()) if "serve" in p.cmdline()]


def memory(server: Served) -> float:
    return sum(p.memory_info().rss for p in processes(server)) / 2**20


def busy(server: Served) -> float:
    """Seconds that the server has computed."""
    return sum(sum(p.cpu_times()[:2]) for p in processes(server))


def sockets(server: Served) -> list[int]:
    """Connections of each process of the server."""
    port = int(server.base.rpartition(":")[2])
    return [sum(c.status == "ESTABLISHED" and c.laddr.port == port for c in p.net_connections()) for p in processes(server)]


def at_work(server: Served) -> int:
    """Runs of this server that have a process now."""
    count = 0
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            count += words[1:4] == ["-m", "workbench", "run"] and process.cwd() == str(server.folder.resolve())
        except psutil.Error:
            continue
    return count


def start(count: int, seconds: float, most: int, shared: int) -> dict[str, Any]:
    """Numbers of so many visitors who press Start at the same moment. most: runs at once."""
    how: dict[str, Any] = {"unused": UNUSED, "warm": True, "processes": shared, "limits": Policy(max_runs=most)}
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), "watch", **how) as server:
        address = f"{server.address('watch')}?method=bsdm&scene={SCENE}"

        async def stay() -> tuple[list[Starter], list[int]]:
            AsyncHTTPClient.configure(None, max_clients=count)
            starters = [Starter(address) for _ in range(count)]
            await asyncio.gather(*(s.open() for s in starters))
            pressing = asyncio.gather(*(s.press() for s in starters if not s.lost))
            counts, until = [], time.perf_counter() + seconds
            while time.perf_counter() < until:
                counts.append(await asyncio.to_thread(at_work, server))
                await asyncio.sleep(0.1)
            await pressing
            for starter in starters:
                starter.close()
            return starters, counts

        starters, counts = asyncio.run(stay())
        root = server.folder / "runs"
        tickets = list((root / ".queue").glob("*.json"))
        waiting = sum(not json.loads(t.read_text())["launched"] for t in tickets)
        for ticket in tickets:
            ticket.unlink()
        numbers = {
            "starters": count,
            "lost": [s.lost for s in starters if s.lost],
            "limit": most,
            "at_once": max(counts),
            "counted": len(counts),
            "begun": len(runs.list_runs(root)),
            "waiting": waiting,
            "shown": sum(bool(s.place) for s in starters),
            "load": os.getloadavg()[0],
        }
        for run in runs.list_runs(root):
            runs.request(run, "stop")
        deadline = time.monotonic() + 120
        while at_work(server) and time.monotonic() < deadline:
            time.sleep(0.5)
    if numbers["at_once"] > most:
        raise SystemExit(f"{numbers['at_once']} runs were at work at once; the limit is {most}: {numbers}")
    return numbers


def follow(count: int, seconds: float, *, idle: bool, shared: int = 1) -> dict[str, Any]:
    """Numbers of so many followers."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), warm=True, unused=UNUSED, processes=shared) as server,
    ):
        address = f"{server.address('anomaly')}?scene={SCENE}&tab=2"
        if idle:
            return measured(server, address, count, seconds)
        with training(server):
            return measured(server, f"{address}&run={NAME}", count, seconds)


def measured(server: Served, address: str, count: int, seconds: float) -> dict[str, Any]:
    asyncio.run(leave(address, 2))  # warm
    before, cpu, began = memory(server), busy(server), time.perf_counter()

    async def stay() -> tuple[list[Follower], float, list[int]]:
        followers = await crowd(address, count, seconds)
        held, spread = memory(server), sockets(server)
        for follower in followers:
            follower.close()
        return followers, held, spread

    followers, held, spread = asyncio.run(stay())
    computed, lasted = busy(server) - cpu, time.perf_counter() - began
    time.sleep(UNUSED / 1000 + 30)  # then unused sessions have been given up
    trips = [t for f in followers for t in f.trips]
    opened = [f.opened for f in followers if f.opened is not None]
    return {
        "followers": count,
        "lost": [f.lost for f in followers if f.lost],
        "open_all_s": max(opened, default=float("nan")),
        "open_median_s": statistics.median(opened) if opened else float("nan"),
        "trips": len(trips),
        "trip_median_ms": statistics.median(trips) if trips else float("nan"),
        "trip_p95_ms": sorted(trips)[int(0.95 * len(trips))] if trips else float("nan"),
        "sent_kb_s": statistics.mean(f.received for f in followers) / 1024 / seconds,
        "sockets": spread,
        "server_cpu": computed / lasted,
        "memory_before_mb": before,
        "memory_with_mb": held,
        "memory_after_mb": memory(server),
        "load": os.getloadavg()[0],
    }


async def leave(address: str, count: int) -> None:
    for follower in await crowd(address, count, 1):
        follower.close()


def pages() -> dict[str, Any]:
    """Click to spectrum in a browser, while three other pages and a training are open."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), warm=True) as server,
        training(server),
        browser() as opened,
    ):
        others = [visit(opened, server.address(name))[0] for name in ("change", "coresets", "gradients")]
        waited = clicks(opened, f"{server.address('anomaly')}?scene={SCENE}&run={NAME}", 30)
        for page in others:
            page.context.close()
    return {"click_ms": statistics.median(waited), "click_p90_ms": sorted(waited)[int(0.9 * len(waited))]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--followers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--num-procs", type=int, default=1)
    parser.add_argument("--starters", type=int, default=0)
    parser.add_argument("--max-runs", type=int, default=2)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.pages:
        numbers = pages()
    elif asked.starters:
        numbers = start(asked.starters, asked.seconds, asked.max_runs, asked.num_procs)
    else:
        numbers = follow(asked.followers, asked.seconds, idle=asked.idle, shared=asked.num_procs)
    if asked.json:
        print(json.dumps(numbers))
    else:
        for name, value in numbers.items():
            print(f"{name:<18} {value:.1f}" if isinstance(value, float) else f"{name:<18} {value}")


if __name__ == "__main__":
    main()
