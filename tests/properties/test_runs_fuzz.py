"""Damaged run folders: whatever byte, field or file is wrong, each operation gives a result or InputError, and lists go on.

A sample here; `make fuzz` sets WORKBENCH_FUZZ=2000 for 2000 folders, each with one or two faults. All lists, both pages and the
quick operations are tried on each folder, and one of the operations that take longer, in turn.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.properties.fuzzing import CASES, SEED, limited, spoiled
from tests.unit.test_collection import make
from workbench import cli, execution, runs
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import execute, start
from workbench.pages.landing.page import landing
from workbench.pages.runs.page import Runs
from workbench.reports.export import write_comparison, write_page
from workbench.runs.collection import compared, curves, entries, prunable, remove, select
from workbench.runs.crate import pack
from workbench.runs.watch import Live

TOGETHER = 25  # damaged folders in one folder of runs, for the operations that read all of them
PART = 200  # damaged folders of one test; more would take longer than a test may
TYPES: tuple[Any, ...] = (
    None, True, -1, 0, 7, 1e308, 10**30, float("nan"), float("inf"), "", "x", "\ud800", "running", "../../etc/passwd", "a\0b", "\x1b[2J",
    [], [1], [[]], {}, {"a": 1}, {"scene": "--scheduler=tcp://x:1"},
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-32", "latin-1", "utf-8-sig", "cp037")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sound runs: a finished one with everything in it, one of a real method, and one that was stopped with a checkpoint."""
    root = tmp_path_factory.mktemp("good")
    folder = make(root / "finished", 0.9, steps=10)
    (folder / "tags.json").write_text('{"tags": ["for the talk"]}')
    (folder / "report.html").write_text("<p>a report</p>")
    make(folder / "inner", 0.5, method="rx")
    execute("rx", "sim-coast-town", {"seed": 3}, root / "method")
    trace = start("tdds", "digits", {"epochs": 3, "J": 3, "compare": ["random"]}, root / "stopped")
    for _ in range(2):
        next(trace)
    trace.close()
    (root / "stopped" / "control.json").write_text('{"request": "pause"}')
    return root


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in inner for place in _places(one, (*at, key)))]


def _retyped(content: bytes, rng: random.Random) -> bytes:
    """A JSON file, or a line of JSON Lines, in which one value has another type, or a key is missing."""
    lines = content.split(b"\n") if content.count(b"\n{") else [content]
    n = rng.randrange(len(lines))
    try:
        value = json.loads(lines[n])
    except (ValueError, RecursionError):  # it was spoiled before
        return content[: len(content) // 2]
    place = rng.choice(_places(value))
    if not place:
        value = rng.choice(TYPES)
    else:
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        if rng.random() < 0.3 and isinstance(holder, dict):
            del holder[place[-1]]
        else:
            holder[place[-1]] = rng.choice(TYPES)
    lines[n] = json.dumps(value).encode()
    return b"\n".join(lines)


def damage(folder: Path, rng: random.Random) -> str:
    """Spoil one file of a run folder, and say how."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    records = [p for p in files if p.suffix in (".json", ".jsonl")]
    path = rng.choice(records if rng.random() < 0.6 else files)
    kind = rng.choice(("bytes", "bytes", "type", "type", "type", "folder", "gone", "encoding", "empty", "deep", "link"))
    content = path.read_bytes()
    path.unlink()
    if kind == "bytes":
        path.write_bytes(spoiled(content, rng)[0] if content else b"x")
    elif kind == "type" and path.suffix in (".json", ".jsonl"):
        path.write_bytes(_retyped(content, rng))
    elif kind == "folder":
        path.mkdir()
    elif kind == "encoding" and path.suffix in (".json", ".jsonl", ".txt", ".html"):
        path.write_bytes(content.decode(errors="replace").encode(rng.choice(ENCODINGS), errors="replace"))
    elif kind == "deep":
        path.write_bytes(b"[" * 100_000 if rng.random() < 0.5 else b'{"a":' * 300 + b"1" + b"}" * 300 + b"\n")
    elif kind == "link":
        path.symlink_to(rng.choice((path, Path("nowhere"))))
    elif kind != "gone":
        path.write_bytes(b"")
    return f"{path.relative_to(folder.parent)}: {kind}"


def command(*words: str) -> None:
    """A command line, in this process; InputError as `workbench.cli.main` would print it."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.app([str(w) for w in words], standalone_mode=False)


def _resume(folder: Path) -> None:
    trace = execution.resume(folder)
    try:
        next(trace, None)
    finally:
        trace.close()


def _live(folder: Path) -> None:
    live = Live(folder)
    live.poll()
    assert isinstance(live.status, str)
    assert live.error is None or isinstance(live.error, str)
    for name in live.frames:
        live.frame(name)


OPERATIONS: dict[str, Callable[[Path, Path], object]] = {
    "show": lambda folder, other: command("runs", "show", folder),
    "compare": lambda folder, other: compared([folder, other]),
    "curves": lambda folder, other: curves([other, folder]),
    "compare, page": lambda folder, other: write_comparison([folder, other], folder.parent.parent / "both.html"),
    "replay": lambda folder, other: drain(runs.replay(folder)),
    "live": lambda folder, other: _live(folder),
    "checkpoint": lambda folder, other: runs.checkpoint(folder),
    "launch": lambda folder, other: runs.launch_failure(folder),
    "export, page": lambda folder, other: write_page(folder, folder.parent.parent / "one.html"),
    "export, archive": lambda folder, other: pack(folder, folder.parent.parent / "one.zip").unlink(),
    "resume": lambda folder, other: _resume(folder),
}
OFTEN = ("show", "compare", "curves", "replay", "live", "checkpoint", "launch", "export, archive")  # milliseconds each


@pytest.mark.long
@pytest.mark.parametrize("part", range(max(1, CASES // PART)))
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of h5netcdf, when half-made objects are collected
def test_a_damaged_folder_is_a_row_and_every_operation_ends_in_a_result_or_input_error(
    good: Path, tmp_path: Path, part: int
) -> None:
    rng = random.Random(f"{SEED} runs {part}")
    ended: Counter[str] = Counter()
    browser: Runs | None = None
    root = tmp_path / "runs"
    for batch in range(max(1, min(CASES, PART) // TOGETHER)):
        shutil.rmtree(root, ignore_errors=True)
        kinds = {}
        for n in range(TOGETHER):
            folder = root / f"{batch}-{n}"
            shutil.copytree(good / ("stopped" if n % 3 == 0 else "finished" if n % 3 == 1 else "method"), folder)
            kinds[folder] = [damage(folder, rng) for _ in range(rng.choice((1, 1, 2))) if any(folder.rglob("*.json"))]
        told = "\n".join(f"{folder.name}: {how}" for folder, how in kinds.items())
        with limited():  # all of them at once
            try:
                found = entries(root, inside=True)
                command("runs", "list", "--root", root, "--all")
                command("runs", "list", "--root", root, "--json")
                command("runs", "prune", "--root", root)
                landing(root, ["runs", "watch"])
                if browser is None:
                    browser = Runs(root, inside=True)
                browser.refresh()
                browser.picked = "|".join(e.name for e in rng.sample(browser.entries, 4))
                for tab in (1, 2, 0):
                    browser.tab = tab
                    browser._fill_table()
                browser._show_picked()
                browser.poll()
            except Exception:
                print(told)
                raise
        listed = {e.folder for e in found}
        assert listed >= {folder for folder in kinds if (folder / "run.json").exists()}
        for folder, how in kinds.items():
            names = [*OFTEN, rng.choice(sorted(OPERATIONS.keys() - set(OFTEN)))]
            for name in names:
                try:
                    with limited():
                        OPERATIONS[name](folder, good / "finished")
                    ended[f"{name}: result"] += 1
                except InputError as error:
                    str(error).encode()  # can be printed
                    ended[f"{name}: refused"] += 1
                except BaseException:
                    print(f"{name} of {folder.name}: {how}")
                    raise
        doomed = prunable(entries(root), statuses=("damaged", "finished", "stopped", "failed", "killed"))
        remove(doomed, root)
        assert not select(entries(root), status="damaged")
    assert browser is not None
    browser.close()
    if CASES:
        print(dict(sorted(ended.items())))
    assert min(ended[f"{name}: result"] for name in OFTEN) > 0
    assert min(ended[f"{name}: refused"] for name in ("show", "compare", "curves", "replay")) > 0
