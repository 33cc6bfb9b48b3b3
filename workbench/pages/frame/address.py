"""Stores the state of a page in its address, so that a link reopens the same view."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar
from urllib.parse import urlencode

import panel as pn

from workbench.pages.frame.offline import own_stylesheets


class Addressed(pn.viewable.Viewer):
    """A page that writes the parameters named in `ADDRESS` into the browser's address, if they differ from their defaults."""

    ADDRESS: ClassVar[tuple[str, ...]] = ()
    SAFE: ClassVar[str] = ",;|/"  # characters that are not escaped in the address

    def __init__(self, **params: Any) -> None:
        own_stylesheets()
        super().__init__(**params)
        self._location = pn.state.location  # None without a browser

    def read_address(self) -> None:
        """Set the parameters from the address; invalid values are ignored."""
        for name, text in (self._location.query_params if self._location else {}).items():
            if name in self.ADDRESS:
                kind = type(self.param[name].default)
                with contextlib.suppress(ValueError, TypeError):
                    self.param.update(**{name: str(text) == "True" if kind is bool else kind(text)})

    def keep_address(self) -> None:
        """Start to write every change of the state into the address."""
        if self._location:
            self.param.watch(self._write_address, list(self.ADDRESS))
            pn.state.onload(self._write_address)  # values written before the page has loaded are lost

    def _write_address(self, *_: Any) -> None:
        other = {n: v for n, v in self._location.query_params.items() if n not in self.ADDRESS}  # such as theme=dark
        now = other | {n: getattr(self, n) for n in self.ADDRESS if getattr(self, n) != self.param[n].default}
        self._location.search = "?" + urlencode(now, safe=self.SAFE) if now else ""
