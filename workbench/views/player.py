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
    """Buttons and progress of one run. `on(name, then)` registers a listener for start, pause, resume or stop."""

    def __init__(self) -> None:
        common = {"size": "small", "margin": (4, 6, 4, 0)}
        self.start = pmui.Button(label="Start", icon="play_arrow", color="primary", variant="contained", **common)
        self.pause = pmui.Button(label="Pause", icon="pause", variant="outlined", **common)
        self.resume = pmui.Button(label="Resume", icon="play_arrow", variant="outlined", **common)
        self.stop = pmui.Button(label="Stop", icon="stop", color="error", variant="outlined", **common)
        self.bar = pmui.LinearProgress(value=0, variant="determinate", sizing_mode="stretch_width", margin=(6, 0))
        self.text = html()
        self.panel = pn.Column(
            pn.Row(self.start, self.pause, self.resume, self.stop, margin=0),
            self.bar,
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
        going = status in ("running", "paused", "starting")
        self.start.visible, self.start.disabled = not going, False
        self.start.label = "Start" if status == "idle" else "Start a new run"
        self.pause.visible, self.pause.disabled = status in ("running", "starting"), status == "starting"
        self.resume.visible = status in ("paused", "stopped", "killed", "failed")
        self.stop.visible, self.stop.disabled = going, status == "starting"
        latest = lines[-1] if lines else None
        of = latest.get("of") if latest else None
        self.bar.visible = status != "idle"
        if latest and of:
            self.bar.param.update(
                variant="determinate", value=round(100 * (1 if status == "finished" else latest["step"] / of))
            )
        else:
            self.bar.param.update(variant="indeterminate" if status == "starting" else "determinate", value=0)
        parts = [f'<b style="color:{STATUS[status].colour}">{STATUS[status].title}</b>']
        if latest:
            parts.append(f"step {latest['step']:,}" + (f" of {of:,}" if of else ""))
        if latest and of and status == "running" and (rate := pace(lines)):
            parts.append(f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step")
            parts.append(f"{clock((of - latest['step']) / rate)} left")
        elif latest and status in ("finished", "stopped"):
            parts.append(f"took {clock(latest.get('seconds', 0))}")
        if folder:
            parts.append(f'<span style="opacity:.65" title="run folder">{escape(folder)}</span>')
        html = " &middot; ".join(parts)
        if error:
            html += f'<div style="margin-top:6px;color:{STATUS["failed"].colour}">{escape(error)}</div>'
        if self.text.object != html:
            self.text.object = html


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
