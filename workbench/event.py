"""Event, Outcome and small functions on traces; and the classes by which a method declares how its runs are drawn.

A *trace* is a generator that yields an `Event` after every step and returns an `Outcome`. Its caller decides whether to
record, show, pause or ignore the events. Two rules make that safe: a trace leaves no changed global state at a `yield`, and
never changes an object that it has yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    import xarray as xr


@dataclass(frozen=True)
class Event:
    """One step of a run.

    step: strictly increasing within a run, from 0 or 1.
    scalars: name -> float, finite.
    arrays: name -> small labelled DataArray on the CPU.
    of: the last step of the run, if it is known; progress bars and time estimates need it.
    state: called between two events; returns everything needed to continue from here as a dict of tensors, numbers,
        strings, lists and dicts (`torch.load(weights_only=True)` must read it back). None: the run cannot be continued.
    """

    step: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, xr.DataArray] = field(default_factory=dict)
    of: int | None = None
    state: Callable[[], dict[str, Any]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Outcome:
    """What a run returns: `result` on the scene's coordinates, and `weights`, network name -> state dict."""

    result: xr.Dataset
    weights: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)


Trace = Generator[Event, None, Outcome]


def drain(trace: Trace) -> Outcome:
    """Run a trace to its end; returns its Outcome."""
    while True:
        try:
            next(trace)
        except StopIteration as end:
            return end.value


def every(n: int, trace: Trace) -> Trace:
    """Yield only the events whose step is a multiple of `n`, and the last one; returns the Outcome of the trace."""
    if n < 1:
        raise ValueError(f"every(n) needs n >= 1, got {n}")
    skipped: Event | None = None
    while True:
        try:
            event = next(trace)
        except StopIteration as end:
            if skipped is not None:
                yield skipped
            return end.value
        if event.step % n == 0:
            skipped = None
            yield event
        else:
            skipped = event


def tee(trace: Trace, *listeners: Callable[[Event], object]) -> Trace:
    """Call every listener with each event before passing it on."""
    while True:
        try:
            event = next(trace)
        except StopIteration as end:
            return end.value
        for listener in listeners:
            listener(event)
        yield event


# --- how a run is drawn -----------------------------------------------------------------------------------------------
#
# A method declares `SHOWS`, a tuple of the following classes. Pages, reports and notebooks draw a run from it. A name is that
# of a scalar or an array of the events, or of a variable of the result. Names have the form `quantity` or `quantity/who`,
# where who is the method itself, a rival or a control. A declared name without `/` matches the quantity of all of them.


@dataclass(frozen=True)
class Curves:
    """Scalars against the step, in one plot.

    group: title of the plot and label of its vertical axis. series: scalars, one line each. references: scalars that are
    drawn as a horizontal line at their last value. units: of the vertical axis. log: whether that axis is logarithmic.
    own_steps: count the steps of every line from its own first step; for methods that train their rivals in sequence. against: a
    scalar of the same events that is the horizontal axis instead of the step, such as the number of a pass.
    """

    group: str
    series: tuple[str, ...]
    references: tuple[str, ...] = ()
    units: str = ""
    log: bool = False
    own_steps: bool = False
    against: str = ""

    def points(
        self, name: str, history: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    ) -> tuple[list[float], list[float]]:
        """Horizontal and vertical positions of the line of a scalar. history: scalar -> (steps, values)."""
        steps, values = history[name]
        if self.against:
            at = dict(zip(*history.get(self.against, ((), ())), strict=True))
            known = [(at[step], value) for step, value in zip(steps, values, strict=True) if step in at]
            return [x for x, _ in known], [y for _, y in known]
        shift = steps[0] - 1 if self.own_steps and steps else 0
        return [step - shift for step in steps], list(values)


@dataclass(frozen=True)
class Film:
    """Arrays of the events side by side, with one slider through the steps at which they were yielded."""

    arrays: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Map:
    """The newest map (y, x) of that name, with a colour bar. title, units: default to those of the array."""

    variable: str
    title: str = ""
    units: str = ""


@dataclass(frozen=True)
class Boxes:
    """The newest `box (object, edge)` on an image, with `box_score` and `box_label` if present.

    image: name of an array, of a variable of the result, or of the scene.
    """

    image: str
    title: str = ""


@dataclass(frozen=True)
class Bars:
    """The newest array of one dim as bars, one for each entry of that dim."""

    variable: str
    title: str = ""
    units: str = ""


@dataclass(frozen=True)
class Matrix:
    """The newest array of two dims as a coloured table."""

    variable: str
    title: str = ""
    units: str = ""


Shows = Curves | Film | Map | Boxes | Bars | Matrix


def standing_for(name: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that match a declared name: the name itself, and every `name/who`.

    >>> standing_for("loss", ["loss/ours", "loss/random", "lossless"])
    ['loss/ours', 'loss/random']
    """
    return [n for n in names if n == name or n.startswith(f"{name}/")]


def never_yielded(
    shows: Iterable[Shows], scalars: Iterable[str], arrays: Iterable[str], result: Iterable[str], scene: Iterable[str] = ()
) -> list[str]:
    """One sentence for each name in `shows` that a run did not yield; empty when none is missing.

    scalars, arrays: names that the events of the run had. result, scene: names of the variables of its result and scene.

    >>> never_yielded([Curves("loss", ("loss", "los"))], ["loss"], [], [])
    ["Curves('loss') shows the scalar 'los', which the run did not yield; it yielded loss."]
    """
    scalars, arrays, result, scene = list(scalars), list(arrays), list(result), list(scene)
    missing = []
    for show in shows:
        if isinstance(show, Curves):
            who, kind = f"Curves({show.group!r})", "scalar"
            wanted = dict.fromkeys((*show.series, *show.references), scalars)
        elif isinstance(show, Film):
            who, kind, wanted = f"Film({show.arrays!r})", "array", dict.fromkeys(show.arrays, arrays)
        elif isinstance(show, Boxes):
            who, kind = f"Boxes({show.image!r})", "array or variable"
            wanted = {show.image: [*arrays, *result, *scene], "box": [*arrays, *result]}
        else:
            who, kind = f"{type(show).__name__}({show.variable!r})", "array or variable"
            wanted = {show.variable: [*arrays, *result]}
        missing += [
            f"{who} shows the {kind} {name!r}, which the run did not yield; it yielded {', '.join(present) or 'none'}."
            for name, present in wanted.items()
            if not standing_for(name, present)
        ]
    return missing
