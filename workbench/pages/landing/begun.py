"""Plugin of `panel serve`: it is imported when all pages have been made once, before the server listens."""

from __future__ import annotations

from typing import Any

from workbench.pages.frame.memory import settle

ROUTES: list[Any] = []
settle()
