"""Reports: a method's notebook executed on a scene with Papermill, kept as one self-contained HTML page in a run folder.

    page = report("bsdm", "sim-coast-town", {"steps": 60})      # .../report.html

The page makes no network requests. The folder is a run folder (`workbench.runs`); every run that a number of the page comes
from is a run folder inside it.
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
from workbench.data.source import Source
from workbench.errors import InputError, did_you_mean
from workbench.event import Event, Outcome, Trace, drain
from workbench.execution import RUNS, about_scene, setting_files, start
from workbench.methods import load
from workbench.methods import notebook as notebook_of
from workbench.reports.cells import cells_of, without_grammars
from workbench.reports.html import html
from workbench.reports.progress import NotebookProgress
from workbench.resources import folder as resource
from workbench.runs import provenance

if TYPE_CHECKING:
    from nbformat import NotebookNode

# Environment of the notebook's process; variables that the user has set win.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4194304",  # else glibc keeps freed memory: three trainings used twice as much
    "MALLOC_TRIM_THRESHOLD_": "8388608",
    "OMP_WAIT_POLICY": "PASSIVE",  # else OpenMP threads on a busy machine spend most of their time spinning
}


class NotebookFailed(RuntimeError):
    """A cell of a report's notebook failed with another error than InputError, took too long, or its process ended; the message names
    the cell."""


def report(
    method: str,
    scene: str | Path | Source,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    smoke: bool = False,
    cell_timeout: int | None = None,
    progress: bool = True,
) -> Path:
    """Execute the method's notebook on the scene; returns the path of `report.html`.

    The folder also gets `report.ipynb`, `metrics.json` and one run folder per run; by default it is a new one under
    `runs/`. smoke: a few steps only. cell_timeout: seconds that a cell may take. progress: show a bar on standard error.

    Raises InputError for input that cannot be used, before anything is written; NotebookFailed, naming the cell, for a
    defect of the workbench. The partly executed notebook is kept.

    >>> report("rx", "sim-coast-town", folder="runs/first")      # doctest: +SKIP
    PosixPath('runs/first/report.html')
    """
    stem = notebook_of(method)
    source = Source.of(scene)
    folder = Path(folder) if folder is not None else runs.new_folder(RUNS, f"report-{method}", source.stem)
    runs.refuse_existing(folder)
    notebook = resource("notebooks") / f"{stem}.ipynb"
    parameters = {"method": method, "overrides": dict(overrides or {}), "smoke": smoke, **source.parameters()}
    about = _check(parameters)
    check_parameters(notebook, parameters)
    title = f"{method} on {about['scene'].get('title', source.scene)}"
    runs.create(folder, {**about, "notebook": about_notebook(notebook, parameters)})
    drain(runs.record(execution(notebook, parameters, folder, title, cell_timeout=cell_timeout, progress=progress), folder))
    return folder / "report.html"


def about_notebook(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `notebook` of `run.json`: name or path, hash of the cells, and parameters."""
    own = notebook.parent.resolve() == resource("notebooks").resolve()
    name = notebook.stem if own else str(notebook.resolve())
    return {"name": name, "sha256": notebook_hash(notebook), "parameters": dict(parameters)}


def shipped() -> dict[str, Path]:
    """Name -> path of every notebook of the workbench."""
    return {p.stem: p for p in sorted(resource("notebooks").glob("*.ipynb"))}


def find_notebook(name: str | Path) -> Path:
    """The path of a notebook, from its path or from the stem of a notebook of the workbench.

    Raises InputError when it does not exist.
    """
    own = shipped()
    path = Path(name).expanduser()
    if str(name) in own:
        return own[str(name)]
    if path.suffix != ".ipynb" or not path.is_file():
        raise InputError(
            f"There is no notebook {str(name)!r}; give the path of an .ipynb file, or one of {', '.join(own)}."
            + did_you_mean(path.stem, own)
        )
    return path


def notebook_hash(notebook: Path) -> str:
    """SHA-256 of the sources and tags of a notebook's cells, without outputs."""
    import hashlib

    content = [(c["cell_type"], "".join(c["source"]), c["metadata"].get("tags", [])) for c in cells_of(notebook)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _check(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `run.json` for the report. Raises InputError for input that the method refuses; writes nothing.

    A child process does this (`_examine`), so that the memory of torch and the scene is free when the notebook starts.
    """
    process = subprocess.run(
        [sys.executable, "-m", "workbench.reports.notebook"],
        input=json.dumps(parameters),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise RuntimeError(f"The scene could not be checked:\n{process.stderr.strip()}")
    answer = json.loads(process.stdout.splitlines()[-1])
    if "refused" in answer:
        raise InputError(answer["refused"])
    return answer


def _examine(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The work of `_check`, in its child process.

    The method runs to its first event with its SMOKE settings and the user's overrides, because some methods refuse values only
    when they read them.
    """
    method, overrides = parameters["method"], parameters["overrides"]
    room = load(method)
    source = Source.from_parameters(parameters)
    config = override(room.Config(), overrides)
    opened = source.open()
    trace = start(method, opened, {**room.SMOKE, **overrides})
    next(trace, None)
    trace.close()
    return {
        "method": f"report-{method}",
        "headline": list(room.HEADLINE),
        "smoke": parameters["smoke"],
        "config": config.model_dump(mode="json"),
        "scene": about_scene(opened, source),
        "files": setting_files(config),
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
    """Execute a notebook, export the page and collect the metrics; yields one event per cell, after the last cell.

    The parameters `run_dir` (the folder) and `interactive` (False) are set if the notebook has them.
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
    """Execute a notebook with Papermill in a kernel of this interpreter; returns it with its outputs.

    `out` is written cell by cell; the progress bar reads the runs in its folder. cell_timeout: seconds that a cell may take.

    Raises InputError for a parameter that the notebook does not have or has with another type, and for an InputError in
    the notebook; NotebookFailed for any other error in it.
    """
    with without_grammars():
        import papermill
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    started: list[Any] = []  # processes of the kernel

    class ThisInterpreter(AsyncKernelManager):
        """Starts the kernel with this interpreter; a kernelspec named python3 may belong to another environment."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            if self.has_trait("transport_encryption"):  # of the local sockets, if jupyter_client supports it
                self.transport_encryption = "auto"

        async def start_kernel(self, **options: Any) -> Any:  # type: ignore[override]
            environment = {**ENVIRONMENT, provenance.COMMAND: provenance.command(), **os.environ}
            result = await super().start_kernel(env=environment, **options)
            started.append(getattr(self.provisioner, "process", None))
            return result

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file, *(extra_arguments or [])]

    check_parameters(notebook, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    kills_before = _killed_for_memory()
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
            where = f"cell {bar.name!r} of {notebook.name}; the partly executed notebook is {out}"
            if error.ename == "InputError":
                raise InputError(f"{error.evalue} (in {where})") from None
            raise NotebookFailed(f"{error.ename}: {error.evalue}\nin {where}") from None
        except (CellTimeoutError, DeadKernelError) as error:
            if isinstance(error, CellTimeoutError):
                why = f"Cell {bar.name!r} of {notebook.name} took longer than the {cell_timeout} s that a cell may take"
            else:
                why = f"The notebook's process {_cause_of_death(started, kills_before)} in cell {bar.name!r} of {notebook.name}"
            _mark_failed(out, bar.index, why)
            raise NotebookFailed(f"{why}; the partly executed notebook is {out}") from None


def _mark_failed(out: Path, index: int, why: str) -> None:
    """Correct the status of the cells in `out`: Papermill marks an aborted cell, and all after it, as completed."""
    import nbformat

    kept = nbformat.read(out, as_version=4)
    cell = kept.cells[index]
    cell.metadata.papermill |= {"status": "failed", "exception": True}
    for later in kept.cells[index + 1 :]:
        later.metadata.papermill |= {"status": "pending"}
    cell.outputs.append(nbformat.v4.new_output("error", ename="NotebookFailed", evalue=why, traceback=[why]))
    nbformat.write(kept, out)


def _killed_for_memory() -> int:
    """Number of processes that the system has killed for lack of memory so far (Linux); 0 where it is not known."""
    for file in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError):
            for line in Path(file).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def _cause_of_death(started: Sequence[Any], kills_before: int) -> str:
    """How a kernel ended: `was killed by the system for lack of memory`, `was killed by signal 11 (SIGSEGV)`, ..."""
    code = next((p.poll() for p in reversed(started) if p is not None), None)
    if code is None or code >= 0:
        return "exited without an error message" + ("" if code is None else f" (exit code {code})")
    name = signal.Signals(-code).name
    if code != -signal.SIGKILL:
        return f"was killed by signal {-code} ({name})"
    if _killed_for_memory() > kills_before:
        return "was killed by the system for lack of memory"
    return f"was killed by signal {-code} ({name}), perhaps by the system for lack of memory,"


def parameters_of(notebook: Path) -> dict[str, Any]:
    """Parameter of a notebook -> dict with `inferred_type_name`, `default` and `help`, as Papermill reads them."""
    with without_grammars():
        import nbformat
        import papermill
        from papermill.iorw import load_notebook_node

    cells_of(notebook)
    try:
        nbformat.validate(load_notebook_node(str(notebook)))  # the page is only made of a notebook that keeps the schema
        return papermill.inspect_notebook(notebook)
    except Exception as error:  # of nbformat and papermill, of many kinds
        why = (str(error).splitlines() or [""])[0]
        raise InputError(f"{notebook} cannot be read as a notebook ({type(error).__name__}: {why}).") from None


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Raise InputError for a parameter that the notebook does not have, or has with another type.

    Papermill itself only warns and ignores such a parameter.
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


if __name__ == "__main__":
    import gc

    gc.set_threshold(50_000)  # the libraries are still to be imported; collections find nothing in them
    try:
        print(json.dumps(_examine(json.load(sys.stdin))))
    except InputError as refused:
        print(json.dumps({"refused": str(refused)}))
