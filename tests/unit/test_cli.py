"""The command line as a user meets it: what comes on which stream, and one clear message for every wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import xarray as xr

from tests.driving import mounted
from workbench import runs
from workbench.cli import main
from workbench.data.writers import write_map
from workbench.engines import cluster
from workbench.errors import InputError

TINY = [
    "--set",
    "steps=2",
    "--set",
    "passes=1",
    "--set",
    "pixels=50",
    "--set",
    "embed=8",
    "--set",
    "code=4",
    "--set",
    "inner=8",
]


@pytest.fixture
def workbench(capsys, monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["workbench", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


@pytest.fixture
def cube_file(tmp_path_factory):
    """A 12 x 10 x 8 cube with truth, as MATLAB v5."""
    path = tmp_path_factory.mktemp("data") / "mine.mat"
    rng = np.random.default_rng(0)
    truth = np.zeros((12, 10), np.uint8)
    truth[3, 4] = truth[8, 2] = 1
    cube = rng.normal(100, 5, (12, 10, 8)) + 40 * truth[..., None]
    scipy.io.savemat(path, {"data": cube.astype(np.float32), "map": truth})
    return path


def refused(answer, *words):
    """Exit code 2, nothing on standard output, one message of one line holding all the words."""
    code, out, err = answer
    assert code == 2, (out, err)
    assert out == ""
    messages = [line for line in err.splitlines() if line.startswith("workbench:")]
    assert len(messages) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word.lower() in messages[0].lower(), (word, messages[0])


def test_list_names_scenes_and_methods(workbench):
    code, out, _ = workbench("list")
    assert code == 0
    for name in ("sim-coast-town", "abu-airport-1", "digits", "bsdm", "local-rx", "tdds"):
        assert name in out


def test_describe_a_path_tells_what_was_guessed(workbench, cube_file):
    code, out, _ = workbench("describe", cube_file)
    assert code == 0
    assert "band 8 x y 12 x x 10" in out
    assert "2 marked pixels" in out
    assert "note:" in out
    assert "sha256" in out


def test_run_with_json_ends_standard_output_with_one_object(workbench, cube_file, tmp_path):
    code, out, err = workbench("run", "rx", cube_file, "--json", "--out", tmp_path / "r")
    assert code == 0, err
    last = json.loads(out.splitlines()[-1])
    assert last["run"] == str(tmp_path / "r")
    assert last["metrics"]["auc"] == 1.0  # a 40-unit step in all of 8 bands of spread 5 is far outside the background
    assert runs.read(tmp_path / "r")["status"] == "finished"
    assert runs.read(tmp_path / "r")["scene"]["sha256"] != ""


def test_without_out_the_run_lands_under_runs(workbench, cube_file, tmp_path):
    assert workbench("run", "rx", cube_file, "--quiet")[0] == 0
    (folder,) = runs.list_runs(tmp_path / "runs")
    assert folder.name.endswith("-rx-mine")


@pytest.mark.long
def test_an_interrupted_run_is_resumed_to_the_same_numbers(workbench, tmp_path):
    from workbench.execution import start

    scene, settings = (
        "sim-dry-airfield",
        {"steps": 6, "passes": 2, "pixels": 200, "embed": 8, "code": 4, "inner": 8, "width": 6},
    )
    whole = start("bsdm", scene, settings, tmp_path / "whole")
    for _ in whole:
        pass
    part = start("bsdm", scene, settings, tmp_path / "part")
    for _ in range(4):
        next(part)
    part.close()
    assert runs.read(tmp_path / "part")["status"] == "stopped"
    code, out, err = workbench("run", "--resume", tmp_path / "part", "--quiet", "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["metrics"] == runs.metrics(tmp_path / "whole")
    steps = [line["step"] for line in runs.events(tmp_path / "part")]
    assert steps == [line["step"] for line in runs.events(tmp_path / "whole")]


# --- wrong inputs: one message, exit code 2, nothing written ----------------------------------------------------------


def mat(tmp_path, **arrays):
    path = tmp_path / "bad.mat"
    scipy.io.savemat(path, arrays)
    return path


def envi(tmp_path, data: bytes | None, **changes):
    header = {
        "samples": 4, "lines": 5, "bands": 3, "header offset": 0, "data type": 4, "interleave": "bsq", "byte order": 0,
    } | changes  # fmt: skip
    path = tmp_path / "cube.hdr"
    path.write_text("ENVI\n" + "\n".join(f"{k} = {v}" for k, v in header.items()) + "\n")
    if data is not None:
        (tmp_path / "cube").write_bytes(data)
    return path


def truncated(tmp_path, cube_file):
    path = tmp_path / "short.mat"
    path.write_bytes(cube_file.read_bytes()[:700])
    return path


GOOD = np.random.default_rng(1).normal(10, 1, (6, 7, 5)).astype(np.float32)


def all_nan_band(cube):
    cube = cube.copy()
    cube[:, :, 2] = np.nan
    return cube


WRONG = {
    "missing file": (lambda t, c: t / "nowhere.mat", ["nowhere.mat"]),
    "truncated mat": (truncated, ["short.mat"]),
    "no 3-D array": (lambda t, c: mat(t, a=np.ones((3, 3)), b=np.arange(4)), ["3-D"]),
    "two candidate cubes": (lambda t, c: mat(t, one=GOOD, two=GOOD + 1), ["one", "two", "--key cube="]),
    "ENVI header without data": (lambda t, c: envi(t, None), ["data"]),
    "ENVI with fewer bytes": (lambda t, c: envi(t, b"\0" * 100), ["100", "240"]),
    "all-NaN band": (lambda t, c: mat(t, data=all_nan_band(GOOD)), ["band", "2"]),
    "constant cube": (lambda t, c: mat(t, data=np.full((6, 7, 5), 3.0, np.float32)), ["constant"]),
    "complex data": (lambda t, c: mat(t, data=GOOD + 1j), ["complex"]),
    "2-D image": (lambda t, c: mat(t, data=np.ones((60, 70))), ["3-D"]),
    "unknown scene": (lambda t, c: "abu-airprt-1", ["abu-airprt-1", "did you mean", "abu-airport-1"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_scene_that_cannot_be_used(case, workbench, cube_file, tmp_path):
    make, words = WRONG[case]
    source = make(tmp_path, cube_file)
    before = set(tmp_path.rglob("*"))
    refused(workbench("run", "rx", source, "--out", tmp_path / "out"), *words)
    assert set(tmp_path.rglob("*")) == before


def test_truth_of_another_size_names_both(workbench, cube_file, tmp_path):
    scipy.io.savemat(tmp_path / "truth.mat", {"map": np.eye(9, dtype=np.uint8)})
    refused(workbench("run", "rx", cube_file, "--truth", tmp_path / "truth.mat", "--out", tmp_path / "o"), "12", "10", "9")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "rxx", "FILE"], ["rxx", "did you mean", "'rx'"]),
        (["run", "ridge-rx", "FILE", "--set", "rigde=1"], ["rigde", "did you mean", "'ridge'"]),
        (["run", "ridge-rx", "FILE", "--set", "ridge=-1"], ["ridge"]),
        (["run", "ridge-rx", "FILE", "--set", "ridge"], ["name=value"]),
        (["run", "rx", "FILE", "--key", "cube=dta"], ["dta", "did you mean", "'data'"]),
        (["run", "rx"], ["METHOD and SCENE"]),
        (["describe", "abu-airprt-1"], ["did you mean", "abu-airport-1"]),
        (["run", "--resume", "nowhere"], ["not a run folder"]),
        (["serve", "anomly"], ["did you mean", "'anomaly'"]),
        (["run", "rx", "FILE", "--device", "tpu9"], ["tpu9"]),
    ],
)
def test_words_that_are_not_known(arguments, words, workbench, cube_file, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DEVICE", "auto")
    before = set(tmp_path.rglob("*"))
    refused(workbench(*[cube_file if a == "FILE" else a for a in arguments]), *words)
    assert set(tmp_path.rglob("*")) == before


def test_an_output_folder_that_cannot_be_made(workbench, cube_file, tmp_path):
    (tmp_path / "file").write_text("")
    refused(workbench("run", "rx", cube_file, "--out", tmp_path / "file" / "run"), "--out")


def test_an_output_folder_that_holds_a_run(workbench, cube_file, tmp_path):
    assert workbench("run", "rx", cube_file, "--out", tmp_path / "r")[0] == 0
    before = (tmp_path / "r" / "run.json").read_text()
    refused(workbench("run", "rx", cube_file, "--out", tmp_path / "r"), "nothing is overwritten")
    assert (tmp_path / "r" / "run.json").read_text() == before


@pytest.mark.parametrize("size", ["4k", "24k"])
def test_a_full_disk(workbench, cube_file, tmp_path, size):
    with mounted(tmp_path / "disk", f"size={size}") as disk:
        refused(workbench("run", "rx", cube_file, "--out", disk / "run"), "disk is full", "--out")
        assert not list(disk.rglob("*.part"))
        if (disk / "run").exists():  # what was begun says that it failed
            assert runs.read(disk / "run")["status"] == "failed"


def test_a_full_disk_under_a_scene(workbench, tmp_path):
    with mounted(tmp_path / "disk", "size=200k") as disk:
        told = ("disk is full", "the same command continues")
        refused(workbench("convert", "sim-coast-town", disk / "a.zarr", "--quiet"), *told)
        assert not (disk / "a.zarr").exists()


@pytest.mark.parametrize("name", ["map.tif", "map.zarr"])
def test_a_full_disk_under_a_map(tmp_path, name):
    with mounted(tmp_path / "disk", "size=200k") as disk:
        score = np.random.default_rng(0).random((400, 300)).astype("f4")
        with pytest.raises(InputError, match=r"Cannot write the map into .*the disk is full"):
            write_map(xr.Dataset({"score": (("y", "x"), score)}), disk / name, cluster.blocks)
        assert not list(disk.rglob("*"))


def test_a_read_only_disk(workbench, cube_file, tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        refused(workbench("run", "rx", cube_file, "--out", disk / "run"), "read-only", "--out")


# --- the package as a whole -------------------------------------------------------------------------------------------


def test_importing_the_package_is_cheap(importing):
    (modules,) = importing("import workbench")
    assert "workbench" in modules
    assert not modules & {"torch", "xarray", "panel", "sklearn", "dask", "rasterio"}


def test_every_public_name_can_be_had():
    import workbench

    for name in workbench.__all__:
        assert getattr(workbench, name) is not None


@pytest.mark.process
def test_the_module_answers_help():
    out = subprocess.run(
        [sys.executable, "-m", "workbench", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    for verb in ("list", "describe", "fetch", "run", "report", "serve"):
        assert verb in out.stdout


def test_public_names_stay_callable_whatever_was_imported_before():
    """A submodule of the same name would hide the function behind it as soon as it is imported."""
    import pkgutil

    import workbench

    assert not {m.name for m in pkgutil.iter_modules(workbench.__path__)} & set(workbench.__all__)


def test_convert_and_describe(workbench, tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"data": np.arange(210.0).reshape(6, 7, 5), "map": np.eye(6, 7)})
    code, out, _ = workbench("convert", "a.mat", "a.zarr", "--chunks", "y=3", "--quiet")
    assert (code, out.strip()) == (2, "")  # no variable is large enough to be cut
    code, out, _ = workbench("convert", "a.mat", "a.zarr", "--quiet")
    assert (code, out.strip()) == (0, "a.zarr")
    code, out, _ = workbench("describe", "a.zarr")
    assert code == 0
    assert "band 5 x y 6 x x 7" in out
    assert "6 marked pixels of 42" in out
    for wrong, told in (
        (("--chunks", "y=two"), "takes whole numbers"),
        (("--ortho",), "not an EMIT file"),
        ((), "exists already"),
    ):
        code, _, err = workbench("convert", "a.mat", "a.zarr" if not wrong else "b.zarr", *wrong)
        assert code == 2
        assert told in err
    assert not (tmp_path / "b.zarr").exists()


# --- serving ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch):
    """What `serve` would start: the command, and the folder of the runs in its environment."""
    started = []
    monkeypatch.setenv("WORKBENCH_RUNS", "runs")
    monkeypatch.setattr(os, "execve", lambda _, words, variables: started.append((words, variables["WORKBENCH_RUNS"])))
    return started


def test_serve_says_at_once_what_it_starts_and_takes_a_folder_of_runs(workbench, served, tmp_path):
    code, out, err = workbench("serve", "runs", "--root", tmp_path / "other", "--port", "5999")
    assert (code, out) == (0, "")
    assert len(err.strip().splitlines()) == 1
    assert "Starting" in err
    assert "http://localhost:5999" in err
    ((words, root),) = served
    assert root == str(tmp_path / "other")
    assert [w for w in words if w.endswith(".py")] == [str(Path(words[4]))]
    assert words[4].endswith("runs.py")
    assert words[-1] == "--warm"


def test_serve_without_names_serves_every_dashboard(workbench, served):
    assert workbench("serve")[0] == 0
    ((words, root),) = served
    assert root == "runs"
    assert [Path(w).stem for w in words if w.endswith(".py")] == [
        "anomaly",
        "change",
        "compression",
        "coresets",
        "detection",
        "federation",
        "gradients",
        "landcover",
        "runs",
        "watch",
    ]


def test_serve_refuses_a_file_as_folder_of_the_runs(workbench, served, tmp_path):
    (tmp_path / "file").write_text("")
    refused(workbench("serve", "--root", tmp_path / "file"), "--root", "is a file")
    assert served == []
