"""Plans, certificates and processes of deployed federations; and a whole one with TLS beside the same rounds in this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch

from workbench.engines.deployment import (
    MARK,
    Plan,
    check_link,
    crowd,
    environment,
    link_command,
    make_certificates,
    messages,
    node_command,
    read_plan,
    register,
    start,
    watched,
    write_app,
)
from workbench.errors import InputError
from workbench.parts.federation import fingerprint, state_bytes

flower = pytest.importorskip("workbench.engines.flower")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def plan_of(folder, **changes) -> Plan:
    values = {
        "folder": str(folder),
        "port": free_port(),
        "classes": ["a", "b"],
        "bands": 3,
        "nodes": {
            "A": {"scene": "sim-two-sensors", "port": free_port()},
            "B": {"scene": "sim-two-sensors", "port": free_port()},
        },
    }
    return Plan.model_validate({**values, **changes})


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_and_its_mistakes_are_named(tmp_path):
    path = tmp_path / "plan.yml"
    text = {
        "host": "10.0.0.5",
        "classes": ["a", "b"],
        "bands": 3,
        "nodes": {"north": {"scene": "cube.hdr", "truth": "t.tif"}},
    }
    path.write_text(json.dumps(text))
    plan = read_plan(path)
    assert (plan.host, plan.folder) == ("10.0.0.5", tmp_path / "federation")
    assert plan.node("north").source().argv() == ["cube.hdr", "--truth", "t.tif"]
    with pytest.raises(InputError, match=r"no node 'nord'; it has north. Did you mean 'north'"):
        plan.node("nord")
    for changes, told in (
        ({"port": 5}, "port: .*1024"),
        ({"nodes": {"../x": {"scene": "a"}}}, "letters, digits"),
        ({"code": "os"}, "code: Extra"),
        ({"classes": ["a"]}, "classes: .*at least 2"),
        ({"folder": "a\0b"}, "folder: .*null character"),
    ):
        path.write_text(json.dumps({**text, **changes}))
        with pytest.raises(InputError, match=told):
            read_plan(path)
    with pytest.raises(InputError, match="other.yml cannot be read: No such file"):
        read_plan(tmp_path / "other.yml")


def test_certificates_are_for_the_host_and_private_keys_for_nobody_else(tmp_path):
    plan = plan_of(tmp_path / "f")
    with pytest.raises(InputError, match="has no link.crt, link.key, ca.crt. Make certificates"):
        link_command(plan)
    made = {p.name: p for p in make_certificates(plan)}
    assert set(made) == {"ca.key", "ca.crt", "link.key", "link.crt", "A.key", "A.pub", "B.key", "B.pub"}
    assert all((p.stat().st_mode & 0o077 == 0) == (p.suffix == ".key") for p in made.values())
    with pytest.raises(InputError, match="has certificates already"):
        make_certificates(plan)
    command = node_command(plan, "A", {"plan": "/x/plan.yml"})
    assert command[command.index("--node-config") + 1] == 'plan="/x/plan.yml" name="A"'
    assert "--insecure" not in command + link_command(plan)
    assert environment(plan)["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment(plan)["FLWR_HOME"].startswith(str(plan.folder))


@contextlib.contextmanager
def tls_server(folder, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "link.crt", folder / "link.key")
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve():
            while True:
                try:
                    with contextlib.suppress(ssl.SSLError, ConnectionError):
                        context.wrap_socket(server.accept()[0], server_side=True).close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_wrong_address_and_a_wrong_certificate_are_told_at_once(tmp_path):
    plan, other = plan_of(tmp_path / "ours"), plan_of(tmp_path / "theirs")
    make_certificates(plan)
    make_certificates(other)
    with pytest.raises(InputError, match=f"No link answers at 127.0.0.1:{plan.port}.*workbench federate link"):
        check_link(plan, 2)
    with tls_server(plan.folder, plan.port):
        check_link(plan, 2)
        with pytest.raises(InputError, match=r"shows a certificate that .*ca\.crt does not vouch for"):
            check_link(other.model_copy(update={"port": plan.port}), 2)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_storm_of_processes_is_ended(tmp_path):
    """A process that starts children that start again: the group and those that left it are gone afterwards."""
    code = "import subprocess, time\nfor _ in range(20): subprocess.Popen(['sleep', '60'], start_new_session=True)\ntime.sleep(60)"
    with start([sys.executable, "-c", code], tmp_path / "log", os.environ) as process:
        with pytest.raises(InputError, match="more than 12 processes and was ended"):
            watched(process, tmp_path / "log", "The node", 30)
        assert process.poll() is not None
        assert crowd(process) == 0


def alive(pid):
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.process
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_request_to_end_and_a_kill_end_the_processes_too(tmp_path, sent):
    code = f"""
import os, pathlib
from workbench.engines.deployment import start, watched
from workbench.federate import stoppable

stoppable()
log = pathlib.Path({str(tmp_path / "log")!r})
with start(["sleep", "60"], log, os.environ) as process:
    print(process.pid, flush=True)
    watched(process, log, "The link")
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(sent)
        parent.wait(20)
    end = time.monotonic() + (20 if sent == signal.SIGKILL else 0)
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.process
def test_a_process_that_takes_too_long_or_fails_is_told(tmp_path):
    with (
        start(["sleep", "60"], tmp_path / "log", os.environ) as process,
        pytest.raises(InputError, match="longer than 0.5 s"),
    ):
        watched(process, tmp_path / "log", "The node", 0.5)
    command = ["sh", "-c", "echo no such key >&2; exit 3"]
    with start(command, tmp_path / "log", os.environ) as process, pytest.raises(InputError, match="an error .no such key."):
        watched(process, tmp_path / "log", "The node", 10)


# --- a whole deployment -----------------------------------------------------------------------------------------------

CLIENT = """
import time

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    name, number = context.node_config["name"], message.content["config"]["round"]
    time.sleep(float(context.node_config.get("sleep", 0)) * (number == 1))
    w = message.content["arrays"]["w"].numpy()
    content = RecordDict({"config": ConfigRecord({"name": name}), "metrics": MetricRecord({"samples": 1.0 + (name == "B"), "loss": 1.0})})
    noise = np.random.default_rng([number, ord(name)]).standard_normal(w.shape).astype(np.float32)
    content["arrays"] = ArrayRecord({"w": Array(w * np.float32(0.5) + noise)})
    return Message(content, reply_to=message)
"""
SERVER = """
import json

import torch
from flwr.serverapp import ServerApp

from workbench.engines.flower import rounds
from workbench.parts.federation import fingerprint

app = ServerApp()


@app.main()
def main(grid, context):
    c = context.run_config
    state = {"w": torch.zeros(int(c["size"]))}
    for done in rounds(grid, state, int(c["rounds"]), seconds=float(c["seconds"]), least=int(c["least"])):
        told = {"round": done.number, "failures": dict(done.failures), "names": list(done.scalars), "sha256": fingerprint(done.state)}
        print("WORKBENCH " + json.dumps(told), flush=True)
    print("WORKBENCH " + json.dumps({"finished": True}), flush=True)
"""


class Tap:
    """A port that passes all bytes on to another one and counts them: what travels on the wire, TLS and polling included."""

    def __init__(self, target):
        self.target, self.up, self.down = target, 0, 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port, self.sockets = self.server.getsockname()[1], [self.server]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def close(self):
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for one in self.sockets:
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                inside = self.server.accept()[0]
                self.sockets.append(inside)
                outside = socket.create_connection(("127.0.0.1", self.target))
                self.sockets.append(outside)
                for here, there, name in ((inside, outside, "up"), (outside, inside, "down")):
                    self.threads.append(threading.Thread(target=self._pass, args=(here, there, name), daemon=True))
                    self.threads[-1].start()

    def _pass(self, here, there, name):
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                setattr(self, name, getattr(self, name) + len(data))
                there.sendall(data)
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def deployed(plan, slow="", tap=None):
    """The link and the nodes A and B, and an app of numpy alone in a folder. slow: a node that sleeps in round 1. tap: of node A."""
    make_certificates(plan)
    app = plan.folder / "app"
    write_app(app, "numpy_client:app", "short_server:app", {"rounds": 2, "size": 10, "seconds": 100, "least": 2})
    (app / "numpy_client.py").write_text(textwrap.dedent(CLIENT))
    (app / "short_server.py").write_text(textwrap.dedent(SERVER))
    with running(plan, lambda name: {"sleep": "12"} if name == slow else {}, tap) as (nodes, stack, env):
        yield app, nodes, stack, env


@contextlib.contextmanager
def running(plan, config, tap=None):
    """Link and nodes of a plan with certificates. config: name -> of the node's app. tap: of the first node."""
    env = {**environment(plan), "PYTHONPATH": os.getcwd()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(start(link_command(plan), plan.folder / "link.log", env))
        end = time.monotonic() + 60
        while True:
            try:
                check_link(plan)
                break
            except InputError:
                assert time.monotonic() < end, (plan.folder / "link.log").read_text()
                time.sleep(0.5)
        assert register(plan) == list(plan.nodes)
        assert register(plan) == []
        nodes = {}
        for name in plan.nodes:
            through = plan.model_copy(update={"port": tap.port}) if tap and not nodes else plan
            command = node_command(through, name, config(name))
            nodes[name] = stack.enter_context(start(command, plan.folder / f"{name}.log", env))
        yield nodes, stack, env


def kill_in_a_message(plan, name, process):
    """Kill a node and all that it started, as soon as its app works on a message."""
    import psutil

    end = time.monotonic() + 120
    while "Start `flwr-clientapp`" not in (plan.folder / f"{name}.log").read_text():
        assert time.monotonic() < end, f"node {name} got no message"
        time.sleep(0.2)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def in_process(size, count):
    """The same client, in this process."""
    import types

    module = types.ModuleType("numpy_client")
    exec(compile(CLIENT, "numpy_client", "exec"), module.__dict__)
    grid = flower.InProcess({"A": module.app, "B": module.app})
    return list(flower.rounds(grid, {"w": torch.zeros(size)}, count))


@pytest.mark.process
@pytest.mark.long
@pytest.mark.timeout(300)
def test_deployed_with_tls_gives_the_arrays_of_this_process(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    plan = plan_of(tmp_path / "f")
    tap, size = Tap(plan.port), 750_000
    with deployed(plan, tap=tap) as (app, nodes, _, _):
        told = list(messages(plan, app, {"size": size}, 240))
        assert all(crowd(p) <= 6 for p in nodes.values())
    tap.close()
    expected = in_process(size, 2)
    assert [m["sha256"] for m in told[:-1]] == [fingerprint(r.state) for r in expected]
    assert [m["names"] for m in told[:-1]] == [["A", "B"]] * 2
    assert not any(m["failures"] for m in told[:-1])
    assert told[-1] == {"finished": True}
    assert MARK == "WORKBENCH "
    payload = sum(r.up for r in expected) / 2  # of one of two nodes, and as much down
    assert payload == 2 * state_bytes({"w": torch.zeros(size)})
    print(f"wire / payload: up {tap.up / payload:.4f}, down {tap.down / payload:.4f}")
    assert 1 < tap.up / payload < 1.03
    assert 1 < tap.down / payload < 1.03


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_killed_in_a_round_is_told_and_rejoins(tmp_path):
    """The round closes with the other node after Flower's two missed signs of life; the node, started again, is in the next round."""
    plan = plan_of(tmp_path / "f")
    with deployed(plan, slow="B") as (app, nodes, stack, env):
        seen = []

        def kill():
            kill_in_a_message(plan, "B", nodes["B"])
            time.sleep(75)  # until the link notices, it refuses a second node with this key
            stack.enter_context(start(node_command(plan, "B", {}), plan.folder / "B2.log", env))

        thread = threading.Thread(target=kill)
        thread.start()
        for message in messages(plan, app, {"rounds": 3, "size": 10, "seconds": 150}, 500):
            seen.append(message)
        thread.join(120)
    print(seen)
    assert seen[0]["names"] == ["A"]
    assert len(seen[0]["failures"]) == 1
    assert "Node Unavailable" in str(seen[0]["failures"])
    assert seen[2]["names"] == ["A", "B"]
    assert seen[-1] == {"finished": True}
