"""The forks that stand in place of interpreters: what they are given, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

SAYS = """
import os, sys, time
print(sys.argv[1], sys.stdin.read(), os.getcwd(), os.environ["GIVEN"], "torch" in sys.modules, "workbench" in sys.modules)
print(os.getpid(), flush=True)
if sys.argv[1] == "wait": time.sleep(60)
if sys.argv[1] == "fail": raise ValueError("as asked")
if sys.argv[1] == "leave": sys.exit(3)
"""


@pytest.fixture
def says(tmp_path: Path) -> Path:
    (tmp_path / "says.py").write_text(SAYS)
    return tmp_path


def test_a_fork_has_what_its_program_has_and_ends_alike(forks: str, says: Path) -> None:
    for word, code in (("end", 0), ("leave", 3), ("fail", 1)):
        command = [forks, "-m", "says", word]
        environment = {**os.environ, "GIVEN": "yes"}
        done = subprocess.run(command, input="in", capture_output=True, text=True, check=False, cwd=says, env=environment)
        assert done.stdout.splitlines()[0] == f"{word} in {says} yes True False"
        assert (done.returncode, "as asked" in done.stderr) == (code, word == "fail")


@pytest.mark.parametrize("ended", ["program", "fork"])
def test_neither_outlives_the_other(forks: str, says: Path, ended: str) -> None:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([forks, "-m", "says", "wait"], cwd=says, env={**os.environ, "GIVEN": ""}, **pipes) as program:
        program.stdout.readline()
        fork = int(program.stdout.readline())
        os.kill(program.pid if ended == "program" else fork, signal.SIGKILL)
        assert program.wait(10) == -signal.SIGKILL
        until = time.monotonic() + 10
        while psutil.pid_exists(fork) and time.monotonic() < until:
            time.sleep(0.05)
        assert not psutil.pid_exists(fork)
