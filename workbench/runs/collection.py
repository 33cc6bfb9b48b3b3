"""Many run folders: list, filter, compare and delete them.

chosen = select(entries("runs"), method="bsdm", where=["auc>0.9"])
compared([e.folder for e in chosen])       # settings that differ, and all metrics
unwanted = prunable(entries("runs"))       # only remove(unwanted) deletes anything
"""

from __future__ import annotations

import operator
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.errors import InputError, did_you_mean
from workbench.runs.watch import Live

STATUSES = ("running", "finished", "stopped", "failed", "killed")
UNFINISHED = ("stopped", "failed", "killed")
# Metrics listed first for runs whose run.json has no `headline`: older runs, and cells of a notebook without a method.
USUAL = ("auc", "auc_trained_mean", "accuracy", "accuracy_tdds", "overall_accuracy", "f1", "iou", "map50")
CONDITION = re.compile(r"\s*(?P<name>[\w.@-]+?)\s*(?P<sign><=|>=|=|<|>)\s*(?P<value>\S+)\s*$")
SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Entry:
    """One run folder and its `run.json`."""

    folder: Path
    about: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the folder; for a run inside another run, `outer/inner`."""
        parent = self.folder.parent
        return f"{parent.name}/{self.folder.name}" if (parent / "run.json").exists() else self.folder.name

    @property
    def method(self) -> str:
        """Name of the method; for reports and sweeps with the prefix `report-` or `sweep-`."""
        return str(self.about.get("method", ""))

    @property
    def scene(self) -> str:
        """Identifier of the scene."""
        return str((self.about.get("scene") or {}).get("id", ""))

    @property
    def status(self) -> str:
        """`running`, `finished`, `stopped`, `failed` or `killed`."""
        return str(self.about.get("status", ""))

    @property
    def seconds(self) -> float:
        """Run time in seconds, without pauses."""
        return float(self.about.get("seconds") or 0.0)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metric name -> value; empty for a run that has not finished."""
        return runs.metrics(self.folder)

    @property
    def headline(self) -> list[str]:
        """Names of the metrics; those that the method declares in HEADLINE come first."""
        return headline(self.metrics, self.about.get("headline") or ())


def entries(root: str | Path, *, inside: bool = False) -> list[Entry]:
    """The runs directly under `root`, oldest first; inside: also the runs in reports and the cells of sweeps."""
    collected = [Entry(folder, about) for folder, about in runs.iter_status(root)]
    if inside:
        cells = [Entry(f, a) for folder in sorted(Path(root).glob("*/cells")) for f, a in runs.iter_status(folder)]
        collected += cells
        collected += [Entry(f, a) for e in list(collected) for f, a in runs.iter_status(e.folder)]
    return sorted(collected, key=lambda e: (str(e.about.get("start", "")), str(e.folder)))


def select(
    candidates: Iterable[Entry],
    *,
    method: str | None = None,
    scene: str | None = None,
    status: str | None = None,
    where: Sequence[str] = (),
) -> list[Entry]:
    """The entries with that method, scene and status whose metrics meet every condition, such as `auc>=0.9`.

    A run without the metric does not meet a condition. Raises InputError for an unknown status, for a condition that cannot
    be parsed, and for a metric that none of the entries has.
    """
    if status is not None and status not in STATUSES:
        raise InputError(f"There is no status {status!r}; there are {', '.join(STATUSES)}.{did_you_mean(status, STATUSES)}")
    chosen = [
        e
        for e in candidates
        if method in (None, e.method) and scene in (None, e.scene) and (status is None or e.status == status)
    ]
    for text in where:
        chosen = _meeting(chosen, text)
    return chosen


def _meeting(candidates: list[Entry], text: str) -> list[Entry]:
    match = CONDITION.match(text)
    try:
        name, sign, value = match["name"], SIGNS[match["sign"]], float(match["value"])  # type: ignore[index]
    except (TypeError, ValueError):
        raise InputError(
            f"--where takes METRIC, one of {' '.join(SIGNS)}, and a number, such as auc>=0.9; got {text!r}."
        ) from None
    known = {metric for e in candidates for metric in e.metrics}
    if candidates and name not in known:
        raise InputError(
            f"None of these {len(candidates)} runs has a metric {name!r}; they have {', '.join(sorted(known)) or 'none'}."
            + did_you_mean(name, known)
        )
    return [e for e in candidates if name in e.metrics and sign(e.metrics[name], value)]


def headline(metrics: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """The metrics in order: `first`, then the usual ones, then the others. `auc_mean` of a report counts as `auc`.

    A report that has no metric of the first name of `first` names its metrics in its own way: there the usual ones come first.

    >>> headline(["rank", "auc", "f1"], ["f1"])
    ['f1', 'auc', 'rank']
    >>> headline(["auc_rx", "auc_trained_mean"], ["auc", "auc_rx"])
    ['auc_trained_mean', 'auc_rx']
    """
    metrics = list(metrics)
    own = [both for name in first for both in (name, f"{name}_mean")]
    order = [*own, *USUAL] if set(own[:2]) & set(metrics) else [*USUAL, *own]
    return sorted(metrics, key=lambda name: order.index(name) if name in order else len(order))


def find(root: str | Path, name: str) -> Path:
    """The run folder of that path, or of that name under `root`.

    Raises InputError, with near names, when there is none.
    """
    for folder in (Path(name), Path(root) / name):
        if (folder / "run.json").exists():
            return folder
    names = [f.name for f in runs.list_runs(root)]
    raise InputError(f"There is no run {name!r}, neither as a path nor under {root}.{did_you_mean(name, names)}")


def compared(folders: Sequence[Path]) -> dict[str, dict[str, list[Any]]]:
    """What differs between runs: {"about": ..., "config": ..., "metrics": ...}, each name -> one value per run.

    `about` (method, scene, status, code, threads and versions) and `config` list only what differs; `metrics` lists all
    metrics. The value is None where a run does not have it.
    """
    facts = [_facts(runs.read(f)) for f in folders]
    table = {name: [f.get(name) for f in facts] for name in dict.fromkeys(n for f in facts for n in f)}
    differing = {name: values for name, values in table.items() if any(v != values[0] for v in values)}
    return {"about": differing, **runs.compare(list(folders))}


def _facts(about: dict[str, Any]) -> dict[str, Any]:
    scene = about.get("scene") or {}
    return {
        "method": about.get("method"),
        "scene": scene.get("id"),
        "data": runs.data_hash(about)[:12],
        "status": about.get("status"),
        "code": str(about.get("code", ""))[:12],
        "threads": about.get("threads"),
        **(about.get("versions") or {}),
    }


def labels(folders: Sequence[Path]) -> list[str]:
    """One label for each run: the name of its folder, or the whole path where two names are equal."""
    names = [Entry(f, {}).name for f in folders]
    if len(set(names)) < len(names):
        names = [str(f) for f in folders]
    return names


def curves(folders: Sequence[Path]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Scalar -> label of the run -> (steps, values); only scalars with more than one point somewhere."""
    by_scalar: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for label, folder in zip(labels(folders), folders, strict=True):
        live = Live(folder)
        live.poll()
        for scalar, (steps, values) in live.history.items():
            by_scalar.setdefault(scalar, {})[label] = (steps, values)
    return {scalar: by for scalar, by in by_scalar.items() if any(len(steps) > 1 for steps, _ in by.values())}


def prunable(candidates: Iterable[Entry], *, statuses: Sequence[str] = UNFINISHED, days: float = 0.0) -> list[Entry]:
    """The entries of these statuses that started more than `days` ago. Runs that are still running are never included."""
    limit = datetime.now(UTC) - timedelta(days=days)
    return [e for e in candidates if e.status in statuses and e.status != "running" and _started(e) <= limit]


def _started(entry: Entry) -> datetime:
    try:
        return datetime.fromisoformat(str(entry.about["start"]))
    except (KeyError, ValueError):
        return datetime.fromtimestamp((entry.folder / "run.json").stat().st_mtime, UTC)


def size(folder: Path) -> int:
    """Bytes of all files of a run."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def remove(unwanted: Iterable[Entry]) -> None:
    """Delete these run folders.

    Raises InputError for a folder that is not a run, is a symbolic link, is running, or cannot be deleted.
    """
    for entry in unwanted:
        if entry.folder.is_symlink() or runs.read(entry.folder)["status"] == "running":
            raise InputError(f"{entry.folder} is a symbolic link or a run in progress; it was not deleted.")
        try:
            shutil.rmtree(entry.folder)
        except OSError as error:
            raise InputError(f"{entry.folder} cannot be deleted: {error.strerror or error}.") from None


def megabytes(count: int) -> str:
    """`12.3 MB`."""
    return f"{count / 1e6:.1f} MB"
