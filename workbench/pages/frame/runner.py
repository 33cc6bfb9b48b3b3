"""A method's runs on a page: settings, start, pause, resume, stop, the list of earlier runs, and the followed run.

Nothing is trained in the page's own process. A run is a separate process that continues when the page is closed; the page
reads its folder, also if another page or a terminal started it. The host, a tab or page, draws the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import panel_material_ui as pmui
import xarray as xr

from workbench import runs
from workbench.config import Settings, override
from workbench.errors import InputError
from workbench.methods import load
from workbench.pages.frame.followed import FRESH, Followed, followed
from workbench.pages.frame.links import run_folder, run_name
from workbench.pages.frame.policy import check_owner
from workbench.pages.frame.queue import begin, cancel, go_on, place
from workbench.pages.frame.session import WIDE, Session
from workbench.runs.schema import Damaged
from workbench.runs.watch import Live
from workbench.scene import require
from workbench.views.card import heading
from workbench.views.form import Form
from workbench.views.player import Player
from workbench.views.plots import batched

PATIENCE = 240  # polls, one minute: timeout for the first event of a resumed run
SEEN = 6  # settings of any method that are always visible, besides those that all methods have


def changes(method: str, config: Mapping[str, Any]) -> str:
    """Short text of a run: up to three settings that differ from their defaults, or `defaults`."""
    defaults = load(method).Config().model_dump(mode="json")
    changed = [f"{name} {value}" for name, value in config.items() if value != defaults.get(name)]
    return ", ".join(changed[:3]) + (" …" if len(changed) > 3 else "") if changed else "defaults"


def first_settings(method: str) -> list[str]:
    """The settings that are always visible, on a page that shows any method: its first ones, and those that all methods have."""
    own = [name for name in load(method).Config.model_fields if name not in Settings.model_fields]
    return [*own[:SEEN], *Settings.model_fields]


def problem_of(method: str, data: xr.Dataset) -> InputError | None:
    """Why a method cannot use a scene; None if it can."""
    try:
        require(data, *load(method).NEEDS, who=method)
    except InputError as error:
        return error
    return None


class Listed(pmui.Select):
    """A select whose labels change while a visitor looks at it: an answer with a label that is gone is left out, and is no error."""

    def _process_property_change(self, msg: dict[str, Any]) -> dict[str, Any]:
        if "value" in msg and msg["value"] not in self.labels:
            msg = {name: value for name, value in msg.items() if name != "value"}
        return super()._process_property_change(msg)


class Host(Protocol):
    """The tab or page that draws a run; the runner calls these methods."""

    def summary(self, config: Mapping[str, Any]) -> str:
        """Short text of a run in the list of runs."""

    def cleared(self) -> None:
        """Remove the drawing of the previous run; no run is followed."""

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Called when a run with these settings is followed. fresh: the state of the page does not belong to this run."""

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Called with the new events of the run."""

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Called when the run has ended, with its result if it finished."""


class Runner:
    """Controls of the runs of one method on the scene of a page.

    first: the settings that are always visible. tab: title of the tab in which the controls are; empty in the side bar.
    """

    def __init__(self, page: Session, method: str, host: Host, *, first: Sequence[str], tab: str = "") -> None:
        self.page, self.method, self.host, self._tab = page, method, host, tab
        self.live: Followed | None = None
        self._taken, self._version = 0, -1  # lines and version of the run that are drawn
        self._waits = self._resumed = 0
        self._over = self._listed = self._queued = False
        self.player = Player()
        self.form = Form(load(method).Config, first=first)
        self.earlier = Listed(label="Earlier runs", options={"none yet": ""}, value="", margin=(10, 0, 4, 0), **WIDE)
        self.controls = [self.player.panel, self.earlier, heading("Settings"), self.form.panel]
        self.player.on("start", self.start)
        self.player.on("pause", lambda: self.ask("pause"))
        self.player.on("resume", self.resume)
        self.player.on("stop", lambda: self.ask("stop"))
        self.earlier.param.watch(batched(lambda e: e.new and e.new != page.run and self.follow(e.new)), "value")

    # --- which run --------------------------------------------------------------------------------------------------

    def take(self, run: str = "") -> None:
        """Reset for a newly opened scene, and follow the run named in the address, if any."""
        self.player.show("idle")
        if run:
            self.follow(run, fresh=False)
        else:
            self._forget()
            self._list()

    def start(self) -> None:
        """Launch the method with the settings of the form, in a separate process, and follow it."""
        page = self.page
        if self.form.error or page.data is None:
            return
        try:
            folder = begin(self.method, page.source, self.form.overrides, page.root, page.called)
        except InputError as error:
            self.player.show("failed", error=str(error))
            return
        self.follow(folder.name)

    def follow(self, name: str, *, fresh: bool = True) -> None:
        """Follow the run `name` of the runs folder (`report/inner`: one within a report); any process may have started it."""
        page = self.page
        self._forget()
        try:
            folder = run_folder(page.root, name)
            config = self._settings_of(folder)
        except InputError as error:
            self._list()
            self.player.show("failed", error=str(error))
            return
        self.live, page.run = followed(folder), run_name(page.root, folder)
        self._list()
        self.host.watching(config, fresh)
        page.poll()
        page.tick()

    def _settings_of(self, folder: Path) -> Mapping[str, Any]:
        """Settings of a run, also written into the form; InputError unless it is a run of this method on this scene."""
        if not folder.is_dir():
            raise InputError(
                f"There is no run {folder.name!r} in {self.page.root}: it was moved, deleted, or made on another machine."
            )
        try:
            about = runs.read(folder)
        except Damaged:
            raise
        except InputError:  # just launched, with the settings of the form
            return override(load(self.method).Config(), self.form.overrides).model_dump()
        if about["method"] != self.method or about["scene"].get("fingerprint") != self.page.mark:
            scene = about["scene"].get("id") or "another scene"
            raise InputError(f"The run {folder.name} is of {about['method']} on {scene}; open that scene to see it.")
        config: Mapping[str, Any] = about.get("config", {})
        self.form.set({k: v for k, v in config.items() if k in self.form.widgets})
        return config

    def _forget(self) -> None:
        self.live, self.page.result, self.page.run = None, None, ""
        self.page.forget_unseen()
        self._waits, self._over = 0, False
        self._taken, self._version = 0, -1
        self.host.cleared()

    def _list(self) -> None:
        """Offer the runs of the method on this scene, newest first."""
        page = self.page
        listed: dict[str, str] = {}
        for folder, about in reversed(list(runs.iter_status(page.root))):
            if about.get("method") == self.method and about.get("scene", {}).get("fingerprint") == page.mark:
                when = about["start"][:16].replace("T", " ")
                text = f"{when} UTC, {self.host.summary(about['config'])}, {about['status']}"
                listed[text if text not in listed else f"{text} ({folder.name})"] = folder.name
        within = "/" in page.run  # of a report: not in the list
        self._listed = not page.run or within or page.run in listed.values()
        if within:
            listed = {page.run: page.run, **listed}
        elif not self._listed:
            listed = {f"{page.run}, starting": page.run, **listed}
        options = {"choose one": "", **listed} if listed else {"none yet": ""}
        if options != self.earlier.options:
            self.earlier.param.update(options=options, value="")  # an unchanged value would keep its old label
        self.earlier.value = page.run if page.run in options.values() else ""
        self.earlier.disabled = not listed

    # --- requests ---------------------------------------------------------------------------------------------------

    def ask(self, what: str) -> None:
        """Request that the run pauses, resumes or stops."""
        if self.live is None:
            return
        try:
            check_owner(self.live.folder)
            if what == "stop" and cancel(self.live.folder):
                self._forget()
                self._list()
                self.player.show("idle")
                return
            getattr(self.live, what)()
        except InputError as error:
            self.player.show("failed", error=str(error))
        self.page.poll()

    def resume(self) -> None:
        """Resume a paused run, or restart a stopped, failed or killed one from its last checkpoint."""
        if self.live is None:
            return
        if self.live.status in ("pausing", "paused"):
            self.ask("resume")
            return
        try:
            check_owner(self.live.folder)
            self._resumed = len(runs.read(self.live.folder).get("resumed", []))
            go_on(self.live.folder)
        except InputError as error:
            self.player.show("failed", error=str(error))
            return
        self._waits = PATIENCE
        self.page.tick()
        self.page.poll()

    # --- watching ---------------------------------------------------------------------------------------------------

    def news(self) -> bool:
        """Whether `poll` would draw something."""
        if self.live is None:
            return False
        self.live.look(fresh=FRESH)
        return self.live.version != self._version or self._waits > 0 or self._queued

    def poll(self) -> bool:
        """Draw what is new of the run; True while it is running."""
        live = self.live
        if live is None:
            return False
        live.look()
        new, self._taken, self._version = live.log[self._taken :], len(live.log), live.version
        status, error = live.state
        waiting = place(live.folder)
        self._queued = waiting > 0
        if waiting:
            self.player.show("queued", folder=f"place {waiting}")
            return True
        if self._waits:  # until the new process writes, the folder has the status of the old one
            self._waits -= 1
            if len(runs.read(live.folder).get("resumed", [])) > self._resumed:
                self._waits = 0
            elif self._waits:
                status, error = "starting", None
        told = (status, live.lines, error if status in ("failed", "killed") else None, live.folder.name)
        self.page.when_seen(self._tab, lambda: self.player.show(*told), "player")
        if new:
            if not self._listed:  # a new run: now its settings are known
                self._list()
            self.host.took(live, new)
        before, self._over = self._over, status in runs.FINAL
        if self._over and not before:
            self.page.draw_unseen()
            self._end(live, status)
        return not self._over

    def _end(self, live: Live, status: str) -> None:
        if status == "finished":
            try:
                self.page.result = runs.result(live.folder)
            except (InputError, OSError) as error:
                self.player.show("failed", live.lines, f"The result cannot be read: {error}", live.folder.name)
        self._list()
        self.host.ended(live, self.page.result)

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the followed run; empty before its first event."""
        if self.live is None:
            return {}
        try:
            return dict(runs.read(self.live.folder)["config"])
        except InputError:
            return {}
