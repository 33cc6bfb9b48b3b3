"""Plugin of `panel serve`: it is imported when all pages have been made once, before the server is made and listens."""

from __future__ import annotations

from typing import Any

from workbench.pages.frame.memory import settle
from workbench.pages.landing.guard import install

ROUTES: list[Any] = []
install()
settle()
