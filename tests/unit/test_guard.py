"""What a request has to pass before a page answers: host, origin, session id, name and password. On a server in this process."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import panel.io.server  # noqa: F401 - its handlers are the ones that are guarded
import pytest
from bokeh.application import Application
from bokeh.server import urls
from bokeh.server.server import Server
from bokeh.util.token import generate_jwt_token, generate_session_id
from panel.auth import BasicAuthProvider, BasicLoginHandler
from panel.config import config
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClientConnection, websocket_connect

from workbench.pages.frame.policy import VARIABLE, Policy
from workbench.pages.landing import guard

SECRET = "a secret of more than thirty-two characters"  # noqa: S105


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of users of a guarded server."""
    monkeypatch.setattr(urls, "per_app_patterns", [*urls.per_app_patterns])
    monkeypatch.setattr(guard, "per_app_patterns", urls.per_app_patterns)
    monkeypatch.setattr("bokeh.server.tornado.per_app_patterns", urls.per_app_patterns)
    monkeypatch.setattr(BasicLoginHandler, "_validate", BasicLoginHandler._validate)
    guard.install()
    path = tmp_path / "users.json"
    path.write_text(json.dumps({"ann": "hers", "bob": "his"}))
    path.chmod(0o600)
    limits = Policy(auth=True, users_file=str(path), origins=("[::1]:7",))
    monkeypatch.setenv(VARIABLE, limits.model_dump_json())
    with config.set(cookie_secret=SECRET, basic_auth=str(path)):
        yield path


class Visitor:
    """One visitor of the server: cookies, and the host that the browser names."""

    def __init__(self, port: int, **headers: str) -> None:
        self.port, self.headers, self.cookies = port, {"Host": f"localhost:{port}", **headers}, dict[str, str]()

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        return {**self.headers, "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), **more}

    async def get(self, path: str, **headers: str) -> HTTPResponse:
        asked = HTTPRequest(f"http://127.0.0.1:{self.port}{path}", headers=self._headers(headers), follow_redirects=False)
        return await AsyncHTTPClient().fetch(asked, raise_error=False)

    async def logs_in(self, name: str, password: str) -> bool:
        form = urlencode({"username": name, "password": password})
        asked = HTTPRequest(f"http://127.0.0.1:{self.port}/login", method="POST", body=form, follow_redirects=False)
        answer = await AsyncHTTPClient().fetch(asked, raise_error=False)
        for cookie in answer.headers.get_list("Set-Cookie"):
            key, _, value = cookie.partition(";")[0].partition("=")
            if value.strip('"'):
                self.cookies[key] = value
        return "error" not in answer.headers.get("Location", "error")

    async def connects(self, token: str, **headers: str) -> bool:
        """Whether a web socket opens and the server says that it is ready."""
        asked = HTTPRequest(f"ws://127.0.0.1:{self.port}/page/ws", headers=self._headers(headers))
        try:
            socket: WebSocketClientConnection = await websocket_connect(asked, subprotocols=["bokeh", token])
        except HTTPClientError:
            return False
        said = await socket.read_message()
        socket.close()
        return said is not None and "ACK" in str(said)

    async def token(self) -> str:
        found = re.search(r'"token":\s*"([^"]+)"', (await self.get("/page")).body.decode())
        assert found is not None
        return found[1]


def served(then: Callable[[int], Awaitable[None]]) -> None:
    """Call `then(port)` beside a server of one empty page, with a log-in."""

    async def beside() -> None:
        server = Server(
            {"/page": Application()},
            port=0,
            address="127.0.0.1",
            io_loop=IOLoop.current(),
            auth_provider=BasicAuthProvider(),
            sign_sessions=True,
            secret_key=SECRET.encode(),
            cookie_secret=SECRET,
        )
        server.start()
        try:
            await then(server.port)
        finally:
            server.stop()

    asyncio.run(beside())


def test_only_by_its_own_names_and_with_its_own_sessions(users: Path) -> None:
    async def attack(port: int) -> None:
        bob = Visitor(port)
        assert (await bob.get("/page")).code == 302
        assert await bob.logs_in("bob", "his")
        for path in ("/page", "/page/autoload.js?bokeh-autoload-element=x", "/page/metadata"):
            assert (await bob.get(path)).code == 200
            for host in ("evil.example", f"evil.example:{port}", f"localhost.evil.example:{port}", "localhost:1", ""):
                assert (await bob.get(path, Host=host)).code == 403, (path, host)
            assert (await bob.get(path, Host=f"LOCALHOST:{port}")).code == 200
            assert (await bob.get(path, Host="[::1]:7")).code == 200
            more = "&" if "?" in path else "?"
            assert (await bob.get(f"{path}{more}bokeh-session-id=chosen")).code == 403
            assert (await bob.get(f"{path}{more}bokeh-token={await bob.token()}")).code == 403
            assert (await bob.get(path, **{"Bokeh-Session-Id": "chosen"})).code == 403
        token = await bob.token()
        assert await bob.connects(token)
        assert await bob.connects(token, Origin=f"http://localhost:{port}")
        assert await bob.connects(token, Origin="http://[::1]:7")
        for origin in ("http://evil.example", "null", f"http://evil.example:{port}", "http://localhost:1"):
            assert not await bob.connects(token, Origin=origin), origin
        assert not await Visitor(port).connects(token)
        more_of = {"headers": {}, "cookies": {"is_guest": "1"}, "arguments": {}}
        forged = generate_jwt_token(generate_session_id(None, False), None, signed=False, extra_payload=more_of)
        assert not await bob.connects(forged)

    served(attack)


def test_nobody_gets_in_while_the_file_of_users_is_gone_or_readable_by_others(users: Path) -> None:
    async def attack(port: int) -> None:
        bob = Visitor(port)
        assert not await bob.logs_in("bob", "hers")
        assert not await bob.logs_in("carl", "")
        assert await bob.logs_in("bob", "his")
        content = users.read_text()
        users.unlink()
        for name in ("ann", "anybody"):  # Panel compares the password with the path of the missing file
            assert not await Visitor(port).logs_in(name, str(users))
        assert (await bob.get("/page")).code == 403
        users.write_text(content)
        users.chmod(0o644)
        assert not await Visitor(port).logs_in("bob", "his")
        users.chmod(0o600)
        assert await Visitor(port).logs_in("bob", "his")
        assert (await bob.get("/page")).code == 200
        for text in ("", "[1", '"his"', '{"bob": ""}', '{"bob": null}', '["bob"]'):
            users.write_text(text)
            for password in ("his", "", "None", text):
                assert not await Visitor(port).logs_in("bob", password), (text, password)
        users.write_text('{"ann": "hers"}')
        assert (await bob.get("/page")).code == 403  # his cookie is still good
        token = generate_jwt_token(generate_session_id(SECRET.encode(), True), SECRET.encode(), signed=True)
        assert not await bob.connects(token)

    served(attack)
