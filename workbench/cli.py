"""The command line: every verb only calls the library. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from workbench.errors import InputError

app = typer.Typer(
    name="workbench",
    help="Open a remote-sensing scene, run a learning system on it, watch inside, and get an honest report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SceneArg = Annotated[
    str,
    typer.Argument(
        help="a name of `workbench list`, or a path: .mat, ENVI, GeoTIFF, NetCDF, HDF5, Zarr, a product folder (also SAFE), chips"
    ),
]
TruthOpt = Annotated[Path | None, typer.Option("--truth", help="file with the truth mask, where the scene's file has none")]
KeyOpt = Annotated[
    list[str] | None,
    typer.Option("--key", help="cube=NAME, truth=NAME, scale=db, swath=IW2, ...: what a file does not say by itself"),
]
SetOpt = Annotated[list[str] | None, typer.Option("--set", help="name=value, a setting of the method (repeat for more)")]
OutOpt = Annotated[Path | None, typer.Option("--out", help="run folder to make (default: a new one under runs/)")]
OrthoOpt = Annotated[bool, typer.Option("--ortho", help="put EMIT's swath on its map by the lookup table in the file")]
JsonOpt = Annotated[bool, typer.Option("--json", help="end with one line of JSON on standard output")]
QuietOpt = Annotated[bool, typer.Option("--quiet", help="no progress bar")]
SchedulerOpt = Annotated[
    str | None, typer.Option("--scheduler", help="work on the Dask cluster of this scheduler, tcp://HOST:8786")
]
MapOpt = Annotated[
    Path | None, typer.Option("--map", help="also write the score there: .tif (cloud-optimised GeoTIFF) or .zarr")
]
DeviceOpt = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")]


@app.command("list")
def list_(json_: JsonOpt = False) -> None:
    """Scenes and methods."""
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
        "\nA path works wherever a scene does: .mat, ENVI, GeoTIFF, NetCDF, HDF5, Zarr, the folder of an EnMAP, DESIS or "
        "Sentinel-1 product, a folder or .zip of chips by class, a folder of images with boxes, a coreset's .yml."
    )


@app.command()
def describe(scene: SceneArg, truth: TruthOpt = None, key: KeyOpt = None, ortho: OrthoOpt = False) -> None:
    """What is in a scene, where it comes from, and what the reader had to guess; or the settings of a method."""
    from workbench.methods import METHODS, load
    from workbench.scene import describe as card

    if scene in METHODS:
        config = load(scene).Config
        for name, field in config.model_fields.items():
            print(f"  {name} = {field.default!r}: {field.description}")
        return
    print(card(_open(scene, truth, key, ortho)))


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
    """Write a scene of any size as Zarr, block by block. Interrupted, the same command continues; until then there is no OUT."""
    from tqdm.auto import tqdm

    from workbench.data.convert import convert as write

    sizes = {d: _whole(n, "--chunks") for d, n in _pairs(chunks.split(","), "--chunks").items()} if chunks else None
    with tqdm(desc=out.name, unit="block", disable=quiet, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        try:
            write(scene, out, chunks=sizes, progress=show, truth=truth, keys=_pairs(key, "--key"), ortho=ortho)
        except KeyboardInterrupt:
            print("stopped; the same command continues", file=sys.stderr)
            raise typer.Exit(130) from None
    print(out)


@app.command()
def fetch(scene: SceneArg) -> None:
    """Make sure a catalogue scene is on this machine, verified; print where."""
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
    resume: Annotated[Path | None, typer.Option("--resume", help="continue the unfinished run in this folder")] = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
    device: DeviceOpt = None,
    scheduler: SchedulerOpt = None,
    map_: MapOpt = None,
) -> None:
    """Run a method on a scene and leave a run folder with everything in it."""
    from workbench.engines import cluster

    if map_ is not None:
        from workbench.data.writers import check_map

        check_map(map_)
    with cluster.connected(scheduler) if scheduler is not None else contextlib.nullcontext():
        _run(method, scene, set_, out, truth, key, resume, json_, quiet, device, map_)


def _run(
    method: str | None,
    scene: str | None,
    set_: list[str] | None,
    out: Path | None,
    truth: Path | None,
    key: list[str] | None,
    resume: Path | None,
    json_: bool,
    quiet: bool,
    device: str | None,
    map_: Path | None,
) -> None:
    from workbench import runs
    from workbench.engines import is_follower
    from workbench.event import drain
    from workbench.execution import RUNS, drive, start
    from workbench.execution import resume as continue_

    _choose(device)
    if resume is not None:
        if method or scene or set_ or out or truth or key:
            raise InputError(
                "--resume DIR continues a run as it was begun; it takes no method, scene or settings beside it."
            )
        folder, trace, label = resume, continue_(resume), str(runs.read(resume)["method"])
    elif method is None or scene is None:
        raise InputError("`workbench run` needs METHOD and SCENE, or --resume DIR; `workbench list` shows both.")
    else:
        folder = out or runs.new_folder(RUNS, method, Path(scene).stem)
        trace, label = start(method, scene, _pairs(set_, "--set"), folder, truth=truth, keys=_pairs(key, "--key")), method
    follower = is_follower()
    try:
        outcome = drain(trace) if quiet or follower else drive(trace, label)
    except (runs.Stopped, KeyboardInterrupt):
        if follower:
            raise typer.Exit(130) from None
        print(f"stopped; continue with: workbench run --resume {folder}", file=sys.stderr)
        raise typer.Exit(130) from None
    if follower:  # rank 0 of torchrun says it all
        return
    if map_ is not None:
        from workbench.data.writers import write_map
        from workbench.engines import cluster

        write_map(outcome.result, map_, cluster.blocks)
    numbers = runs.metrics(folder)
    for note in str(outcome.result.attrs.get("notes", "")).splitlines():
        print(f"note: {note}", file=sys.stderr)
    _finish(folder, numbers, json_)


@app.command()
def report(
    method: Annotated[str, typer.Argument(help="a method of `workbench list`")],
    scene: SceneArg,
    set_: SetOpt = None,
    out: OutOpt = None,
    truth: TruthOpt = None,
    key: KeyOpt = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="a few steps only, to see that everything works")] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
    device: DeviceOpt = None,
) -> None:
    """Execute the method's notebook with Papermill and export it: report.ipynb and report.html in the run folder."""
    from workbench import runs
    from workbench.execution import RUNS
    from workbench.reporting import report as make

    _choose(device)
    folder = out or runs.new_folder(RUNS, f"report-{method}", Path(scene).stem)
    page = make(
        method, scene, _pairs(set_, "--set"), folder, truth=truth, keys=_pairs(key, "--key"), smoke=smoke, progress=not quiet
    )
    print(f"report: {page}", file=sys.stderr)
    _finish(folder, runs.metrics(folder), json_)


@app.command()
def serve(
    names: Annotated[list[str] | None, typer.Argument(help="dashboards to serve (default: all)")] = None,
    port: Annotated[int, typer.Option(help="port to listen on")] = 5006,
    show: Annotated[bool, typer.Option(help="open a browser")] = False,
) -> None:
    """Serve the dashboards with Panel."""
    from workbench.errors import did_you_mean
    from workbench.resources import folder

    pages = {p.stem: p for p in sorted(folder("dashboards").glob("*.py"))}
    for name in names or []:
        if name not in pages:
            raise InputError(f"There is no dashboard {name!r}; there are {', '.join(pages)}.{did_you_mean(name, pages)}")
    files = [str(pages[n]) for n in (names or pages)]
    command = [sys.executable, "-m", "panel", "serve", *files, "--port", str(port), "--warm", *(["--show"] if show else [])]
    os.execv(sys.executable, command)


def _open(scene: str, truth: Path | None, key: list[str] | None, ortho: bool = False) -> Any:
    from workbench.data.catalog import open_scene

    return open_scene(scene, truth=truth, keys=_pairs(key, "--key"), ortho=ortho)


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option} takes whole numbers, got {text!r}.") from None


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`["a=1", "b=2"]` -> `{"a": "1", "b": "2"}`."""
    pairs = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"{option} takes name=value, got {text!r}.")
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
    try:
        app(standalone_mode=True)
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
