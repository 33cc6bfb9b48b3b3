"""Runs: find them in a table, tag and delete them, compare several, replay one, or watch an active one of any process.

    page = Runs(root="runs")          # `workbench serve runs`; in a notebook cell `wb.browse_runs("runs")`

Everything is read from the run folders, so a run of a terminal, a notebook or another page appears within two seconds.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from workbench import execution
from workbench.errors import InputError
from workbench.methods import METHODS
from workbench.pages.frame.address import Addressed
from workbench.pages.frame.links import page_of, report_of, served, ways
from workbench.pages.frame.notebook import in_cell
from workbench.pages.frame.session import WIDE, has_loop
from workbench.pages.frame.window import THEME, framed, tag_itself
from workbench.pages.runs.comparing import Comparison
from workbench.pages.runs.manage import Manage
from workbench.pages.runs.replay import Replay
from workbench.runs.collection import STATUSES, Entry, entries, select
from workbench.views.card import escape, explain, html, problem
from workbench.views.looks import PICKS
from workbench.views.outcome import number
from workbench.views.plots import batched
from workbench.views.screen import beside

WHAT, WHEN = (
    ("run", "open", "status", "method", "scene"),
    ("begun", "time (s)", "tags"),
)  # columns before and behind the metrics
SETTLE = 1.5  # seconds in which a browser builds the table
MOST = len(PICKS)  # runs that can be compared at most: one colour each
ANY = "any"
NOTHING = (
    "A run appears here as soon as its folder exists: start one on another page, in a notebook, or in a terminal with "
    "<code>workbench run rx sim-coast-town</code>."
)
TICKED = """
/* named twice, because the theme's own rule would win otherwise */
.tabulator.tabulator { font-size: .82rem; }
.tabulator-row.tabulator-selected, .tabulator-row.tabulator-selected:hover { background-color: rgba(63, 160, 224, .18) !important;
  color: inherit !important; }
"""
CHOOSE = "Tick one or more runs in the table; two or more can be compared."


class Runs(Addressed):
    """One visitor's page of the runs under `root`. `panel()` is for a notebook cell, `page()` for `panel serve`.

    Its state is a few parameters, stored in its address.
    """

    ADDRESS = ("method", "scene", "status", "tag", "where", "inside", "columns", "picked", "tab")
    SAFE = ",;|/>=<"

    method = param.String("", doc="only runs of this method")
    scene = param.String("", doc="only runs on this scene")
    status = param.String("", doc="only runs with this status")
    tag = param.String("", doc="only runs with this tag")
    where = param.String("", doc="conditions on metrics, separated by commas: auc>=0.9")
    inside = param.Boolean(False, doc="also runs within reports and sweeps")
    columns = param.String("", doc="metrics and settings shown as columns, separated by commas")
    picked = param.String("", doc="names of the ticked runs, separated by |")
    tab = param.Integer(0, bounds=(0, 2))

    def __init__(self, root: str | Path = execution.RUNS, **params: Any) -> None:
        super().__init__(**params)
        self.root = Path(root)
        self.entries: list[Entry] = []
        self.shown: list[Entry] = []
        self._all: dict[str, Entry] = {}
        self._filling = False
        self._settled, self._owed = 0.0, False
        self.read_address()
        self._lay_out()
        self.refresh()
        self.timer = pn.state.add_periodic_callback(self.poll, period=1000, start=has_loop())
        self.keep_address()
        if pn.state.curdoc and pn.state.curdoc.session_context:
            pn.state.on_session_destroyed(lambda _: self.close())
            self._settled = math.inf
            pn.state.onload(self._settle)

    # --- layout -----------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.by_method = pmui.Select(label="Method", options=[ANY], value=ANY, margin=(8, 0), **WIDE)
        self.by_scene = pmui.Select(label="Scene", options=[ANY], value=ANY, margin=(8, 0), **WIDE)
        self.by_status = pmui.Select(
            label="Status", options=[ANY, *STATUSES], value=self.status or ANY, margin=(8, 0), **WIDE
        )
        self.by_tag = pmui.Select(label="Tag", options=[ANY], value=ANY, margin=(8, 0), **WIDE)
        self.by_metric = pmui.TextInput(
            label="Conditions on metrics", placeholder="auc>=0.9, accuracy>0.5", value=self.where, margin=(8, 0), **WIDE
        )
        self.with_inner = pmui.Checkbox(
            label="Also runs within reports and sweeps", value=self.inside, size="small", margin=(4, 0)
        )
        self.which = pmui.MultiChoice(
            label="Columns: metrics and settings", options=[], value=[], margin=(8, 0), sizing_mode="stretch_width"
        )
        self.alert = pmui.Alert("", severity="error", visible=False, margin=(6, 0), sizing_mode="stretch_width")
        self.count = html(margin=(6, 0))
        self.side = pn.Column(
            self.by_method,
            self.by_scene,
            self.by_status,
            self.by_tag,
            self.by_metric,
            self.with_inner,
            self.which,
            self.alert,
            self.count,
            sizing_mode="stretch_width",
            margin=(0, 6),
        )
        self.table = pn.widgets.Tabulator(
            pd.DataFrame(columns=[*WHAT, *WHEN]),
            selectable="checkbox",
            formatters={"open": "html"},
            show_index=False,
            disabled=True,
            layout="fit_data_fill",
            widths={"tags": 150},  # it is often empty at first, and does not grow
            pagination="local",
            page_size=20,
            stylesheets=[TICKED],
            sizing_mode="stretch_width",
            margin=(8, 8),
        )
        self._empty = explain("No runs yet", NOTHING, height=320)
        self.manage = Manage(self.root, self._ticked_entries, self._managed)
        self.comparison = Comparison()
        self.replay = Replay()
        self._none = explain("Nothing is ticked", CHOOSE, height=320)
        self._no_replay = explain("Nothing is ticked", CHOOSE, height=320)
        self.tabs = pmui.Tabs(
            ("Runs", pn.Column(self._empty, self.table, self.manage.panel, sizing_mode="stretch_width", margin=0)),
            ("Compare", pn.Column(self._none, self.comparison.panel, sizing_mode="stretch_width", margin=0)),
            ("Replay and live", pn.Column(self._no_replay, self.replay.panel, sizing_mode="stretch_width", margin=0)),
            active=self.tab,
            sizing_mode="stretch_width",
            margin=0,
        )
        tag_itself(self.tabs)
        filters = (self.by_method, self.by_scene, self.by_status, self.by_tag, self.by_metric, self.with_inner, self.which)
        for widget in filters:
            widget.param.watch(batched(self._asked), "value")
        self.table.param.watch(batched(self._ticked), "selection")
        self.tabs.param.watch(batched(self._turned), "active")

    def panel(self) -> pn.viewable.Viewable:
        """Side bar and tabs in one row, for a notebook cell."""
        return in_cell(beside(pn.Column(self.side, margin=0), self.tabs, least=(290, 560)), theme=THEME)

    def page(self) -> pmui.Page:
        """The whole page, for `panel serve`."""
        return framed("Runs", self.side, self.tabs, header=[html(ways(), margin=(0, 0, 0, 24), sizing_mode=None)])

    def __panel__(self) -> pn.viewable.Viewable:
        return self.panel()

    # --- the table --------------------------------------------------------------------------------------------------

    def _asked(self, _: object) -> None:
        """Update the table after the visitor changed a filter or the columns."""
        if self._filling:
            return
        chosen = {"method": self.by_method, "scene": self.by_scene, "status": self.by_status, "tag": self.by_tag}
        self.param.update(
            **{name: "" if w.value in (ANY, None) else w.value for name, w in chosen.items()},
            where=self.by_metric.value or "",
            inside=self.with_inner.value,
            columns=self.columns if self.which.value == self._columns() else ",".join(self.which.value),
        )
        self.refresh()

    def refresh(self) -> None:
        """Read the folders, and show the runs that match the filters; ticks are kept."""
        self.entries = entries(self.root, inside=self.inside)
        conditions = [c for c in (part.strip() for part in self.where.split(",")) if c]
        asked = {n: getattr(self, n) or None for n in ("method", "scene", "status", "tag")}
        try:
            self.shown = select(self.entries, **asked, where=conditions)[::-1]  # newest first
            self.alert.visible = False
        except InputError as error:
            self.alert.object, self.alert.visible = problem(str(error)), True
            return
        self._all = {e.name: e for e in self.entries}
        self._fill_choices()
        self._fill_table()
        self._empty.visible, self.table.visible = not self.entries, bool(self.entries)
        active = sum(e.status == "running" for e in self.entries)
        self.count.object = f"{len(self.shown)} of {len(self.entries)} runs under <code>{escape(str(self.root))}</code>" + (
            f"; {active} running" if active else ""
        )
        self._show_picked()

    def _fill_choices(self) -> None:
        """Update the lists of filters and columns, if they have changed."""
        metrics = dict.fromkeys(m for e in self.shown for m in e.metrics)
        settings = dict.fromkeys(s for e in self.shown for s in e.settings)
        lists = (
            (self.by_method, [ANY, *sorted({e.method for e in self.entries})], self.method or ANY),
            (self.by_scene, [ANY, *sorted({e.scene for e in self.entries if e.scene})], self.scene or ANY),
            (self.by_tag, [ANY, *sorted({t for e in self.entries for t in e.tags})], self.tag or ANY),
            (self.which, [*metrics, *(s for s in settings if s not in metrics)], self._columns()),
        )
        self._filling = True
        try:
            for widget, options, value in lists:
                wanted = value if isinstance(value, list) else [value]
                options += [v for v in wanted if v not in options]
                if list(widget.options) != options or widget.value != value:
                    widget.param.update(options=options, value=value)
        finally:
            self._filling = False

    def _columns(self) -> list[str]:
        """The selected columns; by default the first metrics of the listed runs, if all runs have the same main metric."""
        if self.columns:
            return self.columns.split(",")
        return [] if self._mixed else list(dict.fromkeys(m for e in self.shown for m in e.headline[:2]))[:4]

    @property
    def _mixed(self) -> bool:
        """Whether the listed runs have different main metrics; then one column shows that of each run."""
        return len({e.headline[0] for e in self.shown if e.headline}) > 1

    def _settle(self) -> None:
        """Leave the table alone for SETTLE seconds from now: the browser builds it.

        Rows that arrive meanwhile are not taken, and Panel's widget fails because it marks cells that do not exist yet.
        """
        self._settled = time.monotonic() + SETTLE

    def _fill_table(self) -> None:
        """Fill the table if it is visible and built: the browser cannot draw a hidden table. Else a later poll does it."""
        self._owed = self.tab != 0 or time.monotonic() < self._settled
        if self._owed:
            return
        columns, mixed = self._columns(), self._mixed
        rows = []
        for e in self.shown:
            begun = str(e.about.get("start", "")).replace("T", " ")[:16]
            row = [e.name, self._link(e), e.note, e.method, e.scene]
            if mixed:
                row.append(f"{e.headline[0]} {number(e.metrics[e.headline[0]])}" if e.headline else "")
            row += [e.metrics.get(c, e.settings.get(c)) for c in columns]
            rows.append([*row, begun, round(e.seconds, 1), ", ".join(e.marks)])
        made = pd.DataFrame(rows, columns=[*WHAT, *(["main metric"] if mixed else []), *columns, *WHEN])
        self._filling = True
        try:
            if not made.equals(self.table.value):
                self.table.value = made
            names = self.picks()
            ticked = [n for n, e in enumerate(self.shown) if e.name in names]
            if sorted(self.table.selection) != ticked:
                self.table.selection = ticked
        finally:
            self._filling = False

    def _link(self, entry: Entry) -> str:
        """HTML: a link to the page that shows the run, or to its report; empty for a damaged run."""
        if entry.damage:
            return ""
        report = "" if entry.method in METHODS else report_of(entry.folder, self.root)
        address = report or page_of(entry, self.root, served())
        label = "report" if report else address.partition("?")[0]
        return f'<a href="{escape(address)}" target="_blank" style="color:inherit">{escape(label)}</a>'

    def _ticked(self, event: Any) -> None:
        if self._filling:
            return
        names = [self.shown[n].name for n in event.new if 0 <= n < len(self.shown)]
        kept = [n for n in self.picks() if n in names]  # keeps their order, and so their colours
        self.picked = "|".join([*kept, *(n for n in names if n not in kept)][:MOST])
        self._show_picked()

    def _managed(self) -> None:
        """Read the folders after runs were tagged or deleted; a deleted run is ticked no more."""
        self.refresh()
        self.picked = "|".join(n for n in self.picks() if n in self._all)

    def _turned(self, event: Any) -> None:
        self.tab = event.new
        if self.tab == 0 and self._settled:
            self._settle()
        self._fill_table()

    def picks(self) -> list[str]:
        """Names of the ticked runs, in the order of ticking."""
        return [n for n in self.picked.split("|") if n]

    # --- ticked runs ------------------------------------------------------------------------------------------------

    def _ticked_entries(self) -> list[Entry]:
        """The ticked runs that still exist."""
        return [self._all[n] for n in self.picks() if n in self._all]

    def _show_picked(self) -> None:
        ticked = self._ticked_entries()
        self._none.visible = self._no_replay.visible = not ticked
        self.comparison.panel.visible = self.replay.panel.visible = bool(ticked)
        sound = [e for e in ticked if not e.damage]
        self.replay.choose([e.folder for e in sound])
        self.comparison.choose(sound, self.replay.histories())
        self.manage.chosen()

    def poll(self) -> None:
        """Read changes of the run folders; a timer calls it once a second."""
        with pn.io.hold():
            before = [(e.name, e.status, e.about.get("end"), e.tags) for e in self.entries]
            now = entries(self.root, inside=self.inside)
            if [(e.name, e.status, e.about.get("end"), e.tags) for e in now] != before:
                self.refresh()
            else:
                if self._owed:
                    self._fill_table()
                if self.replay.poll():
                    self.comparison.update(self.replay.histories())

    def close(self) -> None:
        """Stop the timer; runs continue."""
        if self.timer.running:
            self.timer.stop()


def browse_runs(root: str | Path = execution.RUNS) -> Runs:
    """The page of the runs under `root`, for a notebook cell."""
    return Runs(root)
