"""A run drawn from what its method declares: curves, films, maps, boxes, bars and matrices; updated while the run is active.

drawn = Declared(room.SHOWS)
drawn.take(live)            # after every `live.poll()`
drawn.end(result)           # the variables of the result, when the run has ended
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import panel as pn
import xarray as xr
from bokeh.models import BasicTicker

from workbench.event import Bars, Boxes, Curves, Film, Map, Matrix, Shows, standing_for
from workbench.views.card import heading, html
from workbench.views.kinds import Picture, picture
from workbench.views.lines import Lines
from workbench.views.looks import looks_in_curves
from workbench.views.picture import PictureView
from workbench.views.plots import Frame
from workbench.views.screen import grid, wrapped
from workbench.views.stepper import Stepper

LEAST = 300  # pixels: width of a plot or picture at least
MOST = 4  # pictures in a row, in a wide window
UNTIL = "Drawn from the first step that yields it."
POINTS = 1500  # points of a line that are sent to the browser at most


class Source(Protocol):
    """An active or finished run, such as `workbench.runs.watch.Live`."""

    history: Mapping[str, tuple[list[int], list[float]]]
    frames: Mapping[str, list[int]]

    def frame(self, name: str, step: int | None = None) -> xr.DataArray | None:
        """The array of that name at a step; without `step`, the newest."""


class Declared:
    """Views of everything that a method declares. Set `scene` if boxes are drawn on one of its variables."""

    def __init__(self, shows: Sequence[Shows]) -> None:
        self.scene: xr.Dataset | None = None
        self.curves = [_Plot(s) for s in shows if isinstance(s, Curves)]
        self.films = [_Film(s) for s in shows if isinstance(s, Film)]
        self.stills = [_Still(s) for s in shows if not isinstance(s, Curves | Film)]
        plots = grid(*(c.panel for c in self.curves), least=LEAST, most=MOST)
        stills = grid(*(s.view.panel for s in self.stills), least=LEAST, most=MOST)
        parts = [*([plots] if self.curves else []), *(f.panel for f in self.films), *([stills] if self.stills else [])]
        self.panel = pn.Column(*parts, sizing_mode="stretch_width", margin=0)

    def clear(self) -> None:
        """Empty all views."""
        for part in (*self.curves, *self.films, *self.stills):
            part.clear()

    def take(self, live: Source) -> None:
        """Draw the events of the run so far."""
        for curves in self.curves:
            curves.draw(live.history)
        for film in self.films:
            film.take(live)
        for still in self.stills:
            still.take(live, self.scene)

    def end(self, result: xr.Dataset) -> None:
        """Draw the variables of the result."""
        for still in self.stills:
            still.end(result, self.scene)


class _Plot:
    """One group of scalars: a line for each, in order of first appearance."""

    def __init__(self, show: Curves) -> None:
        self.show = show
        label = f"{show.group} ({show.units})" if show.units not in ("", "1") else show.group
        self.lines = Lines(show.against or "step", label, height=250, log="y" if show.log else "", words=UNTIL)
        self.lines.figure.xaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=5)
        self.panel = pn.Column(self.lines.panel, sizing_mode="stretch_width", margin=(4, 8, 4, 0))

    def clear(self) -> None:
        self.lines.show([])

    def draw(self, history: Mapping[str, tuple[list[int], list[float]]]) -> None:
        names = [n for s in self.show.series for n in standing_for(s, history)]
        levels = [n for s in self.show.references for n in standing_for(s, history)]
        quantities = sorted({n.partition("/")[0] for n in names})
        looks = looks_in_curves([*names, *levels], quantities)
        drawn = [(k, *_thinned(*self.show.points(n, history))) for n, k in zip(names, looks, strict=False)]
        across = [(k, history[n][1][-1]) for n, k in zip(levels, looks[len(names) :], strict=True)]
        self.lines.show(drawn, across)


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """At most POINTS points; always includes the newest."""
    every = -(-len(x) // POINTS)
    return (x[(len(x) - 1) % every :: every], y[(len(x) - 1) % every :: every]) if x else (x, y)


class _Film:
    """Arrays side by side under one slider through the steps; each shows its newest frame up to that step."""

    def __init__(self, show: Film) -> None:
        self.show = show
        self.live: Source | None = None
        self.steps: list[int] = []
        self.views: dict[str, PictureView] = {}
        self.frames: dict[tuple[int, ...], Frame] = {}
        self._drawn: dict[str, int] = {}
        self.stepper = Stepper(self._draw)
        self.text = html(width=130, margin=(10, 8))
        self.row = grid(least=LEAST, most=MOST)
        bar = wrapped(self.text, self.stepper.slider, self.stepper.follow)
        title = show.title or ", ".join(show.arrays).replace("_", " ")
        self.panel = pn.Column(heading(title), bar, self.row, sizing_mode="stretch_width", margin=0)
        self.panel.visible = False

    def clear(self) -> None:
        self.live, self.steps, self._drawn = None, [], {}
        self.panel.visible = False
        for view in self.views.values():
            view.show(None)

    def take(self, live: Source) -> None:
        self.live = live
        steps = sorted({step for s in self.show.arrays for n in standing_for(s, live.frames) for step in live.frames[n]})
        if steps != self.steps:
            self.steps = steps
            self.panel.visible = bool(steps)
            self.stepper.fit(len(steps))

    def _draw(self) -> None:
        live = self.live
        if live is None or not self.steps:
            return
        step = self.steps[min(self.stepper.at, len(self.steps) - 1)]
        self.text.object = f"<b>Step {step:,}</b>"
        for name in (n for s in self.show.arrays for n in standing_for(s, live.frames)):
            earlier = [s for s in live.frames[name] if s <= step]
            if not earlier:
                self._drawn.pop(name, None)
                if name in self.views:
                    self.views[name].show(None)
            elif self._drawn.get(name) != earlier[-1]:
                self._drawn[name] = earlier[-1]
                array = live.frame(name, earlier[-1])
                made = None if array is None else picture(name, array)
                text = name.partition("/")[0].replace("_", " ")
                if made is not None and not made.title.startswith(text):
                    made = replace(made, title=f"{text}: {made.title}")
                self._view(name, array).show(made)

    def _view(self, name: str, array: xr.DataArray | None) -> PictureView:
        if name not in self.views:
            shape = () if array is None else array.shape[-2:]
            frame = self.frames.setdefault(shape, Frame())
            self.views[name] = PictureView(frame=frame)
            self.row.append(self.views[name].panel)
        return self.views[name]


class _Still:
    """The newest frame of one array, or a variable of the result."""

    def __init__(self, show: Shows) -> None:
        self.show = show
        self.view = PictureView()
        self._step: int | None = None

    def clear(self) -> None:
        self._step = None
        self.view.show(None)

    def take(self, live: Source, scene: xr.Dataset | None) -> None:
        name = next(iter(standing_for(self._name, live.frames)), None)
        if name is None or live.frames[name][-1] == self._step:
            return
        self._step = live.frames[name][-1]
        beside = {n: live.frame(n) for n in ("box_score", "box_label", *self._image) if n in live.frames}
        self._show(name, live.frame(name), {n: a for n, a in beside.items() if a is not None}, scene)

    def end(self, result: xr.Dataset, scene: xr.Dataset | None) -> None:
        name = next(iter(standing_for(self._name, map(str, result.data_vars))), None)
        if name is not None:
            self._show(name, result[name], {str(n): v for n, v in result.data_vars.items()}, scene)

    @property
    def _name(self) -> str:
        return "box" if isinstance(self.show, Boxes) else self.show.variable  # type: ignore[union-attr]

    @property
    def _image(self) -> tuple[str, ...]:
        return (self.show.image,) if isinstance(self.show, Boxes) else ()

    def _show(
        self, name: str, array: xr.DataArray | None, beside: Mapping[str, xr.DataArray], scene: xr.Dataset | None
    ) -> None:
        image = next((beside[n] for n in self._image if n in beside), None)
        if image is None and scene is not None:
            image = next((scene[n] for n in self._image if n in scene), None)
        made = None if array is None else picture(name, array, beside, image)
        if made is not None:
            self.view.show(_as_declared(made, self.show))


def _as_declared(made: Picture, show: Shows) -> Picture:
    """The picture with the title, units and kind of its declaration."""
    kind = "bars" if isinstance(show, Bars) else "matrix" if isinstance(show, Matrix) else made.kind
    units = show.units if isinstance(show, Map | Bars | Matrix) else ""
    title = "" if isinstance(show, Curves | Film) else show.title
    return replace(made, kind=kind, title=title or made.title, units=units or made.units)
