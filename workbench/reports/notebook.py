"""Reports: a method's notebook executed on a scene with Papermill, kept as one self-contained HTML page in a run folder.

    page = report("bsdm", "sim-coast-town", {"steps": 60})      # .../report.html

The page asks nothing of the network. The folder is a run folder like any other (`workbench.runs`), and every run behind a
number of the page is a run folder inside it. Below `report` are the few functions that the notebooks share: `pending`
says what is left to do of a run, and `Claim` what mean and spread allow to be said.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import runs
from workbench.config import override
from workbench.errors import InputError, did_you_mean
from workbench.event import Event, Outcome, Trace, drain
from workbench.execution import RUNS, about_scene, start
from workbench.methods import load
from workbench.methods import notebook as notebook_of
from workbench.reports.html import html
from workbench.reports.progress import NotebookProgress
from workbench.resources import folder as resource

if TYPE_CHECKING:
    from nbformat import NotebookNode

# For the notebook's process, unless the user says otherwise.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4194304",  # else glibc keeps freed cubes for later: three trainings held twice the memory
    "MALLOC_TRIM_THRESHOLD_": "8388608",
    "OMP_WAIT_POLICY": "PASSIVE",  # else threads of a busy machine spend most of their time spinning
}


class NotebookFailed(RuntimeError):
    """A cell of a report's notebook failed, and not because of what the user gave; the message names the cell."""


def report(
    method: str,
    scene: str | Path,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
    smoke: bool = False,
    cell_timeout: int | None = None,
    progress: bool = True,
) -> Path:
    """Execute the method's notebook on the scene and give the path of `report.html`.

    The folder also gets `report.ipynb`, `metrics.json` and one run folder per run; by default it is a new one under
    `runs/`. smoke: a few steps only. cell_timeout: seconds that a cell may take. progress: a bar on standard error.

    Raises InputError for what the user gave that cannot be used, before anything is written; NotebookFailed, naming the
    cell, for a defect of ours. Either way the notebook is kept as far as it came.

    >>> report("rx", "sim-coast-town", folder="runs/first")      # doctest: +SKIP
    PosixPath('runs/first/report.html')
    """
    stem = notebook_of(method)
    folder = Path(folder) if folder is not None else runs.new_folder(RUNS, f"report-{method}", Path(scene).stem)
    runs.refuse_existing(folder)
    request = {
        "method": method,
        "scene": str(scene),
        "overrides": dict(overrides or {}),
        "truth": None if truth is None else str(truth),
        "keys": dict(keys or {}),
        "smoke": smoke,
    }
    if after is not None or resample:  # only the notebooks of pairs have these parameters
        request |= {"after": None if after is None else str(after), "resample": resample}
    about = _check(request)
    notebook = resource("notebooks") / f"{stem}.ipynb"
    parameters = {**request, "truth": str(truth or "")}
    title = f"{method} on {about['scene'].get('title', scene)}"
    runs.create(folder, {**about, "notebook": about_notebook(notebook, parameters)})
    drain(runs.record(execution(notebook, parameters, folder, title, cell_timeout=cell_timeout, progress=progress), folder))
    return folder / "report.html"


def about_notebook(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` keeps of a notebook: where it is, the hash of its cells, and the parameters it was given."""
    shipped = notebook.parent.resolve() == resource("notebooks").resolve()
    name = notebook.stem if shipped else str(notebook.resolve())
    return {"name": name, "sha256": notebook_hash(notebook), "parameters": dict(parameters)}


def find_notebook(name: str | Path) -> Path:
    """The file of a notebook, from its path or from the stem of one of ours.

    Raises InputError for one that is not there.
    """
    ours = {p.stem: p for p in sorted(resource("notebooks").glob("*.ipynb"))}
    path = Path(name).expanduser()
    if str(name) in ours:
        return ours[str(name)]
    if path.suffix != ".ipynb" or not path.is_file():
        raise InputError(
            f"There is no notebook {str(name)!r}; give the path of an .ipynb file, or one of {', '.join(ours)}."
            + did_you_mean(path.stem, ours)
        )
    return path


def notebook_hash(notebook: Path) -> str:
    """SHA-256 of what a notebook does: its cells' sources and tags, whatever outputs are stored beside them."""
    import hashlib

    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        does = [(c["cell_type"], "".join(c["source"]), c["metadata"].get("tags", [])) for c in cells]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{notebook} cannot be read as a notebook ({type(error).__name__}: {error}).") from None
    return hashlib.sha256(json.dumps(does).encode()).hexdigest()


def _check(request: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says of the report; raises InputError for all that the method would refuse, writing nothing.

    Done in a process of its own: whatever torch and the scene took is free again before the notebook begins.
    """
    done = subprocess.run(
        [sys.executable, "-m", "workbench.reports.notebook"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"The scene could not be checked:\n{done.stderr.strip()}")
    said = json.loads(done.stdout.splitlines()[-1])
    if "refused" in said:
        raise InputError(said["refused"])
    return said


def _examine(
    method: str,
    scene: str,
    overrides: dict[str, Any],
    truth: str | None,
    keys: dict[str, str],
    smoke: bool,
    after: str | None = None,
    resample: bool = False,
) -> dict[str, Any]:
    """The other side of `_check`.

    The method is driven to its first event, in a small version, because some of what it refuses it sees only in the values.
    """
    from workbench.data.catalog import open_scene

    room = load(method)
    config = override(room.Config(), overrides)
    opened = open_scene(scene, truth=truth, keys=keys, after=after, resample=resample)
    trace = start(method, opened, {**room.SMOKE, **overrides})
    next(trace, None)
    trace.close()
    return {
        "method": f"report-{method}",
        "headline": list(room.HEADLINE),
        "smoke": smoke,
        "config": config.model_dump(mode="json"),
        "scene": about_scene(opened, scene, truth, keys, after, resample),
    }


def execution(
    notebook: Path,
    parameters: Mapping[str, Any],
    folder: Path,
    title: str,
    *,
    cell_timeout: int | None = None,
    progress: bool = True,
) -> Trace:
    """Execute, export, and collect the numbers; one event per cell, given when all is done.

    The notebook's `run_dir` is the folder, and it is told that nobody sits before it (`interactive`), where it has such
    parameters.
    """
    yield Event(0)
    own = {"run_dir": str(folder.resolve()), "interactive": False}
    known = parameters_of(notebook)
    given = {**parameters, **{name: value for name, value in own.items() if name in known}}
    executed = run_notebook(notebook, given, folder / "report.ipynb", cell_timeout=cell_timeout, progress=progress)
    cells = [c for c in executed.cells if c.cell_type == "code"]
    for n, cell in enumerate(cells, 1):
        seconds = cell.metadata.get("papermill", {}).get("duration")
        yield Event(n, {} if seconds is None else {"cell_seconds": float(seconds)}, of=len(cells))
    (folder / "report.html").write_text(html(executed, title, str(parameters.get("method", ""))), encoding="utf-8")
    import xarray as xr

    return Outcome(xr.Dataset({name: ((), value) for name, value in runs.metrics(folder).items()}))


# --- notebooks --------------------------------------------------------------------------------------------------------


def run_notebook(
    notebook: Path,
    parameters: Mapping[str, Any],
    out: Path,
    *,
    cell_timeout: int | None = None,
    progress: bool = True,
) -> NotebookNode:
    """Execute a notebook with Papermill in a kernel of this very interpreter, and give it with its outputs.

    `out` is written cell by cell; its folder is where the runs of the notebook are watched for the progress bar.
    cell_timeout: seconds after which a cell is given up.

    Raises InputError for a parameter that the notebook does not have or that has another type there, and for an
    InputError inside the notebook; NotebookFailed for anything else that fails in it.
    """
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    started: list[Any] = []  # processes of the kernel

    class ThisInterpreter(AsyncKernelManager):
        """A kernelspec called python3 may belong to another environment, one without our packages."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            if self.has_trait("transport_encryption"):  # of the local sockets, where jupyter_client knows how
                self.transport_encryption = "auto"

        async def start_kernel(self, **options: Any) -> Any:  # type: ignore[override]
            begun = await super().start_kernel(env={**ENVIRONMENT, **os.environ}, **options)
            started.append(getattr(self.provisioner, "process", None))
            return begun

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file, *(extra_arguments or [])]

    check_parameters(notebook, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    counted = _killed_for_memory()
    bar = NotebookProgress(notebook, out.parent, shown=progress)
    with bar:
        try:
            return papermill.execute_notebook(
                notebook,
                out,
                parameters=dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                kernel_manager_class=ThisInterpreter,
                execution_timeout=cell_timeout,
                on_cell_start=bar.cell,
            )
        except PapermillExecutionError as error:
            where = f"cell {bar.name!r} of {notebook.name}; the notebook is kept as far as it came in {out}"
            if error.ename == "InputError":
                raise InputError(f"{error.evalue} (said by {where})") from None
            raise NotebookFailed(f"{error.ename}: {error.evalue}\nin {where}") from None
        except (CellTimeoutError, DeadKernelError) as error:
            if isinstance(error, CellTimeoutError):
                why = f"Cell {bar.name!r} of {notebook.name} took longer than the {cell_timeout} s that a cell may take"
            else:
                why = f"The notebook's process {_cause_of_death(started, counted)} in cell {bar.name!r} of {notebook.name}"
            _mark_failed(out, bar.index, why)
            raise NotebookFailed(f"{why}; the notebook is kept as far as it came in {out}") from None


def _mark_failed(out: Path, index: int, why: str) -> None:
    """Papermill calls a cell that was ended from outside, and all after it, completed; the notebook kept should say what was."""
    import nbformat

    kept = nbformat.read(out, as_version=4)
    cell = kept.cells[index]
    cell.metadata.papermill |= {"status": "failed", "exception": True}
    for later in kept.cells[index + 1 :]:
        later.metadata.papermill |= {"status": "pending"}
    cell.outputs.append(nbformat.v4.new_output("error", ename="NotebookFailed", evalue=why, traceback=[why]))
    nbformat.write(kept, out)


def _killed_for_memory() -> int:
    """How many processes the system has killed for lack of memory so far (Linux); 0 where it does not say."""
    for file in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError):
            for line in Path(file).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def _cause_of_death(started: Sequence[Any], counted: int) -> str:
    """How a kernel ended: `was killed by the system for lack of memory`, `was killed by signal 11 (SIGSEGV)`, ..."""
    code = next((p.poll() for p in reversed(started) if p is not None), None)
    if code is None or code >= 0:
        return "ended without a word" + ("" if code is None else f" (exit code {code})")
    name = signal.Signals(-code).name
    if code != -signal.SIGKILL:
        return f"was killed by signal {-code} ({name})"
    if _killed_for_memory() > counted:
        return "was killed by the system for lack of memory"
    return f"was killed by signal {-code} ({name}), as the system does for lack of memory, or somebody by hand,"


def parameters_of(notebook: Path) -> dict[str, Any]:
    """name -> what Papermill knows of each parameter of a notebook: `inferred_type_name`, `default`, `help`."""
    import papermill

    return papermill.inspect_notebook(notebook)


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Raise InputError for a parameter that the notebook does not have, or has with another type.

    Papermill only warns of such a parameter, and goes on without it.
    """
    known = parameters_of(notebook)
    for name, value in parameters.items():
        if name not in known:
            raise InputError(
                f"{notebook.name} has no parameter {name!r}; its parameters are {', '.join(known)}.{did_you_mean(name, known)}"
            )
        wanted = known[name]["inferred_type_name"].split("[")[0]
        if wanted not in ("None", type(value).__name__):
            raise InputError(f"{notebook.name} takes {name} as {wanted}; got {value!r}, which is {type(value).__name__}.")


# --- the page ---------------------------------------------------------------------------------------------------------


# --- what notebooks share ---------------------------------------------------------------------------------------------


if __name__ == "__main__":
    try:
        print(json.dumps(_examine(**json.load(sys.stdin))))
    except InputError as refused:
        print(json.dumps({"refused": str(refused)}))
