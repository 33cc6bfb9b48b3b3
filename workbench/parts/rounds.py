"""Rounds of a federation in one process: clients train from the common weights, the server averages what they send.

    for round in rounds(clients, state, 30):
        round.state, round.scalars["site A"]["loss"], round.failures

`workbench.engines.flower.rounds` runs the same clients in processes and on machines, and gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from workbench.errors import InputError
from workbench.parts.federation import State, average, check_state, state_bytes


@dataclass(frozen=True)
class Update:
    """What a client sends: its weights, the number of its samples, and numbers of its training such as `loss`."""

    state: State
    samples: float
    scalars: Mapping[str, float] = field(default_factory=dict)


class Client(Protocol):
    """A client. Its training depends on the weights it gets and the number of the round only, so that it is the same in any process."""

    name: str

    def train(self, state: State, number: int) -> Update:
        """Train from the common weights. number: of the round, from 1. Raises InputError where it cannot."""


@dataclass(frozen=True)
class Round:
    """A round that is over. number: from 1. state: the new common weights. scalars: client -> numbers. failures: client -> what went wrong.

    up, down: payload in bytes that clients sent, and got. counted: the bytes counted otherwise, where an engine does: `record up`,
    `object up`, `record down`, `object down`, see `workbench.engines.flower.sizes`.
    """

    number: int
    state: dict[str, Tensor]
    scalars: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, str]
    up: int
    down: int
    counted: Mapping[str, int] = field(default_factory=dict)


def combine(
    number: int, state: State, updates: Mapping[str, Update], failures: Mapping[str, str], asked: int | None = None
) -> Round:
    """The round from what the clients sent, in the order of their names. An update that cannot be used is a failure, and left out.

    asked: clients that got the weights, those that sent nothing included. Raises InputError where no update is left.
    """
    good, failed = usable(number, state, updates, failures)
    made = average([u.state for u in good.values()], [u.samples for u in good.values()], list(good))
    heard = sum(state_bytes(u.state) for u in updates.values())
    down = state_bytes(state) * (len(updates) + len(failures) if asked is None else asked)
    return Round(number, made, {n: dict(u.scalars) for n, u in good.items()}, failed, heard, down)


def usable(
    number: int, state: State, updates: Mapping[str, Update], failures: Mapping[str, str]
) -> tuple[dict[str, Update], dict[str, str]]:
    """The updates that can be used, in the order of their names, and all failures. Raises InputError where no update is left."""
    good, failed = {}, dict(failures)
    for name in sorted(updates):
        try:
            check_state(updates[name].state, state, name)
            if not updates[name].samples > 0:
                raise InputError(f"{name} has no samples for training; it takes no part.")
            good[name] = updates[name]
        except InputError as error:
            failed[name] = str(error)
    if not good:
        told = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(f"Round {number}: no client sent weights that can be averaged. {told or 'There are no clients.'}")
    return good, failed


def rounds(
    clients: Sequence[Client],
    state: State,
    count: int,
    first: int = 1,
    away: float = 0.0,
    seed: int = 0,
    merge: Callable[..., Round] = combine,
) -> Iterator[Round]:
    """`count` rounds in this process, one client after the other. first: number of the first round.

    away: probability that a client misses a round; at least one takes part. seed: of that draw. merge: makes the round from what the
    clients sent, as `combine` does, such as `workbench.parts.power_sgd.PowerSGD.combine`.
    """
    for number in range(first, first + count):
        draw = np.random.default_rng([seed, number])
        present = draw.random(len(clients)) >= away
        if not present.any():
            present[draw.integers(len(clients))] = True
        updates, failures = {}, {c.name: "away in this round" for c, p in zip(clients, present, strict=True) if not p}
        for client, here in zip(clients, present, strict=True):
            if here:
                try:
                    updates[client.name] = client.train(state, number)
                except InputError as error:
                    failures[client.name] = str(error)
        done = merge(number, state, updates, failures, int(present.sum()))
        state = done.state
        yield done
