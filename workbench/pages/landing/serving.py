"""The one way in which the dashboards are served: the command line, `make serve` and the tests of the browser use it."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError, did_you_mean
from workbench.resources import folder
from workbench.runs.loader import read_json

LOOPBACK = "127.0.0.1"
LOGIN = Path(__file__).with_name("login.html")  # Panel's own asks another host for its picture
PROVIDERS = ("auth0", "azure", "azurev2", "bitbucket", "generic", "google", "github", "gitlab", "okta", "auth_code", "pam")
# Everybody on earth can have an account there.
FOR_ALL = ("azure", "azurev2", "bitbucket", "google", "github", "gitlab")
# Variables that would let others in whatever the command line says, or that contradict it.
OVERRULED = (
    "BOKEH_ALLOW_WS_ORIGIN",
    "PANEL_ADMIN_ENDPOINT",
    "PANEL_BASIC_AUTH",
    "PANEL_OAUTH_GUEST_ENDPOINTS",
    "PANEL_OAUTH_OPTIONAL",
    "PANEL_OAUTH_PROVIDER",
)
_NAME = re.compile(r"(?!-)[a-z0-9._-]+|\[[0-9a-f:.]+\]")
# ms after which a page that no browser holds is given up. With Bokeh's 15 s, a busy server gives pages up before it lets their
# browsers connect, when many visitors come at once.
UNUSED = 60_000
# Waits until the server answers, then opens the browser there. Panel's own --show opens every page at once.
OPEN = """
import sys, time, urllib.request, webbrowser
for _ in range(600):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=60).close()
    except OSError:
        time.sleep(0.2)
    else:
        webbrowser.open(sys.argv[1])
        break
"""


def dashboards() -> dict[str, Path]:
    """Name -> file of every dashboard, in order of the names."""
    return {path.stem: path for path in sorted(folder("dashboards").glob("*.py"))}


@dataclass(frozen=True)
class Access:
    """Who reaches the server.

    address: on which it listens. origins: further HOST or HOST:PORT by which browsers name it, such as that of a proxy. auth: a
    JSON file of users and passwords, or an OAuth provider of Panel. users: whom a provider lets in, names or @DOMAIN. open: it may be
    reached by others without authentication.

    Raises InputError for a server that others reach without authentication although that was not said, for a provider that lets
    everybody in or whose key is missing, and for what is no address or origin.
    """

    address: str = LOOPBACK
    origins: Sequence[str] = ()
    auth: str | None = None
    open: bool = False
    users: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _address(self.address))
        object.__setattr__(self, "origins", tuple(_origin(o) for o in self.origins))
        if self.auth is not None:
            if self.open:
                raise InputError("--auth and --no-auth say the opposite; give one of the two.")
            if self.auth in PROVIDERS:
                self._check_provider()
            else:
                check_users(Path(self.auth))
        elif self.public and not self.open:
            where = self.address if not _loopback(self.address) else ", ".join(self.origins)
            raise InputError(
                f"Others could reach {where} without a password: they could read the data that the server reads, start runs "
                "and delete them. Give --auth users.json or --auth PROVIDER, or say --no-auth if that is wanted."
            )
        if self.users and self.auth not in PROVIDERS:
            raise InputError("--user says whom an OAuth provider lets in; with --auth users.json, the file says it.")

    def _check_provider(self) -> None:
        wanted = [] if self.auth == "pam" else ["PANEL_OAUTH_KEY"] + ["PANEL_OAUTH_SECRET"] * (self.auth != "auth_code")
        if missing := [name for name in wanted if not os.environ.get(name)]:
            raise InputError(f"--auth {self.auth} needs the variables {' and '.join(missing)}, which the provider gave you.")
        if self.auth in FOR_ALL and not self.users:
            raise InputError(
                f"Everybody can have an account of {self.auth}; say whom to let in, with --user NAME or --user @DOMAIN (repeat)."
            )

    @property
    def public(self) -> bool:
        """Whether browsers of other machines reach the server, directly or through a proxy."""
        return not (_loopback(self.address) and all(_loopback(_host(o)) for o in self.origins))

    @property
    def users_file(self) -> str:
        """Absolute path of the file of users; empty without one."""
        return "" if self.auth is None or self.auth in PROVIDERS else str(Path(self.auth).absolute())

    def names(self, port: int) -> tuple[str, ...]:
        """All HOST:PORT by which browsers may name the server."""
        hosts = dict.fromkeys((f"localhost:{port}", f"{LOOPBACK}:{port}", self.place(port)))
        return (*hosts, *self.origins)

    def place(self, port: int) -> str:
        """HOST:PORT at which it answers on this machine."""
        if self.address == LOOPBACK or _everywhere(self.address):
            return f"localhost:{port}"
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"

    def options(self, port: int) -> list[str]:
        """The options of `panel serve`; it knows no origins with an address of IPv6, which `guard` checks."""
        words = ["--address", self.address]
        for origin in self.names(port):
            words += [] if "[" in origin else ["--allow-websocket-origin", origin]
        if self.auth is None:
            return words
        if self.auth in PROVIDERS:
            return [*words, "--oauth-provider", self.auth]
        return [*words, "--basic-auth", self.users_file, "--basic-login-template", str(LOGIN)]


def _address(text: str) -> str:
    """An address to listen on as the system takes it: IPv6 without brackets. Raises InputError for what is neither address nor name."""
    bare = text.strip().removeprefix("[").removesuffix("]").lower()
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        try:
            if not _NAME.fullmatch(bare):
                raise OSError("no port, no scheme and no path")
            socket.getaddrinfo(bare, None)
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"--address takes an IP address or the name of a machine, and the port is --port; got {text!r} ({error})."
            ) from None
    return bare


def _origin(text: str) -> str:
    """HOST:PORT in small letters, as Bokeh compares it: port 80 where a browser names none, also for TLS. Raises InputError."""
    host = _host(text.lower())
    port = text[len(host) :] or ":80"
    if not _NAME.fullmatch(host) or not re.fullmatch(r":[0-9]{1,5}", port) or not 0 < int(port[1:]) < 65536:
        raise InputError(
            f"--allow-origin takes HOST or HOST:PORT, as browsers name the server, IPv6 as [::1]:5006; got {text!r}."
        )
    return f"{host}:80" if port == ":443" else host + port


def _host(origin: str) -> str:
    return origin.partition("]")[0] + "]" if origin[:1] == "[" else origin.partition(":")[0]


def _everywhere(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # the name of a machine
        return False


def protected(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a server: without those that would let others in, and with the secrets that sign cookies and sessions.

    With secrets of its own in `PANEL_COOKIE_SECRET` and `BOKEH_SECRET_KEY`, visitors stay when it starts again.
    """
    kept = {name: value for name, value in variables.items() if name not in OVERRULED}
    for name in ("PANEL_COOKIE_SECRET", "BOKEH_SECRET_KEY"):
        kept[name] = kept.get(name) or secrets.token_hex(32)
    return {**kept, "BOKEH_SIGN_SESSIONS": "yes"}


def check_users(path: str | Path) -> dict[str, str]:
    """User -> password. Raises InputError unless the file has users with passwords, and no other user of this machine can read it."""
    users = read_json(path)
    if not isinstance(users, dict) or not users or not all(isinstance(p, str) and p and n for n, p in users.items()):
        raise InputError(f'{path} has to be {{"user": "password", ...}}, with a password for each user.')
    if Path(path).stat().st_mode & 0o077:
        raise InputError(f"{path} holds passwords, and other users of this machine can read it; run: chmod 600 {path}")
    return users


def command(
    names: Sequence[str] = (), *, port: int, warm: bool = True, access: Access | None = None, processes: int = 1
) -> list[str]:
    """The command of a server with the landing page and these dashboards; without names, with all. Raises InputError for an unknown name.

    warm: each page is made once before the server listens, so that the first visitor does not wait. access: by default, this machine
    only. processes: number of server processes that share the port; with several none is warm: they are forked from the first, and the
    threads that had opened its scenes would be missing in them, so that no page ever opened another scene.
    """
    known = dashboards()
    for name in names:
        if name not in known:
            raise InputError(f"There is no dashboard {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
    files = [str(known[name]) for name in names or known]
    plugins = ["--plugins", "workbench.pages.landing.routes", "--plugins", "workbench.pages.landing.begun"]
    more = [*(access or Access()).options(port), *(["--num-procs", str(processes)] if processes > 1 else [])]
    return [
        sys.executable,
        "-m",
        "panel",
        "serve",
        *files,
        "--port",
        str(port),
        *more,
        *plugins,
        "--unused-session-lifetime",
        str(UNUSED),
        *(["--warm"] if warm and processes == 1 else []),
    ]


def open_browser(address: str) -> None:
    """Open the address in the browser as soon as the server answers; returns at once."""
    subprocess.Popen([sys.executable, "-c", OPEN, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
