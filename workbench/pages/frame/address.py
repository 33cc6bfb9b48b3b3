"""State that a page's address holds, so that a view can be sent to somebody or come back to."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar
from urllib.parse import urlencode

import panel as pn


class Addressed(pn.viewable.Viewer):
    """A page whose parameters named in `ADDRESS` are in the browser's address where they differ from their defaults."""

    ADDRESS: ClassVar[tuple[str, ...]] = ()
    SAFE: ClassVar[str] = ",;|/"  # characters that an address shows as they are

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._location = pn.state.location  # None where there is no browser yet, or none at all

    def read_address(self) -> None:
        """Take over the state in the address; what makes no sense there is left out."""
        for name, text in (self._location.query_params if self._location else {}).items():
            if name in self.ADDRESS:
                kind = type(self.param[name].default)
                with contextlib.suppress(ValueError, TypeError):
                    self.param.update(**{name: str(text) == "True" if kind is bool else kind(text)})

    def keep_address(self) -> None:
        """Write every change of the state into the address from now on."""
        if self._location:
            self.param.watch(self._write_address, list(self.ADDRESS))
            pn.state.onload(self._write_address)  # what is written before the page has loaded is lost

    def _write_address(self, *_: Any) -> None:
        other = {n: v for n, v in self._location.query_params.items() if n not in self.ADDRESS}  # such as theme=dark
        now = other | {n: getattr(self, n) for n in self.ADDRESS if getattr(self, n) != self.param[n].default}
        self._location.search = "?" + urlencode(now, safe=self.SAFE) if now else ""
