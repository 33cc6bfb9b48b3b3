"""A Dask cluster that is lost for good: one clear error in time, a readable folder, and the same numbers afterwards without it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from dask.delayed import Delayed

from tests.driving import played
from tests.unit.test_sweeps import COMPUTE, notebook
from workbench import runs
from workbench.baselines import local_rx
from workbench.engines import cluster
from workbench.errors import InputError
from workbench.execution import execute, resume, start
from workbench.reports.grid import Grid
from workbench.reports.sweep import sweep

pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'workbench[cluster]'")
pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

Processes = dict[str, subprocess.Popen]


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[str, Processes]]:
    """(address, processes) of a scheduler and one worker without a nanny, each a process of its own."""
    note = folder / "scheduler.json"
    told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    where = ["--scheduler-file", str(note), "--no-dashboard"]
    here = ["--host", "127.0.0.1", "--port", "0"]
    own = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder / "dask"), "--death-timeout", "60"]
    made: Processes = {}
    try:
        for name, options in (("scheduler", here), ("worker", own)):
            command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *where, *options]
            made[name] = subprocess.Popen(command, **told)  # type: ignore[call-overload]
            until = time.monotonic() + 60
            while not note.exists() or not note.read_text().strip():
                assert time.monotonic() < until
                time.sleep(0.05)
        yield json.loads(note.read_text())["address"], made
    finally:
        for process in made.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize(("who", "says"), [("scheduler", "is lost"), ("worker", "has had no worker for 2 s")])
def test_a_run_ends_with_one_error_and_goes_on_without_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, says: str
) -> None:
    monkeypatch.setattr(local_rx, "SLAB", 1)
    cube = np.random.default_rng(5).gamma(2.0, size=(4, 60, 30)).astype("f4")
    truth = (np.arange(1800).reshape(60, 30) % 7 == 0).astype("u1")
    scene = xr.Dataset({"hsi": (("band", "y", "x"), cube), "truth": (("y", "x"), truth)})
    scene.to_zarr(tmp_path / "scene.zarr", consolidated=False)
    given = ("local-rx", tmp_path / "scene.zarr", {"inner": 3, "outer": 9})
    expected = execute(*given)
    folder = tmp_path / "run"
    lost: list[float] = []

    def lose(event: object) -> None:
        if not lost:
            processes[who].kill()
            lost.append(time.monotonic())

    with (
        dask.config.set({"workbench.without-workers": 2}),
        started(tmp_path) as (address, processes),
        pytest.raises(InputError, match=f"{says}.*--resume FOLDER") as told,
        cluster.connected(address),
    ):
        played(start(*given, folder), lose)
    assert time.monotonic() - lost[0] < 20
    about = runs.read(folder)
    assert (about["status"], about["error"]) == ("failed", str(told.value))
    assert "\n" not in str(told.value)
    assert cluster.active() is None
    _, outcome = played(resume(folder))
    np.testing.assert_array_equal(outcome.result["score"], expected.result["score"])
    assert runs.read(folder)["status"] == "finished"
    assert runs.metrics(folder)["auc"] == float(expected.result["auc"])


def lost_in(slow: Delayed, scheduler: subprocess.Popen) -> Generator[object, None, None]:
    threading.Timer(0.5, scheduler.kill).start()
    yield slow.compute()


def test_what_dask_computes_by_itself_ends_with_the_same_error(tmp_path: Path) -> None:
    """`compute()` of a lazy array, as checks of a scene call it; nothing more is computed afterwards, here or there."""
    slow = dask.delayed(time.sleep)(60)
    with (
        started(tmp_path) as (address, processes),
        pytest.raises(InputError, match="The Dask scheduler at .* is lost"),
        cluster.connected(address),
    ):
        played(lost_in(slow, processes["scheduler"]))


def test_a_sweep_keeps_its_finished_cells_and_goes_on(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    path = notebook(
        tmp_path / "slow.ipynb",
        f"import time, os; time.sleep(60 if x == 3 and os.path.exists({str(slow)!r}) else 0)\n{COMPUTE}",
    )
    grid, out = Grid(grid={"x": [2, 3]}), tmp_path / "out"

    def lose(scheduler: subprocess.Popen) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and len(list(out.glob("cells/*/run.json"))) < 2:
            time.sleep(0.1)
        scheduler.kill()
        lost.append(time.monotonic())

    lost: list[float] = []
    with started(tmp_path) as (address, processes):
        killer = threading.Thread(target=lose, args=(processes["scheduler"],))
        killer.start()
        with pytest.raises(InputError, match="is lost.*same command goes on"):
            sweep(path, grid, out, on=address, progress=False)
        assert time.monotonic() - lost[0] < 20
        killer.join()
    rows = json.loads((out / "table.json").read_text())
    assert [row["status"] for row in rows] == ["finished", "missing"]
    slow.unlink()
    done = sweep(path, grid, out, progress=False)
    assert [row["status"] for row in done.rows] == ["finished", "finished"]
    assert done.made == 1
