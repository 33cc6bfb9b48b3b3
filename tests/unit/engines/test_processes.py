"""Ranks: what rank 0 yields comes home, all go in step, and nothing that dies leaves the others waiting."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch

from workbench.engines import is_follower
from workbench.engines.processes import RankLost, loopback_bytes, ranks
from workbench.errors import InputError
from workbench.event import drain, tee

sys.path.insert(0, str(Path(__file__).parent))
import crew

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # two real gloo processes a test


@pytest.fixture(autouse=True)
def _no_rank_left():
    def children():
        """Living ones: a process of another test may have ended without being waited for.

        The fork server ends with this process; its ranks have its command line, too, but are no direct children.
        """
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                command = " ".join(process.cmdline())
                server = "forkserver" in command and process.ppid() == os.getpid()
                if not server and "resource_tracker" not in command:
                    found.append(process)
        return found

    before = {p.pid for p in children()}
    yield
    left = [p for p in children() if p.pid not in before]
    assert not left, f"processes left behind: {left}"


def test_rank_0_comes_home_and_all_ranks_count():
    """Rank 0 adds 1, rank 1 adds 2 a step: together 3, 6, 9; rank 0's own total after three steps is 3."""
    trace = ranks(crew.counting, 3, world=2)
    events = []
    outcome = drain(tee(trace, events.append))
    assert [e.scalars["sum"] for e in events] == [3.0, 6.0, 9.0]
    assert [e.step for e in events] == [0, 1, 2]
    assert outcome["total"] == 3
    assert torch.equal(outcome["tensor"], torch.ones(2))


def test_state_is_of_all_ranks_and_continues():
    trace = ranks(crew.counting, 5, world=2)
    *_, third = islice(trace, 3)
    state = third.state()
    trace.close()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    assert [s["total"] for s in state["ranks"]] == [3, 6]  # three steps of 1 and of 2
    events = list(ranks(crew.counting, 5, world=2, state=state))
    assert [e.step for e in events] == [3, 4]
    assert [e.scalars["sum"] for e in events] == [12.0, 15.0]


def test_another_number_of_ranks_is_refused():
    with pytest.raises(InputError, match="made by 2 ranks"):
        drain(ranks(crew.counting, 5, world=3, state={"ranks": [{}, {}]}))
    with pytest.raises(InputError, match="at least one rank"):
        drain(ranks(crew.counting, 5, world=0))


def test_ranks_have_the_environment_of_the_moment(monkeypatch):
    """The server that they are forked from is older."""
    for value in ("cpu", "meta"):
        monkeypatch.setenv("TRIED", value)
        assert drain(ranks(crew.environment, "TRIED", world=1)) == value
    monkeypatch.delenv("TRIED")
    assert drain(ranks(crew.environment, "TRIED", world=1)) is None


def test_a_long_pause_is_no_timeout():
    """While rank 0 is not asked, rank 1 waits at the gate, not in a collective that would time out."""
    trace = ranks(crew.counting, 4, world=2, timeout=5)
    next(trace)
    time.sleep(7)
    assert [e.scalars["sum"] for e in trace] == [6.0, 9.0, 12.0]


def test_closing_early_ends_every_process():
    trace = ranks(crew.slow, world=2)
    event = next(trace)
    trace.close()
    for rank in range(2):
        assert not psutil.pid_exists(int(event.scalars[f"pid{rank}"]))


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("kill", RankLost, r"Rank 1 of 2 was killed \(SIGKILL\) after event 1"),
        ("input", InputError, "^the setting is wrong$"),
        ("defect", RuntimeError, "rank 1 raised ZeroDivisionError: a slip"),
    ],
)
def test_a_rank_in_trouble_is_named(what, kind, words):
    begun = time.monotonic()
    with pytest.raises(kind, match=words):
        drain(ranks(crew.faulty, what, world=2, timeout=60))
    assert time.monotonic() - begun < 50  # noticed, not waited for


def test_a_rank_that_hangs_is_noticed_within_the_timeout():
    with pytest.raises(RankLost, match="got no answer from another rank within 5 s"):
        drain(ranks(crew.faulty, "stop", world=2, timeout=5))


@pytest.mark.parametrize("after", [1, 5])
def test_ranks_do_not_outlive_the_one_who_started_them(after):
    """Killed without a word: its ranks notice, whether they are about to compute or waiting to be asked."""
    script = (
        "import crew, time\nfrom workbench.engines.processes import ranks\ntrace = ranks(crew.slow, world=2)\n"
        f"for _ in range({after}):\n    event = next(trace)\n"
        "print(*(int(p) for p in event.scalars.values()), flush=True)\ntime.sleep(100)"
    )
    path = os.pathsep.join([str(Path(crew.__file__).parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        pids = [int(p) for p in process.stdout.readline().split()]
        process.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until and any(psutil.pid_exists(p) for p in pids):
        time.sleep(0.2)
    assert len(pids) == 2
    assert not any(psutil.pid_exists(p) for p in pids)


def test_without_torchrun_nobody_follows(monkeypatch):
    assert not is_follower()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "1")
    assert is_follower()
    monkeypatch.setenv("RANK", "0")
    assert not is_follower()


def test_loopback_counts_what_is_sent():
    """A megabyte over a local socket: at least that much, and less than twice (headers), on a quiet machine."""
    before = loopback_bytes()
    if before is None:
        pytest.skip("no /proc/net/dev here")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            sender.settimeout(20)
            got = 0
            for _ in range(16):
                sender.sendall(bytes(2**16))
                while got < 2**16:
                    got += len(receiver.recv(2**16))
                got -= 2**16
    assert loopback_bytes() - before >= 2**20


def torchrun(script: Path, *args: str) -> subprocess.CompletedProcess:
    here = str(Path(crew.__file__).parent)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), *args],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )


def test_torchrun_joins_the_same_ranks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import crew, os, torch\n"
        "from workbench.engines.processes import ranks\n"
        "from workbench.event import Event\n"
        "sums, trace = [], ranks(crew.counting, 3, world=2)\n"
        "try:\n"
        "    while True:\n"
        "        event = next(trace)\n"
        "        sums.append(event.scalars['sum'])\n"
        "        totals = [s['total'] for s in event.state()['ranks']]\n"
        "except StopIteration as end:\n"
        "    line = f\"{os.environ['RANK']} {sums} {totals if sums else ''} {end.value['total']}\\n\"\n"
        "    os.write(1, line.encode())  # one write: both ranks share this pipe, and print may split its line\n"
    )
    done = torchrun(script)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = sorted(done.stdout.strip().splitlines())
    assert lines == ["0 [3.0, 6.0, 9.0] [3, 6] 3", "1 []  6"]


def test_torchrun_with_another_number_of_ranks_says_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import crew\nfrom workbench.engines.processes import ranks\nlist(ranks(crew.counting, 3, world=3))\n")
    done = torchrun(script)
    assert done.returncode != 0
    assert "torchrun started 2 ranks, but this run is set to 3" in done.stderr
