"""Blocks in order from threads or from a real cluster: the same numbers, whoever dies, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
import pytest
import xarray as xr

from workbench import runs
from workbench.baselines import local_rx
from workbench.baselines.anomaly import rx
from workbench.engines import blas, cluster
from workbench.errors import InputError
from workbench.event import drain
from workbench.methods import load
from workbench.methods import rx as detectors

sys.path.insert(0, str(Path(__file__).parent))
from slow_pixels import SlowPixels

distributed = pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'workbench[cluster]'")


def array(shape=(3, 20, 13), chunks=(3, 6, 5), seconds=0.0):
    return da.from_array(SlowPixels(shape, seconds), chunks=chunks, name=False, meta=np.empty((0, 0, 0)))


def assert_whole(data: da.Array, expected: np.ndarray) -> None:
    out = np.full(data.shape, np.nan)
    for where, block in cluster.blocks(data):
        out[where] = block
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("chunks", [(3, 6, 5), (1, 20, 13), (2, 1, 7)])
@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_blocks_are_the_array(chunks, scheduler):
    with dask.config.set(scheduler=scheduler):
        assert_whole(array(chunks=chunks) + 1, SlowPixels((3, 20, 13)).values() + 1)


def test_results_come_in_order_and_only_a_few_are_ahead(monkeypatch):
    monkeypatch.setattr(blas, "threads", lambda: 2)
    begun = []

    def work(n):
        begun.append(n)
        time.sleep(0.02 if n % 2 else 0.0)
        return n

    for n, found in enumerate(cluster.results([dask.delayed(work)(n) for n in range(30)])):
        assert found == n
        assert len(begun) <= n + 1 + cluster.workers() + 2


def test_closing_early_leaves_no_thread_and_begins_nothing_more():
    before, begun = threading.active_count(), []
    found = cluster.results([dask.delayed(begun.append)(n) for n in range(50)])
    next(found)
    found.close()
    assert threading.active_count() == before
    seen = len(begun)
    time.sleep(0.05)
    assert len(begun) == seen < 50


def test_an_exception_of_a_task_is_raised_and_no_thread_is_left():
    before = threading.active_count()

    def fail():
        raise InputError("the file has gone")

    with pytest.raises(InputError, match="the file has gone"):
        list(cluster.results([dask.delayed(fail)() for _ in range(9)]))
    assert threading.active_count() == before


def test_nothing_is_asked_of_a_cluster_that_is_not_there(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    # a client that has failed to connect would keep the process from ending
    monkeypatch.setattr(distributed.Client, "__init__", lambda *_, **__: pytest.fail("a client was made"))
    assert cluster.active() is None
    assert list(cluster.results([])) == []
    for address in ("tcp://127.0.0.1:1", "nonsense://", "nonsense"):
        with pytest.raises(InputError, match=f"No Dask scheduler answers at '{address}'.*dask scheduler"):
            cluster.connected(address).__enter__()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A scheduler and two workers, each a process of its own; nothing of it is left afterwards."""
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    folder = tmp_path_factory.mktemp("dask")
    with dask.config.set({"temporary-directory": str(folder), "distributed.worker.memory.terminate": False}):
        made = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
        )
    with made:
        yield made.scheduler_address
    deadline = time.monotonic() + 10
    while left := [
        p
        for p in psutil.Process().children(recursive=True)
        if p.pid not in before and "tracker" not in " ".join(p.cmdline())
    ]:
        assert time.monotonic() < deadline, f"processes left behind: {left}"
        time.sleep(0.1)


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_cluster_gives_the_same_and_is_let_go(address, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 20)
    expected = SlowPixels((3, 20, 13)).values()
    with cluster.connected(address) as client:
        assert cluster.active() is client
        assert_whole(array() * 2, expected * 2)
        found = cluster.results([dask.delayed(pow)(n, 2) for n in range(40)])
        assert list(islice(found, 3)) == [0, 1, 4]
        found.close()
        with pytest.raises(ZeroDivisionError):
            list(cluster.results([dask.delayed(divmod)(n, 0) for n in range(3)]))
    assert cluster.active() is None


def is_over(process, patience=30.0):
    """Whether it ends in time: the kernel takes a moment to take a killed process down. Its nanny, not we, collects it."""
    until = time.monotonic() + patience
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
    return True


@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.parametrize("method", ["rx", "local-rx"])
def test_a_worker_that_is_killed_in_the_middle_changes_nothing(address, monkeypatch, tmp_path, method):
    """The events count the rows as the cluster finishes them; after the first third of the scoring one worker is killed."""
    monkeypatch.setattr(detectors, "BIG", 100)
    monkeypatch.setattr(local_rx, "SLAB", 1)
    shape, chunks = (4, 60, 30), (4, 5, 15)
    cube = xr.DataArray(array(shape, chunks, 0.05), dims=("band", "y", "x"))
    scene = xr.Dataset({"hsi": cube, "truth": (("y", "x"), np.arange(1800).reshape(60, 30) % 7 == 0)})
    room = load(method)
    config = room.Config() if method == "rx" else room.Config(inner=3, outer=9)
    expected = drain(room.run(xr.Dataset({"hsi": (cube.dims, SlowPixels(shape).values())}), config)).result["score"]

    folder = runs.create(tmp_path / "run", {"method": method, "config": {}, "scene": {}})
    with cluster.connected(address) as client:
        client.wait_for_workers(2, timeout=30)
        workers = client.run(os.getpid)
        events, killed = [], None
        trace = runs.record(
            room.run(scene, config), folder
        )  # to its very end: the result is written while the client is active
        while True:
            try:
                event = next(trace)
            except StopIteration as end:
                result = end.value.result
                break
            events.append(event)
            if killed is None and event.scalars.get("rows", 0) >= 15:
                killed = psutil.Process(next(iter(workers.values())))
                killed.kill()
    assert killed is not None
    assert is_over(killed)
    np.testing.assert_allclose(result["score"], expected, rtol=1e-9)
    assert runs.read(folder)["status"] == "finished"
    np.testing.assert_array_equal(runs.result(folder)["score"], result["score"])
    assert runs.metrics(folder)["auc"] == float(result["auc"])
    steps = [event.step for event in events]
    assert steps == sorted(set(steps))
    assert events[-1].step == events[-1].of == 120
    assert [e.scalars["read"] for e in events if "read" in e.scalars] == list(range(5, 60, 5))
    assert len([e for e in events if "rows" in e.scalars]) > 3
    assert set(result["score"].dims) == {"y", "x"}


@pytest.mark.process
def test_rx_is_the_same_on_the_cluster_without_a_word_about_it(address):
    cube = xr.DataArray(array(), dims=("band", "y", "x"))
    expected = rx(cube).compute()
    with cluster.connected(address):
        np.testing.assert_array_equal(rx(cube).compute(), expected)
