"""Rerun: repeat the run of a run folder and compare all numbers.

    done = rerun("runs/20261124-150000-bsdm-sim-coast-town")
    done.same, done.differs          # True, {} on the same machine, with the same code, packages and threads

With equal code, packages, processor, device and number of threads, all bits must be equal: metrics, result and weights of the
run and of every run inside it. If one of these differs, sums may be computed in another order; then numbers are compared with
a relative tolerance, and the differences are listed. Measured times and bytes (`MEASURED`) are not compared.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench import runs
from workbench.config import files_written, override
from workbench.data.moved import found_again
from workbench.data.source import Source
from workbench.engines.supervised import MEMORY_GB, supervise
from workbench.errors import InputError
from workbench.execution import check_setting_files, reopen, run_command, settings_again
from workbench.methods import load
from workbench.reports.notebook import about_notebook, find_notebook, shipped
from workbench.runs.imported import imported
from workbench.runs.loader import read_bytes

TOLERANCE = 1e-3  # relative, where the machine, the packages or the code differ
MEASURED = ("bytes_measured", "measured", "seconds")  # prefixes of names


@dataclass
class Rerun:
    """Result of a rerun.

    differs: changes of the environment, name -> (then, now). numbers: metrics whose bits differ, name -> (then, now). files:
    variables and files whose bits differ. compared: number of metrics and variables that were compared.
    """

    folder: Path
    again: Path
    tolerance: float
    differs: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    numbers: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    compared: int = 0

    @property
    def identical(self) -> bool:
        """Whether all compared numbers and files are equal to the last bit."""
        return not self.numbers and not self.files

    @property
    def same(self) -> bool:
        """Whether the runs are identical or, with a tolerance above 0, all metrics are within it."""
        return self.identical or (self.tolerance > 0 and self.largest <= self.tolerance)

    @property
    def largest(self) -> float:
        """The largest relative difference of a metric; infinite where a run lacks it. Metrics that other code adds do not count."""
        added = "code" in self.differs
        return max((_relative(a, b) for a, b in self.numbers.values() if not (added and a is None)), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """All fields and properties as values for JSON."""
        keys = ("differs", "numbers", "files", "compared", "tolerance", "identical", "same", "largest")
        return {"run": str(self.folder), "again": str(self.again), **{k: getattr(self, k) for k in keys}}

    def as_text(self) -> str:
        """The comparison as lines of text."""
        lines = [f"{self.folder} repeated in {self.again}"]
        lines += [f"  {name}: then {then}, now {now}" for name, (then, now) in self.differs.items()]
        if not self.differs:
            lines.append("  code, packages, processor, device and threads have not changed")
        lines += [f"  {name}: then {_shown(then)}, now {_shown(now)}" for name, (then, now) in self.numbers.items()]
        lines += [f"  {name} differs" for name in self.files]
        if self.identical:
            lines.append(f"identical: {self.compared} numbers and variables, to the last bit")
        elif self.same:
            lines.append(
                f"the same within {self.tolerance:g}: the largest relative difference of a metric is {self.largest:.2g}"
            )
        else:
            allowed = (
                f"at most {self.tolerance:g} is allowed" if self.tolerance else "no change of the environment explains it"
            )
            lines.append(f"NOT the same: the largest relative difference of a metric is {self.largest:.2g}; {allowed}")
        return "\n".join(lines)


def rerun(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    tolerance: float | None = None,
    notebook: str | Path | None = None,
    yes: bool = False,
) -> Rerun:
    """Repeat the finished run in `folder` in `out` (default: `FOLDER-rerun`), with as many threads, and compare.

    tolerance: relative difference up to which metrics count as equal; by default 0 if the environment is the same, else
    `TOLERANCE`. notebook: the notebook of a cell that was not made by a notebook of the workbench; a run folder names none that
    would be executed. yes: also repeat a run that was imported (see `would_execute`).

    Raises InputError when the run has not finished, when the data or the notebook have changed, when its notebook is not one of
    the workbench and none is given, and for an imported run without `yes`; then nothing is run.
    """
    folder = Path(folder)
    about = runs.read(folder)
    if about["status"] != "finished":
        raise InputError(f"{folder} has not finished ({about['status']}); only a finished run can be compared with another.")
    out = Path(out) if out is not None else runs.unused(folder.with_name(f"{folder.name}-rerun"))
    runs.refuse_existing(out)
    path = _notebook(folder, about, notebook)
    if imported(folder) and not yes:
        raise InputError(f"{would_execute(folder, notebook)}\nTo execute it, say --yes (in Python, yes=True).")
    _check_data(folder, about, path)
    threads = threads_of(folder, about)
    if path is None:
        _again_run(folder, about, out, threads)
    else:
        _again_notebook(folder, about, path, out, threads)
    result = Rerun(folder, out, 0.0, environment_differences(folder, out))
    result.tolerance = tolerance if tolerance is not None else TOLERANCE if result.differs else 0.0
    for name, then, now in _pairs(folder, out):
        _compare(result, name, then, now)
    return result


def would_execute(folder: str | Path, notebook: str | Path | None = None) -> str:
    """What `rerun` would execute for this run and where the run comes from, as text. Raises InputError as `rerun`."""
    about = runs.read(folder)
    path = _notebook(Path(folder), about, notebook)
    what = f"the method {about['method']} of this installation" if path is None else f"the notebook {path}"
    kept = about["scene"].get("open")
    data = " ".join(Source.from_record(kept).argv()) if kept else str(about["scene"].get("id", "?"))
    origin = imported(folder)
    settings = " ".join(f"{name}={value}" for name, value in (about.get("config") or {}).items())
    return f"{folder}{f' was {origin}' if origin else ''}. A rerun executes {what}\n  on {data}\n  with {settings or 'no settings'}"


def _notebook(folder: Path, about: Mapping[str, Any], given: str | Path | None) -> Path | None:
    """The notebook that repeats a run: one of the workbench by its name, else the file that the user gives; None for a run without.

    The folder may come from anywhere: no path in it is ever executed.
    """
    if "notebook" not in about:
        if given is not None:
            raise InputError(f"{folder} was made without a notebook; leave --notebook out.")
        return None
    name = about["notebook"]["name"]
    own = shipped()
    if given is not None:
        return find_notebook(given)
    if name in own:
        return own[name]
    raise InputError(
        f"{folder} was made by the notebook {name}, which is not one of the workbench ({', '.join(own)}). If you trust that "
        "notebook, give its file: --notebook FILE (in Python, notebook=FILE)."
    )


def threads_of(folder: Path, about: Mapping[str, Any]) -> int:
    """Number of threads of a run; for a report, the largest number of the runs inside it."""
    inside = [facts["threads"] for _, facts in runs.iter_status(folder) if "threads" in facts]
    return int(max(inside, default=about.get("threads", 1)))


def _check_data(folder: Path, about: Mapping[str, Any], notebook: Path | None) -> None:
    kept = about["scene"]
    if kept.get("open") is not None or notebook is None:
        reopen(folder, about)
    else:  # a cell of a sweep; older ones have only the hash of scene and truth
        source = Source.from_parameters({**about["notebook"]["parameters"], "scene": kept.get("id", "")})
        then = kept.get("digest") or kept.get("source_hash") or ""
        source = source if "digest" in kept else Source(source.scene, source.truth)
        now = source.digest() if then else ""
        if then != now:
            raise InputError(f"The data are not what they were when {folder} was made: hash {now[:12]}, then {then[:12]}.")
        check_setting_files(folder, about)
    if notebook is not None:
        now = about_notebook(notebook, {})["sha256"]
        if now != about["notebook"]["sha256"]:
            raise InputError(
                f"{notebook.name} is not what it was when {folder} was made: hash {now[:12]}, then "
                f"{about['notebook']['sha256'][:12]}. Check out commit {about.get('commit', 'of that time')} first."
            )


def _source(folder: Path, about: Mapping[str, Any]) -> Source:
    """The scene of a run where its files lie now."""
    return found_again(Source.from_record(about["scene"]["open"]), folder, about["scene"])


def _again_run(folder: Path, about: Mapping[str, Any], out: Path, threads: int) -> None:
    settings = settings_again(folder, about)
    config = override(load(about["method"]).Config(), settings)
    own = {name: str(out / Path(path).name) for name, path in files_written(config).items()}  # the first run keeps its files
    command = run_command(about["method"], _source(folder, about), {**settings, **own}, out)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if "device" in about:
        environment["WORKBENCH_DEVICE"] = about["device"]
    process = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if process.returncode != 0:
        last = process.stderr.strip().splitlines()
        raise InputError(
            f"{folder} cannot be repeated: {last[-1].removeprefix('workbench: ') if last else 'the process printed no error message'}"
        )


def _again_notebook(folder: Path, about: Mapping[str, Any], notebook: Path, out: Path, threads: int) -> None:
    keep = ("method", "headline", "smoke", "config", "scene", "files", "notebook", "cell")
    recorded = {k: about[k] for k in keep if k in about}
    if about["scene"].get("open") is not None:  # paths that are valid in any working folder
        source = _source(folder, about)
        parameters = {**about["notebook"]["parameters"], **source.parameters()}
        if about.get("files"):  # those of a setting, too
            settings = settings_again(folder, about)
            parameters["overrides"] = {
                **parameters.get("overrides", {}),
                **{name: settings[name] for name in about["files"]},
            }
        recorded["notebook"] = {**about["notebook"], "parameters": parameters}
    work = {
        "notebook": str(notebook.resolve()),
        "title": folder.name,
        "about": recorded,
        "folder": str(out.resolve()),
        "threads": threads,
        "memory_gb": 4 * MEMORY_GB,
        "cell_timeout": None,
    }
    outcome = supervise(work)
    if outcome["status"] != "finished":
        raise InputError(f"{folder} cannot be repeated: {outcome['status']}: {outcome['error']}")


def environment_differences(folder: Path, again: Path) -> dict[str, tuple[Any, Any]]:
    """Differences of code, packages, processor, device and threads of two run folders: name -> (first, second)."""
    then, now = runs.read(folder), runs.read(again)
    differences: dict[str, tuple[Any, Any]] = {}
    for name in ("code", "cpu", "platform"):
        if then.get(name) != now.get(name):
            differences[name] = (_short(then.get(name)), _short(now.get(name)))
    devices = then.get("device", "cpu"), now.get("device", "cpu")  # no entry: torch was not loaded
    if devices[0] != devices[1]:
        differences["device"] = devices
    first, second = threads_of(folder, then), threads_of(again, now)
    if first != second:
        differences["threads"] = (first, second)
    for name in dict.fromkeys([*then["versions"], *now["versions"]]):
        if then["versions"].get(name) != now["versions"].get(name):
            differences[name] = (then["versions"].get(name), now["versions"].get(name))
    if then.get("packages") != now.get("packages"):
        before, after = _lock(folder), _lock(again)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name) and name not in differences:
                differences[name] = (before.get(name, "not installed"), after.get(name, "not installed"))
    return differences


def _lock(folder: Path) -> dict[str, str]:
    path = folder / "packages.txt"
    lines = read_bytes(path).decode("utf-8", "replace").splitlines() if path.exists() else []
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def _short(value: Any) -> Any:
    hexadecimal = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value[:12] if hexadecimal else "not noted" if value is None else value


def _pairs(folder: Path, again: Path) -> Iterator[tuple[str, Path, Path]]:
    """(prefix of names, folder, repeated folder) of the run and of every run inside it."""
    yield "", folder, again
    for inner in runs.list_runs(folder):
        yield f"{inner.name}/", inner, again / inner.name


def _compare(result: Rerun, name: str, then: Path, now: Path) -> None:
    before, after = runs.metrics(then), runs.metrics(now)
    for metric in dict.fromkeys([*before, *after]):
        if metric.startswith(MEASURED):
            continue
        result.compared += 1
        a, b = before.get(metric), after.get(metric)
        if a != b and not (a is not None and b is not None and math.isnan(a) and math.isnan(b)):
            result.numbers[name + metric] = (a, b)
    result.files += [f"{name}result.nc: {v}" for v in _variables_that_differ(result, then, now)]
    first, second = then / "weights.safetensors", now / "weights.safetensors"
    if first.exists() or second.exists():
        result.compared += 1
        if not (first.exists() and second.exists() and first.read_bytes() == second.read_bytes()):
            result.files.append(f"{name}weights.safetensors")


def _variables_that_differ(result: Rerun, then: Path, now: Path) -> list[str]:
    if not (then / "result.nc").exists() or not (now / "result.nc").exists():
        return ["missing"] if (then / "result.nc").exists() else []
    first, second = runs.result(then), runs.result(now)
    differ = []
    for variable in dict.fromkeys([*map(str, first.variables), *map(str, second.variables)]):
        if variable.startswith(MEASURED) or (variable in first.data_vars and first[variable].ndim == 0):
            continue  # scalars are compared as metrics
        result.compared += 1
        if variable not in first.variables or variable not in second.variables:
            differ.append(variable)
            continue
        a, b = first[variable].values, second[variable].values
        if a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            differ.append(variable)
    return differ


def _relative(a: float | None, b: float | None) -> float:
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b), np.finfo(float).tiny)


def _shown(value: float | None) -> str:
    return "missing" if value is None else repr(value)
