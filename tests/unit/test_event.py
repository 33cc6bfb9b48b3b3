"""Wrapping a trace: what passes through, what is dropped, and that the outcome always arrives."""

import pytest
import xarray as xr

from workbench.event import Event, Outcome, drain, every, tee

RESULT = Outcome(xr.Dataset({"auc": 0.5}))


def counting(n):
    for step in range(1, n + 1):
        yield Event(step, {"loss": 1.0 / step})
    return RESULT


def steps(trace):
    seen = []
    while True:
        try:
            seen.append(next(trace).step)
        except StopIteration as end:
            return seen, end.value


def test_drain_gives_the_outcome():
    assert drain(counting(3)) is RESULT


def test_every_third_keeps_the_last_event_too():
    # of 1..7 the multiples of 3 are 3 and 6; 7 is the last and is kept
    assert steps(every(3, counting(7))) == ([3, 6, 7], RESULT)


def test_every_does_not_repeat_a_last_event_that_was_due():
    assert steps(every(3, counting(6))) == ([3, 6], RESULT)


def test_every_refuses_zero():
    with pytest.raises(ValueError, match="n >= 1"):
        next(every(0, counting(1)))


def test_tee_shows_each_event_before_passing_it_on():
    seen = []
    trace = tee(counting(2), lambda e: seen.append(e.step))
    assert next(trace).step == 1
    assert seen == [1]
    assert drain(trace) is RESULT
    assert seen == [1, 2]
