"""Forms and progress bars inside a notebook cell, as ipywidgets; the dashboard's counterparts are `form` and `player`.

settings = form(Config)          # shown as the cell's value
settings.overrides               # {"steps": 60}
outcome = await progress(trace, folder)
watch(folder)                    # a run of another process
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as w

from workbench import runs
from workbench.config import Settings, override
from workbench.errors import InputError
from workbench.event import Outcome, Trace
from workbench.runs.watch import Live

LABEL = {"description_width": "initial"}


class form(w.VBox):
    """One widget per field of a Config, with its default, its range or choices, and its description beside it.

    values: initial overrides. `overrides`: the settings that differ from the defaults, as `override` takes them;
    raises InputError while a value is out of range.
    """

    def __init__(self, config: type[Settings], values: Mapping[str, Any] | None = None) -> None:
        self._config = config
        self._defaults = config().model_dump(mode="json")
        start = override(config(), values).model_dump(mode="json")
        properties = config.model_json_schema()["properties"]
        self.fields = {name: _widget(spec, start[name]) for name, spec in properties.items()}
        self.message = w.HTML()
        rows = []
        for name, widget in self.fields.items():
            widget.layout.width = "11rem"
            about = w.HTML(f"<span style='opacity:.75'>{escape(_about(properties[name], self._defaults[name]))}</span>")
            rows.append(w.HBox([w.Label(name, layout=w.Layout(width="9rem")), widget, about]))
            widget.observe(self._check, "value")
        super().__init__([*rows, self.message])

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that differ from the defaults; raises InputError while a value is invalid."""
        config = override(self._config(), {name: _read(widget) for name, widget in self.fields.items()})
        return {n: v for n, v in config.model_dump(mode="json").items() if v != self._defaults[n]}

    def _check(self, _: object) -> None:
        try:
            changed = self.overrides
        except InputError as error:
            self.message.value = f"<b style='color:#C1121F'>{escape(str(error))}</b>"
        else:
            text = ", ".join(f"{n}={v}" for n, v in changed.items())
            self.message.value = f"Changed: {escape(text)}" if text else ""


def _widget(spec: Mapping[str, Any], value: Any) -> w.Widget:
    kinds = [o.get("type") for o in spec.get("anyOf", [])] or [spec.get("type")]
    if "enum" in spec:
        return w.Dropdown(options=spec["enum"], value=value)
    if kinds == ["boolean"]:
        return w.Checkbox(value=value, indent=False)
    if kinds == ["integer"]:
        return w.IntText(value=value)
    if kinds == ["number"]:
        return w.FloatText(value=value)
    if isinstance(value, list):
        return w.Text(value=json.dumps(value), placeholder="[]", continuous_update=False)
    return w.Text(value="" if value is None else str(value), placeholder="none", continuous_update=False)


def _read(widget: w.Widget) -> Any:
    return (widget.value.strip() or None) if isinstance(widget, w.Text) else widget.value


def _about(spec: Mapping[str, Any], default: Any) -> str:
    """The description, the range and the default, in one line."""
    places = [spec, *spec.get("anyOf", [])]

    def bound(*names: str) -> Any:
        return next((p[n] for p in places for n in names if n in p), None)

    low, high = bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum")
    if bound("exclusiveMaximum") is not None and "integer" in {p.get("type") for p in places}:
        high -= 1
    span = {
        (True, True): "",
        (False, True): f"; from {low}",
        (True, False): f"; up to {high}",
        (False, False): f"; {low} to {high}",
    }[low is None, high is None]
    return f"{spec.get('description', '')}{span}; default {'none' if default is None else default}"


# --- progress ---------------------------------------------------------------------------------------------------------


class _Bar(w.VBox):
    """A progress bar, the newest scalars, and buttons that write pause and stop requests into the run folder."""

    def __init__(self, label: str, folder: Path | None) -> None:
        self.folder, self.paused = folder, False
        self.bar = w.IntProgress(min=0, max=1, description=label, style=LABEL, layout=w.Layout(width="26rem"))
        self.text = w.HTML()
        self.pause = w.Button(description="Pause", icon="pause", layout=w.Layout(width="6.5rem"))
        self.stop = w.Button(description="Stop", icon="stop", layout=w.Layout(width="6.5rem"))
        # Buttons, not a toggle: front ends delay the second change of a toggle until the cell has ended.
        self.pause.on_click(lambda _: self._ask("resume" if self.paused else "pause"))
        self.stop.on_click(lambda _: self._ask("stop"))
        buttons = [self.pause, self.stop] if folder is not None else []
        super().__init__([w.HBox([self.bar, *buttons]), self.text])

    def _ask(self, what: str) -> None:
        assert self.folder is not None
        try:
            runs.request(self.folder, what)
        except InputError as error:  # the run has not started yet
            self.text.value = escape(str(error))
            return
        self.paused = what == "pause"
        self.pause.description, self.pause.icon = ("Resume", "play") if self.paused else ("Pause", "pause")

    def show(self, step: int, of: int | None, scalars: Mapping[str, float]) -> None:
        self.bar.max, self.bar.value = of or max(step, 1), step
        numbers = " &nbsp; ".join(f"{escape(k)} {v:.4g}" for k, v in list(scalars.items())[:4])
        self.text.value = f"step {step}{f' of {of}' if of else ''} &nbsp; {numbers}"

    def end(self, status: str, error: str | None = None) -> None:
        self.bar.bar_style = {"finished": "success", "stopped": "warning"}.get(status, "danger")
        if status == "finished":
            self.bar.value = self.bar.max
        self.pause.disabled = self.stop.disabled = True
        self.text.value = escape(f"{status}: {error}" if error else status) + f" &nbsp; {self.text.value}"


async def progress(trace: Trace, folder: str | Path | None = None, label: str = "") -> Outcome:
    """Run a trace to its end, with a progress bar in the cell; returns its outcome: `outcome = await progress(trace, folder)`.

    folder: where the trace is recorded; with it there are buttons for pause and stop. They act between two events, if the
    kernel handles widgets while a cell awaits (ipykernel 7.4 does). Interrupting the kernel stops the run in the same way.
    """
    from IPython.display import display

    folder = None if folder is None else Path(folder)
    bar = _Bar(label or (folder.name if folder is not None else ""), folder)
    display(bar)
    try:
        while True:
            try:
                event = next(trace)
            except StopIteration as end:
                bar.end("finished")
                return end.value
            bar.show(event.step, event.of, event.scalars)
            await asyncio.sleep(0.01)  # let the kernel handle clicks
            while bar.paused:  # the recorder would wait too, but block the clicks
                await asyncio.sleep(0.1)
    except (runs.Stopped, KeyboardInterrupt, asyncio.CancelledError):
        trace.close()
        bar.end("stopped")
        raise
    except BaseException as error:
        bar.end("failed", str(error))
        raise


def watch(folder: str | Path, *, poll: float = 0.5) -> w.VBox:
    """A progress bar for a run of another process, such as one of `launch`; it does not block the notebook.

    Needs the event loop that every notebook kernel has.
    """
    folder = Path(folder)
    live, bar = Live(folder), _Bar(folder.name, folder)

    async def follow() -> None:
        while True:
            status = live.status
            live.poll()
            if live.latest is not None:
                bar.show(live.latest["step"], live.latest.get("of"), live.latest["scalars"])
            if status in runs.FINAL:
                return bar.end(status, live.error)
            await asyncio.sleep(poll)

    bar.task = asyncio.get_running_loop().create_task(follow())
    return bar


def in_browser() -> bool:
    """Whether this kernel belongs to an interactive notebook, and not to Papermill or nbconvert."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return "JPY_SESSION_NAME" in os.environ or (shell is not None and "__vsc_ipynb_file__" in shell.user_ns)
