"""Run a method on a scene: `start` returns the trace, `execute` runs it to its end, `launch` runs it in a new process.

All three write the same run folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import runs
from workbench.config import Settings, files_read, files_written, override
from workbench.data.moved import file_found_again, found_again
from workbench.data.source import Source, digest_of
from workbench.engines import cluster, is_follower
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace, drain, tee
from workbench.methods import METHODS, load
from workbench.runs import RUNS
from workbench.runs.imported import refuse_imported
from workbench.runs.progress import progress_bar
from workbench.scene import OVER, PROVENANCE, file_hash, fingerprint, labelled, require

if TYPE_CHECKING:
    import xarray as xr

    from workbench.parts.export import Exportable


def start(
    method: str,
    scene: str | Path | Source | xr.Dataset,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
) -> Trace:
    """The trace of a run that has not begun; it is recorded into `folder` if that is given.

    method: a name of `workbench list`. scene: a catalogue name, a path, a `Source` (a path with a truth, keys or further files),
    or an open scene. overrides: settings of the method's Config.

    Under torchrun only rank 0 records its trace.

    Raises InputError for input that cannot be used, before anything is written.
    """
    room = load(method)
    config = override(room.Config(), overrides)
    source, opened = _opened(scene)
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
        "scene": about_scene(opened, source),
        "files": setting_files(config),
        "writes": _to_write(config),
    }
    return _recorded(trace, Path(folder), about)


def _opened(scene: str | Path | Source | xr.Dataset) -> tuple[Source | None, xr.Dataset]:
    """(source, open scene); the source is None for a scene made in memory."""
    if isinstance(scene, str | Path | Source):
        source = Source.of(scene)
        return source, source.open()
    return None, scene


def about_scene(opened: xr.Dataset, source: Source | None) -> dict[str, Any]:
    """The entry `scene` of `run.json`: provenance and fingerprint and, if there is a source, how to open it again from any
    folder and the hash of all its files. `labelled`: whether the scene has a truth.
    """
    provenance = {k: str(opened.attrs[k]) for k in PROVENANCE if opened.attrs.get(k)}
    if sha256 := file_hash(opened):
        provenance["sha256"] = sha256
    about = {**provenance, "fingerprint": fingerprint(opened), "labelled": labelled(opened), "open": None}
    if source is None:
        return about
    return {**about, "open": source.record(), "digest": source.digest(), "hashes": source.hashes()}


def setting_files(config: Settings) -> dict[str, dict[str, str]]:
    """setting -> absolute `path` and `sha256` of the files that settings name; of a run folder, the hash of its weights.

    Missing files are left out: the method raises the error for them.
    """
    files = {}
    for name, given in files_read(config).items():
        path = Path(given).expanduser().resolve()
        if path.exists():
            files[name] = {"path": str(path), "sha256": _setting_hash(path)}
    return files


def _to_write(config: Settings) -> dict[str, dict[str, Any]]:
    """setting -> absolute `path` of the file or folder that it names to be written, and whether that `existed` before the run."""
    paths = {name: Path(given).expanduser().absolute() for name, given in files_written(config).items()}
    return {name: {"path": str(path), "existed": path.exists()} for name, path in paths.items()}


def _put_aside(config: Settings, about: Mapping[str, Any]) -> None:
    """Rename what a run had begun to write before it was interrupted without a checkpoint; it begins again."""
    for name, now in _to_write(config).items():
        then = about.get("writes", {}).get(name)
        if now["existed"] and then == {"path": now["path"], "existed": False}:
            Path(now["path"]).rename(runs.unused(Path(f"{now['path']}.interrupted")))


def _setting_hash(path: Path) -> str:
    weights = path / "weights.safetensors"
    return digest_of(weights if weights.exists() else path)


def reopen(folder: str | Path, about: Mapping[str, Any]) -> xr.Dataset:
    """The scene of a run folder, opened again. about: its `run.json`.

    Raises InputError when the scene was made in memory, and when the data or a file that a setting names have changed since the
    run began.
    """
    kept = about["scene"]
    if kept.get("open") is None:
        raise InputError(
            f"{folder} ran on a scene made in memory; only a scene from a file or the catalogue can be opened again."
        )
    recorded = Source.from_record(kept["open"])
    source = found_again(recorded, folder, kept)
    if "digest" in kept and _names(source) == _names(recorded):  # missing in older run folders; names are a part of it
        _same(folder, f"The data are not what they were when {folder} was made", kept["digest"], source.digest())
    check_setting_files(folder, about)
    scene = source.open()
    _same(
        folder,
        f"The data are not what they were when {folder} was made",
        kept.get("fingerprint", "none"),
        fingerprint(scene),
    )
    return scene


def _names(source: Source) -> list[str]:
    return [Path(path).name for path in source.files()]


def settings_again(folder: str | Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run; where a file that one of them names is gone, with the place where it lies now.

    Raises InputError for a file that is found nowhere; see `workbench.data.moved`.
    """
    settings = dict(about["config"])
    for name, file in about.get("files", {}).items():
        given = settings.get(name) or file["path"]
        if not Path(given).expanduser().exists():
            kept = Path(file["path"]).exists()  # a relative path, in another working folder
            settings[name] = file["path"] if kept else file_found_again(file["path"], folder, _has_hash(file["sha256"]))
    return settings


def _has_hash(then: str) -> Callable[[Path], bool]:
    return lambda path: _setting_hash(path) == then


def check_setting_files(folder: str | Path, about: Mapping[str, Any]) -> None:
    """Raise InputError if a file that a setting names has changed since the run began.

    The file that is checked is the one that would be read now: a relative path means another file in another working folder.
    """
    settings = settings_again(folder, about)
    for name, file in about.get("files", {}).items():
        path = Path(settings.get(name) or file["path"]).expanduser().resolve()
        _same(
            folder, f"{path} (setting {name}) is not what it was when {folder} was made", file["sha256"], _setting_hash(path)
        )


def _same(folder: str | Path, complaint: str, then: str, now: str) -> None:
    if then != now:
        raise InputError(f"{complaint}: hash {now[:12]}, then {then[:12]}. Put the old file back, or start a new run.")


def _flat(needs: tuple[str | tuple[str, ...], ...]) -> set[str]:
    return {name for need in needs for name in ((need,) if isinstance(need, str) else need)}


def _recorded(trace: Trace, folder: Path, about: Mapping[str, Any]) -> Trace:
    """Create the folder only after the first event: where a method refuses its input, no folder is created."""
    begun = time.monotonic()
    try:
        first = next(trace)
    except StopIteration as end:
        runs.create(folder, {**about, **_device(), "seconds": time.monotonic() - begun})
        return (yield from runs.record(_written(_only(end.value), folder), folder))
    runs.create(folder, {**about, **_device(), "seconds": time.monotonic() - begun})
    return (yield from runs.record(_written(_rejoin(first, trace), folder), folder))


def _device() -> dict[str, str]:
    """`{"device": "cpu"}`: the device that torch uses."""
    from workbench.parts import device

    return {"device": device.name()}


def _written(trace: Trace, folder: Path) -> Trace:
    """The trace, then one event per written block while its lazy result is computed into `result.zarr` of the folder.

    The last event has the overview of each map.
    """
    step = 0

    def count(event: Event) -> None:
        nonlocal step
        step = event.step

    outcome = yield from tee(trace, count)
    lazy = [name for name, v in outcome.result.data_vars.items() if v.chunks is not None]
    if not lazy:
        return outcome
    from workbench.data.writers import write_zarr

    store = folder / "result.zarr"
    shutil.rmtree(store, ignore_errors=True)  # of an interrupted run that starts again
    last = step + len(lazy) * outcome.result.sizes["y"]
    for rows in write_zarr(outcome.result, store, cluster.blocks):
        if step + rows < last:
            yield Event(step + rows, {"rows": float(rows)}, of=last)
    result = runs.result(folder)
    here = runs.result(folder, chunks=None)  # not read by a cluster, whose workers need not see the folder
    overviews = {str(name): here[f"{name}{OVER}"].load() for name in lazy}
    yield Event(last, {"rows": float(last - step)}, overviews, of=last)
    return Outcome(result, outcome.weights)


def _rejoin(first: Event, trace: Trace) -> Trace:
    yield first
    return (yield from trace)


def _only(outcome: Outcome) -> Trace:
    return outcome
    yield  # makes this a generator


def resume(folder: str | Path, *, take_over: bool = False) -> Trace:
    """The trace of an unfinished run, continued from its last checkpoint and recorded into the same folder.

    A run without a checkpoint starts again in its folder. The final numbers equal those of an uninterrupted run. take_over: as of
    `workbench.runs.reopen`.

    Raises InputError when the run has finished or is still running, when its scene has changed, and for a report.
    """
    folder = Path(folder)
    refuse_imported(folder)
    about = runs.read(folder)
    if "notebook" in about:
        again = f"workbench report {about['method'].removeprefix('report-')} SCENE"
        raise InputError(f"{folder} holds a report, which has no checkpoint to continue from. Make a new one: `{again}`.")
    room = load(about["method"])
    config = override(room.Config(), settings_again(folder, about))
    scene = reopen(folder, about)
    saved = runs.checkpoint(folder)
    if saved is None and about["status"] in ("stopped", "failed", "killed"):
        _put_aside(config, about)
    trace = room.run(scene, config) if saved is None else room.run(scene, config, state=saved[1])
    if is_follower():
        return trace
    runs.reopen(folder, _device(), take_over=take_over)
    return runs.record(_written(trace, folder), folder, resumed_from=-1 if saved is None else saved[0])


def execute(
    method: str,
    scene: str | Path | Source | xr.Dataset,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    progress: bool = False,
) -> Outcome:
    """Run a method to its end; returns its Outcome. The run is recorded into `folder` if that is given.

    progress: show a bar on standard error, or in the notebook cell.

    >>> outcome = execute("rx", "sim-coast-town")      # doctest: +SKIP
    >>> float(outcome.result["auc"])                   # doctest: +SKIP
    """
    trace = start(method, scene, overrides, folder)
    return drive(trace, method) if progress else drain(trace)


def drive(trace: Trace, label: str) -> Outcome:
    """Run a trace to its end with a progress bar; returns its Outcome."""
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
    scene: str | Path | Source,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    threads: int = 1,
) -> Path:
    """Start a method in a new process and return its folder at once; watch it with `Live(folder)`.

    The run continues when the caller ends. Settings are checked before the process is started. The output of the process
    goes to `stderr.txt` of the folder.
    """
    override(load(method).Config(), overrides)
    source = Source.of(scene)
    folder = Path(folder) if folder is not None else runs.new_folder(RUNS, method, source.stem)
    runs.refuse_existing(folder)
    return spawn(run_command(method, source, overrides, folder), folder, threads=threads)


def run_command(method: str, source: Source, overrides: Mapping[str, Any] | None, folder: str | Path) -> list[str]:
    """The command line that runs the method on the source into the folder, without a progress bar."""
    command = [sys.executable, "-m", "workbench", "run", method, *source.argv(), "--out", str(folder), "--quiet"]
    for name, value in (overrides or {}).items():
        command += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return command


def spawn(command: Sequence[str], folder: Path, *, threads: int = 1) -> Path:
    """Start `command` detached, with niceness 2; its output goes to `stderr.txt` of the folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "stderr.txt", "ab") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        raise InputError(f"Cannot write the run into {folder}: {error.strerror}; choose another folder.") from None
    with contextlib.suppress(OSError):  # the process has already ended
        os.setpriority(os.PRIO_PROCESS, process.pid, 2)  # keeps pages responsive; a higher niceness would starve the run
    runs.note_launch(folder, process.pid)
    _children.append(process)
    reap()
    return folder


def reap() -> None:
    """Let the system forget the processes of `spawn` that have ended."""
    _children[:] = [p for p in _children if p.poll() is None]


_children: list[subprocess.Popen] = []


def relaunch(folder: str | Path, *, threads: int = 1) -> Path:
    """Continue an unfinished run from its last checkpoint in a new process."""
    return spawn(resume_command(folder), Path(folder), threads=threads)


def resume_command(folder: str | Path) -> list[str]:
    """The command line that continues an unfinished run. Raises InputError where there is none, and for an imported one."""
    refuse_imported(folder)
    runs.read(folder)
    return [sys.executable, "-m", "workbench", "run", "--resume", str(folder), "--quiet"]


def detect(
    folder: str | Path,
    scene: str | Path | Source | xr.Dataset,
    paths: Sequence[str | Path],
    *,
    land: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> xr.Dataset:
    """Find objects in one scene of any size with the network of a run, and write the boxes to these paths; returns the boxes.

    paths: .gpkg, .geojson, .csv, or .json for COCO. land: vector file with polygons; boxes whose centre is in one are left out.
    options: of the room's `detect_scene`.

    Raises InputError for a method that finds no objects, and for input and output that cannot be used; output before anything is computed.
    """
    from workbench.data.export_boxes import check_boxes, on_land, outlines, write_boxes, write_coco
    from workbench.data.land import read_land

    about = runs.read(folder)
    room = load(about["method"])
    if not hasattr(room, "detect_scene"):
        able = [name for name in METHODS if hasattr(load(name), "detect_scene")]
        raise InputError(f"{about['method']} finds no objects in a scene; these methods do: {', '.join(able)}.")
    for path in paths:
        check_boxes(path)
    polygons = None if land is None else read_land(land)
    _, opened = _opened(scene)
    found, image = room.detect_scene(folder, opened, progress=progress, **options)
    if polygons is not None:
        found = found.isel(object=~on_land(found, polygons, image, opened))
    placed = outlines(found, image, opened)
    for path in paths:
        if Path(path).suffix.lower() == ".json":
            write_coco(found, path)
        else:
            write_boxes(placed, path)
    return found


def export(folder: str | Path, path: str | Path, int8: str | Path | None = None) -> list[Path]:
    """Write the trained network of a run as ONNX, with its manifest and a loader that needs no torch; returns the paths.

    int8: a .npy file with inputs (N, ...) of the network; the file then has weights and activations of 8 bits, calibrated with them.

    Raises InputError if the method offers no network, the run has not finished, or nothing can be written there.
    """
    from workbench.parts.export import need_packages, write

    about = runs.read(folder)
    room = load(about["method"])
    if not hasattr(room, "exportable"):
        able = [name for name in METHODS if hasattr(load(name), "exportable")]
        raise InputError(f"{about['method']} offers no network to export; these methods do: {', '.join(able)}.")
    need_packages()
    scene = about.get("scene") or {}
    facts = {
        "method": about["method"],
        "run": {
            "name": Path(folder).resolve().name,
            "scene": scene.get("id"),
            "data": runs.data_hash(about),
            "seed": about["config"]["seed"],
            "settings": about["config"],
            **{key: about.get(key) for key in ("code", "commit", "dirty", "versions")},
        },
    }
    made = room.exportable(folder)
    return write(made, path, facts, None if int8 is None else calibrated(made, Path(int8)))


def calibrated(made: Exportable, file: Path) -> Callable[[Path, Path], None]:
    """The function that makes a file of int8, with the inputs in `file`."""
    from functools import partial

    import numpy as np

    from workbench.baselines.pruning import ptq_int8

    if made.rounding:
        raise InputError("This network is exported with its trained bits, as integers; leave out --int8.")
    if len(made.inputs) != 1:
        raise InputError(f"--int8 calibrates networks of one input; this one has {', '.join(made.inputs)}.")
    try:
        images = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--int8 needs a .npy file with inputs of the network; {file}: {error}.") from None
    (wanted,) = (tuple(x.shape[1:]) for x in made.inputs.values())
    if images.shape[1:] != wanted or not np.isfinite(images).all():
        raise InputError(
            f"--int8 needs finite inputs (N, {', '.join(map(str, wanted))}) as the manifest's `scaling` says; {file} has "
            f"{' x '.join(map(str, images.shape))}."
        )
    # layers with weights; scalars, as those of a scaling inside the network, cannot be quantised and run
    return partial(ptq_int8, images=np.ascontiguousarray(images, np.float32), operators=("Conv", "Gemm", "MatMul"))


def pending(
    method: str, scene: str | Path | Source, overrides: Mapping[str, Any] | None, folder: str | Path
) -> Trace | None:
    """The trace that remains for the run in `folder`: of a new run, of an unfinished run from its checkpoint; None if finished.

    With it a notebook cell can be executed again, and an interrupted report continues.

    Raises InputError when the folder has a run with another method, settings or scene, and when a file has changed.
    """
    folder, source = Path(folder), Source.of(scene)
    if not (folder / "run.json").exists():
        return start(method, source, overrides, folder)
    recorded = runs.read(folder)
    config = override(load(method).Config(), overrides)
    record = recorded["scene"].get("open")
    same = record is not None and Source.from_record(record) == source.absolute()
    if not same or (recorded["method"], recorded["config"]) != (method, config.model_dump(mode="json")):
        raise InputError(
            f"{folder} holds a run of {recorded['method']} with other settings or on another scene; choose another run_dir."
        )
    return None if recorded["status"] == "finished" else resume(folder)
