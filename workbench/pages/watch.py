"""Any method on any scene that it can use: start it, watch it, see its result, and browse earlier runs.

    watch("bsdm", "sim-coast-town")             # in a notebook: the page in the cell
    Watch().page().servable()                   # in dashboards/watch.py: the served page

This module depends on no method. It draws what the method declares in `SHOWS`; a result is drawn by the names and dims of
`workbench.scene.RESULT`. A new method in the table of methods is on this page without further code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import param
import xarray as xr

from workbench.data.catalog import entries
from workbench.methods import METHODS, load, summary
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.one_run import OneRun
from workbench.pages.frame.runner import Runner, first_settings, problem_of
from workbench.pages.frame.session import WIDE, PairSession
from workbench.runs.watch import Live
from workbench.scene import VOCABULARY, Needs, fits
from workbench.views.card import escape, explain, explanation, heading, html
from workbench.views.declared import Declared
from workbench.views.outcome import OutcomeView, metrics_line
from workbench.views.plots import batched, theme_later


class Watch(OneRun, PairSession):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or None for the scene of the address, or the first that the method can use. root: folder
    of the runs. method: a name of `workbench list`.
    """

    TITLE = "Method workbench"
    UNNAMED = "No scene was given. Choose one from the list, or give the path of a file."
    FILES = "a file or a folder"
    EMPTY = ("No scene is open", "Choose a scene from the list in the side bar, or open your own.")
    ADDRESS = ("method", "scene", "truth", "keys", "after", "resample", "run", "tab")
    SCENES: ClassVar = SharedResults(4)

    method = param.String("", doc="name of the method")

    def __init__(self, scene: str | Path | xr.Dataset | None = None, **params: Any) -> None:
        super().__init__(scene, **params)
        if self._unknown:
            self.complain(f"There is no method {self._unknown!r}; the methods are {', '.join(METHODS)}.")

    # --- which method -----------------------------------------------------------------------------------------------

    @classmethod
    def needs(cls) -> Needs:
        """Any variable of a scene; the list shows only scenes that the selected method can use."""
        return (tuple(VOCABULARY),)

    def first_choice(self) -> str:
        """The first scene of the catalogue that the method can use."""
        return next(iter(self._scenes().values()), "")

    def _scenes(self) -> dict[str, str]:
        """Scenes of the catalogue that the method can use, those without files first: label -> name."""
        needs = load(self.method).NEEDS
        usable = sorted((e for e in entries() if fits(needs, e.provides)), key=lambda e: bool(getattr(e, "files", ())))
        return {f"{e.id}: {e.title}": e.id for e in usable}

    def _lay_out(self) -> None:
        self._unknown = self.method if self.method not in ("", *METHODS) else ""
        if self.method not in METHODS:
            self.method = next(iter(METHODS))
        options = {f"{name}: {summary(name)}": name for name in METHODS}
        self.methods = pmui.Select(label="Method", options=options, value=self.method, margin=(8, 0), **WIDE)
        super()._lay_out()
        self.side.insert(0, self.methods)
        self._take_method()
        self.methods.param.watch(batched(lambda e: e.new != self.method and self.choose(e.new)), "value")

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """The three tabs, and the column of the controls, which are rebuilt for each method."""
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.live_place, self.controls = pn.Column(**stretch), pn.Column(**stretch)
        self.outcome = OutcomeView()
        self.numbers = html(margin=(2, 8))
        self.invitation = explain("", "", height=300)
        nothing = explain("No result yet", "It is drawn here when a run has finished.", height=300)
        # Panel fails in the browser if an HTML pane is hidden before it was drawn; a column can be hidden.
        self.no_result, self.invite = pn.Column(nothing, **stretch), pn.Column(self.invitation, **stretch)
        self.about = html(margin=(8, 8))
        self.quick = pmui.Button(
            label="Small settings, for a quick try", icon="bolt", variant="text", size="small", margin=0
        )
        self.quick.on_click(batched(lambda _: self.runner.form.set(load(self.method).SMOKE)))
        tabs = [
            ("Live", pn.Column(self.invite, self.numbers, self.live_place, sizing_mode="stretch_width", margin=(8, 4))),
            ("Result", pn.Column(self.no_result, self.outcome.panel, sizing_mode="stretch_width", margin=(8, 4))),
            ("Method", self.about),
        ]
        return tabs, [heading("Run"), self.controls, self.link]

    def choose(self, method: str) -> None:
        """Select another method; the scene is kept if the method can use it."""
        self.param.update(method=method, run="")
        self._take_method()
        if self.data is None or problem_of(method, self.data) is not None:
            self.open(self.first_choice())
        else:
            self.arrived(False)

    def _take_method(self) -> None:
        room = load(self.method)
        self.runner = Runner(self, self.method, self, first=first_settings(self.method))
        self.declared = Declared(room.SHOWS)
        self.controls.objects = [*self.runner.controls, *([self.quick] if room.SMOKE else [])]
        self.live_place.objects = [self.declared.panel]
        theme_later(self.live_place)
        self.about.object = _about(self.method, room)
        self.choice.options = {self.OWN: "", **self._scenes()}
        self._stage(False)

    # --- the scene --------------------------------------------------------------------------------------------------

    def arrived(self, first: bool) -> None:
        """Offer to run the method on the opened scene, and follow the run named in the address."""
        self.declared.scene = self.data
        self.runner.take(self.run if first else "")
        assert self.data is not None
        problem = problem_of(self.method, self.data)
        self.runner.player.start.disabled = problem is not None
        self.invitation.object = (
            explanation(f"{self.method} cannot use this scene", escape(str(problem)))
            if problem is not None
            else explanation(f"Watch {self.method}", _invitation(self.method))
        )

    # --- called by the runner ----------------------------------------------------------------------------------------

    def cleared(self) -> None:
        """Empty the page; no run is followed."""
        self.declared.clear()
        self.outcome.show(None)
        self.numbers.object = ""
        self._stage(False)

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the plots instead of the invitation."""
        self._stage(True)

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the new events."""
        self.when_seen("Live", lambda: self.declared.take(live))

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Draw the result when the run has ended."""
        if result is not None:
            self.declared.end(result)
            first = load(self.method).HEADLINE
            self.outcome.show(result, first, self.data)
            self.numbers.object = metrics_line(result, first)
            self.no_result.visible, self.outcome.panel.visible = False, True

    def _stage(self, watched: bool) -> None:
        """Show the run, or the invitation."""
        self.live_place.visible, self.invite.visible = watched, not watched
        self.no_result.visible, self.outcome.panel.visible = True, False


def _invitation(method: str) -> str:
    return (
        f"{escape(summary(method))}<br><br>Press <b>Start</b> in the side bar. The run is a separate process: it continues when this "
        "page is closed, and is listed under <b>Earlier runs</b>."
    )


def _about(method: str, room: Any) -> str:
    """HTML: the method's docstring, what it needs, and all its settings."""
    needs = ", ".join(n if isinstance(n, str) else " or ".join(n) for n in room.NEEDS)
    cell = "padding:3px 16px 3px 0;vertical-align:top;border-bottom:1px solid rgba(128,128,128,.2)"
    rows = "".join(
        f'<tr><td style="{cell}"><code>{escape(name)}</code></td><td style="{cell}">{escape(str(field.default))}</td>'
        f'<td style="{cell}">{escape(str(field.description))}</td></tr>'
        for name, field in room.Config.model_fields.items()
    )
    head = "".join(f'<th style="{cell};text-align:left">{title}</th>' for title in ("setting", "default", "meaning"))
    text = escape(cleandoc(room.__doc__ or ""))
    return (
        f'<h3 style="margin:4px 0 8px">{escape(method)}</h3><div style="white-space:pre-wrap;max-width:900px">{text}</div>'
        f"<p>Needs of a scene: <b>{escape(needs)}</b>. Main metrics: {escape(', '.join(room.HEADLINE))}.</p>"
        f'<table style="border-collapse:collapse"><tr>{head}</tr>{rows}</table>'
    )


def watch(method: str = "", scene: str | Path | xr.Dataset | None = None) -> Watch:
    """The page for a notebook cell: put it last in the cell."""
    return Watch(scene, method=method)
