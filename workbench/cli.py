"""The command line: every command calls the library. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from workbench.engines import limits
from workbench.errors import InputError
from workbench.federate import app as federate_commands
from workbench.runs import RUNS, provenance

if TYPE_CHECKING:
    from workbench.data.source import Source

app = typer.Typer(
    name="workbench",
    help="Open a remote-sensing scene, run a learning system on it, watch inside, and get an honest report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

runs_commands = typer.Typer(help="List, tag, compare, delete and export the runs of a folder.", no_args_is_help=True)
app.add_typer(runs_commands, name="runs")
app.add_typer(federate_commands, name="federate")

SceneArg = Annotated[
    str,
    typer.Argument(
        help="a name of `workbench list`, or a path: .mat, ENVI, GeoTIFF, NetCDF, HDF5, Zarr, a product folder, chips, pairs"
    ),
]
TruthOpt = Annotated[Path | None, typer.Option("--truth", help="file with the truth mask, if the scene's file has none")]
AfterOpt = Annotated[Path | None, typer.Option("--after", help="image of the second date; SCENE is the image of the first")]
BesideOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--beside",
        help="lidar=FILE, sar=FILE, infrared=FILE: another sensor on the pixels of SCENE; after=FILE is --after FILE (repeat)",
    ),
]
ResampleOpt = Annotated[
    bool,
    typer.Option(
        "--resample",
        help="resample the image of --after, lidar and infrared to the grid of SCENE (bilinear)",
    ),
]
KeyOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        help="cube=NAME, truth=NAME, classes=numbered, scale=db, modality=sar, ...: what the file does not specify",
    ),
]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", help="name=value, a setting of the method, a list as a,b (repeat for more)")
]
OutOpt = Annotated[Path | None, typer.Option("--out", help="run folder to make (default: a new one under runs/)")]
OrthoOpt = Annotated[bool, typer.Option("--ortho", help="orthorectify an EMIT swath with the lookup table in its file")]
JsonOpt = Annotated[bool, typer.Option("--json", help="print one line of JSON on standard output")]
QuietOpt = Annotated[bool, typer.Option("--quiet", help="no progress bar")]
DataRootOpt = Annotated[
    Path | None,
    typer.Option("--data-root", help="folder with the data of the run, if they moved; searched by name and hash"),
]
SchedulerOpt = Annotated[
    str | None, typer.Option("--scheduler", help="compute on the Dask cluster of this scheduler, tcp://HOST:8786")
]
MapOpt = Annotated[
    Path | None, typer.Option("--map", help="also write the score to this path: .tif (cloud-optimised GeoTIFF) or .zarr")
]
CellTimeoutOpt = Annotated[
    int | None, typer.Option("--cell-timeout", min=1, help="seconds that a cell of the notebook may take")
]
DeviceOpt = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:N (default: cuda if available)")]


@app.command("list")
def list_(json_: JsonOpt = False) -> None:
    """List all scenes and methods."""
    from workbench.data.catalog import entries
    from workbench.methods import METHODS, summary

    scenes = entries()
    if json_:
        print(json.dumps({"scenes": [e.id for e in scenes], "methods": list(METHODS)}))
        return
    wide = max(len(e.id) for e in scenes)
    print("Scenes")
    for e in scenes:
        print(f"  {e.id:<{wide}}  {e.title}")
    print("\nMethods")
    for name in METHODS:
        print(f"  {name:<{wide}}  {summary(name)}")
    print(
        "\nA path can replace the name of a scene: .mat, ENVI, GeoTIFF, NetCDF, HDF5, Zarr, the folder of an EnMAP, DESIS or "
        "Sentinel-1 product, a folder or .zip of chips by class, a folder of images with boxes, a coreset's .yml."
    )


@app.command()
def describe(
    scene: Annotated[str, typer.Argument(help="a scene or a method of `workbench list`, or the path of a scene")],
    truth: TruthOpt = None,
    key: KeyOpt = None,
    after: AfterOpt = None,
    beside: BesideOpt = None,
    resample: ResampleOpt = False,
    ortho: OrthoOpt = False,
    open_: Annotated[
        bool, typer.Option("--open", help="open the scene also if it is of the catalogue; a path is always opened")
    ] = False,
) -> None:
    """Show the variables, the source and the assumptions of a scene, or the settings of a method.

    For a scene of the catalogue, the entry is shown and the scene is not opened.
    """
    from workbench.methods import METHODS, load, summary

    if scene in METHODS:
        room = load(scene)
        needs = ", ".join(need if isinstance(need, str) else " or ".join(need) for need in room.NEEDS)
        print(f"{scene}: {summary(scene)}\n  needs a scene with {needs}\n  settings, with their defaults:")
        for name, field in room.Config.model_fields.items():
            print(f"  {name} = {field.default!r}: {field.description}")
        return
    _check_names(scene=scene)
    from workbench.data.catalog import describe_entry, names

    if scene in names() and not (open_ or truth or key or after or beside or resample or ortho):
        print(describe_entry(scene))
        print(f"  sizes and ranges of its arrays: workbench describe {scene} --open")
        return
    from workbench.scene import describe as card

    print(card(_source(scene, truth, key, after, beside, resample).open(ortho=ortho)))


@app.command()
def convert(
    scene: SceneArg,
    out: Annotated[Path, typer.Argument(help="the Zarr folder to write; its name ends with .zarr")],
    chunks: Annotated[
        str | None, typer.Option(help="sizes of the blocks in the file, as band=16,y=128,x=128; -1 for all")
    ] = None,
    truth: TruthOpt = None,
    key: KeyOpt = None,
    ortho: OrthoOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Write a scene of any size as Zarr, block by block. After an interruption the same command continues; OUT appears at the end."""
    from workbench.data.convert import convert as write
    from workbench.runs.progress import progress_bar

    sizes = {d: _whole(n, "--chunks") for d, n in _pairs(chunks.split(","), "--chunks").items()} if chunks else None
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []  # one, made when the first block begins: a refused scene or name needs none

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar(shown=not quiet, desc=out.name, unit="block", total=total)))
            bars[0].n = done
            bars[0].refresh()

        try:
            write(scene, out, chunks=sizes, progress=show, truth=truth, keys=_pairs(key, "--key"), ortho=ortho)
        except KeyboardInterrupt:
            print("stopped; the same command continues", file=sys.stderr)
            raise typer.Exit(130) from None
    print(out)


@app.command()
def fetch(scene: SceneArg) -> None:
    """Download a scene of the catalogue if it is missing, verify its hash, and print its path."""
    from workbench.data.catalog import fetch as get

    print(get(scene))


@app.command()
def run(
    method: Annotated[str | None, typer.Argument(help="a method of `workbench list`")] = None,
    scene: Annotated[str | None, typer.Argument(help="a scene name or a path")] = None,
    set_: SetOpt = None,
    out: OutOpt = None,
    truth: TruthOpt = None,
    key: KeyOpt = None,
    after: AfterOpt = None,
    beside: BesideOpt = None,
    resample: ResampleOpt = False,
    resume: Annotated[Path | None, typer.Option("--resume", help="continue the unfinished run in this folder")] = None,
    data_root: DataRootOpt = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="with --resume: also a run of another machine that may still be running")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
    device: DeviceOpt = None,
    scheduler: SchedulerOpt = None,
    map_: MapOpt = None,
) -> None:
    """Run a method on a scene and write a run folder with settings, events and result."""
    from workbench.engines import cluster

    _check_names(method, scene, set_)
    if map_ is not None:
        from workbench.data.writers import check_map

        check_map(map_)
    with cluster.connected(scheduler) if scheduler is not None else cluster.own_threads():
        source = None if scene is None else _source(scene, truth, key, after, beside, resample)
        if resume is not None and (method or scene or set_ or out or truth or key or after or beside or resample):
            raise InputError("--resume DIR continues a run with its own method, scene and settings; give no others.")
        if data_root is not None and resume is None:
            raise InputError(
                "--data-root says where the data of --resume DIR are now; a new run takes the path of its scene."
            )
        _search(data_root)
        if take_over and resume is None:
            raise InputError("--take-over belongs to --resume DIR: it continues a run of another machine.")
        _run(method, source, set_, out, resume, take_over, json_, quiet, device, map_)


def _search(data_root: Path | None) -> None:
    """Search this folder for data that moved, here and in the processes that this one starts."""
    if data_root is not None:
        from workbench.data import moved

        os.environ[moved.ROOTS] = str(data_root.expanduser().resolve())
        moved.roots()


def _run(
    method: str | None,
    source: Source | None,
    set_: list[str] | None,
    out: Path | None,
    resume: Path | None,
    take_over: bool,
    json_: bool,
    quiet: bool,
    device: str | None,
    map_: Path | None,
) -> None:
    from workbench import runs
    from workbench.engines import is_follower
    from workbench.event import drain
    from workbench.execution import drive, start
    from workbench.execution import resume as continue_

    _choose(device)
    if resume is not None:
        about = runs.read(resume)
        if take_over and about["status"] == "running":
            print(f"taking over {resume}: assumes that {runs.assumed(about)}", file=sys.stderr)
        folder, trace, label = resume, continue_(resume, take_over=take_over), str(about["method"])
    elif method is None or source is None:
        raise InputError("`workbench run` needs METHOD and SCENE, or --resume DIR; `workbench list` shows both.")
    else:
        folder = out or runs.new_folder(RUNS, method, source.stem)
        trace, label = start(method, source, _pairs(set_, "--set"), folder), method
    follower = is_follower()
    try:
        outcome = drain(trace) if quiet or follower else drive(trace, label)
    except (runs.Stopped, KeyboardInterrupt):
        if follower:
            raise typer.Exit(130) from None
        print(f"stopped; continue with: workbench run --resume {folder}", file=sys.stderr)
        raise typer.Exit(130) from None
    if follower:  # only rank 0 of torchrun prints
        return
    if map_ is not None:
        from functools import partial

        from workbench.data.writers import write_map
        from workbench.engines import cluster

        write_map(outcome.result, map_, partial(cluster.blocks, here=True))
    numbers = runs.metrics(folder)
    for note in str(outcome.result.attrs.get("notes", "")).splitlines():
        print(f"note: {note}", file=sys.stderr)
    if not runs.read(folder)["scene"].get("labelled", True):
        print("note: the scene has no truth, so no metric says how right the result is", file=sys.stderr)
    _finish(folder, numbers, json_)


@app.command()
def report(
    method: Annotated[str, typer.Argument(help="a method of `workbench list`")],
    scene: SceneArg,
    set_: SetOpt = None,
    out: OutOpt = None,
    truth: TruthOpt = None,
    key: KeyOpt = None,
    after: AfterOpt = None,
    beside: BesideOpt = None,
    resample: ResampleOpt = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="a few steps only, to test that everything works")] = False,
    cell_timeout: CellTimeoutOpt = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
    device: DeviceOpt = None,
) -> None:
    """Execute the method's notebook with Papermill and export it: report.ipynb and report.html in the run folder."""
    from workbench import runs
    from workbench.reports.notebook import NotebookFailed
    from workbench.reports.notebook import report as make

    _check_names(method, scene, set_)
    _choose(device)
    source = _source(scene, truth, key, after, beside, resample)
    folder = out or runs.new_folder(RUNS, f"report-{method}", source.stem)
    options: dict[str, Any] = {"smoke": smoke, "cell_timeout": cell_timeout, "progress": not quiet}
    try:
        page = make(method, source, _pairs(set_, "--set"), folder, **options)
    except NotebookFailed as error:
        print(f"workbench: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"report: {page}", file=sys.stderr)
    _finish(folder, runs.metrics(folder), json_)


@app.command()
def sweep(
    notebook: Annotated[
        str, typer.Argument(help="anomaly, change, coresets, gradients, method (any method), or the path of an .ipynb")
    ],
    grid: Annotated[Path, typer.Argument(help="YAML file with parameters, grid and seeds; see docs/sweeps.md")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="cells executed at the same time")] = 1,
    on: Annotated[
        str | None, typer.Option("--on", help="tcp://host:port of a Dask scheduler whose workers share the folder")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder of the sweep (default: runs/sweep-NOTEBOOK-GRID)")
    ] = None,
    memory: Annotated[float | None, typer.Option("--memory", min=0.1, help="GB of memory that a cell may use")] = None,
    cell_timeout: CellTimeoutOpt = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
    device: DeviceOpt = None,
) -> None:
    """Execute a notebook for every combination of a grid; repeated, it executes only missing or stale cells."""
    from workbench.reports.sweep import sweep as make

    _choose(device)
    done = make(notebook, grid, out, jobs=jobs, on=on, memory_gb=memory, cell_timeout=cell_timeout, progress=not quiet)
    finished = len(done.rows) - len(done.failed)
    if json_:
        print(json.dumps({"sweep": str(done.folder), "finished": finished, "made": done.made, "rows": done.rows}))
    else:
        print(f"{finished} of {len(done.rows)} cells finished, {done.made} executed now\ntable: {done.table}")
    for row in done.failed:
        name = " ".join(f"{k}={v}" for k, v in row["varied"].items())
        print(f"workbench: cell {name} ({row['key']}): {row['status']}: {row['error']}", file=sys.stderr)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def rerun(
    folder: Annotated[Path, typer.Argument(help="folder of a finished run, report or cell of a sweep")],
    notebook: Annotated[
        Path | None,
        typer.Option("--notebook", help="your notebook that made the run; needed if it is not one of the workbench"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="repeat an imported run without a question")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="folder of the second run (default: FOLDER-rerun)")] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", min=0, help="relative difference up to which numbers count as equal")
    ] = None,
    data_root: DataRootOpt = None,
    json_: JsonOpt = False,
) -> None:
    """Repeat a run and compare all numbers; exit code 0: equal, 1: different, with a list of differences."""
    from workbench.reports.rerun import rerun as again
    from workbench.reports.rerun import would_execute
    from workbench.runs.imported import imported

    _search(data_root)
    if imported(folder) and not yes and sys.stdin.isatty():
        typer.echo(would_execute(folder, notebook), err=True)
        yes = typer.confirm("Execute this?", err=True)
        if not yes:
            raise typer.Exit(1)
    done = again(folder, out, tolerance=tolerance, notebook=notebook, yes=yes)
    print(json.dumps(done.as_dict()) if json_ else done.as_text())
    if not done.same:
        raise typer.Exit(1)


@app.command()
def detect(
    run_: Annotated[str, typer.Argument(metavar="RUN", help="name or path of a finished run of a detector, such as sarnet")],
    scene: SceneArg,
    out: Annotated[list[Path], typer.Argument(help="files to write: .gpkg, .geojson, .csv, .json (COCO)")],
    land: Annotated[
        Path | None,
        typer.Option("--land", help="vector file with polygons of land; boxes with their centre there are left out"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="lowest score (default: that of the run)")
    ] = None,
    decibels: Annotated[
        str, typer.Option("--decibels", help="LOW,HIGH: intensities in dB that become black and white")
    ] = "-25,5",
    key: KeyOpt = None,
    root: Annotated[Path, typer.Option("--root", help="folder of the runs")] = Path(RUNS),
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
    device: DeviceOpt = None,
    scheduler: SchedulerOpt = None,
) -> None:
    """Find objects in one scene of any size with a trained network, tile by tile, and write the boxes with their size in metres."""
    from workbench.engines import cluster
    from workbench.execution import detect as find_objects
    from workbench.runs.collection import find
    from workbench.runs.progress import progress_bar

    _choose(device)
    low, _, high = decibels.partition(",")
    try:
        stretch = float(low), float(high)
    except ValueError:
        raise InputError(f"--decibels takes LOW,HIGH, such as -25,5; got {decibels!r}.") from None
    folder = find(root, run_)
    with (
        cluster.connected(scheduler) if scheduler is not None else cluster.own_threads(),
        progress_bar(shown=not quiet, desc="blocks", unit="block", total=0) as bar,
    ):

        def show(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        source = _source(scene, None, key, None, None, False)
        found = find_objects(folder, source, out, land=land, threshold=threshold, decibels=stretch, progress=show)
    count = int(found.sizes["object"])
    if json_:
        print(json.dumps({"objects": count, "files": [str(p) for p in out]}))
        return
    print(f"{count:,} objects")
    for path in out:
        print(path)


@app.command()
def export(
    run_: Annotated[str, typer.Argument(metavar="RUN", help="name or path of a finished run")],
    out: Annotated[Path, typer.Argument(help="the .onnx file to write; a manifest and a loader are written beside it")],
    int8: Annotated[
        Path | None, typer.Option("--int8", help="calibrate with the inputs in this .npy file, and write 8-bit integers")
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="folder of the runs")] = Path(RUNS),
) -> None:
    """Export the trained network of a run as ONNX, with a manifest (.json) and a loader (.py) that needs no torch."""
    from workbench.execution import export as write
    from workbench.runs.collection import find

    for path in write(find(root, run_), out, int8):
        print(path)


@app.command()
def serve(
    names: Annotated[list[str] | None, typer.Argument(help="dashboards to serve (default: all)")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="folder of the runs that the pages list and write (default: runs)")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 5006,
    address: Annotated[str, typer.Option("--address", help="address to listen on")] = "127.0.0.1",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", help="HOST[:PORT] by which browsers reach it through a proxy (repeat)"),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option("--auth", help="JSON file of users and passwords, or an OAuth provider of Panel (github, ...)"),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", help="whom an OAuth provider lets in: a name, or @DOMAIN of addresses (repeat)"),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="let others in without authentication")] = False,
    data_root: Annotated[
        list[Path] | None,
        typer.Option("--data-root", help="folder from which visitors open files (repeat; default: the working directory)"),
    ] = None,
    catalogue_only: Annotated[bool, typer.Option("--catalogue-only", help="visitors open no files of their own")] = False,
    max_runs: Annotated[
        int | None, typer.Option("--max-runs", min=1, help="runs that pages have at work at once (default: cores)")
    ] = None,
    max_runs_per_user: Annotated[
        int | None, typer.Option("--max-runs-per-user", min=1, help="runs that one visitor has at work at once")
    ] = None,
    run_memory: Annotated[
        float | None,
        typer.Option("--run-memory", min=0.5, help="GB of memory that a run may have, with all processes that it starts"),
    ] = None,
    run_time: Annotated[float | None, typer.Option("--run-time", min=0.001, help="hours that a run may take")] = None,
    max_runs_size: Annotated[
        float | None, typer.Option("--max-runs-size", min=0, help="GB of all runs together; above it no run begins")
    ] = None,
    min_free: Annotated[
        float, typer.Option("--min-free", min=0, help="GB free on the disk of the runs; below it no run begins")
    ] = 1.0,
    admin: Annotated[
        list[str] | None, typer.Option("--admin", help="a user who may stop and delete the runs of all (repeat)")
    ] = None,
    upload_mb: Annotated[float, typer.Option("--upload-mb", min=1, help="MB of all uploads together")] = 2000.0,
    upload_days: Annotated[float, typer.Option("--upload-days", min=0, help="days after which an upload is deleted")] = 7.0,
    processes: Annotated[int, typer.Option("--num-procs", min=1, help="server processes that share the port")] = 1,
    show: Annotated[bool, typer.Option(help="open a browser")] = False,
) -> None:
    """Serve the dashboards, with a page that lists them and the recent runs."""
    from workbench.pages.frame.memory import ALLOCATOR
    from workbench.pages.frame.policy import Policy, environment
    from workbench.pages.landing.serving import Access, command, open_browser, protected

    access = Access(address, tuple(allow_origin or ()), auth, no_auth, tuple(user or ()))
    words = command(names or (), port=port, access=access, processes=processes)
    allowed = Policy(
        auth=auth is not None,
        users_file=access.users_file,
        users=access.users,
        origins=access.names(port),
        admins=tuple(admin or ()),
        max_runs=max_runs or os.cpu_count() or 1,
        max_runs_per_user=max_runs_per_user,
        upload_mb=upload_mb,
        upload_days=upload_days,
        runs_gb=max_runs_size,
        free_gb=min_free,
        catalogue_only=catalogue_only,
    )
    for folder in data_root or ():
        if not folder.is_dir():
            raise InputError(f"--data-root takes a folder; there is none at {folder}.")
    variables = {**protected(os.environ), **ALLOCATOR, **environment(allowed, data_root or [Path()], root or Path(RUNS))}
    variables |= {} if run_memory is None else {limits.MEMORY: str(run_memory)}
    variables |= {} if run_time is None else {limits.SECONDS: str(run_time * 3600)}
    if root is not None:
        if root.exists() and not root.is_dir():
            raise InputError(f"--root takes the folder of the runs; {root} is a file.")
        variables["WORKBENCH_RUNS"] = str(root)
    folder, place = root or RUNS, f"http://{access.place(port)}"
    if access.public and no_auth:
        print(
            f"--no-auth: everyone who reaches {access.address}, port {port}, reads the data that this server reads, and starts, "
            "stops and deletes runs.",
            file=sys.stderr,
        )
    print(f"Starting the pages with the runs of {folder}, a few seconds; then open {place}", file=sys.stderr, flush=True)
    if show:
        open_browser(place)
    os.execve(words[0], words, variables)


RootOpt = Annotated[Path, typer.Option("--root", help="folder of the runs")]
MethodOpt = Annotated[str | None, typer.Option("--method", help="only runs of this method")]
OnSceneOpt = Annotated[str | None, typer.Option("--scene", help="only runs on this scene")]
StatusOpt = Annotated[str | None, typer.Option("--status", help="running, finished, stopped, failed, killed or damaged")]
TagOpt = Annotated[str | None, typer.Option("--tag", help="only runs with this tag")]
WhereOpt = Annotated[
    list[str] | None, typer.Option("--where", help="a metric and a bound, such as auc>=0.9 (repeat for more)")
]
InsideOpt = Annotated[bool, typer.Option("--all", help="also the runs inside reports and the cells of sweeps")]


@runs_commands.command("list")
def runs_list(
    root: RootOpt = Path(RUNS),
    method: MethodOpt = None,
    scene: OnSceneOpt = None,
    status: StatusOpt = None,
    tag: TagOpt = None,
    where: WhereOpt = None,
    inside: InsideOpt = False,
    json_: JsonOpt = False,
) -> None:
    """Runs, oldest first: status, method, scene, time, the first numbers, and tags."""
    selected = _chosen(root, method, scene, status, tag, where, inside)
    if json_:
        keys = ("name", "method", "scene", "status", "seconds", "metrics", "tags")
        rows = [
            {"folder": str(e.folder), **{k: getattr(e, k) for k in keys}, "imported": bool(e.imported)} for e in selected
        ]
        print(json.dumps(rows))
        return
    rows = []
    for e in selected:
        numbers = "  ".join(f"{k} {e.metrics[k]:.4g}" for k in e.headline[:3])
        rows.append((e.name, e.note, e.method, e.scene, f"{e.seconds:.0f} s", numbers, ", ".join(e.marks)))
    _print_table(("run", "status", "method", "scene", "time", "numbers", "tags"), rows)
    if not rows:
        print(f"no such run under {root}", file=sys.stderr)


@runs_commands.command("show")
def runs_show(run_: Annotated[str, typer.Argument(metavar="RUN", help="name or path")], root: RootOpt = Path(RUNS)) -> None:
    """Show all facts, settings, numbers and files of a run folder."""
    from workbench import runs
    from workbench.runs.collection import find, tags
    from workbench.runs.imported import imported

    folder = find(root, run_)
    about = runs.read(folder)
    scene = about.get("scene") or {}
    facts = {k: about.get(k) for k in ("method", "status", "error", "start", "end", "seconds", "command", "commit", "dirty")}
    facts |= {
        "imported": imported(folder),
        "tags": ", ".join(tags(folder)),
        "scene": scene.get("id"),
        "data": runs.data_hash(about),
    }
    facts |= {k: about.get(k) for k in ("code", "cpu", "device", "threads")}
    for name, value in (facts | (about.get("versions") or {})).items():
        if value not in (None, "", False):
            print(f"{_printable(name):<14} {_printable(value)}")
    for title, values in (("settings", about.get("config") or {}), ("numbers", runs.metrics(folder))):
        print(title)
        for name, value in values.items():
            print(f"  {_printable(name):<28} {f'{value:.6g}' if isinstance(value, float) else _printable(value)}")
    print("files")
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.parent.name != "frames"):
        print(f"  {_printable(path.relative_to(folder))}")


@runs_commands.command("tag")
def runs_tag(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="names or paths of runs")],
    add: Annotated[list[str] | None, typer.Option("--add", help="a tag to give these runs (repeat for more)")] = None,
    take: Annotated[
        list[str] | None, typer.Option("--remove", help="a tag to take from these runs (repeat for more)")
    ] = None,
    root: RootOpt = Path("runs"),
) -> None:
    """Give runs tags, and take tags away; print the tags that each run has then."""
    from workbench.runs.collection import find, tag

    if not (add or take):
        raise InputError("Give --add TAG or --remove TAG; `workbench runs show RUN` shows the tags of a run.")
    for folder in [find(root, name) for name in names]:
        print(f"{folder}: {', '.join(tag(folder, add=add or (), take=take or ())) or 'no tags'}")


@runs_commands.command("compare")
def runs_compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="names or paths of two runs or more")],
    root: RootOpt = Path(RUNS),
    out: Annotated[Path | None, typer.Option("--out", help="file for the page (.html) or the curves (.png)")] = None,
    json_: JsonOpt = False,
) -> None:
    """Show what differs between runs and all their numbers; write a page or their curves with --out."""
    from workbench.runs.collection import compared, find, labels

    folders = [find(root, name) for name in names]
    if len(folders) < 2:
        raise InputError("A comparison needs two runs or more; `workbench runs list` shows them.")
    table = compared(folders)
    if out is not None:
        from workbench.reports.export import write_comparison

        print(f"comparison: {write_comparison(folders, out)}", file=sys.stderr)
    if json_:
        print(json.dumps({"runs": [str(f) for f in folders], **table}))
        return
    rows = [(name, *map(_as_text, values)) for part in table.values() for name, values in part.items()]
    _print_table(("", *labels(folders)), rows)


@runs_commands.command("prune")
def runs_prune(
    root: RootOpt = Path(RUNS),
    method: MethodOpt = None,
    scene: OnSceneOpt = None,
    status: Annotated[
        str, typer.Option("--status", help="statuses of the runs, separated by commas")
    ] = "stopped,failed,killed",
    where: WhereOpt = None,
    days: Annotated[float, typer.Option("--days", min=0, help="only runs that started longer ago")] = 0.0,
    delete: Annotated[bool, typer.Option("--delete/--dry-run", help="delete; by default the runs are only listed")] = False,
) -> None:
    """List, and with --delete remove, runs; by default those that did not finish."""
    from workbench.runs.collection import STATUSES, megabytes, prunable, remove, size

    wanted = [s.strip() for s in status.split(",")]
    for one in wanted:
        if one not in STATUSES or one == "running":
            raise InputError(
                f"--status takes {', '.join(s for s in STATUSES if s != 'running')}, separated by commas; got {one!r}."
            )
    unwanted = prunable(_chosen(root, method, scene, None, None, where, False), statuses=wanted, days=days)
    _print_table(
        ("run", "status", "method", "size"), [(e.name, e.status, e.method, megabytes(size(e.folder))) for e in unwanted]
    )
    total = f"{len(unwanted)} runs, {megabytes(sum(size(e.folder) for e in unwanted))}"
    if delete:
        remove(unwanted, root)
        print(f"deleted {total}", file=sys.stderr)
    else:
        print(f"nothing is deleted: {total} would be, with --delete", file=sys.stderr)


@runs_commands.command("export")
def runs_export(
    run_: Annotated[str, typer.Argument(metavar="RUN", help="name or path")],
    out: Annotated[Path, typer.Option("--out", help="file to write: .html, one page, or .zip, an RO-Crate with checksums")],
    root: RootOpt = Path(RUNS),
) -> None:
    """Export a run as one self-contained page, or as an archive with checksums."""
    from workbench.runs.collection import find

    folder = find(root, run_)
    if out.suffix == ".zip":
        from workbench.runs.crate import pack

        print(pack(folder, out))
    elif out.suffix == ".html":
        from workbench.reports.export import write_page

        print(write_page(folder, out))
    else:
        raise InputError(f"A run is exported as .html or as .zip; got {out.name!r}.")


@runs_commands.command("import")
def runs_import(
    file: Annotated[Path, typer.Argument(help="a .zip made by `workbench runs export`")],
    root: RootOpt = Path(RUNS),
    largest: Annotated[float, typer.Option("--largest", min=0, help="GB that the run may have when it is unpacked")] = 4.0,
) -> None:
    """Check every file of an exported run against its SHA-256, and copy the run, marked as imported, into the folder of runs."""
    from workbench.runs.crate import unpack

    print(unpack(file, root, largest_gb=largest))


def _chosen(
    root: Path,
    method: str | None,
    scene: str | None,
    status: str | None,
    tag: str | None,
    where: list[str] | None,
    inside: bool,
) -> list[Any]:
    from workbench.runs.collection import entries, select

    return select(entries(root, inside=inside), method=method, scene=scene, status=status, tag=tag, where=where or ())


def _as_text(value: Any) -> str:
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _printable(text: object) -> str:
    """The text without control characters: a run of somebody else could rewrite the terminal with them."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def _print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    rows = [tuple(_printable(cell) for cell in row) for row in rows]
    wide = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    for row in (head, *rows) if rows else ():
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, wide, strict=True)).rstrip())


def _check_names(method: str | None = None, scene: str | None = None, set_: list[str] | None = None) -> None:
    """Raise InputError for a misspelt method, scene or setting before slow imports."""
    from workbench.config import override
    from workbench.data.catalog import check_name as check_scene
    from workbench.methods import check_name as check_method
    from workbench.methods import load

    if method is not None:
        check_method(method)
    if scene is not None:
        check_scene(scene)
    if method is not None and set_:
        override(load(method).Config(), _pairs(set_, "--set"))


def _source(
    scene: str, truth: Path | None, key: list[str] | None, after: Path | None, beside: list[str] | None, resample: bool
) -> Source:
    """The Source that the options of a command name."""
    from workbench.data.source import Source

    files = _pairs(beside, "--beside", "ROLE=FILE, such as lidar=height.tif")
    if after is not None:
        if "after" in files:
            raise InputError(
                "--after FILE and --beside after=FILE name the image of the second date twice; give one of the two."
            )
        files["after"] = str(after)
    return Source(scene, None if truth is None else str(truth), _pairs(key, "--key"), files, resample)


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option} takes whole numbers, got {text!r}.") from None


def _pairs(given: list[str] | None, option: str, form: str = "name=value") -> dict[str, str]:
    """`["a=1", "b=2"]` -> `{"a": "1", "b": "2"}`. form: what the option takes, for the error."""
    pairs = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"{option} takes {form}; got {text!r}.")
        pairs[name.strip()] = value
    return pairs


def _choose(device: str | None) -> None:
    if device is not None:
        os.environ["WORKBENCH_DEVICE"] = device


def _finish(folder: Path, numbers: dict[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"run": str(folder), "metrics": numbers}))
        return
    for name, value in numbers.items():
        print(f"{name:<28} {value:.6g}")
    print(f"run folder: {folder}")


def main() -> NoReturn:
    """Entry point: an InputError becomes one message and exit code 2."""
    os.environ.setdefault(provenance.COMMAND, shlex.join(["workbench", *sys.argv[1:]]))
    limits.apply()
    try:
        app(standalone_mode=True)
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
