"""Who writes a run: heartbeats across machines, taking over, and two writers that begin at the same moment."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

from workbench import runs
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace, drain
from workbench.execution import resume, start
from workbench.parts.dynamics import open_log
from workbench.runs import heartbeat, recorder
from workbench.runs.collection import entries
from workbench.runs.heartbeat import BEAT, DEAD_AFTER, Heartbeat

ABOUT = {"method": "toy", "config": {}, "scene": {"id": "toy"}}


def trace(n: int = 3) -> Trace:
    for step in range(1, n + 1):
        yield Event(step, {"total": float(step)}, of=n, state=lambda step=step: {"total": torch.tensor(step)})
    return Outcome(xr.Dataset({"total": float(n)}))


def far(folder: Path, *, silent: float, **changes: Any) -> Path:
    """A run that a process of another machine writes; its last sign of life was `silent` seconds ago."""
    runs.create(folder, ABOUT)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, "host": "node7", **changes}))
    (folder / BEAT).write_text("them 4\n")
    (folder / "events.jsonl").write_text('{"step": 1, "scalars": {}}\n')
    for name in ("run.json", "events.jsonl", BEAT):
        os.utime(folder / name, (time.time() - silent,) * 2)
    return folder


def test_a_run_of_another_machine_is_killed_when_it_gives_no_sign_of_life(tmp_path: Path) -> None:
    assert runs.read(far(tmp_path / "alive", silent=DEAD_AFTER - 30))["status"] == "running"
    about = runs.read(far(tmp_path / "dead", silent=DEAD_AFTER + 600))
    assert about["status"] == "killed"
    assert f"no sign of life for 15 min from process {os.getpid()} on node7" in about["error"]
    old = far(tmp_path / "old", silent=4000)
    (old / BEAT).unlink()  # a run that was made before there were heartbeats
    assert runs.read(old)["status"] == "killed"
    assert [e.status for e in entries(tmp_path)] == ["running", "killed", "killed"]


def test_another_container_of_the_same_name_is_another_machine(tmp_path: Path) -> None:
    folder = far(tmp_path / "run", silent=10, host=runs.folder.socket.gethostname(), processes="pid:[1]", pid=2**31 - 2)
    assert runs.read(folder)["status"] == "running"  # there is no such process here, but it is not from here


def test_here_the_process_decides_whatever_the_heartbeat_says(tmp_path: Path) -> None:
    folder = runs.create(tmp_path / "run", ABOUT)
    os.utime(folder / "run.json", (0, 0))
    assert runs.read(folder)["status"] == "running"


def test_taking_over_is_said_and_says_what_it_assumes(tmp_path: Path) -> None:
    folder = far(tmp_path / "run", silent=10)
    with pytest.raises(
        InputError, match=r"process \d+ on node7; stop it first, or say --take-over: that assumes that process"
    ):
        runs.reopen(folder)
    assert runs.reopen(folder, take_over=True)["host"] != "node7"
    with pytest.raises(InputError, match=r"still being written by process \d+; stop it first\.$"):
        runs.reopen(folder, take_over=True)  # by this very process: it lives, so nothing is assumed


def test_a_process_whose_run_was_taken_over_stops_and_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.create(tmp_path / "run", ABOUT)
    first = runs.record(trace(), folder)
    next(first)
    about = (folder / "run.json").read_text()
    (folder / BEAT).write_text("another 1\n")
    time.sleep(0.6)  # the file is read twice a second at most
    with pytest.raises(InputError, match="was taken over by another process"):
        drain(first)
    assert (folder / "run.json").read_text() == about
    assert (folder / BEAT).read_text() == "another 1\n"


def test_it_beats_within_a_long_step_and_is_gone_at_the_end(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path, every=0.02)
    first, until = int((tmp_path / BEAT).read_text().split()[1]), time.monotonic() + 30
    while int((tmp_path / BEAT).read_text().split()[1]) < first + 3:  # never an empty file
        assert time.monotonic() < until
    beat.end()
    assert not (tmp_path / BEAT).exists()
    before = threading.active_count()
    drain(runs.record(trace(), runs.create(tmp_path / "run", ABOUT)))
    assert threading.active_count() == before
    assert not (tmp_path / "run" / BEAT).exists()
    assert heartbeat.silent(tmp_path / "run") < 60


def test_of_two_runs_that_begin_in_one_folder_one_is_refused(tmp_path: Path) -> None:
    for attempt in range(20):
        folder, ended = tmp_path / str(attempt), []
        gate = threading.Barrier(4)

        def begin(n: int, folder: Path = folder, ended: list[str] = ended, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                runs.create(folder, {**ABOUT, "config": {"n": n}})
                ended.append(f"made {n}")
            except InputError as error:
                ended.append(str(error))

        threads = [threading.Thread(target=begin, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = [text for text in ended if text.startswith("made")]
        assert made == [f"made {runs.read(folder)['config']['n']}"]
        assert sum("nothing is overwritten" in text for text in ended) == 3
        assert sorted(p.name for p in folder.iterdir()) == ["frames", "packages.txt", "run.json"]


@pytest.mark.long
def test_a_run_with_a_log_that_was_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder = tmp_path / "log.zarr", tmp_path / "run"
    settings = {"epochs": 3, "J": 3, "log": str(log), "compare": ["random"]}
    begun = start("tdds", "digits", settings, folder)
    next(begun), next(begun)
    with monkeypatch.context() as patched:  # as kill -9 leaves it: no checkpoint, and the status of a process that is gone
        patched.setattr(recorder, "_write_checkpoint", lambda *_: None)
        begun.close()
    assert log.exists()
    drain(resume(folder))
    assert open_log(log).sizes["epoch"] == 3
    assert (tmp_path / "log.zarr.interrupted").exists()
    with pytest.raises(InputError, match="exists already and is not overwritten"):
        drain(start("tdds", "digits", settings, tmp_path / "other"))
    if (tmp_path / "other").exists():
        with pytest.raises(InputError, match="exists already and is not overwritten"):
            drain(resume(tmp_path / "other"))  # that log is of another run
    assert open_log(log).sizes["epoch"] == 3
