"""The run folder: what is written is read back identically, and every way of ending leaves a readable folder."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench import runs
from workbench.errors import InputError
from workbench.event import Event, Outcome, drain
from workbench.runs import frames, schema
from workbench.runs.watch import Live

ABOUT = {"method": "toy", "config": {"seed": 0, "steps": 4}, "scene": {"id": "toy", "fingerprint": "00"}}


def toy(n=4, *, start=0, fail_at=None):
    """Counts to n; its running sum is the state, so that a resumed run must end at the same number."""
    total = float(sum(range(1, start + 1)))
    for step in range(start + 1, n + 1):
        if step == fail_at:
            raise RuntimeError("the toy broke")
        total += step
        arrays = {}
        if step % 2 == 0:
            arrays["map"] = xr.DataArray(
                np.full((2, 3), step, np.float32),
                dims=("y", "x"),
                coords={"y": [0, 1], "x": [10, 20, 30], "name": ("x", ["a", "b", "c"]), "k": step},
                attrs={"units": "1", "ok": True},
            )
        kept = total
        yield Event(step, {"total": total}, arrays, of=n, state=lambda kept=kept: {"total": torch.tensor(kept)})
    return Outcome(xr.Dataset({"total": total, "score": (("y", "x"), np.ones((2, 3)))}), {"net": {"w": torch.arange(3.0)}})


def recorded(tmp_path, name="run", **kwargs):
    folder = runs.create(tmp_path / name, ABOUT)
    return folder, runs.record(toy(**kwargs), folder)


def same(a, b):
    assert [(e.step, e.scalars, e.of, list(e.arrays)) for e in a] == [(e.step, e.scalars, e.of, list(e.arrays)) for e in b]
    for one, two in zip(a, b, strict=True):
        for name in one.arrays:
            left, right = one.arrays[name], two.arrays[name]
            xr.testing.assert_equal(left, right)
            assert left.dtype == right.dtype


def test_replay_gives_identical_events_and_outcome(tmp_path):
    folder, trace = recorded(tmp_path)
    live, _ = played(trace)
    again, outcome = played(runs.replay(folder))
    same(live, again)
    assert float(outcome.result["total"]) == 10.0  # 1 + 2 + 3 + 4
    assert torch.equal(outcome.weights["net"]["w"], torch.arange(3.0))
    assert runs.metrics(folder) == {"total": 10.0}
    assert runs.read(folder)["status"] == "finished"


def test_an_array_is_read_when_it_is_asked_for_and_once(tmp_path, monkeypatch):
    place = {"row": ("y", np.arange(4.0))}
    arrays = {n: xr.DataArray(np.full((4, 5), i, np.float32), place, ("y", "x")) for i, n in enumerate("abc")}

    def trace():
        yield Event(1, {}, arrays)
        return Outcome(xr.Dataset({"n": 1}))

    folder = runs.create(tmp_path / "run", ABOUT)
    drain(runs.record(trace(), folder))
    opened, read, whole = [], [], np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(frames, "CACHE", frames.Cache(1 << 20))
    monkeypatch.setattr(frames, "load", lambda path, names, load=frames.load: opened.append(path) or load(path, names))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, key: read.append(key) or whole(self, key))
    (event,), _ = played(runs.replay(folder))
    assert (list(event.arrays), "d" in event.arrays, len(event.arrays)) == (["a", "b", "c"], False, 3)
    assert opened == read == []
    assert float(event.arrays["b"][0, 0]) == 1
    assert set(read) == {"note", "b//values", "b//row"}
    live = Live(folder)
    live.poll()
    xr.testing.assert_equal(live.frame("b"), arrays["b"])  # another reader of the same process
    assert live.frame("b", 7) is None
    assert len(opened) == 1
    assert set(live.arrays(1).read("a", "b", "c")) == set("abc")
    assert len(opened) == 2
    assert set(read) == {"note", *(f"{n}//{part}" for n in "abc" for part in ("values", "row"))}
    with pytest.raises(ValueError, match="view"):
        live.frame("b")[0, 0] = 5  # several readers share it
    with pytest.raises(ValueError, match="read-only"):
        live.frame("b")["row"].values[0] = 5


def test_a_frame_that_was_written_again_is_read_again(tmp_path):
    def trace(value):
        yield Event(1, {}, {"map": xr.DataArray(np.full(3, value), dims="x")})
        return Outcome(xr.Dataset({"n": 1}))

    folder = runs.create(tmp_path / "run", ABOUT)
    first = runs.record(trace(1.0), folder)
    next(first)
    live = Live(folder)
    live.poll()
    history = runs.ArrayHistory(["map"])
    history.update(live)
    assert (float(live.frame("map")[0]), float(history.rows["map"][1][0])) == (1, 1)
    first.close()
    runs.reopen(folder)
    drain(runs.record(trace(2.0), folder, resumed_from=0))
    live.poll()
    history.update(live)
    assert (float(live.frame("map")[0]), float(history.rows["map"][1][0])) == (2, 2)


def test_no_more_arrays_are_kept_than_the_limit_allows():
    kept = frames.Cache(1000)
    for n in range(20):
        kept.put(n, xr.DataArray(np.zeros(10), dims="x"))  # 80 bytes
    assert kept.nbytes == 960
    assert [n for n in range(20) if kept.get(n) is not None] == list(range(8, 20))
    kept.get(8)
    kept.put("another", xr.DataArray(np.zeros(20), dims="x"))
    assert kept.get(8) is not None  # it was used a moment ago
    assert kept.get(9) is None
    kept.put("too large", xr.DataArray(np.zeros(1000), dims="x"))
    assert kept.get("too large") is None
    assert kept.nbytes <= 1000
    kept.clear()
    assert (kept.nbytes, kept.get(8)) == (0, None)


def test_run_json_is_parsed_when_it_has_changed_and_only_then(tmp_path, monkeypatch):
    folder, trace = recorded(tmp_path)
    next(trace)
    parsed, whole = [], schema.run_record
    monkeypatch.setattr("workbench.runs.folder.run_record", lambda path: parsed.append(path.name) or whole(path))
    time.sleep(0.05)
    live = Live(folder)
    assert (live.status, live.error, runs.read(folder)["method"]) == ("running", None, "toy")
    runs.read(folder)["config"]["seed"] = 9  # what a caller does to its own copy
    assert runs.read(folder)["config"]["seed"] == 0
    assert parsed.count("run.json") == 1
    drain(trace)
    assert live.status == "finished"
    # one more change, of the same length, within the same tick of the clock
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"toy"', '"top"'))
    assert runs.read(folder)["method"] == "top"


def test_nothing_is_overwritten(tmp_path):
    folder, trace = recorded(tmp_path)
    drain(trace)
    with pytest.raises(InputError, match="nothing is overwritten"):
        runs.create(folder, ABOUT)


def test_a_failing_method_is_recorded_with_its_error(tmp_path):
    folder, trace = recorded(tmp_path, fail_at=3)
    with pytest.raises(RuntimeError, match="the toy broke"):
        drain(trace)
    about = runs.read(folder)
    assert about["status"] == "failed"
    assert about["error"] == "RuntimeError: the toy broke"
    assert [line["step"] for line in runs.events(folder)] == [1, 2]


def test_closing_early_says_stopped_and_leaves_a_checkpoint(tmp_path):
    folder, trace = recorded(tmp_path)
    next(trace)
    next(trace)
    trace.close()
    assert runs.read(folder)["status"] == "stopped"
    step, state = runs.checkpoint(folder)
    assert (step, float(state["total"])) == (2, 3.0)


def test_a_state_that_ends_with_its_trace_is_kept_when_the_run_is_stopped(tmp_path):
    """As that of rsdgc, whose ranks hold the state and end with the trace."""
    closed = []

    def trace():
        def state():
            assert not closed, "the trace was closed before its state was asked for"
            return {"total": torch.tensor(1.0)}

        try:
            yield Event(1, {"total": 1.0}, state=state)
            yield Event(2, {"total": 2.0}, state=state)
        finally:
            closed.append(True)
        return Outcome(xr.Dataset())

    folder = runs.create(tmp_path / "run", ABOUT)
    recording = runs.record(trace(), folder)
    next(recording)
    runs.request(folder, "stop")
    with pytest.raises(runs.Stopped):
        next(recording)
    assert closed
    assert runs.read(folder)["status"] == "stopped"
    assert runs.checkpoint(folder) == (1, {"total": torch.tensor(1.0)})


def test_a_resumed_run_ends_with_the_same_numbers_and_one_line_of_events(tmp_path):
    folder, trace = recorded(tmp_path)
    for _ in range(2):
        next(trace)
    trace.close()
    # pretend that the process had got one step further than its checkpoint before it died
    with open(folder / "events.jsonl", "a") as file:
        file.write(json.dumps({"step": 3, "seconds": 0, "scalars": {"total": -1.0}}) + "\n")
    step, _ = runs.checkpoint(folder)
    runs.reopen(folder)
    drain(runs.record(toy(start=step), folder, resumed_from=step))
    whole, trace = recorded(tmp_path, "whole")
    drain(trace)
    assert runs.metrics(folder) == runs.metrics(whole)
    same(played(runs.replay(folder))[0], played(runs.replay(whole))[0])
    watched = Live(folder)
    watched.poll()
    assert watched.history["total"] == ([1, 2, 3, 4], [1.0, 3.0, 6.0, 10.0])


def test_a_finished_run_cannot_be_continued(tmp_path):
    folder, trace = recorded(tmp_path)
    drain(trace)
    with pytest.raises(InputError, match="has finished"):
        runs.reopen(folder)


def test_stop_and_pause_requests_are_obeyed_between_events(tmp_path):
    folder, trace = recorded(tmp_path, n=50)
    next(trace)
    runs.request(folder, "pause")
    assert Live(folder).status == "pausing"  # it computes until its next event
    seen = []

    def go_on():
        seen.append(Live(folder).status)
        runs.request(folder, "resume")

    threading.Timer(0.5, go_on).start()
    began = time.monotonic()
    next(trace)
    waited = time.monotonic() - began
    assert waited > 0.4
    assert seen == ["paused"]
    assert Live(folder).status == "running"
    runs.request(folder, "stop")
    with pytest.raises(runs.Stopped):
        next(trace)
    assert runs.read(folder)["status"] == "stopped"
    assert runs.read(folder)["seconds"] < waited  # a pause is no run time
    assert runs.events(folder)[-1]["seconds"] < waited


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_runs import ABOUT, toy
from workbench import runs
from workbench.event import Event
folder = runs.create({folder!r}, ABOUT)
def slow():
    for event in toy(1000):
        yield event
        time.sleep(0.01)
for event in runs.record(slow(), folder):
    pass
"""


@pytest.mark.process
def test_a_killed_process_leaves_a_readable_folder_that_says_so(tmp_path):
    folder = tmp_path / "killed"
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", KILLED.format(tests=here, folder=str(folder))])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(runs.Tail(folder).lines()) < 6:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    about = runs.read(folder)
    assert about["status"] == "killed"
    assert "killed" in about["error"]
    lines = runs.events(folder)
    assert len(lines) > 3
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    tail = runs.Tail(folder)
    for line in lines:
        tail.event(line)  # every frame that is announced can be read
    with pytest.raises(InputError, match="killed"):
        played(runs.follow(folder))


def test_half_a_line_is_not_read_until_it_is_whole(tmp_path):
    folder, trace = recorded(tmp_path)
    next(trace)
    tail = runs.Tail(folder)
    assert len(tail.lines()) == 1
    with open(folder / "events.jsonl", "a") as file:
        file.write('{"step": 9, "sca')
        file.flush()
        assert tail.lines() == []
        file.write('lars": {}, "seconds": 1}\n')
    assert [line["step"] for line in tail.lines()] == [9]
    trace.close()


def test_follow_watches_a_run_written_by_somebody_else(tmp_path):
    folder, trace = recorded(tmp_path)
    written = []
    writer = threading.Thread(target=lambda: written.extend(played(trace)[0]))
    following = runs.follow(folder, poll=0.01)
    writer.start()
    seen, outcome = played(following)
    writer.join()
    same(seen, written)
    assert float(outcome.result["total"]) == 10.0


def test_a_file_in_the_way_is_one_clear_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="part of that path is a file"):
        runs.create(tmp_path / "file" / "run", ABOUT)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_a_refusing_disk_is_one_clear_error(tmp_path, monkeypatch, number, words):
    folder, trace = recorded(tmp_path)
    next(trace)

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("workbench.runs.recorder._write_frame", refuse)
    with pytest.raises(InputError, match=words):
        drain(trace)
    assert runs.read(folder)["status"] == "failed"
    assert not list(folder.rglob("*.part"))


def test_run_json_names_versions_machine_and_process(tmp_path):
    folder, trace = recorded(tmp_path)
    drain(trace)
    about = runs.read(folder)
    assert about["versions"]["torch"] == torch.__version__
    assert about["pid"] == os.getpid()
    assert about["seconds"] >= 0


def test_not_a_run_folder(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        runs.read(tmp_path)
