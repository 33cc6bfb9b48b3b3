"""Sweeps: one notebook over a grid of parameters and seeds; every combination is a report made by its own process.

    done = sweep("anomaly", "grid.yml", "runs/steps", jobs=2)
    done.table          # .../table.csv, and table.json beside it

    OUT/grid.yml            the grid                               OUT/sweep.json    the notebook and the list of cells
    OUT/cells/1f0c.../      one run folder for each cell: report.html, report.ipynb, metrics.json, run.json, runs inside
    OUT/table.csv, .json    one row for each cell: its parameters, its status, its numbers; no times, so that repeating a
                            sweep gives the same bytes

The name of a cell is the hash of all that its numbers depend on: parameters, data, notebook, code and package versions. A
finished cell is not executed again; after a change the cell has another name; an interrupted cell is continued. So the same
command completes a sweep that was killed at any moment. `Grid` describes the grid file.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.engines import cluster
from workbench.engines.supervised import die_with, supervise
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import RUNS
from workbench.methods import METHODS, load
from workbench.reports.grid import Cell, Grid, plain, plan, read_grid
from workbench.reports.notebook import (
    NotebookFailed,
    about_notebook,
    execution,
    find_notebook,
    notebook_hash,
)
from workbench.reports.progress import Steps, Watching
from workbench.runs.progress import progress_bar
from workbench.runs.spreadsheet import csv_field

Submit = Callable[[dict[str, Any]], Future]
STATUSES = ("finished", "failed", "out of memory", "killed", "missing")


# --- one cell ---------------------------------------------------------------------------------------------------------


def job(notebook: Path, grid: Grid, cell: Cell, folder: Path) -> dict[str, Any]:
    """The job of a cell for another process, as values for JSON."""
    parameters = dict(cell.parameters)
    about = {
        "method": f"sweep-{parameters.get('method', notebook.stem)}",
        "headline": list(load(cell.method).HEADLINE) if cell.method in METHODS else [],
        "config": _flat(parameters),
        "scene": {"id": cell.depends["data"].get("scene", ""), "digest": cell.depends["data"].get("sha256", "")},
        "files": {name: dict(file) for name, file in cell.files.items()},
        "notebook": about_notebook(notebook, parameters),
        "cell": {"key": cell.key, "depends": dict(cell.depends)},
    }
    return {
        "notebook": str(notebook.resolve()),
        "title": f"{grid.title or notebook.stem}: {cell.name}",
        "about": about,
        "folder": str(folder.resolve()),
        "threads": grid.threads,
        "memory_gb": grid.memory_gb,
        "cell_timeout": grid.cell_timeout,
    }


def make_cell(work: Mapping[str, Any]) -> None:
    """Execute the notebook of a cell into its run folder; called in the child process that `supervise` starts."""
    folder = Path(work["folder"])
    again = (folder / "run.json").exists()
    if again:
        runs.reopen(folder, take_over=True)  # the sweep holds the lock: whoever made the cell before has lost it
    else:
        runs.create(folder, work["about"])
    trace = execution(
        Path(work["notebook"]),
        work["about"]["notebook"]["parameters"],
        folder,
        work["title"],
        cell_timeout=work["cell_timeout"],
        progress=False,
    )
    drain(runs.record(trace, folder, resumed_from=-1 if again else None))


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`{"scene": "a", "overrides": {"steps": 3}}` -> `{"scene": "a", "steps": 3}`."""
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        flat |= value if name == "overrides" and isinstance(value, dict) else {name: value}
    return flat


# --- the whole grid ---------------------------------------------------------------------------------------------------


@dataclass
class Sweep:
    """Result of a sweep. rows: one for each cell, as in the table. made: number of cells that this call executed."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0

    @property
    def table(self) -> Path:
        """Path of the table as CSV; `table.json` is in the same folder."""
        return self.folder / "table.csv"

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of cells that have no result."""
        return [row for row in self.rows if row["status"] != "finished"]


def sweep(
    notebook: str | Path,
    grid: str | Path | Grid,
    folder: str | Path | None = None,
    *,
    jobs: int = 1,
    on: str | None = None,
    memory_gb: float | None = None,
    cell_timeout: int | None = None,
    progress: bool = True,
) -> Sweep:
    """Execute the missing and stale cells of a sweep and write its table.

    notebook: the stem of a notebook of the workbench, or a path. grid: a file or a Grid. folder: by default `runs/sweep-NOTEBOOK-GRID`,
    the same for the same grid file, so that a second call completes the first. jobs: number of cells at a time. on: address of
    the scheduler of a Dask cluster (`tcp://host:8786`) that executes the cells, as many at a time as its workers take; its workers need the
    folder at the same path.

    A cell that fails does not stop the others. Raises InputError for input that cannot be used, before
    anything is written; and for a folder that another sweep is using or that cannot be written.
    """
    path = find_notebook(notebook)
    chosen = grid if isinstance(grid, Grid) else read_grid(grid)
    changes = {"memory_gb": memory_gb, "cell_timeout": cell_timeout}
    chosen = chosen.model_copy(update={k: v for k, v in changes.items() if v is not None})
    cells = plan(path, chosen)
    label = "grid" if isinstance(grid, Grid) else Path(grid).stem
    folder = Path(folder) if folder is not None else Path(RUNS) / f"sweep-{path.stem}-{label}"
    _refuse_other(folder)
    with runs.writing(folder), _locked(folder):
        _note(folder, path, chosen, cells)
        return _complete(path, chosen, cells, Sweep(folder), jobs, on, progress)


def _refuse_other(folder: Path) -> None:
    if (folder / "run.json").exists():
        raise InputError(f"{folder} holds a run, not a sweep; choose another folder with --out.")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder; the system releases it when the process ends or is killed."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another sweep is at work in {folder}; wait for it, or choose another folder with --out."
            ) from None
        yield


def _note(folder: Path, notebook: Path, grid: Grid, cells: Sequence[Cell]) -> None:
    import yaml

    text = yaml.safe_dump(grid.model_dump(), sort_keys=False, allow_unicode=True)
    runs.replace(folder / "grid.yml", lambda f: f.write(text.encode()))
    about = {"notebook": notebook.stem, "notebook_sha256": notebook_hash(notebook), "title": grid.title}
    runs.write_json(folder / "sweep.json", {**about, "cells": {c.key: dict(c.varied) for c in cells}})


def _complete(
    notebook: Path, grid: Grid, cells: Sequence[Cell], done: Sweep, jobs: int, on: str | None, progress: bool
) -> Sweep:
    results: dict[str, dict[str, Any]] = {}
    for cell in cells:
        results[cell.key] = {"status": _status(done.folder / "cells" / cell.key), "error": None}
    _write_table(done, cells, results)
    left = [cell for cell in cells if results[cell.key]["status"] != "finished"]
    stop = threading.Event()
    with SweepProgress(done.folder, cells, len(left), shown=progress) as bar, _engine(on, jobs, stop) as (submit, lost):
        running: dict[Future, Cell] = {}
        try:
            for cell in left:
                running[submit(job(notebook, grid, cell, done.folder / "cells" / cell.key))] = cell
            while running:
                ready, _ = wait(running, cluster.LOOK, FIRST_COMPLETED)
                if ready and any(future.cancelled() for future in ready):  # by a lost scheduler: wait until that is known
                    time.sleep(2 * cluster.LOOK)
                if why := lost():
                    raise InputError(f"{why} Finished cells are kept, and the same command goes on with the others.")
                for future in ready:
                    cell = running.pop(future)
                    results[cell.key] = _ended(future)
                    done.made += 1
                    _write_table(done, cells, results)
                    bar.finished(cell, results[cell.key])
        except BaseException:
            stop.set()
            for future in running:
                future.cancel()
            raise
    return done


def _ended(future: Future) -> dict[str, Any]:
    """The result of a cell; of one whose workers were lost again and again, a row that says so."""
    try:
        return future.result()
    except Exception as error:
        return {
            "status": "killed",
            "error": f"its worker was lost ({type(error).__name__}: {error}); the same command remakes it",
        }


def _status(folder: Path) -> str:
    """`finished` if the cell has a result; `missing` in every other case."""
    with contextlib.suppress(InputError):
        if runs.read(folder)["status"] == "finished" and (folder / "metrics.json").exists():
            runs.metrics(folder)
            return "finished"
    return "missing"


@contextlib.contextmanager
def _engine(on: str | None, jobs: int, stop: threading.Event) -> Iterator[tuple[Submit, Callable[[], str]]]:
    """A function that takes a job and returns a future: threads that each supervise a process, or a Dask cluster; and one that tells
    why the cluster is lost, empty while it is there."""
    if on is None:
        with ThreadPoolExecutor(jobs) as pool:
            yield (lambda work: pool.submit(supervise, work, stop)), (lambda: "")
        return
    with cluster.connected(on, default=False) as client:
        executor = client.get_executor(pure=False)  # not left in order: it would wait for the futures of a lost cluster
        yield (lambda work: executor.submit(_supervise_there, work)), (lambda: cluster.lost(client))


def _supervise_there(work: dict[str, Any]) -> dict[str, Any]:
    """`supervise` on a worker of the cluster; fails unless the worker sees the folder of the sweep."""
    folder = Path(work["folder"])
    if not (folder.parent.parent / "sweep.json").exists():
        return {
            "status": "failed",
            "error": f"this worker does not see {folder.parent.parent}; a cluster needs a shared folder",
        }
    return supervise(work)


# --- table and progress -----------------------------------------------------------------------------------------------


def _write_table(done: Sweep, cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]) -> None:
    """One row for each cell in the order of the grid: what varies, key, status, error, and all its numbers."""
    done.rows = []
    for one in cells:
        state = results[one.key]
        metrics = runs.metrics(done.folder / "cells" / one.key) if state["status"] == "finished" else {}
        done.rows.append({**_row_head(one), "status": state["status"], "error": state["error"], "metrics": metrics})
    runs.write_json(done.folder / "table.json", done.rows)
    varied = list(dict.fromkeys(name for one in cells for name in one.varied))
    numbers = list(dict.fromkeys(name for row in done.rows for name in row["metrics"]))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*varied, "status", *numbers, "key", "error"])
    for row in done.rows:
        about = [csv_field(plain(row["varied"].get(name, ""))) for name in varied]
        error = csv_field(" ".join((row["error"] or "").split()))
        lines.writerow([*about, row["status"], *(row["metrics"].get(n, "") for n in numbers), row["key"], error])
    runs.replace(done.table, lambda f: f.write(text.getvalue().encode()))


def _row_head(cell: Cell) -> dict[str, Any]:
    return {"varied": dict(cell.varied), "key": cell.key, "parameters": dict(cell.parameters)}


def read_table(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a sweep: dicts of `varied`, `key`, `parameters`, `status`, `error`, `metrics`.

    Raises InputError when the folder holds no sweep.
    """
    try:
        return json.loads((Path(folder) / "table.json").read_text())
    except (OSError, ValueError):
        raise InputError(f"{folder} has no sweep: there is no table.json in it.") from None


class SweepProgress(Watching):
    """A bar over all cells of a sweep, with the current steps of those at work, on standard error."""

    def __init__(self, folder: Path, cells: Sequence[Cell], left: int, *, shown: bool) -> None:
        self.folder = folder
        self.cells = {cell.key: cell for cell in cells}
        self._steps = {cell.key: Steps(folder / "cells" / cell.key) for cell in cells}
        self._texts: dict[str, str] = {}  # key -> the newest step
        bar = progress_bar(
            shown=shown,
            total=len(cells),
            initial=len(cells) - left,
            desc="sweep",
            unit="cell",
            bar_format="{n_fmt}/{total_fmt} |{bar:20}| {elapsed}<{remaining}  {desc}",
        )
        super().__init__(bar, 1.0)

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.bar.set_description_str("sweep")
        super().__exit__(*exc)

    def finished(self, cell: Cell, state: Mapping[str, Any]) -> None:
        """Count a cell; print its error if it has no result."""
        if state["status"] != "finished" and not self.bar.disable:
            self.bar.write(f"{cell.name}: {state['status']}: {state['error']}", file=sys.stderr)
        self.bar.update(1)

    def refresh(self) -> None:
        """Name the cells at work, each with its newest step."""
        at_work = []
        for key, cell in self.cells.items():
            with contextlib.suppress(InputError):
                if runs.read(self.folder / "cells" / key)["status"] == "running":
                    text = self._texts[key] = self._steps[key].newest() or self._texts.get(key, "")
                    at_work.append(cell.name + (f" ({text})" if text else ""))
        self.bar.set_description_str("sweep" + (": " if at_work else "") + "; ".join(at_work), refresh=True)


if __name__ == "__main__":
    import gc

    gc.set_threshold(50_000)  # the libraries are still to be imported; collections find nothing in them
    work = json.load(sys.stdin)
    die_with(work["supervisor"])
    try:
        make_cell(work)
    except (InputError, NotebookFailed) as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(1)
