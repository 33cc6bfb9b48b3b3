"""Event, Outcome and the small tools that wrap a trace.

A *trace* is a generator which yields an `Event` for every thing that just happened and returns an `Outcome`. Who drives
it decides whether to record, show, pause or ignore. Two habits keep that safe: a trace changes no global state around a
`yield`, and never changes later what it has yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    import xarray as xr


@dataclass(frozen=True)
class Event:
    """What just happened in a run.

    step: strictly increasing within a run, from 0 or 1.
    scalars: name -> float, finite.
    arrays: name -> small labelled DataArray on the CPU.
    of: the last step of the run, where it is known; progress bars and time estimates need it.
    state: called between two events, gives everything needed to continue from here as a dict of tensors, numbers,
        strings, lists and dicts (`torch.load(weights_only=True)` must read it back). None: this run can only start anew.
    """

    step: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, xr.DataArray] = field(default_factory=dict)
    of: int | None = None
    state: Callable[[], dict[str, Any]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind: `result` on the scene's coordinates, and `weights`, name -> state dict."""

    result: xr.Dataset
    weights: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)


Trace = Generator[Event, None, Outcome]


def drain(trace: Trace) -> Outcome:
    """Drive a trace to its end and give what it returns."""
    while True:
        try:
            next(trace)
        except StopIteration as end:
            return end.value


def every(n: int, trace: Trace) -> Trace:
    """Only the events whose step is a multiple of `n`, and the last one; the outcome is passed through."""
    if n < 1:
        raise ValueError(f"every(n) needs n >= 1, got {n}")
    held: Event | None = None
    while True:
        try:
            event = next(trace)
        except StopIteration as end:
            if held is not None:
                yield held
            return end.value
        if event.step % n == 0:
            held = None
            yield event
        else:
            held = event


def tee(trace: Trace, *listeners: Callable[[Event], object]) -> Trace:
    """Call every listener with each event before passing it on."""
    outcome_of = trace
    while True:
        try:
            event = next(outcome_of)
        except StopIteration as end:
            return end.value
        for listener in listeners:
            listener(event)
        yield event
