"""Rerun: the same bits where nothing differs, and what differs named where something does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_sweeps import COMPUTE, PARAMETERS, notebook
from workbench import cli, runs
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.execution import about_scene, execute
from workbench.methods.tdds.settings import Config
from workbench.reports.grid import Grid
from workbench.reports.rerun import Rerun, rerun
from workbench.reports.sweep import sweep
from workbench.runs import provenance


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a method that draws random numbers."""
    folder = tmp_path_factory.mktemp("rerun") / "rp"
    execute("rp-rx", "sim-coast-town", {"seed": 3}, folder)
    return folder


def changed(folder: Path, file: str, **values: Any) -> None:
    about = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**about, **values}))


def copy(made: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(made, to))


def test_command_names_a_module_that_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(provenance.COMMAND, raising=False)
    monkeypatch.setattr(sys, "argv", ["/somewhere/workbench/reports/demo.py", "--out", "a b"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", importlib.util.find_spec("workbench.reports.demo"))
    assert provenance.command() == "python -m workbench.reports.demo --out 'a b'"
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert provenance.command() == "demo.py --out 'a b'"


def test_command_names_the_notebook_of_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(provenance.COMMAND, raising=False)
    monkeypatch.delenv(provenance.SESSION, raising=False)
    monkeypatch.setattr(provenance.sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert provenance.command() == "cells of a notebook whose file is not known"
    monkeypatch.setenv(provenance.SESSION, "mine/flood.ipynb")
    assert provenance.command() == "cells of flood.ipynb"
    monkeypatch.setenv(provenance.COMMAND, "workbench report rx scene")
    assert provenance.command() == "workbench report rx scene"


def test_a_run_folder_tells_everything(made: Path) -> None:
    about = runs.read(made)
    assert about["code"] == provenance.code_hash()
    assert (about["threads"], len(about["packages"])) == (1, 64)
    assert {"cpu", "platform", "command", "commit", "versions"} <= set(about)
    locked = (made / "packages.txt").read_text().splitlines()
    assert f"numpy=={about['versions']['numpy']}" in locked
    assert len(locked) > 50


def test_the_code_hash_follows_what_computes_and_not_what_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("methods/a.py", "views/b.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "runs" / "provenance.py"))
    compute = provenance.code_hash.__wrapped__
    first = compute()
    (tmp_path / "views/b.py").write_text("2")
    assert compute() == first
    (tmp_path / "methods/a.py").write_text("2")
    assert compute() != first


def test_the_code_hash_is_of_the_whole_package(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self.as_posix()) or b"")
    provenance.code_hash.__wrapped__()
    ends = {"/".join(Path(p).parts[-2:]) for p in read}
    assert {"workbench/execution.py", "methods/rx.py", "runs/provenance.py", "data/source.py"} <= ends
    assert not any("/workbench/views/" in p or "/workbench/pages/" in p for p in read)


@pytest.mark.process
def test_the_same_bits(made: Path) -> None:
    done = rerun(made)
    assert done.again == made.with_name("rp-rerun")
    assert done.differs == {}
    assert done.identical
    assert done.compared > 5
    assert "to the last bit" in done.as_text()
    assert runs.read(done.again)["config"]["seed"] == 3


def test_a_file_that_a_setting_writes_is_written_beside_the_second_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(log="logs/dynamics.zarr").model_dump(mode="json")
    source = Source("digits")
    folder = runs.create(tmp_path / "run", {"method": "tdds", "config": config, "scene": about_scene(source.open(), source)})
    changed(folder, "run.json", status="finished")
    given: list[str] = []
    ended = subprocess.CompletedProcess([], 1, stderr="workbench: enough")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: given.extend(command) or ended)
    with pytest.raises(InputError, match="cannot be repeated: enough"):
        rerun(folder, tmp_path / "again")
    assert f"log={tmp_path}/again/dynamics.zarr" in given
    assert "epochs=30" in given


@pytest.mark.process
def test_another_number_is_named_and_a_tolerance_excuses_a_small_one(made: Path, tmp_path: Path) -> None:
    folder = copy(made, tmp_path / "rp")
    auc = runs.metrics(folder)["auc"]
    changed(folder, "metrics.json", auc=auc * (1 + 1e-6))
    done = rerun(folder)
    assert not done.same
    assert done.numbers == {"auc": (auc * (1 + 1e-6), auc)}
    assert "NOT the same" in done.as_text()
    assert "no change of the environment explains it" in done.as_text()
    changed(folder, "run.json", code="0" * 64, versions={**runs.read(folder)["versions"], "scipy": "1.0"})
    done = rerun(folder)
    assert done.same
    assert not done.identical
    assert done.differs == {
        "code": ("0" * 12, provenance.code_hash()[:12]),
        "scipy": ("1.0", provenance.versions()["scipy"]),
    }
    assert "the same within 0.001" in done.as_text()


def test_other_data_other_settings_and_unfinished_runs_are_refused(made: Path, tmp_path: Path, small_scene: Any) -> None:
    folder = copy(made, tmp_path / "rp")
    changed(folder, "run.json", scene={**runs.read(folder)["scene"], "fingerprint": "1" * 64})
    with pytest.raises(InputError, match="data are not what they were.*then 111111111111"):
        rerun(folder)
    changed(folder, "run.json", status="failed")
    with pytest.raises(InputError, match="has not finished"):
        rerun(folder)
    execute("rx", small_scene, folder=tmp_path / "memory")
    with pytest.raises(InputError, match="made in memory"):
        rerun(tmp_path / "memory")
    assert not (tmp_path / "rp-rerun").exists()


@pytest.mark.process
def test_a_cell_of_a_sweep_and_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebook(tmp_path / "squares.ipynb", COMPUTE, 'method: str = "tdds"\n' + PARAMETERS)
    row = sweep(path, Grid(grid={"x": [3]}), tmp_path / "out", progress=False).rows[0]
    cell = tmp_path / "out" / "cells" / row["key"]

    def ask() -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr("sys.argv", ["workbench", "rerun", str(cell), "--json", "--notebook", str(path)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), json.loads(capsys.readouterr().out)

    code, said = ask()
    assert (code, said["same"], said["compared"]) == (0, True, 1)
    for folder in (cell, Path(said["again"])):
        assert runs.read(folder)["headline"] == ["accuracy_tdds", "accuracy_full", "accuracy_random"]
    changed(cell, "metrics.json", square=8.5)
    code, said = ask()
    assert (code, said["same"]) == (1, False)
    assert said["numbers"]["square"][0] == 8.5
    notebook(path, "1")
    with pytest.raises(InputError, match="squares.ipynb is not what it was"):
        rerun(cell, notebook=path)


def test_a_metric_that_newer_code_adds_is_no_difference() -> None:
    now = Rerun(Path("a"), Path("b"), 1e-3, numbers={"auc": (0.9, 0.9000001), "new": (None, 0.5)})
    assert not now.same  # with the same code it is
    now.differs["code"] = ("1", "2")
    assert now.same
    now.numbers["gone"] = (0.5, None)
    assert not now.same
