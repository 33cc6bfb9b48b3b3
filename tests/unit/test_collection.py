"""Run folders listed, filtered, compared, cleared away, and handed on as a page or as an archive with checksums."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.notebooks.page import Page
from workbench import cli, runs
from workbench.errors import InputError
from workbench.event import Event, Outcome, drain
from workbench.reports.export import write_comparison, write_page
from workbench.runs.collection import compared, curves, entries, find, prunable, ranked, remove, select, tag, tags
from workbench.runs.crate import pack, unpack


def make(folder: Path, auc: float, *, method: str = "bsdm", ends: str = "finished", **config: object) -> Path:
    """A run of three events with the loss 1, 1/2, 1/3, a map and one number."""

    def trace():  # noqa: ANN202
        for n in (1, 2, 3):
            yield Event(n, {"loss": 1.0 / n}, of=3)
        if ends == "failed":
            raise ValueError("no more")
        maps = xr.DataArray(np.arange(12.0).reshape(3, 4), dims=("y", "x"))
        return Outcome(xr.Dataset({"auc": ((), auc), "score": maps}))

    scene = {"id": "sim-x", "title": "A scene", "fingerprint": "ab" * 32, "simulated": "drawn", "licence": "CC0"}
    runs.create(folder, {"method": method, "config": {"seed": 0, **config}, "scene": scene})
    recorded = runs.record(trace(), folder)
    if ends == "stopped":
        next(recorded)
        recorded.close()
    elif ends == "failed":
        with pytest.raises(ValueError, match="no more"):
            drain(recorded)
    else:
        drain(recorded)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    make(root / "one", 0.9, steps=10)
    make(root / "two", 0.8, steps=20)
    make(root / "other", 0.7, method="rx")
    make(root / "broken", 0.0, ends="failed")
    make(root / "half", 0.0, ends="stopped")
    make(root / "one" / "inner", 0.5, method="rx")
    return root


def test_list_and_filter(root: Path) -> None:
    found = entries(root)
    assert {e.name for e in found} == {"one", "two", "other", "broken", "half"}
    assert {e.name for e in entries(root, inside=True)} == {e.name for e in found} | {"one/inner"}
    assert [e.name for e in select(found, method="bsdm", status="finished")] == ["one", "two"]
    assert [e.name for e in select(found, where=["auc>=0.8", "auc < 0.9"])] == ["two"]
    assert [e.name for e in select(found, where=["auc=0.7"])] == ["other"]
    assert select(found, scene="sim-y") == []
    with pytest.raises(InputError, match="Did you mean 'auc'"):
        select(found, where=["acu>0.5"])
    with pytest.raises(InputError, match="auc>=0.9; got 'auc'"):
        select(found, where=["auc"])
    with pytest.raises(InputError, match="Did you mean 'finished'"):
        select(found, status="finishd")
    with pytest.raises(InputError, match="Did you mean 'two'"):
        find(root, "twoo")


def test_compare_tells_only_settings_that_differ_and_every_number(root: Path) -> None:
    table = compared([root / "one", root / "two"])
    assert table == {"about": {}, "config": {"steps": [10, 20]}, "metrics": {"auc": [0.9, 0.8]}}
    assert compared([root / "one", root / "other"])["about"] == {"method": ["bsdm", "rx"]}
    assert curves([root / "one", root / "half"]) == {"loss": {"one": ([1, 2, 3], [1.0, 0.5, 1 / 3]), "half": ([1], [1.0])}}


def test_prune_shows_first_and_never_takes_what_finished_or_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.create(root / "going", {"method": "bsdm", "config": {}, "scene": {}})  # by this very process

    def ask(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["workbench", "runs", "prune", "--root", str(root), *words])
        with pytest.raises(SystemExit):
            cli.main()
        return "".join(capsys.readouterr())

    assert {e.name for e in prunable(entries(root))} == {"broken", "half"}
    assert prunable(entries(root), days=1) == []
    assert "nothing is deleted: 2 runs" in ask()
    assert (root / "broken").exists()
    assert "'running'" in ask("--status", "running", "--delete")
    assert "deleted 2 runs" in ask("--delete")
    assert {p.name for p in root.iterdir()} == {"one", "two", "other", "going"}
    with pytest.raises(InputError, match="in progress"):
        remove([e for e in entries(root) if e.name == "going"], root)


def test_remove_takes_all_or_nothing_and_only_runs_under_the_root(root: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "elsewhere" / "precious", 0.9)
    (root / "linked").symlink_to(outside)
    runs.create(root / "going", {"method": "bsdm", "config": {}, "scene": {}})  # by this very process
    found = {e.name: e for e in entries(root, inside=True)}
    away = entries(outside.parent)[0]
    for refused, says in (
        (found["linked"], "symbolic link"),
        (away, "lies outside"),
        (found["one/inner"], "part of one"),
        (found["going"], "stop it first"),
    ):
        with pytest.raises(InputError, match=says):
            remove([found["broken"], refused], root)
    assert (root / "broken").exists()
    assert outside.exists()
    remove([found["broken"], found["half"]], root)
    assert not (root / "broken").exists()
    assert not (root / "half").exists()


def test_tags_are_kept_beside_the_run_and_found_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "one" / "run.json").read_bytes()
    assert tag(root / "one", add=["talk", " best "]) == ["best", "talk"]
    assert tag(root / "two", add=["talk"]) == ["talk"]
    assert (root / "one" / "run.json").read_bytes() == before  # the recorder of an active run writes that file
    assert [e.name for e in select(entries(root), tag="talk")] == ["one", "two"]
    for wrong in ("", "a,b", "a|b", "x" * 41, "two\nlines"):
        with pytest.raises(InputError, match="1 to 40 characters"):
            tag(root / "one", add=[wrong])
    with pytest.raises(InputError, match="not a run folder"):
        tag(root, add=["talk"])

    def ask(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["workbench", "runs", *words, "--root", str(root)])
        with pytest.raises(SystemExit):
            cli.main()
        return "".join(capsys.readouterr())

    assert "best, new" in ask("tag", "one", "two", "--add", "new", "--remove", "talk")
    assert tags(root / "two") == ["new"]
    assert "other" not in ask("list", "--tag", "new")
    assert "best, new" in ask("show", "one")
    assert "--add TAG" in ask("tag", "one")
    (root / "two" / "tags.json").write_text("[1")
    assert tags(root / "two") == []


def test_settings_are_compared_by_method_and_the_headline_comes_first(tmp_path: Path) -> None:
    rings = [make(tmp_path / f"ring{w}", 0.9, method="local-rx", inner=w, outer=19) for w in (5, 7)]
    network = make(tmp_path / "network", 0.8, inner=5)
    table = compared([*rings, network])["config"]
    assert table == {
        "local-rx.inner": [5, 7, None],
        "bsdm.inner": [None, None, 5],
    }  # `outer` is the same, and so is the seed
    assert compared(rings)["config"] == {"inner": [5, 7]}
    report = make(tmp_path / "report", 0.8, method="report-bsdm", inner=6)
    assert compared([network, report])["config"] == {"inner": [5, 6]}  # settings of the same method
    about = {"method": "x", "config": {}, "scene": {}, "headline": ["kappa"]}
    runs.create(tmp_path / "own", about)
    (tmp_path / "own" / "metrics.json").write_text('{"auc": 0.5, "kappa": 0.1}')
    assert list(compared([tmp_path / "own"])["metrics"]) == ["kappa", "auc"]


def test_curves_of_the_headline_come_first_and_counters_last() -> None:
    up, down = ([1, 2, 3], [0.1, 0.2, 0.3]), ([1, 2, 3], [3.0, 2.0, 1.5])
    counted = ([1, 2, 3], [1.0, 2.0, 3.0])
    history = {"rows": counted, "accuracy/tdds": up, "loss": down, "test_accuracy/tdds": up, "test_accuracy/random": up}
    order = ranked([history], ["accuracy_tdds", "accuracy_full", "accuracy_random"])
    assert order == ["test_accuracy/tdds", "test_accuracy/random", "accuracy/tdds", "loss", "rows"]
    assert ranked([{"pass": counted}, {"accuracy/rsdgc": up}], ["accuracy_rsdgc"]) == ["accuracy/rsdgc", "pass"]
    damaged = ([1, 2], [float("inf"), float("nan")])  # a record that was changed; no count
    assert ranked([{"steps": ([1, 2], [1.0, 2.0]), "loss": damaged}], []) == ["loss", "steps"]
    assert ranked([{"wrong": ([1, 2], [5.0, 3.0])}, {"rows": counted}], []) == [
        "wrong",
        "rows",
    ]  # a count that falls is a result


def test_page_of_a_run_and_of_a_comparison(root: Path, tmp_path: Path) -> None:
    page = Page(write_page(root / "one", tmp_path / "one.html"))
    assert page.scripts == 0
    assert len(page.alts) == 2
    assert all(load.startswith("data:") for load in page.loads)
    facts = {row[0]: row[1] for row in page.rows}
    assert (facts["auc"], facts["steps"], facts["fingerprint"]) == ("0.9", "10", "ab" * 32)
    assert "Simulated scene." in page.source
    assert "auc 0.9000" in page.source
    (root / "two" / "report.html").write_text("<p>its own page</p>")
    assert write_page(root / "two", tmp_path / "two.html").read_text() == "<p>its own page</p>"
    both = Page(write_comparison([root / "one", root / "two"], tmp_path / "both.html"))
    assert ["steps", "10", "20"] in both.rows
    assert ["auc", "0.9", "0.8", "0.1"] in both.rows
    assert len(both.alts) == 1
    assert write_comparison([root / "one", root / "two"], tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="html or as .png"):
        write_comparison([root / "one"], tmp_path / "both.pdf")


class TestCrate:
    def test_there_and_back_with_the_description_of_the_standard(self, root: Path, tmp_path: Path) -> None:
        file = pack(root / "one", tmp_path / "one.zip")
        assert pack(root / "one", tmp_path / "again.zip").read_bytes() == file.read_bytes()
        with zipfile.ZipFile(file) as archive:
            said = json.loads(archive.read("one/ro-crate-metadata.json"))
            contents = {n.removeprefix("one/"): archive.read(n) for n in archive.namelist()}
        assert said["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
        by_id = {e["@id"]: e for e in said["@graph"]}
        assert len(by_id) == len(said["@graph"])  # every entity once
        about = by_id["ro-crate-metadata.json"]
        assert (about["@type"], about["about"]["@id"]) == ("CreativeWork", "./")
        assert about["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.1"
        crate = by_id["./"]
        assert crate["@type"] == "Dataset"
        assert all(crate[name] for name in ("name", "description", "datePublished", "license"))
        parts = {p["@id"] for p in crate["hasPart"]}
        assert parts == contents.keys() - {"ro-crate-metadata.json", "manifest-sha256.txt"}
        for name in parts:
            assert by_id[name]["@type"] == "File"
            assert by_id[name]["sha256"] == hashlib.sha256(contents[name]).hexdigest()
            assert int(by_id[name]["contentSize"]) == len(contents[name])
        linked = {v["@id"] for e in said["@graph"] for v in e.values() if isinstance(v, dict) and "@id" in v}
        assert linked - by_id.keys() <= {
            "https://w3id.org/ro/crate/1.1",
            "http://schema.org/CompletedActionStatus",
        }  # no reference into nothing

        back = unpack(file, tmp_path / "elsewhere")
        assert runs.read(back) == runs.read(root / "one")
        assert runs.metrics(back / "inner") == {"auc": 0.5}
        with pytest.raises(InputError, match="already exists"):
            unpack(file, tmp_path / "elsewhere")
        with pytest.raises(InputError, match="already exists"):
            pack(root / "one", file)

    @pytest.mark.parametrize("what", ["changed", "missing", "added", "outside"])
    def test_whatever_was_changed_on_the_way_is_refused(self, root: Path, tmp_path: Path, what: str) -> None:
        file = pack(root / "other", tmp_path / "other.zip")
        with zipfile.ZipFile(file) as archive:
            contents = {n: archive.read(n) for n in archive.namelist()}
        if what == "changed":
            contents["other/metrics.json"] = contents["other/metrics.json"].replace(b"0.7", b"0.9")
        elif what == "missing":
            del contents["other/events.jsonl"]
        else:
            contents["other/extra.txt" if what == "added" else "other/../../extra.txt"] = b"x"
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        with pytest.raises(InputError, match="metrics.json|events.jsonl|extra.txt|not made by"):
            unpack(file, tmp_path / "elsewhere")
        assert not (tmp_path / "elsewhere").exists() or not os.listdir(tmp_path / "elsewhere")

    def test_not_a_crate(self, tmp_path: Path) -> None:
        (tmp_path / "x.zip").write_bytes(b"no zip")
        with pytest.raises(InputError, match="cannot be read as a zip"):
            unpack(tmp_path / "x.zip", tmp_path)
        with pytest.raises(InputError, match="No such file"):
            unpack(tmp_path / "y.zip", tmp_path)


def test_a_record_that_is_a_link_to_nowhere_is_a_damaged_row(tmp_path: Path) -> None:
    for name, target in (("loop", "run.json"), ("lost", "gone.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").symlink_to(target)
    (tmp_path / "no run").mkdir()
    assert [p.name for p in runs.list_runs(tmp_path)] == ["loop", "lost"]
    assert runs.list_runs(tmp_path / "absent") == []
    assert {e.name for e in prunable(entries(tmp_path), statuses=("damaged",))} == {"loop", "lost"}
    with pytest.raises(InputError, match="cannot be read"):
        runs.read(find(tmp_path, "loop"))
