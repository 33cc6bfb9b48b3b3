"""What each verb of the command line imports: an answer that needs no computing must not wait for what computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from workbench.engines import cluster
from workbench.parts import device

pytestmark = pytest.mark.process
SLOW = {"torch", "xarray", "pandas", "dask", "distributed", "matplotlib", "scipy", "sklearn", "numba", "panel", "rasterio"}
NOT_FOR_RX = {"torch", "distributed", "matplotlib", "sklearn", "panel", "scipy.stats", "scipy.optimize"}
QUICK = (  # verbs, each with its exit code
    (["runs", "list"], 0),
    (["runs", "list", "--method", "bsdm"], 0),
    (["list"], 0),
    (["list", "--json"], 0),
    (["describe", "sim-coast-town"], 0),
    (["describe", "abu-airport-1"], 0),
    *((["describe", name], 0) for name in ("rx", "local-rx", "bsdm", "tdds", "rsdgc", "arcdnet", "sarnet", "picpq")),
    (["run", "rxx", "digits"], 2),
    (["run", "rx", "digts"], 2),
    (["run", "bsdm", "sim-coast-town", "--set", "stepz=3"], 2),
    (["report", "tdds", "digits", "--set", "epoch=3"], 2),
    (["describe", "digts"], 2),
)
RUN = (["run", "rx", "sim-coast-town", "--quiet", "--out", "one"], 0)

# Runs all verbs in one process, and prints a line for each: exit code, and the slow modules that are loaded by then.
DRIVE = """
import contextlib, io, json, sys
from workbench.cli import main
for verb, watched in json.loads(sys.argv[1]):
    sys.argv = ["workbench", *verb]
    code = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, sorted(n for n in watched if sys.modules.get(n) is not None)]), flush=True)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> list[list]:
    """[exit code, slow modules loaded] after each verb of QUICK and after RUN."""
    verbs = [[verb, sorted(SLOW)] for verb, _ in QUICK] + [[RUN[0], sorted(NOT_FOR_RX)]]
    environment = {**os.environ, "WORKBENCH_DEVICE": "cpu", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    folder = tmp_path_factory.mktemp("startup")
    (folder / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRIVE, json.dumps(verbs)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("n", range(len(QUICK)), ids=[" ".join(verb) for verb, _ in QUICK])
def test_an_answer_without_computing_loads_nothing_slow(loaded: list[list], n: int) -> None:
    assert loaded[n] == [QUICK[n][1], []]


def test_run_loads_only_what_it_computes_with(loaded: list[list]) -> None:
    assert loaded[-1] == [RUN[1], []]


def test_no_gpu_is_seen_without_torch(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_DEVICE", raising=False)
    monkeypatch.setattr(device, "DEV", tmp_path)
    monkeypatch.setattr(device.sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    asked = []
    monkeypatch.setattr(device, "device", lambda: asked.append("torch") or _Device())
    assert (device.gpu(), device.name(), asked) == (None, "cpu", [])
    (tmp_path / "nvidia0").touch()
    assert device.gpu() is not None
    assert (device.name(), len(asked)) == ("cuda:0", 2)
    monkeypatch.setenv("WORKBENCH_DEVICE", "cpu")
    assert (device.gpu(), device.name(), len(asked)) == (None, "cpu", 2)


class _Device:
    type = "cuda"

    def __str__(self) -> str:
        return "cuda:0"


def test_dask_does_not_look_for_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.array as da

    monkeypatch.delitem(sys.modules, "distributed", raising=False)
    with cluster.own_threads():
        assert float(da.ones(3, chunks=1).sum()) == 3
        assert sys.modules["distributed"] is None
        assert cluster.active() is None
    assert "distributed" not in sys.modules
