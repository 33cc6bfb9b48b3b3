"""The one way in which the dashboards are served: the command line, `make serve` and the tests of the browser use it."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError, did_you_mean
from workbench.resources import folder
from workbench.runs.loader import read_json

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104
LOGIN = Path(__file__).with_name("login.html")  # Panel's own asks another host for its picture
PROVIDERS = ("auth0", "azure", "azurev2", "bitbucket", "generic", "google", "github", "gitlab", "okta", "auth_code", "pam")
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
    JSON file of users and passwords, or an OAuth provider of Panel. open: it may be reached by others without authentication.

    Raises InputError for a server that others reach without authentication although that was not said.
    """

    address: str = LOOPBACK
    origins: Sequence[str] = ()
    auth: str | None = None
    open: bool = False

    def __post_init__(self) -> None:
        for origin in self.origins:
            if "*" in origin or "/" in origin or not origin:
                raise InputError(f"--allow-origin takes HOST or HOST:PORT, as browsers name the server; got {origin!r}.")
        if self.auth is not None:
            if self.open:
                raise InputError("--auth and --no-auth say the opposite; give one of the two.")
            if self.auth not in PROVIDERS:
                check_users(Path(self.auth))
        elif self.public and not self.open:
            where = self.address if not _loopback(self.address) else ", ".join(self.origins)
            raise InputError(
                f"Others could reach {where} without a password: they could read the data that the server reads, start runs "
                "and delete them. Give --auth users.json or --auth PROVIDER, or say --no-auth if that is wanted."
            )

    @property
    def public(self) -> bool:
        """Whether browsers of other machines reach the server, directly or through a proxy."""
        return not (_loopback(self.address) and all(_loopback(o.rpartition(":")[0] or o) for o in self.origins))

    def options(self, port: int) -> list[str]:
        """The options of `panel serve`."""
        hosts = [f"{host}:{port}" for host in dict.fromkeys(("localhost", LOOPBACK, self.address)) if host != EVERYWHERE]
        words = ["--address", self.address]
        for origin in (*hosts, *self.origins):
            words += ["--allow-websocket-origin", origin]
        if self.auth is None:
            return words
        if self.auth in PROVIDERS:
            return [*words, "--oauth-provider", self.auth]
        return [*words, "--basic-auth", str(Path(self.auth).absolute()), "--basic-login-template", str(LOGIN)]


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # the name of a machine
        return False


def check_users(path: Path) -> None:
    """Raise InputError unless the file has users with passwords, and no other user of this machine can read it."""
    users = read_json(path)
    if not isinstance(users, dict) or not users or not all(isinstance(p, str) and p for p in users.values()):
        raise InputError(f'{path} has to be {{"user": "password", ...}}, with a password for each user.')
    if path.stat().st_mode & 0o077:
        raise InputError(f"{path} holds passwords, and other users of this machine can read it; run: chmod 600 {path}")


def command(
    names: Sequence[str] = (), *, port: int, warm: bool = True, access: Access | None = None, processes: int = 1
) -> list[str]:
    """The command of a server with the landing page and these dashboards; without names, with all. Raises InputError for an unknown name.

    warm: each page is made once before the server listens, so that the first visitor does not wait. access: by default, this machine
    only. processes: number of server processes that share the port.
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
        *(["--warm"] if warm else []),
    ]


def open_browser(address: str) -> None:
    """Open the address in the browser as soon as the server answers; returns at once."""
    subprocess.Popen([sys.executable, "-c", OPEN, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
