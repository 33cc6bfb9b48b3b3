"""Reports: a method's notebook executed on a scene with Papermill, kept as one self-contained HTML page in a run folder.

    page = report("bsdm", "sim-coast-town", {"steps": 60})      # .../report.html

The page asks nothing of the network. The folder is a run folder like any other (`workbench.runs`), and every run behind a
number of the page is a run folder inside it. Below `report` are the few functions that the notebooks share: `pending`
says what is left to do of a run, and `Claim` what mean and spread allow to be said.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import runs
from workbench.config import override
from workbench.errors import InputError, did_you_mean
from workbench.event import Event, Outcome, Trace, drain
from workbench.execution import RUNS, about_scene, how_opened, resume, start
from workbench.live import Live
from workbench.methods import load
from workbench.progress import progress_bar
from workbench.resources import folder as resource

if TYPE_CHECKING:
    import xarray as xr
    from nbformat import NotebookNode

# method -> stem of its notebook in notebooks/
NOTEBOOKS = {
    "rx": "anomaly",
    "ridge-rx": "anomaly",
    "pca-rx": "anomaly",
    "rp-rx": "anomaly",
    "local-rx": "anomaly",
    "bsdm": "anomaly",
    "tdds": "coresets",
    "rsdgc": "gradients",
    "arcdnet": "change",
}

# method -> settings that make it quick, for smoke runs and to see whether a scene can be used at all
SMALL: dict[str, dict[str, Any]] = {
    "bsdm": {"steps": 4, "passes": 2, "show_every": 2, "embed": 16, "inner": 16, "width": 12, "code": 8, "time_width": 16},
    "tdds": {"epochs": 4, "J": 3, "batch": 64, "iterations": 12, "size": 16},
    "rsdgc": {"steps": 6, "network": "cnn", "width": 4, "batch": 16, "eval_every": 3, "show_every": 3, "size": 8},
    "arcdnet": {"steps": 6, "width": 4, "crop": 32, "batch": 4, "show_every": 3},
}

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
    if method not in NOTEBOOKS:
        load(method)  # an unknown name is told with a did-you-mean
        raise InputError(f"There is no report for {method!r}; there are reports for {', '.join(NOTEBOOKS)}.")
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
    notebook = resource("notebooks") / f"{NOTEBOOKS[method]}.ipynb"
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
        [sys.executable, "-m", "workbench.reporting"], input=json.dumps(request), capture_output=True, text=True, check=False
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

    config = override(load(method).Config(), overrides)
    opened = open_scene(scene, truth=truth, keys=keys, after=after, resample=resample)
    trace = start(method, opened, {**SMALL.get(method, {}), **overrides})
    next(trace, None)
    trace.close()
    return {
        "method": f"report-{method}",
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

        async def start_kernel(self, **options: Any) -> Any:
            begun = await super().start_kernel(env={**ENVIRONMENT, **os.environ}, **options)
            started.append(getattr(self.provisioner, "process", None))
            return begun

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file, *(extra_arguments or [])]

    check_parameters(notebook, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    counted = _killed_for_memory()
    bar = _Progress(notebook, out.parent, shown=progress)
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


class _Progress:
    """A bar over the cells of a notebook, with the steps of the run that is going on, read from its folder."""

    def __init__(self, notebook: Path, folder: Path, *, shown: bool) -> None:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        count = sum(c["cell_type"] == "code" for c in cells) + 1  # and the one that Papermill adds
        self.name, self.index = "start", 0
        self.folder = folder
        self.bar = progress_bar(
            shown=shown,
            total=count,
            desc="starting",
            bar_format="{percentage:3.0f}% |{bar:20}| {elapsed}  {desc}{postfix}",
        )
        self._done = threading.Event()

    def cell(self, cell: NotebookNode, cell_index: int) -> None:
        """Take note of the cell that begins; a notebook's cells have their names in `metadata.name`."""
        self.index = cell_index
        if cell.cell_type == "code":
            self.name = str(cell.metadata.get("name", "injected parameters"))
            self.bar.update(1)
            self.bar.set_postfix_str("", refresh=False)
            self.bar.set_description_str(self.name.replace("-", " "))

    def __enter__(self) -> _Progress:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if not self.bar.disable:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        self.bar.close()

    def _watch(self) -> None:
        steps = Steps(self.folder)
        while not self._done.wait(0.5):
            told = steps.newest()
            if told is not None:
                self.bar.set_postfix_str(told)


class Steps:
    """The step of the run that is going on among those directly under a folder, as a line of text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._watched: dict[Path, Live] = {}

    def newest(self) -> str | None:
        """`bsdm-seed0 step 20/60  loss 0.7`, or None where nothing is new."""
        files = sorted(self.folder.glob("*/events.jsonl"), key=lambda f: f.stat().st_mtime)
        if not files:
            return None
        newest = files[-1].parent
        live = self._watched.setdefault(newest, Live(newest))
        if not live.poll() or live.latest is None:
            return None
        line = live.latest
        told = "  ".join(f"{k} {v:.4g}" for k, v in list(line["scalars"].items())[:2])
        of = f"/{line['of']}" if line.get("of") else ""
        return f"{newest.name} step {line['step']}{of}  {told}"


# --- the page ---------------------------------------------------------------------------------------------------------

_STYLE = """
body { font: 16px/1.55 Georgia, "Times New Roman", serif; color: #1d1d1f; background: #fff; margin: 0; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, h3, table, figcaption, .meta { font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .5rem; border-bottom: 1px solid #ddd; padding-bottom: .25rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
a { color: #0b57a4; } .anchor-link { display: none; }
figure { margin: 1.2rem 0 1.6rem; } figure img { display: block; max-width: 100%; margin: 0 auto; }
figcaption, caption { font-size: .86rem; line-height: 1.45; color: #444; text-align: left; padding: .5rem 0; }
caption { caption-side: top; }
table { border-collapse: collapse; font-size: .86rem; margin: 1rem 0 1.4rem; width: 100%; }
th { text-align: left; border-bottom: 2px solid #333; padding: .35rem .9rem .35rem 0; vertical-align: bottom; }
td { border-bottom: 1px solid #e3e3e3; padding: .35rem .9rem .35rem 0; vertical-align: top; overflow-wrap: break-word;
     font-variant-numeric: tabular-nums; }
table.facts td { overflow-wrap: anywhere; }
table.facts td:first-child { white-space: nowrap; overflow-wrap: normal; width: 1%; padding-right: 1.6rem; }
th:last-child, td:last-child { padding-right: 0; }
.simulated { background: #fff4d6; border-left: 4px solid #e6a100; padding: .6rem .9rem; margin: 1rem 0; }
pre { font-size: .8rem; overflow-x: auto; background: #f6f6f6; padding: .6rem; }
code { font-size: .88em; } .output_stderr pre { background: #fdecea; }
@page { size: A4; margin: 16mm 16mm 18mm; }
@media print {
  body { font-size: 10.5pt; line-height: 1.45; } main { max-width: none; padding: 0; } p { orphans: 3; widows: 3; }
  h1, h2, h3, caption { break-after: avoid; } figure, tr, .simulated { break-inside: avoid; } thead { display: table-header-group; }
  figure { margin: .8rem 0 1rem; } figure img { max-height: 150mm; } h2 { margin-top: 1.5rem; }
  td, th { padding-top: .22rem; padding-bottom: .22rem; } a { color: inherit; text-decoration: none; }
}
"""


def html(executed: NotebookNode, title: str, method: str = "") -> str:
    """The executed notebook as one page without code, scripts or anything from elsewhere.

    Cells tagged `lab-only`, and those tagged `only-NAME` for another method than this one, are left out. A content security
    policy in the page forbids every request, so that this stays true whatever a cell shows.
    """
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(executed)
    notebook.cells = [c for c in notebook.cells if _belongs(c.metadata.get("tags", []), method)]
    notebook.metadata.pop("widgets", None)
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    return page(title, body)


def page(title: str, body: str) -> str:
    """A whole HTML page in the style of the reports: no script, nothing from elsewhere, and a policy that keeps it so."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _belongs(tags: Sequence[str], method: str) -> bool:
    return "lab-only" not in tags and all(t == f"only-{method}" for t in tags if t.startswith("only-"))


# --- what notebooks share ---------------------------------------------------------------------------------------------


def pending(
    method: str,
    scene: str | Path,
    overrides: Mapping[str, Any] | None,
    folder: str | Path,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
) -> Trace | None:
    """What is left to do of a run in `folder`: the trace of a new one, that of an unfinished one continued, or None.

    So a cell can be run again, and a report that was interrupted loses nothing.

    Raises InputError when the folder holds another run: other method, settings or scene.
    """
    folder = Path(folder)
    if not (folder / "run.json").exists():
        return start(method, scene, overrides, folder, truth=truth, keys=keys, after=after, resample=resample)
    there = runs.read(folder)
    config = override(load(method).Config(), overrides).model_dump(mode="json")
    opened = how_opened(scene, truth, keys, after, resample)
    if (there["method"], there["config"], there["scene"].get("open")) != (method, config, opened):
        raise InputError(
            f"{folder} holds a run of {there['method']} with other settings or on another scene; choose another run_dir."
        )
    return None if there["status"] == "finished" else resume(folder)


HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold here", "undecided", "cannot be tested: no truth"


@dataclass(frozen=True)
class Claim:
    """ "Ours is higher than the control", and what this run allows to be said of it.

    ours, control: one number per seed, in the same order, so that they are compared seed by seed; what draws nothing has
    one. Empty: the scene has no truth. random: whether either side draws random numbers.

    >>> Claim("a beats b", [0.95, 0.96, 0.97], [0.90]).verdict
    'holds'
    >>> Claim("a beats b", [0.85, 0.96, 0.97], [0.90]).verdict
    'undecided'
    """

    text: str
    ours: Sequence[float]
    control: Sequence[float]
    random: bool = True

    @property
    def gains(self) -> np.ndarray:
        """Ours minus control, seed by seed."""
        if 1 not in (len(self.ours), len(self.control)) and len(self.ours) != len(self.control):
            raise ValueError(f"{len(self.ours)} numbers cannot be compared with {len(self.control)}")
        return np.asarray(self.ours, float) - np.asarray(self.control, float)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean gain over seeds, by Student's t; without a bound for a single random draw."""
        gains = self.gains
        mean = float(gains.mean())
        if not self.random:
            return mean, mean
        if len(gains) < 2:
            return -math.inf, math.inf
        from scipy.stats import t

        half = float(t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains)))
        return mean - half, mean + half

    @property
    def verdict(self) -> str:
        """`holds`: the interval lies above zero. `does not hold here`: not above it. Else `undecided`."""
        if not len(self.ours) or not len(self.control):
            return UNTESTED
        low, high = self.interval
        return HOLDS if low > 0 else FAILS if high <= 0 else UNDECIDED

    def row(self) -> tuple[str, str, str, str, str]:
        """claim, ours, control, gain with interval, verdict, as texts."""
        if self.verdict == UNTESTED:
            return self.text, "–", "–", "–", UNTESTED
        low, high = self.interval
        gain = f"{self.gains.mean():+.4f}"
        if self.random:
            gain += f" [{low:+.4f},\u00a0{high:+.4f}]" if math.isfinite(low) else " (one seed: no interval)"
        return self.text, spread(self.ours), spread(self.control), gain.replace("-", "−"), self.verdict


# name of a metric -> its heading; lower is better for auc_f_tau alone
METRICS = {
    "auc": "AUC(D,F)",
    "auc_f_tau": "AUC(F,τ)",
    "auc_d_tau": "AUC(D,τ)",
    "pd_at_pf_001": "PD at PF 0.01",
    "pd_at_pf_0001": "PD at PF 0.001",
}


def evaluate(score: xr.DataArray, truth: xr.DataArray) -> dict[str, float]:
    """All metrics of a score map against the truth: name -> number; empty when the truth has not both classes."""
    import xarray as xr

    from workbench.metrics.anomaly import add_metrics

    judged = add_metrics(xr.Dataset({"score": score}), truth)
    return {str(name): float(value) for name, value in judged.data_vars.items() if value.ndim == 0}


def spread(values: Sequence[float]) -> str:
    """`0.9500 ± 0.0100`: mean and standard deviation (n - 1) over seeds; the number alone where there is one.

    >>> spread([0.94, 0.95, 0.96])
    '0.9500 ± 0.0100'
    """
    seen = np.asarray(values, float)
    return f"{seen.mean():.4f}" + (f" ± {seen.std(ddof=1):.4f}" if len(seen) > 1 else "")


def counted(seeds: int) -> str:
    """`3 seeds`, `one seed`."""
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def averaged(seeds: int) -> str:
    """What a number in a table is: `mean ± standard deviation over 3 seeds`, or that there was one seed only."""
    return "one seed, so without a spread" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"


def summary(numbers: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """name -> values per seed, as flat metrics: `name` where there is one value, else `name_mean` and `name_std`."""
    flat: dict[str, float] = {}
    for name, values in numbers.items():
        seen = np.asarray(values, float)
        if len(seen) == 1:
            flat[name] = float(seen[0])
        elif len(seen):
            flat |= {f"{name}_mean": float(seen.mean()), f"{name}_std": float(seen.std(ddof=1))}
    return flat


def provenance(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """(what, value) rows: versions, command, hash of the code, machine, threads, hash of the scene, time of every run."""
    facts = [runs.read(folder) for folder in folders]
    about = facts[0]
    commit = about.get("commit", "not in a git checkout") + (", with uncommitted changes" if about.get("dirty") else "")
    each = [f"{d.name} {f['seconds']:.1f} s" for d, f in zip(folders, facts, strict=True)]
    return [
        ("begun", about["start"]),
        ("time of all runs", f"{sum(f['seconds'] for f in facts):.1f} s: {', '.join(each)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in about["versions"].items())),
        ("command", str(about.get("command", "not noted"))),
        ("code", f"{about.get('code', 'not noted')} (SHA-256 of the package); commit {commit}"),
        (
            "machine",
            f"{about['platform']}; {about.get('cpu', 'processor not noted')}; "
            f"device {about.get('device', 'cpu')}, torch threads: {about.get('threads', 'not used')}",
        ),
        ("fingerprint of the scene", about["scene"]["fingerprint"]),
    ]


if __name__ == "__main__":
    try:
        print(json.dumps(_examine(**json.load(sys.stdin))))
    except InputError as refused:
        print(json.dumps({"refused": str(refused)}))
