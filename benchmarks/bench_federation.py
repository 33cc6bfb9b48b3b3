"""Seconds of a federation: a round of two torch clients in one process, and the start-up and rounds of the deployed mode with TLS.

    python benchmarks/bench_federation.py [--rounds 10] [--deployed 3] [--json]

Local: FedAvg of two clients on halves of `sim-two-sensors` at the default settings of FedFusion (20 steps each), by calls and over Flower
in this process. Deployed: link, two nodes and the run on this machine; seconds until the link answers, until the first round is over,
and of each further round. `--deployed 0` leaves that out. Ends with exit code 1 when a local round takes 2 s or more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from workbench.config import override
from workbench.data.source import Source
from workbench.engines import deployment, flower
from workbench.errors import InputError
from workbench.methods.fedfusion.horizontal import sites
from workbench.methods.fedfusion.pixels import pixels_of
from workbench.methods.fedfusion.settings import Config
from workbench.parts.deployed import machine
from workbench.parts.rounds import rounds
from workbench.parts.training import weights

MOST = 2.0  # seconds of a local round
SCENE, CLASSES = "sim-two-sensors", [f"spectrum {s}, {h}" for s in (1, 2, 3, 4) for h in ("low", "high")]
PLACE = "workbench.methods.fedfusion.deployed"


def local(count: int) -> dict[str, float]:
    """Median seconds of a round."""
    config = override(Config(), {"split": "halves", "clients": 2, "rounds": count})
    clients = sites(pixels_of(Source(SCENE).open(), config), config)
    state, found = weights(clients[0].network), {}
    grid = flower.InProcess({c.name: flower.client_app(lambda context, c=c: c) for c in clients})
    for name, trace in (
        ("by calls", rounds(clients, state, count + 1)),
        ("over Flower", flower.rounds(grid, state, count + 1)),
    ):
        next(trace)  # warms up
        taken = []
        for _ in range(count):
            begin = time.perf_counter()
            next(trace)
            taken.append(time.perf_counter() - begin)
        found[f"local round, {name}"] = statistics.median(taken)
    return found


def deployed(count: int, folder: Path) -> dict[str, float]:
    """Seconds of the parts of a deployed run of `count` rounds."""
    path = folder / "plan.yml"
    nodes = {name: {"scene": SCENE, "port": free_port()} for name in ("north", "south")}
    settings = {"split": "halves"}
    plan = {
        "port": free_port(),
        "rounds": count,
        "least": 2,
        "classes": CLASSES,
        "bands": 34,
        "nodes": nodes,
        "settings": settings,
    }
    path.write_text(json.dumps(plan))
    known, found = deployment.read_plan(path), {}
    deployment.make_certificates(known)
    deployment.write_app(known.folder / "app", f"{PLACE}:client", f"{PLACE}:server", {"plan": ""})
    env = {**deployment.environment(known), "PYTHONPATH": os.pathsep.join([*sys.path[1:2], os.getcwd()])}
    with contextlib.ExitStack() as stack:
        begin = time.perf_counter()
        stack.enter_context(deployment.start(deployment.link_command(known), known.folder / "link.log", env))
        while True:
            try:
                deployment.check_link(known)
                break
            except InputError:
                if time.perf_counter() - begin > 120:
                    raise
                time.sleep(0.1)
        found["deployed: link answers"] = time.perf_counter() - begin
        deployment.register(known)
        for name in nodes:
            command = deployment.node_command(known, name, {"plan": str(path)})
            stack.enter_context(deployment.start(command, known.folder / f"{name}.log", env))
        found["deployed: nodes registered and started"] = time.perf_counter() - begin
        before, each = time.perf_counter(), []
        for told in deployment.messages(known, known.folder / "app", {"plan": str(path)}, 600):
            if "round" in told:
                if told["failures"]:
                    raise RuntimeError(f"a node failed: {told['failures']}; see {known.folder}")
                each.append(time.perf_counter() - before)
                before = time.perf_counter()
    found["deployed: first round"] = each[0]
    if len(each) > 1:
        found["deployed: each further round"] = statistics.median(each[1:])
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--deployed", type=int, default=3, help="rounds of the deployed mode")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = local(given.rounds)
    if given.deployed:
        with tempfile.TemporaryDirectory() as folder:
            found |= deployed(given.deployed, Path(folder))
    if given.json:
        print(json.dumps({"seconds": found, "machine": machine(), "cores": os.cpu_count()}))
    else:
        print(f"{machine()['cpu']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for name, seconds in found.items():
            print(f"{name:42} {seconds:8.3f} s")
    return int(found["local round, by calls"] >= MOST)


if __name__ == "__main__":
    sys.exit(main())
