"""What a request has to pass, besides the log-in, before a page answers it; `install` puts it before all pages of this process.

Bokeh checks the origin of web sockets only. A page of another site can point its own name at this machine and read what the first
answer holds; and whoever chooses the id of a session, with a link that somebody else opens, could connect to that session later.
"""

from __future__ import annotations

import hmac
import logging
import time
from pathlib import Path
from typing import Any

from bokeh.server.urls import per_app_patterns
from bokeh.server.util import check_allowlist
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from panel.auth import BasicLoginHandler
from tornado.web import HTTPError

from workbench.errors import InputError
from workbench.execution import RUNS
from workbench.pages.frame.policy import expire_uploads, lets_in, policy
from workbench.pages.landing.serving import check_users

CHOSEN = ("bokeh-session-id", "bokeh-token")
log = logging.getLogger(__name__)
_due = [0.0]  # when uploads are looked at again


def check_request(handler: AuthRequestHandler) -> None:
    """Raise a HTTPError for a host by which nobody may name this server, and for a session id that the visitor chose.

    Once an hour, uploads that have expired are deleted.
    """
    if time.monotonic() > _due[0]:
        _due[0] = time.monotonic() + 3600
        expire_uploads(Path(RUNS) / "uploads")
    if not known(handler, handler.request.host):
        raise HTTPError(403, "this server is not called %s; see --allow-origin", handler.request.host)
    if any(handler.get_query_arguments(name) for name in CHOSEN) or CHOSEN[0] in handler.request.headers:
        raise HTTPError(403, "sessions get their id from the server")


def check_user(handler: AuthRequestHandler) -> None:
    """Raise a HTTPError for a visitor who has logged in, and whom this server does not let in, or not any more."""
    name = handler.current_user
    if name is not None and not lets_in(str(name)):
        raise HTTPError(403, "%s has no access to this server", name)


def known(handler: AuthRequestHandler, host: str) -> bool:
    """Whether browsers may name this server so: HOST or HOST:PORT."""
    limits = policy()
    host = host.lower()
    return check_allowlist(host, list(handler.application.websocket_origins)) or (
        limits is not None and host in limits.origins
    )


def _guarded(handler: type[AuthRequestHandler]) -> type[AuthRequestHandler]:
    class Guarded(handler):  # type: ignore[misc, valid-type]
        async def prepare(self) -> None:
            check_request(self)
            await super().prepare()
            check_user(self)

        def check_origin(self, origin: str) -> bool:  # of a web socket
            return known(self, origin.partition("://")[2])

    Guarded.__name__ = handler.__name__
    return Guarded


def password_fits(_: Any, name: str, password: str) -> bool:
    """Whether the file of users has this name with this password. Nobody gets in while that file is missing or damaged: for Panel, the
    path of a missing file is itself the password of everybody."""
    limits = policy()
    if limits is None or not limits.users_file:
        return False
    try:
        users = check_users(limits.users_file)
    except InputError as error:
        log.error("nobody can log in: %s", error)
        return False
    return hmac.compare_digest(users.get(name, "").encode(), password.encode()) and name in users


def install() -> None:
    """Guard the pages and the log-in of this process; called before the server is made."""
    per_app_patterns[:] = [(route, _guarded(handler)) for route, handler in per_app_patterns]
    BasicLoginHandler._validate = password_fits
