"""Ageing evolution: the search of LeGR and of PIC-PQ for one scale and one shift per layer.

E. Real et al., "Regularized evolution for image classifier architecture search", AAAI 2019; T.-W. Chin et al., "Towards efficient model
compression via learned global ranking" (LeGR), CVPR 2020. The score of filter i of layer l is a_l property_i + b_l. The first members are
drawn, and one of them is the identity, a = 1 and b = 0, so the best of a search is never worse than the raw property. Then the best of a
few members is copied with a tenth of its layers changed, and replaces the oldest.

Ours: other scales and shifts often choose the same filters, whose loss is known. Such a member is changed again, up to `redraws` times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Member:
    """a, b (layers,): scale and shift of each layer. loss: its fitness, the lower the better."""

    a: np.ndarray
    b: np.ndarray
    loss: float


class Search:
    """An ageing evolution, one member at a time; `ask` gives the next member, `tell` its loss.

    spread (layers,): standard deviation of each layer's property, that of the drawn shifts. generations: members in all. population,
    tournament: at the same time, and drawn for each parent. share: of the layers that a child changes. choice: what a and b choose;
    a member that chooses what an earlier one did is changed again, at most `redraws` times.
    """

    def __init__(
        self,
        spread: np.ndarray,
        generations: int,
        population: int,
        tournament: int,
        share: float = 0.1,
        seed: int = 0,
        choice: Callable[[np.ndarray, np.ndarray], Hashable] | None = None,
        redraws: int = 0,
    ) -> None:
        self.spread, self.generations = spread, generations
        self.population, self.tournament, self.share, self.seed = population, tournament, share, seed
        self.choice, self.redraws = choice, redraws
        self.seen: set[Hashable] = set()
        self.history: list[Member] = []
        self.queue: list[Member] = []

    @property
    def done(self) -> bool:
        """Whether all generations have a loss."""
        return len(self.history) >= self.generations

    @property
    def first(self) -> int:
        """Number of members of the first population."""
        return min(self.population, self.generations)

    def ask(self) -> tuple[np.ndarray, np.ndarray]:
        """(a, b) of the next member. The draws depend on the seed, the generation and the members before."""
        generation, layers = len(self.history), len(self.spread)
        random = np.random.default_rng([self.seed, generation])
        if generation == self.first - 1:
            return np.ones(layers), np.zeros(layers)
        if generation < self.first:
            for _ in range(1 + self.redraws):
                a, b = np.exp(random.standard_normal(layers)), random.standard_normal(layers) * self.spread
                if self._new(a, b):
                    break
            return a, b
        drawn = random.choice(len(self.queue), min(self.tournament, len(self.queue)), replace=False)
        parent = min((self.queue[i] for i in drawn), key=lambda m: m.loss)
        step = 1 - generation / (1.25 * self.generations)
        a, b = parent.a.copy(), parent.b.copy()
        for _ in range(1 + self.redraws):
            for layer in random.integers(0, layers, max(1, int(self.share * layers))):
                a[layer] *= math.exp(random.standard_normal() * step)
                b[layer] += random.standard_normal() * self.spread[layer]
            if self._new(a, b):
                break
        return a, b

    def _new(self, a: np.ndarray, b: np.ndarray) -> bool:
        return self.choice is None or self.choice(a, b) not in self.seen

    def tell(self, a: np.ndarray, b: np.ndarray, loss: float) -> None:
        """The loss of the member that `ask` gave, infinite if it is not a number; the oldest member makes room for it."""
        member = Member(a, b, math.inf if math.isnan(loss) else loss)
        self.history.append(member)
        if self.choice is not None:
            self.seen.add(self.choice(a, b))
        self.queue = [*self.queue, member][-self.population :]

    @property
    def best(self) -> Member:
        """The member with the lowest loss so far."""
        return min(self.history, key=lambda m: m.loss)

    def state(self) -> dict[str, Any]:
        """All members, as lists of numbers."""
        return {"members": [[m.a.tolist(), m.b.tolist(), m.loss] for m in self.history]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.history, self.queue, self.seen = [], [], set()
        for a, b, loss in state["members"]:
            self.tell(np.array(a), np.array(b), loss)


def affine(
    properties: Mapping[str, np.ndarray], layers: Sequence[str], a: np.ndarray, b: np.ndarray
) -> dict[str, np.ndarray]:
    """layer -> a_l property + b_l, in the order of `layers`."""
    return {name: a[n] * properties[name] + b[n] for n, name in enumerate(layers)}


def choice_key(kept: Sequence[np.ndarray]) -> tuple[bytes, ...]:
    """The filters kept in each group, as something that can be compared and hashed."""
    return tuple(k.astype("<i4").tobytes() for k in kept)


class Cached:
    """A fitness that is computed once for each choice of filters."""

    def __init__(self, fitness: Callable[[list[np.ndarray]], float]) -> None:
        self.fitness = fitness
        self.known: dict[tuple[bytes, ...], float] = {}

    def __call__(self, kept: list[np.ndarray]) -> float:
        """The fitness of the filters kept in each group."""
        key = choice_key(kept)
        if key not in self.known:
            self.known[key] = self.fitness(kept)
        return self.known[key]
