"""What a server lets others do: where it listens, which files it opens, whose runs it stops, how many run at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import psutil
import pytest
import scipy.io
from PIL import Image

from tests.browser.serving import served as served_pages
from tests.properties.test_readers_fuzz import envi
from tests.unit.test_collection import make
from workbench import execution, runs
from workbench.config import Reads, Writes, override
from workbench.data.catalog import open_scene
from workbench.data.roots import ROOTS, admit, admit_all
from workbench.data.source import Source
from workbench.engines import limits
from workbench.engines.trial import try_opening
from workbench.errors import InputError
from workbench.methods import METHODS, load
from workbench.pages.frame import policy, queue
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.policy import VARIABLE, Policy, check_owner, check_room, check_uploads, environment, own, settings
from workbench.pages.landing.serving import Access, command, protected


class TestWhoReachesIt:
    def test_by_default_this_machine(self) -> None:
        words = command(["runs"], port=5006)
        assert words[words.index("--address") + 1] == "127.0.0.1"
        named = [words[n + 1] for n, word in enumerate(words) if word == "--allow-websocket-origin"]
        assert named == ["localhost:5006", "127.0.0.1:5006"]

    @pytest.mark.parametrize("given", [{"address": "0.0.0.0"}, {"address": "10.1.2.3"}, {"origins": ("lab.example.org",)}])
    def test_others_need_authentication_or_a_word_that_they_do_not(self, given: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"without a password.*--auth users.json.*--no-auth"):
            Access(**given)
        assert Access(**given, open=True).public
        users = tmp_path / "users.json"
        users.write_text('{"ann": "a long password"}')
        users.chmod(0o644)
        with pytest.raises(InputError, match="chmod 600"):
            Access(**given, auth=str(users))
        users.chmod(0o600)
        words = Access(**given, auth=str(users)).options(5006)
        assert words[words.index("--basic-auth") + 1] == str(users)
        assert "a long password" not in " ".join(words)

    @pytest.mark.parametrize("address", ["::", "[::]", "0.0.0.0", "::ffff:10.1.2.3", "fe80::1%eth0", "0"])
    def test_every_way_to_write_another_address_is_seen(self, address: str) -> None:
        with pytest.raises(InputError, match="without a password"):
            Access(address)

    @pytest.mark.parametrize("address", ["::1", "[::1]", "LOCALHOST", "127.0.0.2"])
    def test_every_way_to_write_this_machine_is_seen(self, address: str) -> None:
        access = Access(address)
        assert not access.public
        words = access.options(7)
        assert words[words.index("--address") + 1] == address.strip("[]").lower()
        assert {o for o in words if "[" in o or "::" in o} <= {"::1"}  # Bokeh ends with a traceback for an origin of IPv6
        assert access.names(7)[-1] == ("[::1]:7" if "::1" in address else "127.0.0.1:7" if "L" in address else "127.0.0.2:7")

    @pytest.mark.parametrize(
        "address", ["", "no.such.machine.invalid", "10.0.0.1:80", "http://lab", "-x", "a b", "256.0.0.1"]
    )
    def test_what_is_no_address(self, address: str) -> None:
        with pytest.raises(InputError, match="--address takes an IP address or the name of a machine"):
            Access(address, open=True)

    def test_a_provider_needs_its_key_and_where_everybody_has_an_account_names(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(InputError, match="needs the variables PANEL_OAUTH_KEY and PANEL_OAUTH_SECRET"):
            Access(auth="github", users=("ann",))
        monkeypatch.setenv("PANEL_OAUTH_KEY", "k")
        monkeypatch.setenv("PANEL_OAUTH_SECRET", "s")
        for provider in ("github", "google", "azure"):
            with pytest.raises(InputError, match=f"Everybody can have an account of {provider}; say whom to let in"):
                Access(auth=provider)
        assert "--oauth-provider" in Access(auth="github", users=("ann",)).options(5006)
        assert "--oauth-provider" in Access(auth="okta").options(5006)
        with pytest.raises(InputError, match="--user says whom an OAuth provider lets in"):
            Access(users=("ann",))

    def test_whom_a_provider_lets_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, Policy(auth=True, users=("Ann", "@lab.example")).model_dump_json())
        assert [
            n for n in ("ann", "bob", "bob@lab.example", "bob@evil-lab.example", "@lab.example", "") if policy.lets_in(n)
        ] == [
            "ann",
            "bob@lab.example",
            "@lab.example",
        ]

    def test_processes_that_are_forked_have_no_page_made_before(self) -> None:
        """Its thread, which opens scenes, would be missing in each: pages never opened one."""
        assert "--warm" in command(["runs"], port=1)
        assert "--warm" not in command(["runs"], port=1, processes=2)

    def test_no_variable_of_the_shell_lets_others_in(self) -> None:
        given = {"BOKEH_ALLOW_WS_ORIGIN": "*", "PANEL_OAUTH_OPTIONAL": "1", "PANEL_COOKIE_SECRET": "", "HOME": "/h"}
        kept = protected({**given, "BOKEH_SECRET_KEY": "k" * 40})
        assert set(kept) == {"HOME", "PANEL_COOKIE_SECRET", "BOKEH_SECRET_KEY", "BOKEH_SIGN_SESSIONS"}
        assert len(kept["PANEL_COOKIE_SECRET"]) == 64
        assert kept["BOKEH_SECRET_KEY"] == "k" * 40

    def test_a_visitor_who_says_to_be_a_guest_has_no_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Panel calls everybody "guest" who sends a cookie; a user of that name would share the runs with all."""
        monkeypatch.setenv(VARIABLE, Policy(auth=True).model_dump_json())
        state = type(policy.pn.state)
        monkeypatch.setattr(state, "cookies", property(lambda _: {"is_guest": "1"}))
        assert policy.pn.state.user == "guest"
        assert policy.user() == ""

    def test_what_makes_no_sense(self, tmp_path: Path) -> None:
        wrong = (
            "*",
            "http://lab",
            "",
            "lab:x",
            "lab:",
            "lab:0",
            "lab:99999",
            "lab:80:90",
            "::1",
            "-x",
            "a b",
            "me@lab",
            "lab\n",
        )
        for origin in (*wrong, "127.0.0.1:evil.example"):
            with pytest.raises(InputError, match="--allow-origin takes HOST"):
                Access(origins=(origin,), open=True)
        given = Access(
            origins=("LAB", "lab:443", "lab:8443", "[::1]"), open=True
        )  # browsers write small letters and no :443
        assert given.origins == ("lab:80", "lab:80", "lab:8443", "[::1]:80")
        with pytest.raises(InputError, match="opposite"):
            Access(auth="github", open=True)
        for text in ('{"ann": ""}', '{"": "x"}', "[]", "{}", '"ann"', '{"ann": 1}'):
            (tmp_path / "users.json").write_text(text)
            with pytest.raises(InputError, match="a password for each user"):
                Access(auth=str(tmp_path / "users.json"))
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="not an ordinary file"):
            Access(auth=str(tmp_path / "pipe"))
        with pytest.raises(InputError, match="No such file"):
            Access(auth="githbu")

    def test_the_page_to_sign_in_asks_no_other_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET"):
            monkeypatch.setenv(name, "x")
        login = Path(policy.__file__).parents[1] / "landing" / "login.html"
        assert "http" not in login.read_text()
        assert str(login) not in Access(auth="okta").options(1)  # the provider has its own


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs of a server with authentication, whose visitors open files below `data`."""
    (tmp_path / "data").mkdir()
    for name, value in environment(Policy(auth=True, admins=("root",)), [tmp_path / "data"], tmp_path / "runs").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "runs"


def _mentions(annotation: Any, wanted: tuple[Any, ...]) -> bool:
    """Whether a type, or one inside it, is one of these, or is annotated with a mark that is."""
    metadata = getattr(annotation, "__metadata__", ())
    inside = get_args(annotation)
    return annotation in wanted or any(type(m) in wanted for m in metadata) or any(_mentions(a, wanted) for a in inside)


def be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(policy, "user", lambda: name)
    monkeypatch.setattr(queue, "user", lambda: name)


class TestFiles:
    def test_outside_of_the_folders_the_words_are_the_same_whether_or_not_it_exists(
        self, served: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret.nc").write_bytes(b"x")
        (tmp_path / "data" / "link.nc").symlink_to(tmp_path / "secret.nc")
        for name in ("secret.nc", "nothing.nc", "data/link.nc", "data/../secret.nc"):
            for give in (admit, open_scene, lambda path: open_scene("sim-coast-town", truth=path)):
                with pytest.raises(InputError, match="is not in a folder from which this server opens files") as refused:
                    give(tmp_path / name)
                assert str(refused.value).startswith(str(tmp_path / name))
        with pytest.raises(InputError, match="is not in a folder"):
            Source(str(tmp_path / "data" / "a.nc"), beside={"lidar": "/etc/passwd"}).open()
        with pytest.raises(InputError, match="There is no file"):
            open_scene(tmp_path / "data" / "nothing.nc")
        assert open_scene("sim-coast-town")["hsi"].ndim == 3

    def test_a_coreset_leads_nowhere_else(self, served: Path, tmp_path: Path) -> None:
        about = {"of": "/etc/passwd", "fingerprint": "0" * 64, "selector": "x", "keep": 0.5, "kept": [], "dropped": []}
        (tmp_path / "data" / "a.yml").write_text(json.dumps(about))
        with pytest.raises(InputError, match=r"/etc/passwd is not in a folder"):
            open_scene(tmp_path / "data" / "a.yml")

    def test_a_link_of_an_envi_file_leads_nowhere_else(
        self, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        envi(tmp_path)
        (tmp_path / "data" / "a.raw.hdr").write_text((tmp_path / "a.raw.hdr").read_text())
        (tmp_path / "data" / "a.raw").symlink_to(tmp_path / "a.raw")
        for name in ("a.raw", "a.raw.hdr"):
            with pytest.raises(InputError, match="is not in a folder"):
                open_scene(tmp_path / "data" / name)
        monkeypatch.delenv(ROOTS)
        for name in ("a.raw", "a.raw.hdr"):
            notes = open_scene(tmp_path / "data" / name).attrs["notes"]
            assert f"the data file a.raw is a link out of its folder, to {tmp_path}/a.raw" in notes

    def test_no_link_within_a_folder_leads_nowhere_else(
        self, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of folders of chips, of pairs, of a Zarr store; also by way of a link to another folder below the root."""
        data, secret = tmp_path / "data", tmp_path / "secret"
        for folder in (data / "chips" / "a", data / "chips" / "b", data / "more", secret):
            folder.mkdir(parents=True)
            for n in range(2):
                Image.fromarray(np.full((8, 8), 40 * n, np.uint8)).save(folder / f"{n}.png")
        assert open_scene(data / "chips").sizes["sample"] == 4
        for link, to in (
            (data / "chips" / "a" / "x.png", secret / "0.png"),
            (data / "chips" / "c", secret),
            (data / "chips" / "c", data / "more"),
            (data / "chips" / "gone.png", secret / "nothing.png"),
        ):
            if to == data / "more":
                (to / "x.png").symlink_to(secret / "0.png")
            link.symlink_to(to)
            for give in (open_scene, lambda path: open_scene("sim-coast-town", truth=path)):
                with pytest.raises(InputError, match="is not in a folder from which this server opens files"):
                    give(data / "chips")
            link.unlink()
        (data / "more" / "x.png").unlink()
        (data / "chips" / "c").symlink_to(data / "more")  # within the folders of the server, and a circle
        (data / "more" / "round").symlink_to(data / "chips")
        admit_all(data / "chips")
        (data / "chips" / "a" / "x.png").symlink_to(secret / "0.png")
        monkeypatch.delenv(ROOTS)
        admit_all(data / "chips")

    def test_catalogue_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environment(Policy(catalogue_only=True), [tmp_path], tmp_path / "runs").items():
            monkeypatch.setenv(name, value)
        assert policy.files_hidden()
        with pytest.raises(InputError, match="only scenes of the catalogue"):
            open_scene(tmp_path / "a.nc")
        with pytest.raises(InputError, match="nothing can be uploaded"):
            check_uploads(tmp_path, {"a.nc": 1})

    def test_every_setting_that_can_be_a_path_is_marked_or_checked(self) -> None:
        """A setting of free text is marked as a file, or is one of those that name things within a scene."""
        within = {"test", "val", "label_owner"}  # identifiers of samples, and a sensor
        for method in METHODS:
            config = load(method).Config
            for name, field in config.model_fields.items():
                marked = any(isinstance(m, Reads | Writes) for m in field.metadata)
                assert marked or not _mentions(field.annotation, (Reads, Writes)), (
                    f"{method}.{name}: the mark is not seen there"
                )
                if marked or name in within or not _mentions(field.annotation, (str, Path, object, Any)):
                    continue
                for given in ("/etc/passwd", ["/etc/passwd"], "../x"):
                    with pytest.raises(InputError):
                        override(config(), {name: given})

    def test_settings_that_name_files(self, served: Path, tmp_path: Path) -> None:
        make(served / "trained", 0.9)
        assert settings("arcdnet", {"weights": "trained"}, served) == {"weights": str(served / "trained")}
        assert settings("arcdnet", {"weights": str(served / "trained")}, served)["weights"] == str(served / "trained")
        for given in ("/etc/passwd", "../data", "nothing"):
            with pytest.raises(InputError, match="has to be the name of a run, or of an upload"):
                settings("arcdnet", {"weights": given}, served)
        with pytest.raises(InputError, match="writes a file"):
            settings("tdds", {"log": str(tmp_path / "x.zarr")}, served)

    def test_uploads_have_a_quota_types_and_an_expiry(self, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, Policy(upload_mb=1, upload_days=1).model_dump_json())
        folder = served / "uploads"
        check_uploads(folder, {"a.mat": 900_000})
        with pytest.raises(InputError, match="more than 1 MB"):
            check_uploads(folder, {"a.mat": 900_000, "b.mat": 200_000})
        for name in ("a.py", "a.yml", "a", "a.mat.sh"):
            with pytest.raises(InputError, match="its type is not one of"):
                check_uploads(folder, {name: 1})
        (folder / "x").mkdir(parents=True)
        (folder / "x" / "old.mat").write_bytes(bytes(900_000))
        with pytest.raises(InputError, match="more than 1 MB"):
            check_uploads(folder, {"b.mat": 200_000})
        os.utime(folder / "x" / "old.mat", (time.time() - 2 * 86400,) * 2)
        check_uploads(folder, {"b.mat": 200_000})
        assert not (folder / "x").exists()
        for name in ("a\0.mat", "a\n.mat", "a" * 300 + ".mat", "..", "", ".mat"):
            with pytest.raises(InputError, match="cannot be uploaded here"):
                check_uploads(folder, {name: 1})
        with pytest.raises(InputError, match="more than 1 MB"):  # of empty files, a disk holds so many and no more
            check_uploads(folder, {f"{n}.mat": 0 for n in range(300)})
        (folder / "y" / "z").mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
        check_uploads(folder, {"b.mat": 1})


def test_only_the_owner_and_administrators_change_a_run(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, "ann")
    own(served / "hers")
    check_owner(served / "hers")
    make(served / "of-a-terminal", 0.9)
    for name in ("bob", ""):
        be(monkeypatch, name)
        for folder, whose in (("hers", "ann"), ("of-a-terminal", "somebody outside")):
            with pytest.raises(InputError, match=f"was started by {whose}"):
                check_owner(served / folder)
    be(monkeypatch, "root")
    check_owner(served / "hers")
    check_owner(served / "of-a-terminal")
    monkeypatch.delenv(VARIABLE)
    be(monkeypatch, "")
    check_owner(served / "hers")  # a notebook


SCENE = Source("sim-coast-town")


class TestQueue:
    @pytest.fixture
    def began(self, served: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the runs that were started, whose processes live until they are taken from `alive`."""
        monkeypatch.setenv(VARIABLE, Policy(auth=True, max_runs=3, max_runs_per_user=2).model_dump_json())
        monkeypatch.setattr(queue, "wake", lambda root: None)
        self.alive: set[str] = set()
        begun: list[str] = []

        def spawn(command: list[str], folder: Path) -> None:
            assert command[1:3] == ["-m", "workbench"]
            begun.append(folder.name)
            self.alive.add(folder.name)

        monkeypatch.setattr(execution, "spawn", spawn)
        monkeypatch.setattr(queue, "launched", lambda folder: folder.name in self.alive)
        monkeypatch.setattr(queue, "new_folder", lambda root, method, name: root / name)
        return begun

    def test_so_many_at_once_and_so_many_of_one_visitor(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n, name in enumerate(["ann", "ann", "ann", "bob", "bob"]):
            be(monkeypatch, name)
            queue.begin("rx", SCENE, {}, served, f"{n}-{name}")
        assert began == ["0-ann", "1-ann", "3-bob"]
        assert [queue.place(served / name) for name in ("0-ann", "2-ann", "4-bob")] == [0, 1, 2]
        self.alive.remove("3-bob")
        assert queue.pump(served) == 4
        assert began[3:] == ["4-bob"]  # ann has her two
        self.alive -= {"0-ann"}
        queue.pump(served)
        assert began[4:] == ["2-ann"]
        self.alive.clear()
        assert queue.pump(served) == 0

    def test_ranks_of_a_run_count_as_runs(self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, Policy(max_runs=3).model_dump_json())
        with pytest.raises(InputError, match="computed by 64 processes; this server allows 3 at once"):
            queue.begin("rsdgc", SCENE, {"workers": "64"}, served, "too-many")
        assert not (served / "too-many").exists()
        queue.begin("rx", SCENE, {}, served, "one")
        queue.begin("rsdgc", SCENE, {"workers": 3}, served, "three")
        queue.begin("rx", SCENE, {}, served, "last")
        assert began == ["one"]
        self.alive.clear()
        queue.pump(served)
        assert began == ["one", "three"]
        self.alive.clear()
        queue.pump(served)
        assert began == ["one", "three", "last"]
        monkeypatch.setenv(VARIABLE, Policy(max_runs=1).model_dump_json())
        self.alive.clear()
        queue.begin("rsdgc", SCENE, {}, served, "two-on-one")  # else ranks could not be shown on one core
        assert began[-1] == "two-on-one"

    def test_no_run_begins_where_there_is_no_room(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Too many bytes of runs, uploads and links left out; too little on the disk; what waits begins when some are deleted."""
        monkeypatch.setattr(queue, "AGAIN", 0.0)
        monkeypatch.setenv(VARIABLE, Policy(max_runs=1, runs_gb=0.003).model_dump_json())
        (served / "uploads" / "x").mkdir(parents=True)
        (served / "uploads" / "x" / "a.mat").write_bytes(bytes(4_000_000))
        queue.begin("rx", SCENE, {}, served, "first")
        queue.begin("rx", SCENE, {}, served, "waits")
        make(served / "large", 0.5)
        (served / "large" / "link").symlink_to(served / "uploads" / "x" / "a.mat")
        queue.begin("rx", SCENE, {}, served, "waits, too")
        (served / "large" / "result.nc").write_bytes(bytes(4_000_000))
        with pytest.raises(
            InputError, match=r"runs of this server have 0\.00\d* GB, and it allows 0.003 GB.*workbench runs prune"
        ):
            queue.begin("rx", SCENE, {}, served, "refused")
        assert not (served / "refused").exists()
        make(served / "half", 0.0, ends="stopped")
        with pytest.raises(InputError, match="No run begins"):
            queue.go_on(served / "half")
        self.alive.clear()
        assert [queue.pump(served), queue.pump(served)] == [2, 2]
        assert began == ["first"]
        assert sum("the queue of" in r.message for r in caplog.records) == 1
        (served / "large" / "result.nc").unlink()
        queue.pump(served)
        assert began == ["first", "waits"]
        monkeypatch.setenv(VARIABLE, Policy(free_gb=1e9).model_dump_json())
        with pytest.raises(InputError, match="are free on the disk of the runs, and this server keeps 1e"):
            queue.begin("rx", SCENE, {}, served, "refused")
        with pytest.raises(InputError, match="are free"):
            check_room(served / "not" / "made" / "yet")

    def test_a_run_that_waits_is_taken_out(self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        be(monkeypatch, "ann")
        for n in range(3):
            queue.begin("rx", SCENE, {}, served, str(n))
        assert not queue.cancel(served / "0")
        assert queue.cancel(served / "2")
        assert not (served / "2").exists()
        self.alive.clear()
        queue.pump(served)
        assert began == ["0", "1"]

    def test_an_unfinished_run_that_waits_to_be_continued_keeps_everything(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(served / "half", 0.0, ends="stopped")
        before = sorted(p.name for p in (served / "half").iterdir())
        be(monkeypatch, "ann")
        for name in ("0", "1"):
            queue.begin("rx", SCENE, {}, served, name)
        queue.go_on(served / "half")
        assert queue.place(served / "half") == 1
        assert policy.owner(served / "half") == ""
        assert queue.cancel(served / "half")
        assert sorted(p.name for p in (served / "half").iterdir()) == before

    def test_a_damaged_or_forged_ticket_starts_and_stops_nothing(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(served / "there", 0.0, ends="stopped")
        good = {"user": "ann", "places": 1, "time": 0.0, "launched": False, "command": ["touch", str(served / "forged")]}
        start = {"method": "tdds", "source": {"scene": "sim-chips"}, "overrides": {"log": "/tmp/x"}}  # noqa: S108
        forged = [
            good,
            good | {"start": ["touch"]},
            good | {"start": start},
            good | {"start": start | {"method": "os"}},
            good | {"start": start | {"overrides": {"weights": "x"}}},
            good | {"start": start | {"source": {"scene": "--scheduler"}, "overrides": {}}},
            good | {"start": None, "folder": "there"},
        ]
        (served / ".queue").mkdir(parents=True)
        texts = ["", "[1]", '{"folder": 3}', "{", *map(json.dumps, forged)]
        for n, text in enumerate(texts):
            (served / ".queue" / f"{n}.json").write_text(text)
        be(monkeypatch, "ann")
        queue.begin("rx", SCENE, {}, served, "one")
        assert began == ["one"]
        assert not (served / "forged").exists()

    def test_of_two_at_the_same_moment_each_gets_a_folder(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = iter(["same", "same", "same-2"])
        monkeypatch.setattr(queue, "new_folder", lambda root, method, name: root / next(names))
        made = [queue.begin("rx", SCENE, {}, served, "x").name for _ in range(2)]
        assert made == ["same", "same-2"]

    def test_so_many_of_one_visitor_wait_and_no_more(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "MOST", 2)
        be(monkeypatch, "ann")
        for n in range(4):
            queue.begin("rx", SCENE, {}, served, str(n))
        with pytest.raises(InputError, match="2 of your runs wait already"):
            queue.begin("rx", SCENE, {}, served, "more")
        assert not (served / "more").exists()
        be(monkeypatch, "bob")
        queue.begin("rx", SCENE, {}, served, "his")
        assert began == ["0", "1", "his"]

    def test_a_full_disk_does_not_end_the_queue(
        self, served: Path, began: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors: list[Exception] = [OSError(28, "No space left on device"), InputError("Cannot write")]

        def pump(root: Path) -> int:
            if errors:
                raise errors.pop()
            return 0

        monkeypatch.setattr(queue, "pump", pump)
        monkeypatch.setattr(queue, "PERIOD", 0.0)
        queue._watch(served)
        assert errors == []


@pytest.mark.process
def test_the_next_run_begins_when_one_has_ended(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real processes: an ended child of this process, of which nobody asked how it ended, is at work no more."""
    monkeypatch.setenv(VARIABLE, Policy(max_runs=1).model_dump_json())
    monkeypatch.setattr(queue, "PERIOD", 0.05)
    monkeypatch.setattr(queue, "_command", lambda folder, start: [sys.executable, "-c", "print('done')"])
    folders = [queue.begin("rx", SCENE, {}, served, str(n)) for n in range(3)]
    deadline = time.monotonic() + 30
    while any(queue._ticket(folder).exists() for folder in folders):
        assert time.monotonic() < deadline, [queue.place(folder) for folder in folders]
        time.sleep(0.05)
    assert [(folder / "stderr.txt").read_text() for folder in folders] == ["done\n"] * 3


SWALLOWED = """
try:
    time.sleep(30)
except ValueError:  # an InputError is one, and this code expects another
    pass
time.sleep(30)
"""
STUBBORN = """
while True:
    try:
        time.sleep(30)
    except ValueError:
        pass
"""
FAMILY = """
import subprocess, sys
child = "x = b'x' * 200_000_000; print(flush=True); import time; time.sleep(8)"
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
"""


@pytest.mark.process
def test_a_run_has_limits_of_memory_and_time(tmp_path: Path) -> None:
    code = "import numpy as np, time; from workbench.engines import limits\n"
    code += "limits.GRACE = limits.LOOK = 0.3; limits.apply()\n"
    for variable, value, work, says in (
        (limits.MEMORY, "1", "np.ones(3 * 10**8)", "Unable to allocate"),
        (limits.MEMORY, "0.5", FAMILY + "time.sleep(30)", "processes of this run had 0."),  # none of them has too much
        (limits.MEMORY, "0.5", FAMILY + STUBBORN, "and did not end by itself"),
        (limits.MEMORY, "0.5", FAMILY + "limits.FAR = 1.0; time.sleep(30)", "and did not end by itself"),
        (limits.SECONDS, "0.3", "time.sleep(30)", "longer than the 0.3 s that this server allows"),
        (limits.SECONDS, "0.3", SWALLOWED, "longer than the 0.3 s that this server allows"),
        (limits.SECONDS, "0.3", STUBBORN, "and did not end by itself"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code + work],
            env={**os.environ, variable: value},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0
        assert says in done.stderr


def test_a_queue_is_no_run(served: Path) -> None:
    (served / ".queue").mkdir(parents=True)
    assert runs.list_runs(served) == []
    assert ROOTS in os.environ


class TestTrial:
    """A visitor's file is opened in a child first; the process of the server never meets what exceeds the limits."""

    @pytest.mark.process
    def test_a_good_file_a_refused_one_and_a_bomb(self, tmp_path: Path) -> None:
        cube = np.random.default_rng(0).random((6, 7, 5))
        scipy.io.savemat(tmp_path / "good.mat", {"data": cube, "map": np.eye(6, 7)})
        try_opening(Source(str(tmp_path / "good.mat")))
        (tmp_path / "bad.mat").write_bytes(b"no")
        with pytest.raises(InputError, match=r"bad\.mat"):
            try_opening(Source(str(tmp_path / "bad.mat")))
        scipy.io.savemat(tmp_path / "bomb.mat", {"data": np.zeros((400, 500, 300))}, do_compression=True)
        assert (tmp_path / "bomb.mat").stat().st_size < 1_000_000  # 0.5 GB of zeros
        with pytest.raises(InputError, match=r"bomb\.mat (does not fit into memory|needs more than 0\.7 GB)"):
            try_opening(Source(str(tmp_path / "bomb.mat")), memory_gb=0.7)

    @pytest.mark.process
    def test_one_that_never_ends_and_one_whose_reader_dies(self) -> None:
        source = Source("x.mat")
        with pytest.raises(InputError, match=r"not opened within 0\.5 s"):
            try_opening(source, seconds=0.5, command=(sys.executable, "-c", "import time; time.sleep(60)"))
        with pytest.raises(InputError, match="ended without an answer"):
            try_opening(source, command=(sys.executable, "-c", "import os; os.abort()"))

    def test_the_pages_of_others_do_not_wait_for_it(self) -> None:
        results, gate = SharedResults(4), threading.Event()
        slow = results.ask("slow", lambda: "made", lambda: gate.wait(20) and None)
        assert results.ask("other", lambda: "at once").result(5) == "at once"
        assert not slow.done()
        gate.set()
        assert slow.result(5) == "made"

        def refuse() -> None:
            raise InputError("no")

        with pytest.raises(InputError, match="no"):
            results.ask("refused", lambda: 1 / 0, refuse).result(5)


@pytest.mark.process
@pytest.mark.long
def test_all_processes_of_a_server_end_with_the_first(tmp_path: Path) -> None:
    """The first ends at a request of the system, as with Ctrl-C by a terminal; the others keep the port if they live on."""
    with served_pages(tmp_path, "runs", processes=2) as server:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        assert len(family) == 3
    _, left = psutil.wait_procs(family[1:], timeout=10)
    assert left == []
