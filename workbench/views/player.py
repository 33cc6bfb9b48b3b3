"""Buttons for start, pause, resume and stop; progress and time left of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui

from workbench.views.card import escape, html
from workbench.views.looks import STATUS
from workbench.views.plots import batched


class Player:
    """Buttons and progress of one run. `on(name, then)` registers a listener for start, pause, resume or stop.

    passes: number of the last pass, if passes 0 to K follow the training and its events count them as steps; else None.
    """

    def __init__(self) -> None:
        self.passes: int | None = None
        common = {"size": "small", "margin": (4, 6, 4, 0)}
        self.start = pmui.Button(label="Start", icon="play_arrow", color="primary", variant="contained", **common)
        self.pause = pmui.Button(label="Pause", icon="pause", variant="outlined", **common)
        self.resume = pmui.Button(label="Resume", icon="play_arrow", variant="outlined", **common)
        self.stop = pmui.Button(label="Stop", icon="stop", color="error", variant="outlined", **common)
        self.text = html()
        self.panel = pn.Column(
            pn.Row(self.start, self.pause, self.resume, self.stop, margin=0),
            self.text,
            sizing_mode="stretch_width",
            margin=0,
        )
        self.show("idle")

    def on(self, name: str, then: Callable[[], None]) -> None:
        """Call `then` when the button `name` (start, pause, resume or stop) is clicked."""
        getattr(self, name).on_click(batched(lambda _: then()))

    def show(self, status: str, lines: Sequence[Mapping[str, Any]] = (), error: str | None = None, folder: str = "") -> None:
        """Show the progress of a run. status: one of `Live.status`, or idle. lines: its events so far."""
        going = status in ("running", "pausing", "paused", "starting", "queued")
        self.start.visible, self.start.disabled = not going, False
        self.start.label = "Start" if status == "idle" else "Start a new run"
        self.pause.visible, self.pause.disabled = status in ("running", "starting"), status == "starting"
        self.resume.visible = status in ("pausing", "paused", "stopped", "killed", "failed")
        self.stop.visible, self.stop.disabled = going, status == "starting"
        latest = lines[-1] if lines else None
        of = latest.get("of") if latest else None
        share = 1 if status == "finished" else latest["step"] / of if latest and of else 0
        parts = [f'<b style="color:{STATUS[status].colour}">{STATUS[status].title}</b>']
        if latest:
            parts.append(counted(lines, self.passes))
        if latest and of and status == "running" and (rate := pace(lines)):
            parts.append(f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step")
            parts.append(f"{clock((of - latest['step']) / rate)} left")
        elif latest and status in ("finished", "stopped"):
            parts.append(
                f'<span title="without pauses" style="white-space:nowrap">took {clock(latest.get("seconds", 0))}</span>'
            )
        if folder:
            parts.append(f'<span style="opacity:.65" title="run folder">{escape(folder)}</span>')
        html = ("" if status == "idle" else _bar(share)) + " &middot; ".join(parts)
        if error:
            html += f'<div style="margin-top:6px;color:{STATUS["failed"].colour}">{escape(error)}</div>'
        if self.text.object != html:
            self.text.object = html


def counted(lines: Sequence[Mapping[str, Any]], passes: int | None = None) -> str:
    """How far a run is. Events with a scalar `pass` come after the training: they are passes, not training steps.

    passes: number of the last pass, if it is known before the first one.

    >>> counted([{"step": 2, "of": 7, "scalars": {}}]), counted([{"step": 2, "of": 7, "scalars": {}}], passes=3)
    ('step 2 of 7', 'training step 2 of 3, then passes 0 to 3')
    >>> after = [{"step": 4 + k, "of": 7, "scalars": {"pass": k}} for k in range(4)]
    >>> counted(after[:2]), counted(after)
    ('3 training steps + pass 1 of 3', '3 training steps + passes 0 to 3')
    """
    latest = lines[-1]
    step, of = latest["step"], latest.get("of")
    if (k := latest.get("scalars", {}).get("pass")) is None:
        if passes is not None and of:
            return f"training step {step:,} of {of - passes - 1:,}, then passes 0 to {passes}"
        return f"step {step:,}" + (f" of {of:,}" if of else "")
    training = step - int(k) - 1
    done = f"passes 0 to {int(k)}" if step == of else f"pass {int(k)}" + (f" of {of - training - 1}" if of else "")
    return f"{training:,} training step{'s' if training != 1 else ''} + {done}"


def _bar(share: float) -> str:
    """HTML of a progress bar. A Material progress bar can stay at an older value: a busy browser echoes values."""
    percent = round(100 * share)
    return (
        f'<div role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
        'style="height:4px;margin:2px 0 8px;background:rgba(128,128,128,.3)">'
        f'<div style="height:4px;width:{percent}%;background:var(--mui-palette-primary-main, #2F6FB0)"></div></div>'
    )


def pace(lines: Sequence[Mapping[str, Any]], window: int = 40) -> float | None:
    """Steps per second over the newest `window` events; None while it is unknown.

    >>> pace([{"step": 0, "seconds": 1.0}, {"step": 10, "seconds": 6.0}])
    2.0
    """
    recent = lines[-window:]
    if len(recent) < 2:
        return None
    seconds = recent[-1].get("seconds", 0.0) - recent[0].get("seconds", 0.0)
    steps = recent[-1]["step"] - recent[0]["step"]
    return steps / seconds if seconds > 0 and steps > 0 else None


def clock(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
