"""Many run folders: list, filter, tag, compare and delete them.

chosen = select(entries("runs"), method="bsdm", where=["auc>0.9"])
tag("runs/one", add=["for the talk"])      # kept in tags.json of the folder
compared([e.folder for e in chosen])       # settings that differ, and all metrics
unwanted = prunable(entries("runs"))       # only remove(unwanted, "runs") deletes anything
"""

from __future__ import annotations

import contextlib
import math
import operator
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.config import Settings
from workbench.errors import InputError, did_you_mean
from workbench.runs.imported import Imported, imported
from workbench.runs.loader import read_json
from workbench.runs.watch import Live

STATUSES = ("running", "finished", "stopped", "failed", "killed", "damaged")
UNFINISHED = ("stopped", "failed", "killed")
# Metrics listed first for runs whose run.json has no `headline`: older runs, and cells of a notebook without a method.
USUAL = ("auc", "auc_trained_mean", "accuracy", "accuracy_tdds", "overall_accuracy", "f1", "iou", "map50")
LONGEST = 40  # characters of a tag
CONDITION = re.compile(r"\s*(?P<name>[\w.@-]+?)\s*(?P<sign><=|>=|=|<|>)\s*(?P<value>\S+)\s*$")
SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


History = Mapping[str, tuple[list[int], list[float]]]  # scalar -> (steps, values), as `Live.history`


@dataclass(frozen=True)
class Entry:
    """One run folder and its `run.json`. broken: why that cannot be read; then `about` is empty."""

    folder: Path
    about: dict[str, Any]
    broken: str = ""

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
        """`running`, `finished`, `stopped`, `failed`, `killed` or `damaged`."""
        return "damaged" if self.damage else str(self.about.get("status", ""))

    @property
    def damage(self) -> str:
        """What of the run is damaged, and where; empty for a sound one. Events, frames and the result are not read for that."""
        return self.broken or self._numbers[1]

    @property
    def note(self) -> str:
        """The status; of a damaged run with what is damaged."""
        return f"damaged: {self.damage}" if self.damage else self.status

    @cached_property
    def _numbers(self) -> tuple[dict[str, float], str]:
        try:
            return runs.metrics(self.folder), ""
        except InputError as error:
            return {}, str(error)

    @property
    def seconds(self) -> float:
        """Run time in seconds, without pauses."""
        return float(self.about.get("seconds") or 0.0)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metric name -> value; empty for a run that has not finished, and for a damaged one."""
        return self._numbers[0]

    @property
    def headline(self) -> list[str]:
        """Names of the metrics; those that the method declares in HEADLINE come first."""
        return headline(self.metrics, self.about.get("headline") or ())

    @cached_property
    def tags(self) -> list[str]:
        """The tags of the run, sorted."""
        return tags(self.folder)

    @cached_property
    def imported(self) -> Imported | None:
        """Who imported the run, when, and from which file; None for a run that was made here."""
        return imported(self.folder)

    @property
    def marks(self) -> list[str]:
        """What lists show beside a run: `imported`, and its tags."""
        return [*(["imported"] if self.imported else []), *self.tags]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, by a name that means one thing in the runs of all methods; see `setting_name`."""
        return {setting_name(self.method, name): value for name, value in (self.about.get("config") or {}).items()}


def entries(root: str | Path, *, inside: bool = False) -> list[Entry]:
    """The runs directly under `root`, oldest first; inside: also the runs in reports and the cells of sweeps."""
    collected = _entries(root)
    if inside:
        collected += [e for folder in sorted(Path(root).glob("*/cells")) for e in _entries(folder)]
        collected += [inner for e in list(collected) for inner in _entries(e.folder)]
    return sorted(collected, key=lambda e: (str(e.about.get("start", "")), str(e.folder)))


def _entries(root: str | Path) -> list[Entry]:
    found = []
    for folder in runs.list_runs(root):
        try:
            found.append(Entry(folder, runs.read(folder)))
        except InputError as error:
            if folder.exists():  # else it was deleted just now
                found.append(Entry(folder, {}, str(error)))
    return found


def select(
    candidates: Iterable[Entry],
    *,
    method: str | None = None,
    scene: str | None = None,
    status: str | None = None,
    tag: str | None = None,
    where: Sequence[str] = (),
) -> list[Entry]:
    """The entries with that method, scene, status and tag whose metrics meet every condition, such as `auc>=0.9`.

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
    if tag is not None:
        chosen = [e for e in chosen if tag in e.tags]
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
        if os.path.lexists(folder / "run.json"):  # also a link that leads nowhere: reading it says so
            return folder
    names = [f.name for f in runs.list_runs(root)]
    raise InputError(f"There is no run {name!r}, neither as a path nor under {root}.{did_you_mean(name, names)}")


def tags(folder: str | Path) -> list[str]:
    """The tags of a run, sorted; none if its `tags.json` does not exist or is damaged."""
    path = Path(folder) / "tags.json"
    if not path.exists():
        return []
    try:
        return sorted({str(t) for t in read_json(path)["tags"]})
    except (ValueError, TypeError, KeyError):
        return []


def tag(folder: str | Path, *, add: Iterable[str] = (), take: Iterable[str] = ()) -> list[str]:
    """Add tags to a run and take others away; returns its tags. A file of its own keeps them, so that an active run can be tagged.

    Raises InputError for a folder that is not a run or cannot be written, and for a tag that is empty, longer than 40 characters,
    or has a comma or a bar, which separate tags and runs in lists and addresses.
    """
    folder = Path(folder)
    runs.read(folder)
    new = [t.strip() for t in add]
    for text in new:
        if not text or len(text) > LONGEST or set(text) & set(",|") or not text.isprintable():
            raise InputError(f"A tag has 1 to {LONGEST} characters, without comma and bar; got {text!r}.")
    kept = sorted({*tags(folder), *new} - {t.strip() for t in take})
    with runs.writing(folder):
        runs.write_json(folder / "tags.json", {"tags": kept})
    return kept


def setting_name(method: str, name: str) -> str:
    """A name of a setting that means one thing in runs of all methods: `seed`, which all have, or `local-rx.inner`.

    >>> setting_name("local-rx", "inner"), setting_name("report-bsdm", "inner"), setting_name("bsdm", "seed")
    ('local-rx.inner', 'bsdm.inner', 'seed')
    """
    return name if name in Settings.model_fields else f"{_plain(method)}.{name}"


def _plain(method: str) -> str:
    """The method of a report or of a cell of a sweep: its name without the prefix."""
    return method.removeprefix("report-").removeprefix("sweep-")


def compared(folders: Sequence[Path]) -> dict[str, dict[str, list[Any]]]:
    """What differs between runs: {"about": ..., "config": ..., "metrics": ...}, each name -> one value per run.

    `about` (method, scene, status, code, threads and versions) and `config` list only what differs; `metrics` lists all
    metrics, those of the headlines first. The value is None where a run does not have it.

    Runs of one method have the names of its settings. In runs of several methods a setting is named `method.setting`, so that
    only settings of the same meaning are compared; it is listed if the runs of this method differ in it, or if there is one.
    """
    found = [Entry(f, runs.read(f)) for f in folders]
    for entry in found:
        if entry.damage:
            raise InputError(entry.damage)
    metrics = _table([e.metrics for e in found])
    order = headline(metrics, list(dict.fromkeys(name for e in found for name in e.about.get("headline") or ())))
    return {
        "about": _differing([_facts(e.about) for e in found]),
        "config": _settings(found),
        "metrics": {name: metrics[name] for name in order},
    }


def _settings(found: Sequence[Entry]) -> dict[str, list[Any]]:
    if len({_plain(e.method) for e in found}) == 1:
        return _differing([e.about.get("config") or {} for e in found])
    table = _table([e.settings for e in found])
    of = {name: [e.settings[name] for e in found if name in e.settings] for name in table}
    # a setting of one method differs between its runs; where there is one run of the method, all its settings are listed
    return {
        name: values
        for name, values in table.items()
        if any(v != of[name][0] for v in of[name]) or (len(of[name]) == 1 and len(found) > 1)
    }


def _table(facts: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """name -> its value in each of `facts`, None where one does not have it."""
    return {name: [f.get(name) for f in facts] for name in dict.fromkeys(n for f in facts for n in f)}


def _differing(facts: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: values for name, values in _table(facts).items() if any(v != values[0] for v in values)}


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
    """Scalar -> label of the run -> (steps, values); only scalars with more than one point somewhere, in the order of `ranked`.

    Raises InputError for a run whose events are damaged.
    """
    histories: dict[str, History] = {}
    first: dict[str, None] = {}
    for label, folder in zip(labels(folders), folders, strict=True):
        live = Live(folder)
        live.poll()
        if live.damage:
            raise InputError(live.damage)
        histories[label] = live.history
        first |= dict.fromkeys(runs.read(folder).get("headline") or ())
    return {
        scalar: {label: history[scalar] for label, history in histories.items() if scalar in history}
        for scalar in ranked(list(histories.values()), list(first))
        if any(len(history[scalar][0]) > 1 for history in histories.values() if scalar in history)
    }


def ranked(histories: Sequence[History], first: Sequence[str]) -> list[str]:
    """The scalars of these runs: those of the headline metrics `first`, other curves, single values, counters of progress.

    The metric `accuracy_tdds` is the scalar `test_accuracy/tdds` while a run goes on, and `f1` is `val_f1`: on test or
    validation samples. A counter has whole values that never fall, such as the rows that are done.

    >>> rows, f1 = ([1, 2], [10.0, 20.0]), ([1, 2], [0.1, 0.4])
    >>> ranked([{"rows": rows, "loss": f1, "val_f1": f1}], ["f1", "iou"])
    ['val_f1', 'loss', 'rows']
    """
    scalars = list(dict.fromkeys(name for history in histories for name in history))
    best: dict[str, int] = {}
    for n, metric in enumerate(first):
        for held_out in (True, False):  # `test_accuracy/tdds` before `accuracy/tdds`, which is of the training samples
            named = [name for name in scalars if _as_metric(name, held_out) == metric]
            if named:
                best |= {name: n for name in named if name not in best}
                break

    def rank(scalar: str) -> int:
        if scalar in best:
            return best[scalar]
        values = [v for history in histories for v in history.get(scalar, ((), ()))[1]]
        each = [history[scalar][1] for history in histories if scalar in history]
        counts = (
            all(math.isfinite(v) and v == int(v) for v in values)
            and max(values, default=0.0) > 1
            and all(e == sorted(e) for e in each)
        )
        single = max(map(len, each)) < 2
        return len(first) + (2 if counts else 1 if single else 0)

    return sorted(scalars, key=rank)


def _as_metric(scalar: str, held_out: bool) -> str:
    """The metric whose course a scalar of events is; held_out: only for scalars that name their samples, else only for others."""
    plain = scalar.removeprefix("test_").removeprefix("val_")
    return plain.replace("/", "_") if (plain != scalar) == held_out else ""


def prunable(candidates: Iterable[Entry], *, statuses: Sequence[str] = UNFINISHED, days: float = 0.0) -> list[Entry]:
    """The entries of these statuses that started more than `days` ago. Runs that are still running are never included."""
    limit = datetime.now(UTC) - timedelta(days=days)
    return [e for e in candidates if e.status in statuses and e.status != "running" and _started(e) <= limit]


def _started(entry: Entry) -> datetime:
    try:
        return datetime.fromisoformat(str(entry.about["start"]))
    except (KeyError, ValueError):  # of a damaged run; its record may be a link to nowhere, or to itself
        return datetime.fromtimestamp((entry.folder / "run.json").lstat().st_mtime, UTC)


def size(folder: Path, *, without: str = "") -> int:
    """Bytes of all files of a run, or of a folder of runs, some of which may be at work. without: a folder in it that does not count."""
    total = 0
    for place, inside, files in os.walk(folder):
        if place == str(folder):
            inside[:] = [name for name in inside if name != without]
        for name in files:
            with contextlib.suppress(OSError):  # replaced or deleted at this moment
                about = os.lstat(os.path.join(place, name))
                total += about.st_size if stat.S_ISREG(about.st_mode) else 0
    return total


def remove(unwanted: Iterable[Entry], root: str | Path) -> None:
    """Delete these run folders; all are checked before the first is deleted.

    Raises InputError for a folder that is not a run, lies outside `root` or inside another run, is a symbolic link, is
    running, or cannot be deleted.
    """
    unwanted = list(unwanted)
    within = Path(root).resolve()
    for entry in unwanted:
        folder = entry.folder
        if folder.is_symlink() or within not in folder.resolve().parents:
            raise InputError(f"{folder} is a symbolic link, or lies outside {root}; nothing was deleted.")
        if (folder.parent / "run.json").exists():
            raise InputError(f"{folder} is part of {folder.parent.name}; delete that. Nothing was deleted.")
        if entry.status != "damaged" and runs.read(folder)["status"] == "running":
            raise InputError(f"{folder} is a run in progress; stop it first. Nothing was deleted.")
    for entry in unwanted:
        try:
            shutil.rmtree(entry.folder)
        except OSError as error:
            raise InputError(f"{entry.folder} cannot be deleted: {error.strerror or error}.") from None


def megabytes(count: int) -> str:
    """`12.3 MB`."""
    return f"{count / 1e6:.1f} MB"
