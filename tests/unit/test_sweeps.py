"""Sweeps: what a grid is, what makes a cell stale, failures that stop nothing, and kill -9 at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import psutil
import pytest

from workbench import runs
from workbench.engines import supervised
from workbench.errors import InputError
from workbench.reports import sweep as sweeps
from workbench.reports.grid import Grid, grid_of, plan, read_grid
from workbench.reports.sweep import sweep

PARAMETERS = 'x: int = 1  # a number\nseed: int = 0\nscene: str = "digits"\noverrides: dict = {}\nrun_dir: str = ""'
COMPUTE = """
import json, random
from pathlib import Path
random.seed(seed)
assert x != 13, "unlucky"
if x == 99:
    hoard = bytearray(900_000_000)
    import time; time.sleep(60)
Path(run_dir, "metrics.json").write_text(json.dumps({"square": x * x + random.random()}))
"""


def notebook(path: Path, compute: str = COMPUTE, parameters: str = PARAMETERS) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    import nbformat

    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"], "name": "parameters"}),
        nbformat.v4.new_code_cell(compute, metadata={"name": "compute"}),
    ]
    nbformat.write(made, path)
    return path


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    return notebook(tmp_path / "squares.ipynb")


class TestGrid:
    def test_the_last_axis_varies_fastest_and_seeds_come_last(self) -> None:
        grid = Grid(parameters={"x": 1, "overrides": {"k": 3}}, grid={"overrides.n": [5, 6]}, seeds=[0, 1])
        cells = list(grid.cells())
        assert [(c["overrides"]["n"], c["overrides"]["seed"]) for c in cells] == [(5, 0), (5, 1), (6, 0), (6, 1)]
        assert all(c["overrides"]["k"] == 3 and c["x"] == 1 for c in cells)
        assert grid.parameters["overrides"] == {"k": 3}

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"grdi": {}}, "Did you mean 'grid'"),
            ({"grid": {"x": []}}, "no values for x"),
            ({"grid": {"x": [1, 1]}}, "a value of x twice"),
            ({"grid": {"x": 3}}, "grid.x"),
            ({"seeds": ["many"]}, "seeds.0"),
            ({"memory_gb": 0}, "memory_gb"),
            (["x"], "has to be a mapping"),
        ],
    )
    def test_refusals(self, fields: object, says: str) -> None:
        with pytest.raises(InputError, match=says):
            grid_of(fields, "grid.yml")

    @pytest.mark.parametrize("outer", [3, None, "x", [1], True])
    def test_a_value_within_something_that_is_no_mapping(self, outer: object) -> None:
        for grid in (
            Grid(parameters={"overrides": outer}, grid={"overrides.n": [1]}),
            Grid(parameters={"overrides": outer}, seeds=[0]),
            Grid(grid={"overrides": [outer], "overrides.n": [1]}),
        ):
            with pytest.raises(InputError, match=r"sets a value inside overrides; then overrides has to be a mapping"):
                list(grid.cells())

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file"):
            read_grid(tmp_path / "none.yml")
        (tmp_path / "bad.yml").write_text("grid: [")
        with pytest.raises(InputError, match="not YAML"):
            read_grid(tmp_path / "bad.yml")


class TestPlan:
    def test_a_key_for_everything_a_number_depends_on(self, squares: Path, tmp_path: Path) -> None:
        def key(path: Path = squares, **fields: object) -> str:
            return plan(path, Grid.model_validate({"grid": {"x": [3]}, **fields}))[0].key

        first = key()
        assert key() == first
        assert key(memory_gb=1.0) == first  # decides whether a cell can be made, not what comes out
        others = {key(grid={"x": [4]}), key(seeds=[1]), key(threads=2), key(parameters={"scene": "sim-coast-town"})}
        others.add(key(notebook(tmp_path / "other.ipynb", COMPUTE + "\nprint()")))
        assert len(others | {first}) == 6

    def test_a_changed_file_is_stale_and_an_output_in_the_notebook_is_not(self, squares: Path, tmp_path: Path) -> None:
        data = tmp_path / "scene.npy"
        data.write_bytes(b"one")
        grid = Grid(parameters={"scene": str(data)})
        first = plan(squares, grid)[0].key
        import nbformat

        kept = nbformat.read(squares, as_version=4)
        kept.cells[1].outputs = [nbformat.v4.new_output("stream", text="seen\n")]
        nbformat.write(kept, squares)
        assert plan(squares, grid)[0].key == first
        data.write_bytes(b"two")
        assert plan(squares, grid)[0].key != first

    def test_changed_code_is_stale(self, squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = plan(squares, Grid())[0].key
        monkeypatch.setattr("workbench.runs.provenance.code_hash", lambda: "another")
        assert plan(squares, Grid())[0].key != first

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"grid": {"y": [1]}}, "no parameter 'y'"),
            ({"grid": {"sceen": ["digits"]}}, "Did you mean 'scene'"),
            ({"parameters": {"x": "three"}}, "takes x as int"),
            ({"parameters": {"scene": "digitz"}}, "digits"),
            ({"parameters": {"run_dir": "here"}}, "set by the sweep"),
        ],
    )
    def test_refusals(self, squares: Path, fields: dict, says: str) -> None:
        with pytest.raises(InputError, match=says):
            plan(squares, Grid.model_validate(fields))


@pytest.mark.process
def test_one_failed_cell_stops_nothing_and_only_what_is_missing_is_made(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    grid = Grid(grid={"x": [2, 13, 99]}, seeds=[0], memory_gb=0.7)
    done = sweep(squares, grid, out, jobs=2)
    said = {row["varied"]["x"]: row for row in done.rows}
    random.seed(0)
    assert said[2]["metrics"] == {"square": 4 + random.random()}
    assert (said[13]["status"], said[99]["status"]) == ("failed", "out of memory")
    assert "unlucky" in said[13]["error"]
    assert "cell 'compute'" in said[13]["error"]
    assert "0.7 GB" in said[99]["error"]
    told = capsys.readouterr().err
    assert "3/3" in told
    assert "x=13 seed=0: failed" in told
    assert done.table.read_text().splitlines()[0] == "x,seed,status,square,key,error"
    assert json.loads((out / "table.json").read_text()) == done.rows == sweeps.read_table(out)

    about = runs.read(out / "cells" / said[2]["key"])
    assert (about["status"], about["threads"], about["config"]["x"]) == ("finished", 1, 2)
    assert about["cell"]["key"] == said[2]["key"]
    assert (out / "cells" / said[2]["key"] / "report.html").exists()

    more = sweep(squares, Grid(grid={"x": [2, 4]}, seeds=[0]), out, jobs=2, progress=False)
    assert (more.made, [row["status"] for row in more.rows]) == (1, ["finished", "finished"])
    before = more.table.read_bytes()
    assert sweep(squares, Grid(grid={"x": [2, 4]}, seeds=[0]), out, progress=False).made == 0
    assert more.table.read_bytes() == before


def test_folders_that_cannot_be_used(squares: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(InputError, match="holds a run, not a sweep"):
        sweep(squares, Grid(), tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file"):
        sweep(squares, Grid(), tmp_path / "file" / "out")
    with pytest.raises(InputError, match="no table.json"):
        sweeps.read_table(tmp_path)
    with sweeps._locked(tmp_path / "busy"), pytest.raises(InputError, match="Another sweep is at work"):
        sweep(squares, Grid(), tmp_path / "busy")


def test_a_cluster_without_distributed_is_refused_with_the_way_out(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install .workbench\[cluster\]"):
        sweep(squares, Grid(), tmp_path / "out", on="tcp://127.0.0.1:1", progress=False)


# --- kill -9 ----------------------------------------------------------------------------------------------------------


class Killed:
    """A sweep from the command line, undisturbed once, then killed at given moments and completed."""

    def __init__(self, folder: Path, values: list[int]) -> None:
        self.folder = folder
        notebook(folder / "squares.ipynb")
        (folder / "grid.yml").write_text(f"grid: {{x: {values}}}\nseeds: [0, 1]\n")
        begun = time.monotonic()
        whole = self.start("whole")
        _, said = whole.communicate(timeout=300)
        assert whole.returncode == 0, said.decode()
        self.seconds = time.monotonic() - begun
        self.wanted = self.tables("whole")

    def start(self, out: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "workbench", "sweep", "squares.ipynb", "grid.yml", "--jobs", "2", "--out", out]
        return subprocess.Popen([*command, "--quiet"], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def tables(self, out: str) -> tuple[bytes, bytes]:
        return (self.folder / out / "table.csv").read_bytes(), (self.folder / out / "table.json").read_bytes()

    def at(self, *moments: float) -> None:
        """Kill the sweep after so many seconds, again and again; complete it by the same command, and compare its table."""
        for moment in moments:
            killed = self.start("killed")
            time.sleep(moment)
            killed.kill()
            killed.communicate()
        second = self.start("killed")
        _, said = second.communicate(timeout=300)
        assert second.returncode == 0, (moments, said.decode())
        assert self.tables("killed") == self.wanted, moments
        assert not self.marked()
        shutil.rmtree(self.folder / "killed")

    def marked(self) -> list[psutil.Process]:
        """Processes still at work on one of the cells."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(supervised.MARK, "").startswith(str(self.folder)):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.mark.process
def test_killed_at_a_few_moments_the_same_command_completes_it(tmp_path: Path) -> None:
    case = Killed(tmp_path, [2])
    case.at(0.3 * case.seconds, 0.6 * case.seconds, 0.8 * case.seconds)


@pytest.mark.process
def test_a_killed_sweep_leaves_nobody_at_work(tmp_path: Path) -> None:
    notebook(tmp_path / "squares.ipynb", "import time; time.sleep(600)")
    (tmp_path / "grid.yml").write_text("seeds: [0]")
    case = object.__new__(Killed)
    case.folder = tmp_path
    process = case.start("out")
    kernels: list[psutil.Process] = []
    until = time.monotonic() + 120
    while not kernels and time.monotonic() < until:
        time.sleep(0.1)
        kernels = [p for p in case.marked() if "ipykernel_launcher" in " ".join(p.cmdline())]
    assert kernels
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 20
    while case.marked() and time.monotonic() < until:
        time.sleep(0.1)
    assert not case.marked()


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    case = Killed(tmp_path, [2, 3])
    draw = random.Random(20)
    for _ in range(20):
        case.at(draw.uniform(0.0, case.seconds))


@pytest.mark.process
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_cell_of_a_lost_worker_is_remade_at_once(tmp_path: Path) -> None:
    """Two worker processes; the one that makes the first cell is killed while the notebook works."""
    distributed = pytest.importorskip("distributed", reason="needs the package distributed")
    path = notebook(tmp_path / "slow.ipynb", f"import time; time.sleep(3)\n{COMPUTE}")
    lost: list[psutil.Process] = []

    def lose_one() -> None:
        until = time.monotonic() + 60
        while not lost and time.monotonic() < until:
            for cell in (tmp_path / "out" / "cells").glob("*/run.json"):
                pid = json.loads(cell.read_text())["pid"]
                with contextlib.suppress(psutil.Error):
                    worker = psutil.Process(pid).parent()
                    if worker is not None and worker.pid in workers:
                        lost.append(worker)
                        worker.kill()
                        return
            time.sleep(0.1)

    kept = {"temporary-directory": str(tmp_path / "dask"), "distributed.worker.memory.terminate": False}
    with (
        dask.config.set(kept),
        distributed.LocalCluster(
            2, threads_per_worker=1, processes=True, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
        ) as made,
    ):
        workers = {w.pid for w in made.workers.values()}
        killer = threading.Thread(target=lose_one)
        killer.start()
        began = time.monotonic()
        done = sweep(path, Grid(grid={"x": [2, 3]}), tmp_path / "out", on=made.scheduler_address, progress=False)
        seconds = time.monotonic() - began
        killer.join()
    assert lost
    assert [row["status"] for row in done.rows] == ["finished", "finished"]
    random.seed(0)
    share = random.random()
    assert [row["metrics"]["square"] for row in done.rows] == [4 + share, 9 + share]
    assert seconds < 120
    resumed = [runs.read(f.parent).get("resumed", []) for f in (tmp_path / "out" / "cells").glob("*/run.json")]
    assert sorted(map(len, resumed)) == [0, 1]  # made again in its folder


CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(2, threads_per_worker=1, dashboard_address=":0", processes=False, host="127.0.0.1", protocol="tcp://")
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_on_a_cluster(squares: Path, tmp_path: Path) -> None:
    """Two workers of a Dask cluster in a process of its own; a worker that does not see the folder says so."""
    pytest.importorskip("distributed", reason="needs the package distributed")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", CLUSTER], **pipes) as cluster:
        address = cluster.stdout.readline().strip()
        done = sweep(squares, Grid(grid={"x": [2, 13]}), tmp_path / "out", on=address, progress=False)
        assert [row["status"] for row in done.rows] == ["finished", "failed"]
        random.seed(0)
        assert done.rows[0]["metrics"] == {"square": 4 + random.random()}
        cluster.stdin.close()
    elsewhere = sweeps._supervise_there({"folder": str(tmp_path / "unseen" / "cells" / "x")})
    assert "shared folder" in elsewhere["error"]
