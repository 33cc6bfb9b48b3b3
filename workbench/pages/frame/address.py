"""Stores the state of a page in its address, so that a link reopens the same view; in a notebook, tells that address."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

import panel as pn
import panel_material_ui as pmui
from panel.io import location

from workbench.pages.frame.defaults import remember_defaults
from workbench.pages.frame.memory import spare_imports
from workbench.pages.frame.notebook import load_panel, show_icons
from workbench.pages.frame.offline import own_stylesheets

SERVER = "http://localhost:5006"  # where `workbench serve` listens by default
WIDE = {"sizing_mode": "stretch_width", "size": "small"}


def query_of(search: str) -> dict[str, str]:
    """The parameters of an address as texts, of each name the last: `?tab=2&run=007` -> `{"tab": "2", "run": "007"}`."""
    return dict(parse_qsl(search.removeprefix("?"), keep_blank_values=True))


# Panel's own makes numbers of them, also of the run 007, and no page opens at an address with `?x=²` or with 5000 digits
location.parse_query = query_of


class Addressed(pn.viewable.Viewer):
    """A page that writes the parameters named in `ADDRESS` into the browser's address, if they differ from their defaults."""

    ADDRESS: ClassVar[tuple[str, ...]] = ()
    SAFE: ClassVar[str] = ",;|/"  # characters that are not escaped in the address

    def __init__(self, **params: Any) -> None:
        load_panel()
        own_stylesheets()
        remember_defaults()
        if pn.state.curdoc and pn.state.curdoc.session_context:
            spare_imports()
        super().__init__(**params)
        self._location = pn.state.location  # None without a browser
        self._told: pmui.TextInput | None = None  # the field with the address, in a notebook

    def read_address(self) -> None:
        """Set the parameters from the address; invalid values are ignored."""
        for name, text in (self._location.query_params if self._location else {}).items():
            if name in self.ADDRESS:
                kind = type(self.param[name].default)
                with contextlib.suppress(ValueError, TypeError, OverflowError):
                    self.param.update(**{name: text.lower() == "true" if kind is bool else kind(text)})

    def keep_address(self) -> None:
        """Start to write every change of the state into the address."""
        if self._location:
            self.param.watch(self._write_address, list(self.ADDRESS))
            pn.state.onload(self._write_address)  # values written before the page has loaded are lost

    def _write_address(self, *_: Any) -> None:
        other = {n: v for n, v in self._location.query_params.items() if n not in self.ADDRESS}  # such as theme=dark
        self._location.search = self._query(other)

    def _query(self, other: Mapping[str, Any] | None = None) -> str:
        """The state as the query of an address, after the parameters of `other`; empty if all is as by default."""
        now = dict(other or {}) | {n: getattr(self, n) for n in self.ADDRESS if getattr(self, n) != self.param[n].default}
        return "?" + urlencode(now, safe=self.SAFE, errors="replace") if now else ""

    def copy_link(self) -> pn.Column:
        """A button that copies the address of this view.

        A page in a notebook has no address of its own: there it is the address at which `workbench serve` shows the same view,
        and a field below the button shows it.
        """
        button = pmui.Button(label="Copy link to this view", icon="link", variant="outlined", margin=(6, 0), **WIDE)
        if self._location:
            button.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
            return pn.Column(button, sizing_mode="stretch_width", margin=0)
        self._told = pmui.TextInput(label=f"Opens with: workbench serve {self._dashboard}", margin=(6, 0), **WIDE)
        code = "navigator.clipboard && navigator.clipboard.writeText(field.data.value)"
        button.js_on_click(args={"field": self._told}, code=code)
        self.param.watch(self.tell_address, list(self.ADDRESS))
        self.tell_address()
        return pn.Column(button, self._told, sizing_mode="stretch_width", margin=0)

    def tell_address(self, *_: Any) -> None:
        """Write the address of this view into the field below the button; only in a notebook."""
        if self._told is not None:
            self._told.value = self._no_address() or f"{SERVER}/{self._dashboard}{self._query()}"

    def _no_address(self) -> str:
        """Why no address opens this view; empty if one does."""
        return ""

    @property
    def _dashboard(self) -> str:
        """Name of the dashboard of this page: `workbench.pages.anomaly.page` is served by `dashboards/anomaly.py`."""
        return type(self).__module__.split(".")[2]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """The page in the cell of a notebook."""
        show_icons()
        return super()._repr_mimebundle_(include, exclude)
