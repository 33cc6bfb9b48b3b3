"""Archives of strangers: their code is never executed, imported runs are marked, links and bombs are refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from tests.unit.test_collection import make
from tests.unit.test_sweeps import COMPUTE, PARAMETERS, notebook
from workbench import cli
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.execution import relaunch, resume
from workbench.reports import rerun as reruns
from workbench.reports.export import write_page
from workbench.reports.notebook import notebook_hash
from workbench.reports.rerun import rerun
from workbench.runs.collection import entries
from workbench.runs.crate import pack, unpack
from workbench.runs.imported import imported


def attack(tmp_path: Path) -> tuple[Path, Path]:
    """(archive, file that its notebook writes): a cell of a sweep whose record names a notebook in the archive, with its right hash."""
    witness = tmp_path / "witness"
    folder = make(tmp_path / "theirs" / "gift", 0.9)
    own = notebook(folder / "evil.ipynb", f"{COMPUTE}\nPath({str(witness)!r}).touch()", PARAMETERS)
    about = json.loads((folder / "run.json").read_text())
    name = str(tmp_path / "mine" / "gift" / "evil.ipynb")
    about["notebook"] = {"name": name, "sha256": notebook_hash(own), "parameters": {"x": 3}}
    about["scene"] = {"id": "digits", "digest": Source("digits").digest()}
    (folder / "run.json").write_text(json.dumps(about))
    return pack(folder, tmp_path / "gift.zip"), witness


@pytest.mark.process
def test_a_notebook_that_an_archive_names_is_never_executed(tmp_path: Path) -> None:
    file, witness = attack(tmp_path)
    folder = unpack(file, tmp_path / "mine")
    assert (folder / "evil.ipynb").exists()
    for yes in (False, True):
        with pytest.raises(InputError, match=r"not one of the workbench.*--notebook FILE"):
            rerun(folder, yes=yes)
    with pytest.raises(InputError, match=r"imported by .* executes the notebook .*evil.ipynb"):
        rerun(folder, notebook=folder / "evil.ipynb")
    assert not witness.exists()
    rerun(folder, notebook=folder / "evil.ipynb", yes=True)  # the user says so, twice
    assert witness.exists()


def test_a_path_in_the_name_of_a_workbench_notebook_is_not_one_of_them(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", 0.9)
    about = json.loads((folder / "run.json").read_text())
    for name in ("../notebooks/anomaly", "./anomaly", str(reruns.shipped()["anomaly"])):
        about["notebook"] = {"name": name, "sha256": "", "parameters": {}}
        (folder / "run.json").write_text(json.dumps(about))
        with pytest.raises(InputError, match="not one of the workbench"):
            rerun(folder)


def test_a_scene_cannot_be_an_option_of_the_next_process(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", 0.9, method="rx")
    about = json.loads((folder / "run.json").read_text())
    about["scene"]["open"] = {"scene": "--scheduler=tcp://evil:8786"}
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="cannot begin with -"):
        rerun(folder)


class TestImportedRuns:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return unpack(pack(make(tmp_path / "theirs" / "run", 0.9), tmp_path / "run.zip"), tmp_path / "mine")

    def test_are_marked_in_the_list_in_show_and_in_their_report(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = imported(folder)
        assert origin is not None
        assert (origin.file, origin.sha256) == ("run.zip", hashlib.sha256((tmp_path / "run.zip").read_bytes()).hexdigest())
        assert imported(tmp_path / "theirs" / "run") is None
        assert imported(folder / "inner") == origin  # what lies in it was imported with it
        assert [e.marks for e in entries(folder.parent)] == [["imported"]]
        for words, says in ((["list"], "imported"), (["show", "run"], "from run.zip")):
            monkeypatch.setattr("sys.argv", ["workbench", "runs", *words, "--root", str(folder.parent)])
            with pytest.raises(SystemExit):
                cli.main()
            assert says in capsys.readouterr().out
        assert "Made elsewhere" in write_page(folder, tmp_path / "page.html").read_text()
        (folder / "report.html").write_text("<style>p { display: none }</style>")
        assert write_page(folder, tmp_path / "report.html").read_text().startswith("<p style=")

    def test_are_repeated_only_when_that_is_said(self, folder: Path) -> None:
        about = json.loads((folder / "run.json").read_text())
        about["scene"]["open"] = {"scene": "sim-coast-town"}
        (folder / "run.json").write_text(json.dumps(about))
        with pytest.raises(
            InputError, match=r"executes the method bsdm.*\n  on sim-coast-town\n  with seed=0\nTo execute it, say --yes"
        ):
            rerun(folder)

    def test_are_not_continued(self, folder: Path) -> None:
        for go in (resume, relaunch):
            with pytest.raises(InputError, match="made elsewhere .* not continued here"):
                go(folder)

    def test_lose_what_only_the_machine_of_the_run_may_say(self, tmp_path: Path) -> None:
        file = pack(make(tmp_path / "theirs" / "run", 0.9), tmp_path / "run.zip")
        with zipfile.ZipFile(file) as archive:
            contents = {n.removeprefix("run/"): archive.read(n) for n in archive.namelist()}
        contents |= {"checkpoint.pt": b"x", "owner.json": b'{"user": "bob"}', "imported.json": b'{"by": "a friend"}'}
        del contents["manifest-sha256.txt"]
        sums = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in contents.items())
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in {**contents, "manifest-sha256.txt": sums.encode()}.items():
                archive.writestr(f"run/{name}", content)
        folder = unpack(file, tmp_path / "mine")
        assert not (folder / "checkpoint.pt").exists()
        assert not (folder / "owner.json").exists()
        assert imported(folder).by != "a friend"  # type: ignore[union-attr]


class TestArchives:
    def test_a_link_is_not_exported(self, tmp_path: Path) -> None:
        folder = make(tmp_path / "run", 0.9)
        (folder / "notes.txt").symlink_to("/etc/passwd")
        with pytest.raises(InputError, match=r"notes.txt is a link to /etc/passwd"):
            pack(folder, tmp_path / "run.zip")
        assert not (tmp_path / "run.zip").exists()
        (folder / "notes.txt").unlink()
        (folder / "more").symlink_to("/etc")
        with pytest.raises(InputError, match=r"more is a link"):
            pack(folder, tmp_path / "run.zip")

    def test_a_bomb_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("run/run.json", "{}")
            with archive.open("run/zeros", "w") as file:
                for _ in range(64):
                    file.write(bytes(1 << 20))
        with pytest.raises(InputError, match=r"unpacks to 0.07 GB; at most 0.05 GB"):
            unpack(tmp_path / "bomb.zip", tmp_path / "mine", largest_gb=0.05)
        assert not (tmp_path / "mine").exists()

    @pytest.mark.parametrize("how", ["run/{}", "run/./{}", "run//{}", "run/a/../../{}", "./run/{}", "run/a\n/{}"])
    def test_a_member_that_leads_out_of_its_folder(self, tmp_path: Path, how: str) -> None:
        """With a manifest that names it as the archive does: `run//tmp/x` has the rest `/tmp/x`, which is an absolute path."""
        outside = tmp_path / "outside.txt"
        member = how.format(outside)
        contents = dict.fromkeys(("run.json", "events.jsonl"), b"{}") | {"ro-crate-metadata.json": b'{"@graph": []}'}
        contents[member.partition("/")[2]] = b"written"
        sums = "".join(f"{hashlib.sha256(v).hexdigest()}  {n}\n" for n, v in contents.items())
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name, content in {**contents, "manifest-sha256.txt": sums.encode()}.items():
                archive.writestr(member if content == b"written" else f"run/{name}", content)
        with pytest.raises(InputError, match="does not hold one run folder"):
            unpack(tmp_path / "x.zip", tmp_path / "mine")
        assert not outside.exists()
        assert not (tmp_path / "mine" / "run").exists()

    @pytest.mark.parametrize("top", [".queue", ".hidden", "uploads", "scenes"])
    def test_a_run_cannot_be_called_like_a_folder_that_the_server_keeps(self, tmp_path: Path, top: str) -> None:
        """`.queue` would be tickets, which a server starts."""
        file = pack(make(tmp_path / "theirs" / top, 0.9), tmp_path / "x.zip")
        with pytest.raises(InputError, match="does not hold one run folder"):
            unpack(file, tmp_path / "mine")
        assert not (tmp_path / "mine" / top).exists()

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"@graph": [3]}', '{"@graph": {"a": 1}}', "[]", "\xff"])
    def test_a_description_that_makes_no_sense(self, tmp_path: Path, text: str) -> None:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name, content in (("run.json", "{}"), ("manifest-sha256.txt", ""), ("ro-crate-metadata.json", text)):
                archive.writestr(f"run/{name}", content.encode("latin-1"))
        with pytest.raises(InputError, match="ro-crate-metadata.json"):
            unpack(tmp_path / "x.zip", tmp_path / "mine")
        assert not (tmp_path / "mine" / "run").exists()
