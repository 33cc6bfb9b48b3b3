"""One of the ticked runs, step by step: its status, scalars, pictures, and result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui

from workbench import runs
from workbench.errors import InputError
from workbench.pages.frame.policy import check_owner
from workbench.runs.watch import Live
from workbench.views.card import escape, explain, html
from workbench.views.kinds import Picture, picture, pictures
from workbench.views.outcome import number
from workbench.views.picture import PictureView
from workbench.views.player import Player
from workbench.views.plots import batched
from workbench.views.screen import STRETCH, WHOLE, beside, wrapped
from workbench.views.stepper import Stepper

NO_FRAMES = "This run logs numbers only. Its curves are on the tab <b>Compare</b>."
OF_RESULT = "result: "  # prefix of the result's variables in the list of pictures


class Replay:
    """`choose(folders)` sets the runs; `poll()` reads their new events and returns whether there were any."""

    def __init__(self) -> None:
        self._lives: dict[Path, Live] = {}
        self._chosen: list[Path] = []
        self._drawn: tuple[Any, ...] = ()
        self.player = Player()
        wide = {"sizing_mode": "stretch_width", "min_width": 240, "max_width": 420}
        self.run = pmui.Select(label="Run", options={}, size="small", margin=(8, 8), **wide)
        self.array = pmui.Select(label="Picture", options=[], width=240, size="small", margin=(8, 8))
        self._result: tuple[Path | None, dict[str, Picture]] = (None, {})
        self.stepper = Stepper(self._draw)
        self.text = html(margin=(2, 8))
        self.picture = PictureView(tall=WHOLE, height=440)
        self._empty = explain("No pictures", NO_FRAMES, height=240)
        self.scalars = html(margin=(6, 8))
        for button in (self.player.start, self.player.resume):
            button.visible = False
        self.panel = pn.Column(
            wrapped(self.run, self.array, self.stepper.follow),
            self.player.panel,
            self.stepper.slider,
            self.text,
            beside(pn.Column(self.picture.panel, self._empty, **STRETCH), self.scalars, least=(520, 280)),
            sizing_mode="stretch_width",
            margin=(4, 4),
        )
        self.run.param.watch(batched(self._other_run), "value")
        self.array.param.watch(batched(lambda _: self._place()), "value")
        self.player.on("pause", lambda: self._request("pause"))
        self.player.on("resume", lambda: self._request("resume"))
        self.player.on("stop", lambda: self._request("stop"))

    def choose(self, folders: Sequence[Path]) -> None:
        """Offer these runs; the visible one is kept if it is among them."""
        self._chosen = list(folders)
        self._lives = {f: self._lives.get(f) or Live(f) for f in folders}
        for live in self._lives.values():
            live.poll()
        options = {f.name: f for f in folders}
        if self.run.options != options:
            value = self.run.value if self.run.value in folders else (folders[-1] if folders else None)
            self.run.param.update(options=options, value=value)
        self._show()

    def histories(self) -> list[Mapping[str, tuple[list[int], list[float]]]]:
        """Scalars of each run, name -> (steps, values), in the order of `choose`."""
        return [self._lives[f].history for f in self._chosen]

    @property
    def live(self) -> Live | None:
        """The visible run."""
        return self._lives.get(self.run.value)

    def poll(self) -> bool:
        """Read new events of the runs; True if there were any."""
        new = [bool(live.poll()) for live in self._lives.values()]
        if any(new):
            self._show()
        elif self.live is not None:
            self._show_status()
        return any(new)

    def _other_run(self, _: object) -> None:
        self.stepper.follow.value = True
        self._show()

    def _request(self, what: str) -> None:
        if self.live is not None:
            try:
                check_owner(self.live.folder)
                runs.request(self.live.folder, what)
            except InputError as error:
                self.text.object = escape(str(error))
            self._show_status()

    def _show_status(self) -> None:
        live = self.live
        if live is None:
            self.player.show("idle")
        else:
            self.player.show(live.status, live.lines, live.error, live.folder.name)
        self.player.start.visible = False
        if live is None or live.status not in ("pausing", "paused"):
            self.player.resume.visible = False  # an ended run is resumed on the page that started it

    def _show(self) -> None:
        self._show_status()
        names = list(self.live.frames) if self.live is not None else []
        names += [OF_RESULT + name for name in self._of_result()]
        if list(self.array.options) != names:
            value = self.array.value if self.array.value in names else (names[0] if names else None)
            self.array.param.update(options=names, value=value)
        self._place()

    def _steps(self) -> list[int]:
        """Steps of the slider: those with the visible picture, or all if there are no pictures."""
        live = self.live
        if live is None:
            return []
        return live.frames.get(self.array.value) or [line["step"] for line in live.lines]

    def _place(self) -> None:
        self.stepper.fit(len(self._steps()))

    def _draw(self) -> None:
        live, steps = self.live, self._steps()
        self._empty.visible = live is not None and not self.array.options
        if live is None or not steps:
            self.text.object = self.scalars.object = ""
            self.picture.show(None)
            return
        step = steps[min(self.stepper.at, len(steps) - 1)]
        self.text.object = f"<b>Step {step:,}</b> &ensp; {self.stepper.at + 1} of {len(steps)}"
        self.scalars.object = _scalars(live, step)
        wanted = (live.folder, self.array.value, step)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        name = str(self.array.value or "")
        if name.startswith(OF_RESULT):
            self.picture.show(self._of_result().get(name.removeprefix(OF_RESULT)))
            return
        try:
            array = live.frame(name, step) if name else None
        except InputError as error:
            self.text.object += f"<br>{escape(str(error))}"
            array = None
        self.picture.show(None if array is None else picture(name, array))

    def _of_result(self) -> dict[str, Picture]:
        """Pictures of the visible run's result, by name; read once, when the run has finished."""
        live = self.live
        if live is None or live.status != "finished":
            return {}
        if self._result[0] != live.folder:
            try:
                made = pictures(runs.result(live.folder, chunks=None))
            except (InputError, OSError):
                made = []
            self._result = (live.folder, {p.name: p for p in made})
        return self._result[1]


def _scalars(live: Live, step: int) -> str:
    """HTML table of the newest scalars up to a step."""
    rows = []
    for name, (steps, values) in live.history.items():
        before = [v for s, v in zip(steps, values, strict=True) if s <= step]
        if before:
            rows.append(
                f'<tr><td style="opacity:.7;padding:1px 14px 1px 0">{escape(name)}</td>'
                f'<td style="text-align:right">{number(before[-1])}</td></tr>'
            )
    return (
        f'<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">{"".join(rows)}</table>' if rows else ""
    )
