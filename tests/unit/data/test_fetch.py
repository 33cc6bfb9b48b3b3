"""Look-up order, checksums and failures of a download, against a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading
from dataclasses import dataclass, replace

import pytest

from workbench.data import fetch
from workbench.errors import InputError

CONTENT = b"a cube, let us say"


@dataclass(frozen=True)
class Wanted:
    path: str = "source/cube.mat"
    sha256: str = hashlib.sha256(CONTENT).hexdigest()
    url: str = "http://127.0.0.1:9/cube.mat"  # port 9 discards: nobody answers


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty cache and no folder of one's own."""
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    return tmp_path


@pytest.fixture
def server():
    """Serves what is in `served` and counts requests."""
    served: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = served.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        thread = threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{it.server_port}", served, asked
        it.shutdown()
        thread.join()


def put(folder, content=CONTENT):
    (folder / "source").mkdir(parents=True, exist_ok=True)
    path = folder / "source" / "cube.mat"
    path.write_bytes(content)
    return path


def test_own_folder_before_cache(here, monkeypatch):
    own, cached = put(here / "mine"), put(here / "cache")
    assert fetch.get("x", [Wanted()]) == [cached]
    monkeypatch.setenv("WORKBENCH_DATA", str(here / "mine"))
    assert fetch.get("x", [Wanted()]) == [own]
    own.unlink()
    assert fetch.get("x", [Wanted()]) == [cached]


def test_download_once_into_the_cache(here, server):
    address, served, asked = server
    served["/cube.mat"] = CONTENT
    wanted = replace(Wanted(), url=f"{address}/cube.mat")
    assert fetch.find([wanted]) is None
    (path,) = fetch.get("x", [wanted])
    assert path == here / "cache/source/cube.mat"
    assert path.read_bytes() == CONTENT
    assert fetch.get("x", [wanted]) == [path]
    assert len(asked) == 1


def test_files_of_an_entry_stay_together(here, server, monkeypatch):
    """A header in one's own folder and the data in the cache would be a pair that no reader finds."""
    address, served, _ = server
    served["/cube.mat"] = CONTENT
    served["/cube.hdr"] = b"ENVI"
    put(here / "mine")
    monkeypatch.setenv("WORKBENCH_DATA", str(here / "mine"))
    header = Wanted("source/cube.hdr", hashlib.sha256(b"ENVI").hexdigest(), f"{address}/cube.hdr")
    paths = fetch.get("x", [replace(Wanted(), url=f"{address}/cube.mat"), header])
    assert {p.parent for p in paths} == {here / "cache/source"}


def test_offline_tells_the_ways_out(here):
    with pytest.raises(
        InputError, match=r"workbench fetch abu-x.*source/cube\.mat below a folder.*WORKBENCH_DATA.*simulated"
    ):
        fetch.get("abu-x", [Wanted()])
    assert not list((here / "cache").rglob("*.*"))


def test_not_found_on_the_server(here, server):
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch.get("x", [replace(Wanted(), url=server[0] + "/cube.mat")])


def test_wrong_checksum_is_not_kept(here, server):
    address, served, _ = server
    served["/cube.mat"] = b"another cube"
    with pytest.raises(InputError, match="does not have the SHA-256"):
        fetch.get("x", [replace(Wanted(), url=f"{address}/cube.mat")])
    assert [p for p in (here / "cache").rglob("*") if p.is_file()] == []


def test_wrong_checksum_in_own_folder(here, monkeypatch):
    put(here / "mine", b"another cube")
    monkeypatch.setenv("WORKBENCH_DATA", str(here / "mine"))
    with pytest.raises(InputError, match=hashlib.sha256(b"another cube").hexdigest()):
        fetch.get("x", [Wanted()])


def test_damaged_cache_is_replaced(here, server):
    address, served, _ = server
    served["/cube.mat"] = CONTENT
    put(here / "cache", b"half of it")
    (path,) = fetch.get("x", [replace(Wanted(), url=f"{address}/cube.mat")])
    assert path.read_bytes() == CONTENT


def test_cache_that_cannot_be_written(here, server):
    address, served, _ = server
    served["/cube.mat"] = CONTENT
    (here / "cache").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="WORKBENCH_CACHE"):
        fetch.get("x", [replace(Wanted(), url=f"{address}/cube.mat")])


def test_own_folder_that_is_none(here, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(here / "nowhere"))
    with pytest.raises(InputError, match="is not a folder"):
        fetch.get("x", [Wanted()])


def test_hash_is_remembered_until_the_file_changes(here, monkeypatch):
    path = put(here)
    # SHA-256 of b"abc", from FIPS 180-2, appendix B.1
    path.write_bytes(b"abc")
    assert fetch.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    calls = []
    monkeypatch.setattr(fetch._files, "sha256", lambda p: calls.append(p) or "anew")
    fetch.sha256(path)
    assert not calls
    path.write_bytes(b"abcd")
    assert fetch.sha256(path) == "anew"
    monkeypatch.undo()
    with pytest.raises(InputError, match="There is no file"):
        fetch.sha256(here / "nowhere")
