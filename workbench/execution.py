"""Run a method on a scene: `start` gives the trace, `execute` drives it, `launch` puts it into a process of its own.

All three make the same run folder; who drives the trace is the only difference.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import runs
from workbench.config import override
from workbench.engines import cluster, is_follower
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace, drain, tee
from workbench.methods import load
from workbench.runs.progress import progress_bar
from workbench.scene import OVER, PROVENANCE, file_hash, fingerprint, require

if TYPE_CHECKING:
    import xarray as xr

RUNS = "runs"  # where runs go unless told otherwise, relative to the working directory


def start(
    method: str,
    scene: str | Path | xr.Dataset,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
) -> Trace:
    """A trace that is not yet driven, recorded into `folder` where one is given.

    method: a name of `workbench list`. scene: a Dataset, a catalogue name or a path; `truth` and `keys` help a path
    that does not speak for itself, `after` (and `resample`) make a pair of it, see `open_scene`. overrides: settings of the
    method's Config.

    A rank other than 0 of torchrun gives its trace unrecorded: rank 0 writes the folder.

    Raises InputError for anything the user gave that cannot be used, before anything is written.
    """
    room = load(method)
    config = override(room.Config(), overrides)
    opened = _open(scene, truth, keys, after, resample)
    require(opened, *room.NEEDS, who=method)
    from workbench.data.checks import check

    check(opened, _flat(room.NEEDS) - ({"hsi"} if getattr(room, "VALIDATES", False) else set()), who=method)
    trace = room.run(opened, config)
    if folder is None or is_follower():
        return trace
    runs.refuse_existing(folder)
    about = {
        "method": method,
        "headline": list(room.HEADLINE),
        "config": config.model_dump(mode="json"),
        "scene": about_scene(opened, scene, truth, keys, after, resample),
    }
    return _recorded(trace, Path(folder), about)


def about_scene(
    opened: xr.Dataset,
    scene: str | Path | xr.Dataset,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
) -> dict[str, Any]:
    """What `run.json` keeps of a scene: its provenance, its fingerprint, and how to open it again from anywhere."""
    again = None
    if isinstance(scene, str | Path):
        again = how_opened(scene, truth, keys, after, resample)
    provenance = {k: str(opened.attrs[k]) for k in PROVENANCE if opened.attrs.get(k)}
    if found := file_hash(opened):
        provenance["sha256"] = found
    return {**provenance, "fingerprint": fingerprint(opened), "open": again}


def how_opened(
    scene: str | Path,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
) -> dict[str, Any]:
    """All that `open_scene` was told, paths absolute; as `run.json` keeps it under `scene.open`."""
    told: dict[str, Any] = {"scene": _absolute(scene), "truth": None if truth is None else _absolute(truth)}
    told["keys"] = dict(keys or {})
    return told if after is None else {**told, "after": _absolute(after), "resample": resample}


def _absolute(source: str | Path) -> str:
    """A path made absolute; a catalogue name as it is."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else str(source)


def _flat(needs: tuple[str | tuple[str, ...], ...]) -> set[str]:
    return {name for need in needs for name in ((need,) if isinstance(need, str) else need)}


def _recorded(trace: Trace, folder: Path, about: Mapping[str, Any]) -> Trace:
    """Create the folder only when the first event is there: input that a method refuses leaves nothing behind."""
    begun = time.monotonic()
    try:
        first = next(trace)
    except StopIteration as end:
        runs.create(folder, {**about, **_device(), "seconds": time.monotonic() - begun})
        return (yield from runs.record(_written(_only(end.value), folder), folder))
    runs.create(folder, {**about, **_device(), "seconds": time.monotonic() - begun})
    return (yield from runs.record(_written(_rejoin(first, trace), folder), folder))


def _device() -> dict[str, str]:
    """`{"device": "cpu"}` where torch is loaded; a run without torch has no device."""
    if "torch" not in sys.modules:
        return {}
    from workbench.parts.device import device

    return {"device": str(device())}


def _written(trace: Trace, folder: Path) -> Trace:
    """A trace whose lazy result is computed into `result.zarr` of the folder, block by block, as further events.

    The last of them holds the overview of each map.
    """
    step = 0
    while True:
        try:
            event = next(trace)
        except StopIteration as end:
            outcome = end.value
            break
        step = event.step
        yield event
    lazy = [name for name, v in outcome.result.data_vars.items() if v.chunks is not None]
    if not lazy:
        return outcome
    from workbench.data.writers import write_zarr

    store = folder / "result.zarr"
    shutil.rmtree(store, ignore_errors=True)  # of an interrupted run that is begun anew
    last = step + len(lazy) * outcome.result.sizes["y"]
    for rows in write_zarr(outcome.result, store, cluster.blocks):
        if step + rows < last:
            yield Event(step + rows, {"rows": float(rows)}, of=last)
    result = runs.result(folder)
    seen = {str(name): result[f"{name}{OVER}"].load() for name in lazy}
    yield Event(last, {"rows": float(last - step)}, seen, of=last)
    return Outcome(result, outcome.weights)


def _rejoin(first: Event, trace: Trace) -> Trace:
    yield first
    return (yield from trace)


def _only(outcome: Outcome) -> Trace:
    return outcome
    yield  # makes this a generator


def resume(folder: str | Path) -> Trace:
    """The trace of an unfinished run, continued from its last checkpoint and recorded into the same folder.

    A run without a checkpoint is begun anew in its folder. The final numbers are those of an uninterrupted run.

    Raises InputError when the run has finished, is still going, or its scene is not what it was.
    """
    folder = Path(folder)
    about = runs.read(folder)
    how = about["scene"].get("open")
    if how is None:
        raise InputError(f"{folder} ran on a scene made in memory; give it a file or a catalogue name to be resumable.")
    room = load(about["method"])
    config = override(room.Config(), about["config"])
    scene = _open(how["scene"], how["truth"], how["keys"], how.get("after"), how.get("resample", False))
    if fingerprint(scene) != about["scene"]["fingerprint"]:
        raise InputError(
            f"The scene {how['scene']!r} is not what it was when {folder} began (hash {fingerprint(scene)[:12]}, "
            f"then {about['scene']['fingerprint'][:12]}); put the old file back or start a new run."
        )
    saved = runs.checkpoint(folder)
    trace = room.run(scene, config) if saved is None else room.run(scene, config, state=saved[1])
    if is_follower():
        return trace
    runs.reopen(folder, _device())
    return runs.record(_written(trace, folder), folder, resumed_from=-1 if saved is None else saved[0])


def execute(
    method: str,
    scene: str | Path | xr.Dataset,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
    progress: bool = False,
) -> Outcome:
    """Run a method to its end and give its outcome; recorded into `folder` where one is given.

    progress: show a bar on standard error, or in the notebook cell.

    >>> outcome = execute("rx", "sim-coast-town")      # doctest: +SKIP
    >>> float(outcome.result["auc"])                   # doctest: +SKIP
    """
    trace = start(method, scene, overrides, folder, truth=truth, keys=keys, after=after, resample=resample)
    return drive(trace, method) if progress else drain(trace)


def drive(trace: Trace, label: str) -> Outcome:
    """Drive a trace to its end behind a progress bar."""
    with progress_bar(desc=label, unit="step") as bar:

        def show(event: Event) -> None:
            if event.of is not None:
                bar.total = event.of
            bar.n = event.step
            bar.set_postfix({k: f"{v:.4g}" for k, v in list(event.scalars.items())[:3]}, refresh=False)
            bar.refresh()

        outcome = drain(tee(trace, show))
        if bar.total:
            bar.n = bar.total
        return outcome


def launch(
    method: str,
    scene: str | Path,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
    threads: int = 1,
) -> Path:
    """Run a method in a process of its own and give its folder at once; watch it with `Live(folder)`.

    The run outlives the caller. Settings are checked here, so that a mistake is told before a process is started. What
    the process prints goes to `stderr.txt` of the folder.
    """
    override(load(method).Config(), overrides)
    folder = Path(folder) if folder is not None else runs.new_folder(RUNS, method, Path(scene).stem)
    runs.refuse_existing(folder)
    command = run_command(method, scene, overrides, folder, truth=truth, keys=keys, after=after, resample=resample)
    return spawn(command, folder, threads=threads)


def run_command(
    method: str,
    scene: str | Path,
    overrides: Mapping[str, Any] | None,
    folder: str | Path,
    *,
    truth: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    after: str | Path | None = None,
    resample: bool = False,
) -> list[str]:
    """The command line of such a run, quiet."""
    command = [sys.executable, "-m", "workbench", "run", method, str(scene), "--out", str(folder), "--quiet"]
    for name, value in (overrides or {}).items():
        command += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if truth is not None:
        command += ["--truth", str(truth)]
    for name, key in (keys or {}).items():
        command += ["--key", f"{name}={key}"]
    if after is not None:
        command += ["--after", str(after)]
    if resample:
        command += ["--resample"]
    return command


def spawn(command: Sequence[str], folder: Path, *, threads: int = 1) -> Path:
    """Start `command` detached, at a small niceness, its output going to `stderr.txt` of the folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "stderr.txt", "ab") as said:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True
            )
    except OSError as error:
        raise InputError(f"Cannot write the run into {folder}: {error.strerror}; choose another folder.") from None
    with contextlib.suppress(OSError):  # gone already
        os.setpriority(os.PRIO_PROCESS, process.pid, 2)  # a page stays quick beside it; more niceness would starve the run
    runs.note_launch(folder, process.pid)
    _children.append(process)
    _children[:] = [p for p in _children if p.poll() is None]  # reap those that have ended
    return folder


_children: list[subprocess.Popen] = []


def relaunch(folder: str | Path, *, threads: int = 1) -> Path:
    """Continue an unfinished run from its last checkpoint in a process of its own."""
    folder = Path(folder)
    runs.read(folder)
    return spawn([sys.executable, "-m", "workbench", "run", "--resume", str(folder), "--quiet"], folder, threads=threads)


def _open(
    scene: Any, truth: str | Path | None, keys: Mapping[str, str] | None, after: str | Path | None, resample: bool
) -> xr.Dataset:
    if isinstance(scene, str | Path):
        from workbench.data.catalog import open_scene

        return open_scene(str(scene), truth=truth, keys=dict(keys or {}), after=after, resample=resample)
    return scene


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
