"""One byte of any file that a run depends on: a cell of a sweep becomes stale, and `rerun` and `resume` say so.

The files are the scene's own, its truth, the second date, further sensors, and the weights that a setting names.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.test_source import CUBE, tif
from tests.unit.test_sweeps import notebook
from workbench import runs
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import check_setting_files, execute, resume, start
from workbench.reports.grid import Grid, plan
from workbench.reports.rerun import rerun
from workbench.reports.sweep import sweep

PARAMETERS = (
    'method: str = "arcdnet"\nscene: str = "digits"\ntruth: str = ""\nkeys: dict = {}\nafter: str = ""\nbeside: dict = {}\n'
)
OTHER = 'resample: bool = False\noverrides: dict = {}\nrun_dir: str = ""'
NAMED = ("scene", "truth", "after", "lidar", "sar", "infrared", "weights")


def flip(path: Path) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Every kind of file, small."""
    made = {n: tif(tmp_path / f"{n}.tif", CUBE + i) for i, n in enumerate(("scene", "after", "lidar", "sar", "infrared"))}
    made |= {"truth": tmp_path / "truth.npy", "weights": tmp_path / "net" / "weights.safetensors"}
    np.save(made["truth"], (CUBE[0] > 0.7).astype(np.uint8))
    made["weights"].parent.mkdir()
    made["weights"].write_bytes(bytes(16))
    return made


@pytest.mark.parametrize("name", NAMED)
def test_a_cell_of_a_sweep_becomes_stale(tmp_path: Path, files: dict[str, Path], name: str) -> None:
    path = notebook(tmp_path / "any.ipynb", "pass", PARAMETERS + OTHER)
    beside = {n: str(files[n]) for n in ("lidar", "sar", "infrared")}
    given = {n: str(files[n]) for n in ("scene", "truth", "after")} | {"beside": beside}
    grid = Grid(parameters={**given, "overrides": {"weights": str(files["weights"].parent)}})
    first = plan(path, grid)[0]
    assert plan(path, grid)[0].key == first.key
    (files["weights"].parent / "seen.txt").write_text("no method reads this of a run folder")
    assert plan(path, grid)[0].key == first.key
    flip(files[name])
    assert plan(path, grid)[0].key != first.key


@pytest.mark.process
@pytest.mark.parametrize("name", ["after", "lidar", "weights"])
def test_a_finished_cell_is_not_compared_with_one_on_other_files(tmp_path: Path, files: dict[str, Path], name: str) -> None:
    write = 'import json\nfrom pathlib import Path\nPath(run_dir, "metrics.json").write_text(json.dumps({"one": 1.0}))'
    path = notebook(tmp_path / "any.ipynb", write, PARAMETERS + OTHER)
    given = {"scene": str(files["scene"]), "after": str(files["after"]), "beside": {"lidar": str(files["lidar"])}}
    grid = Grid(parameters={**given, "overrides": {"weights": str(files["weights"])}})
    made = sweep(path, grid, tmp_path / "out", progress=False)
    cell = tmp_path / "out" / "cells" / made.rows[0]["key"]
    flip(files[name])
    with pytest.raises(InputError, match="not what (they were|it was) when .* was made"):
        rerun(cell, notebook=path)


@pytest.mark.parametrize("name", ["scene", "truth", "lidar", "sar", "infrared"])
def test_a_run_on_another_file_is_neither_done_again_nor_continued(
    tmp_path: Path, files: dict[str, Path], name: str
) -> None:
    source = Source(files["scene"], files["truth"], beside={n: str(files[n]) for n in ("lidar", "sar", "infrared")})
    keys = {"sar.scale": "linear"}
    source = Source(source.scene, source.truth, keys, source.beside)
    finished, begun = tmp_path / "finished", tmp_path / "begun"
    execute("rx", source, folder=finished)
    trace = start("rx", source, folder=begun)
    next(trace)
    trace.close()
    flip(files[name])
    with pytest.raises(InputError, match="The data are not what they were when .*finished was made"):
        rerun(finished)
    with pytest.raises(InputError, match="The data are not what they were when .*begun was made"):
        resume(begun)
    flip(files[name])
    drain(resume(begun))
    assert runs.metrics(begun) == runs.metrics(finished)


def test_a_pair_and_a_weights_file_that_changed_are_told(tmp_path: Path, files: dict[str, Path]) -> None:
    """A finished run of two dates with weights, as a folder says it; no training is needed to see that its files changed."""
    pair = Source(files["scene"], files["truth"], beside={"after": str(files["after"])})
    folder = tmp_path / "begun"
    trace = start("arcdnet", pair, {"weights": str(files["weights"].parent)}, folder)
    with pytest.raises(InputError):  # the weights are none; the folder is not begun
        next(trace)
    assert not folder.exists()
    about = {"method": "arcdnet", "config": {}, "files": weights_of(files), "scene": scene_of(pair)}
    for changed, says in (
        ("after", "The data are not"),
        ("weights", "weights.safetensors|net .setting weights. is not what it was"),
    ):
        folder = runs.create(tmp_path / changed, about)
        written = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**written, "status": "finished"}))
        flip(files[changed])
        with pytest.raises(InputError, match=says):
            rerun(folder)
        (folder / "run.json").write_text(json.dumps({**written, "status": "stopped"}))
        with pytest.raises(InputError, match=says):
            resume(folder)
        flip(files[changed])


def weights_of(files: dict[str, Path]) -> dict[str, dict[str, str]]:
    from workbench.execution import setting_files
    from workbench.methods.arcdnet.settings import Config

    found = setting_files(Config(weights=str(files["weights"].parent)))
    assert set(found) == {"weights"}
    assert setting_files(Config(weights=str(files["weights"])))["weights"]["sha256"] == found["weights"]["sha256"]
    return found


def scene_of(source: Source) -> dict[str, object]:
    from workbench.execution import about_scene

    return about_scene(source.open(), source)


def test_a_relative_path_is_checked_where_it_would_be_read(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Source(files["scene"], files["truth"], beside={"after": str(files["after"])})
    about = {"method": "arcdnet", "config": {"weights": "net"}, "files": weights_of(files), "scene": scene_of(pair)}
    folder = runs.create(tmp_path / "run", about)
    monkeypatch.chdir(tmp_path)
    check_setting_files(folder, about)
    other = tmp_path / "elsewhere" / "net" / "weights.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(bytes(17))
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="elsewhere/net .setting weights. is not what it was"):
        check_setting_files(folder, about)


def test_a_text_that_cannot_be_a_path_is_no_file(tmp_path: Path) -> None:
    path = notebook(tmp_path / "any.ipynb", "pass", PARAMETERS + OTHER)
    cell = plan(path, Grid(parameters={"overrides": {"weights": 300 * "x", "encoder": "a\0b"}}))[0]
    assert (cell.method, cell.files) == ("arcdnet", {})
