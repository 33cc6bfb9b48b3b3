"""Below the table of runs: give the ticked runs a tag, take it away, or delete the runs after a question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import panel as pn
import panel_material_ui as pmui

from workbench.errors import InputError
from workbench.pages.frame.policy import check_owner
from workbench.runs.collection import Entry, megabytes, remove, size, tag
from workbench.views.card import escape, problem
from workbench.views.plots import batched

BUTTON = {"size": "small", "variant": "outlined", "margin": (12, 4)}


class Manage:
    """root: only runs under it are deleted. ticked: gives the runs to act on. changed: called when a run was changed."""

    def __init__(self, root: Path, ticked: Callable[[], list[Entry]], changed: Callable[[], None]) -> None:
        self.root, self._ticked, self._changed = root, ticked, changed
        self._doomed: list[Entry] = []  # the runs that the question names
        self.text = pmui.TextInput(label="Tag", placeholder="for the talk", size="small", width=220, margin=(8, 8))
        self.adder = pmui.Button(label="Tag the ticked runs", icon="label", **BUTTON)
        self.taker = pmui.Button(label="Take the tag away", icon="label_off", **BUTTON)
        self.deleter = pmui.Button(label="Delete the ticked runs…", icon="delete", color="error", **BUTTON)
        self.question = pmui.Alert("", severity="warning", margin=(4, 8), sizing_mode="stretch_width")
        self.yes = pmui.Button(label="Delete for good", icon="delete_forever", color="error", **BUTTON)
        self.no = pmui.Button(label="Keep", **BUTTON)
        self.asking = pn.Column(
            self.question, pn.Row(self.yes, self.no, margin=0), visible=False, sizing_mode="stretch_width", margin=0
        )
        self.refusal = pmui.Alert("", severity="error", visible=False, margin=(4, 8), sizing_mode="stretch_width")
        acts = pn.FlexBox(self.text, self.adder, self.taker, self.deleter, sizing_mode="stretch_width", margin=0)
        self.panel = pn.Column(acts, self.asking, self.refusal, sizing_mode="stretch_width", margin=0)
        self.adder.on_click(batched(lambda _: self._tag("add")))
        self.taker.on_click(batched(lambda _: self._tag("take")))
        self.deleter.on_click(batched(lambda _: self._ask()))
        self.yes.on_click(batched(lambda _: self._delete()))
        self.no.on_click(batched(lambda _: self._keep()))

    def chosen(self) -> None:
        """Take in that other runs may be ticked: a question about runs that are not the ticked ones is withdrawn."""
        ticked = self._ticked()
        self.panel.visible = bool(ticked)
        if [e.folder for e in ticked] != [e.folder for e in self._doomed]:
            self._keep()

    def _refuse(self, message: str) -> None:
        self.refusal.object, self.refusal.visible = problem(message), bool(message)

    def _tag(self, what: str) -> None:
        """Give the ticked runs the tag of the field (add), or take it away (take)."""
        self._refuse("")
        try:
            for entry in self._ticked():
                check_owner(entry.folder)
                tag(entry.folder, **{what: [self.text.value_input or self.text.value]})
        except InputError as error:
            self._refuse(str(error))
        self._changed()

    def _ask(self) -> None:
        """Name the ticked runs with their size, and ask whether they shall be deleted."""
        self._refuse("")
        self._doomed = self._ticked()
        listed = ", ".join(f"<b>{escape(e.name)}</b> ({e.status}, {megabytes(size(e.folder))})" for e in self._doomed)
        runs = "this run" if len(self._doomed) == 1 else f"these {len(self._doomed)} runs"
        self.question.object = f"Delete {runs} from the disk? This cannot be undone. {listed}"
        self.asking.visible = True

    def _keep(self) -> None:
        self._doomed, self.asking.visible = [], False

    def _delete(self) -> None:
        """Delete the runs that the question named."""
        doomed = self._doomed
        self._keep()
        try:
            for entry in doomed:
                check_owner(entry.folder)
            remove(doomed, self.root)
        except InputError as error:
            self._refuse(str(error))
        self._changed()
