"""Run folders made before the package was restructured (tests/old_runs) open, replay, compare, export and continue.

`python tests/reference/test_old_runs.py` prints the summary that expected.json holds; it was made with the code that made
the folders. New code must reproduce it, so expected.json is not made again.
"""

from __future__ import annotations

import json
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import runs
from workbench.data.source import Source
from workbench.event import drain
from workbench.execution import resume
from workbench.reports.export import write_comparison, write_page
from workbench.reports.rerun import rerun
from workbench.reports.sweep import read_table
from workbench.runs.collection import compared, entries, find, select
from workbench.runs.crate import pack, unpack
from workbench.runs.watch import Live
from workbench.scene import fingerprint

KEPT = Path(__file__).parents[1] / "old_runs"
TEXT = {".json", ".jsonl", ".html", ".ipynb", ".txt", ".csv", ".yml"}
EXPECTED: dict[str, dict[str, Any]] = json.loads((KEPT / "expected.json").read_text()) if __name__ != "__main__" else {}
FINISHED = [name for name, of in EXPECTED.items() if of["status"] == "finished"]
UNFINISHED = {  # folder -> the uninterrupted run of the same settings
    "bsdm-stopped": "bsdm-finished",
    "tdds-stopped": "tdds-finished",
    "arcdnet-stopped": "arcdnet-finished",
    "rsdgc-killed": "rsdgc-finished",
}
# numbers that the code which made the folders did not give
NEWER = {"bytes_headers", "ratio_counted", "measured_ratio", "ratio_counted_dense", "class_accuracy", "class_accuracy_full"}
CLOCK = ("seconds", "bytes_measured", "measured")  # beginnings of the names of numbers that no two runs share
TABLES = ("uncertainty_scores", "measure", "quantity")  # results by name of a measure, all of which are metrics too


def restore(target: Path) -> Path:
    """Copy all kept folders to `target`, with the place and the host of this test where the tokens are."""
    shutil.copytree(KEPT, target, dirs_exist_ok=True)
    for archive in target.glob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(target)
        archive.unlink()
    for path in target.rglob("*"):
        if path.suffix in TEXT and path.is_file():
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("@HERE@", str(target)).replace("@HOST@", socket.gethostname()), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old folders; tests only read them."""
    return restore(tmp_path_factory.mktemp("old_runs"))


def names(root: Path) -> list[str]:
    """All run folders, those inside reports and sweeps too, relative to `root`."""
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("run.json"))


def total(values: Any) -> float:
    """Sum of all values that are not NaN; of texts, the sum of their lengths."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        return float(sum(len(str(value)) for value in array.ravel()))
    return float(np.nansum(array.astype(np.float64)))


def variables(data: Any) -> dict[str, Any]:
    """name -> dims, shape, sum."""
    return {str(n): [list(map(str, v.dims)), list(v.shape), total(v.values)] for n, v in data.items()}


def summary(folder: Path) -> dict[str, Any]:
    """What a folder holds, read through the public functions: facts, events, arrays, numbers, result, weights."""
    about = runs.read(folder)
    trace = runs.replay(folder)
    events = [next(trace) for _ in runs.events(folder)]
    result = {} if about["status"] != "finished" else variables(drain(trace).result.variables)
    arrays: dict[str, Any] = {}
    for event in events:
        for name, array in event.arrays.items():
            of = arrays.setdefault(name, {"steps": [], "dims": list(map(str, array.dims)), "shape": [], "sum": 0.0})
            of["steps"].append(event.step)
            of["shape"] = list(array.shape)
            of["sum"] += total(array.values)
    told: dict[str, Any] = {
        "status": about["status"],
        "method": about["method"],
        "scene": about["scene"]["id"],
        "steps": [event.step for event in events],
        "of": [event.of for event in events],
        "scalars": float(sum(value for event in events for value in event.scalars.values())),
        "scalar_names": sorted({name for event in events for name in event.scalars}),
        "arrays": arrays,
        "metrics": runs.metrics(folder),
        "result": result,
        "weights": {
            net: [len(state), float(sum(tensor.double().sum() for tensor in state.values()))]
            for net, state in runs.weights(folder).items()
        },
    }
    saved = runs.checkpoint(folder)
    told["checkpoint"] = None if saved is None else saved[0]
    return told


def same(found: Any, expected: Any, where: str = "") -> None:
    """Assert that two nested structures are equal; numbers to 1e-9, relative."""
    if isinstance(expected, dict):
        assert sorted(found) == sorted(expected), where
        for name in expected:
            same(found[name], expected[name], f"{where}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (a, b) in enumerate(zip(found, expected, strict=True)):
            same(a, b, f"{where}/{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("name", EXPECTED)
def test_a_folder_holds_what_it_held(old, name):
    same(json.loads(json.dumps(summary(old / name))), EXPECTED[name], name)


def test_there_is_one_of_each_kind_and_status(old):
    assert names(old) == sorted(EXPECTED)
    assert {of["status"] for of in EXPECTED.values()} == {"finished", "stopped", "failed", "killed"}
    methods = {of["method"] for of in EXPECTED.values()}
    assert methods >= {"rx", "bsdm", "tdds", "rsdgc", "arcdnet", "report-rx", "sweep-rx"}
    assert (old / "rx-large" / "result.zarr").is_dir()
    assert "diverged" in runs.read(old / "tdds-failed")["error"]
    assert json.loads((old / "rsdgc-killed" / "run.json").read_text())["status"] == "running"


def test_they_are_listed_and_found(old):
    found = entries(old, inside=True)
    assert {e.folder.relative_to(old).as_posix() for e in found} == set(EXPECTED)
    for entry in found:
        of = EXPECTED[entry.folder.relative_to(old).as_posix()]
        assert (entry.method, entry.scene, entry.status) == (of["method"], of["scene"], of["status"])
    assert [e.name for e in select(entries(old), status="killed")] == ["rsdgc-killed"]
    assert [e.name for e in select(entries(old), method="bsdm", where=["auc>0.5"])] == ["bsdm-finished"]
    assert find(old, "tdds-finished") == old / "tdds-finished"


@pytest.mark.parametrize("name", ["bsdm-finished", "rsdgc-killed", "arcdnet-finished"])
def test_they_can_be_watched(old, name):
    live, expected = Live(old / name), EXPECTED[name]
    live.poll()
    assert live.status == expected["status"]
    assert [line["step"] for line in live.lines] == expected["steps"]
    assert live.frames == {n: a["steps"] for n, a in expected["arrays"].items()}
    for array, of in expected["arrays"].items():
        assert list(live.frame(array, of["steps"][0]).dims) == of["dims"]


def test_two_runs_are_compared(old, tmp_path):
    both = [old / "bsdm-finished", old / "bsdm-stopped"]
    table = compared(both)
    assert table["about"] == {"status": ["finished", "stopped"]}
    assert table["config"] == {}
    assert table["metrics"]["auc"] == [EXPECTED["bsdm-finished"]["metrics"]["auc"], None]
    other = compared([old / "rx-finished", old / "bsdm-finished"])
    assert other["about"]["method"] == ["rx", "bsdm"]
    assert other["config"]["bsdm.steps"] == [None, 6]
    assert write_comparison(both, tmp_path / "both.html").read_text().count("<img") == 1
    assert write_comparison(both, tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in EXPECTED if "/" not in name])
def test_they_are_exported_as_a_page_and_as_an_archive(old, tmp_path, name):
    text = write_page(old / name, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "</html>" in text
    for metric, value in list(EXPECTED[name]["metrics"].items())[:1]:
        if not name.startswith("report"):
            assert metric in text
            assert f"{value:.6g}" in text
    back = unpack(pack(old / name, tmp_path / "run.zip"), tmp_path / "back")
    assert back == tmp_path / "back" / name
    expected = {**EXPECTED[name], "checkpoint": None}  # of use on one machine only, so not exported
    same(json.loads(json.dumps(summary(back))), expected, name)


def test_the_report_and_the_table_of_the_sweep_are_there(old):
    assert "Provenance" in (old / "report-rx" / "report.html").read_text(encoding="utf-8")
    rows = read_table(old / "sweep-rx")
    assert [row["status"] for row in rows] == ["finished"]
    cell = f"sweep-rx/cells/{rows[0]['key']}"
    assert rows[0]["metrics"] == EXPECTED[cell]["metrics"]
    assert "auc_rx" in rows[0]["metrics"]


def test_a_pair_is_opened_again_as_its_run_noted(old):
    about = runs.read(old / "arcdnet-finished")["scene"]
    how = about["open"]
    assert Path(how["after"]).name == "after.png"
    scene = Source.from_record(how).open()
    assert {"before", "after", "truth"} <= set(scene.data_vars)
    assert fingerprint(scene) == about["fingerprint"]


@pytest.mark.process
@pytest.mark.parametrize("name", ["rx-finished", "arcdnet-finished"])
def test_a_finished_run_is_done_again_with_the_same_numbers(old, tmp_path, name):
    done = rerun(old / name, tmp_path / "again")
    assert done.largest <= 1e-6, done.numbers
    assert done.compared > 10


@pytest.mark.process
@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_run_is_continued_to_the_numbers_of_an_uninterrupted_one(tmp_path, name):
    root = restore(tmp_path / "old")
    before = runs.events(root / name)
    drain(resume(root / name))
    expected = EXPECTED[UNFINISHED[name]]
    assert runs.read(root / name)["status"] == "finished"
    numbers = runs.metrics(root / name)
    assert set(numbers) >= set(expected["metrics"])  # metrics that were added later may stand beside
    for metric, value in expected["metrics"].items():
        if not metric.startswith(CLOCK):
            assert numbers[metric] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), metric
    now = summary(root / name)
    for part in ("result", "weights"):
        assert set(now[part]) >= set(expected[part])
        for variable, of in expected[part].items():
            if variable in TABLES:  # has rows that were added later; those of before are among the metrics
                assert all(new >= old for new, old in zip(now[part][variable][1], of[1], strict=True))
            elif not variable.startswith(CLOCK):
                assert now[part][variable][:-1] == of[:-1], variable
                assert now[part][variable][-1] == pytest.approx(of[-1], rel=1e-6, abs=1e-6), variable
    events = runs.events(root / name)
    assert [event["step"] for event in events] == expected["steps"]
    kept = EXPECTED[name]["checkpoint"]
    assert [e for e in events if e["step"] <= kept] == [e for e in before if e["step"] <= kept]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = restore(Path(folder).resolve())
        print(json.dumps({name: summary(root / name) for name in names(root)}, indent=1))
