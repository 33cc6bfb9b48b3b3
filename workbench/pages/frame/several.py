"""Base of the pages that serve several methods: the visitor chooses one of them, and the page follows one run of it at a time.

    class Compression(Several):
        PAGE, FIRST_METHOD = "compression", "picpq"

Every method whose `PAGE` is this page is offered. A page declares the parameter `method`; its `build` calls `chooser` before it makes
the tabs.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.methods import METHODS, load, summary
from workbench.methods import page as page_of
from workbench.pages.frame.one_run import OneRun
from workbench.pages.frame.runner import Runner, first_settings, problem_of
from workbench.pages.frame.session import WIDE
from workbench.scene import VOCABULARY, Needs, fits
from workbench.views.card import heading
from workbench.views.plots import batched


@cache
def methods_of(page: str) -> tuple[str, ...]:
    """The methods that are shown on a page, in the order of the table of methods."""
    return tuple(m for m in METHODS if page_of(m).partition("?")[0] == page)


class Several(OneRun):
    """A page of several methods. methods: the choice of the method. runners, controls: method -> its runner and the runner's controls."""

    PAGE: ClassVar[str]  # the methods with this page are offered
    FIRST_METHOD: ClassVar[str]  # of a page whose address names none

    method: str
    methods: pmui.Select
    runners: dict[str, Runner]
    controls: dict[str, pn.Column]

    @classmethod
    def needs(cls) -> Needs:
        """Any variable of a scene; `checked` asks the methods."""
        return (tuple(VOCABULARY),)

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """Whether one of the methods can use an entry of the catalogue."""
        return any(fits(load(m).NEEDS, entry.provides) for m in methods_of(cls.PAGE))

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless one of the methods can use the data; the message is that of the first."""
        errors = [problem_of(m, data) for m in methods_of(cls.PAGE)]
        if None not in errors:
            raise errors[0]  # type: ignore[misc]

    # --- what a subclass may define ---------------------------------------------------------------------------------

    @staticmethod
    def settings_first(method: str) -> list[str]:
        """The settings of a method that are always visible."""
        return first_settings(method)

    def selected(self) -> None:
        """Called after another method was selected."""

    # --- layout -----------------------------------------------------------------------------------------------------

    def chooser(self) -> list[Any]:
        """The choice of the method and the controls of a run of each: what `build` puts into the side bar."""
        offered = methods_of(self.PAGE)
        if self.method not in offered:
            self.method = self.FIRST_METHOD
        self.methods = pmui.Select(
            label="Method", options={f"{m}: {summary(m)}": m for m in offered}, value=self.method, margin=(8, 0), **WIDE
        )
        self.methods.visible = len(offered) > 1
        self.runners = {m: Runner(self, m, self, first=self.settings_first(m)) for m in offered}
        self.controls = {
            m: pn.Column(*r.controls, sizing_mode="stretch_width", margin=0, visible=m == self.method)
            for m, r in self.runners.items()
        }
        self.runner = self.runners[self.method]
        self.methods.param.watch(batched(lambda e: e.new != self.method and self.choose(e.new)), "value")
        return [self.methods, heading("Run"), *self.controls.values(), self.link]

    def choose(self, method: str) -> None:
        """Select another method, on the same data."""
        self._select(method)
        self.arrived(False)

    def _select(self, method: str) -> None:
        self.method = method
        for name, controls in self.controls.items():
            controls.visible = name == method
        self.runner = self.runners[method]
        self.selected()

    # --- opening ----------------------------------------------------------------------------------------------------

    def arrived(self, first: bool) -> None:
        """Follow the run named in the address when data are open."""
        run = self.run if first else ""
        if not first:
            self.param.update(**self.reset())
        assert self.data is not None
        able = [m for m in methods_of(self.PAGE) if problem_of(m, self.data) is None]
        if able and self.method not in able:
            self._select(able[0])  # an address without a method may name a run of this one
            self.methods.value = able[0]
        self.runner.take(run)
