"""What each method removes, and the bits that it gives: PIC-PQ, rivals and controls."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from workbench.baselines.pruning import capped, greedy_bits, random_scores, sensitivity, shuffled, uniform
from workbench.methods.picpq.bits import assigned, bops_of, caps_of, cost_of, limit_of
from workbench.methods.picpq.chips import Chips
from workbench.methods.picpq.settings import Config
from workbench.methods.picpq.training import Arm, Learner, judged
from workbench.parts.evolution import Cached, Search, affine, choice_key
from workbench.parts.filter_properties import weight_norms
from workbench.parts.pruning import Plan, choose, counts_of, group_scores, sliced
from workbench.parts.quantize import refresh_norms
from workbench.parts.seeding import Seeded

LEVELS = (8, 6, 4, 3, 2)


@dataclass(frozen=True)
class Found:
    """All that the choices need. dense: the trained network. properties: layer -> (filters,) mean rank of the feature maps."""

    dense: nn.Module
    plan: Plan
    properties: Mapping[str, np.ndarray]
    chips: Chips
    config: Config

    @property
    def layers(self) -> list[str]:
        """Layers with filters that can be removed."""
        return [n.name for n in self.plan.layers if n.group is not None]

    def norms(self) -> dict[str, np.ndarray]:
        """layer -> (filters,) sum of absolute weights."""
        return weight_norms(self.dense, self.layers)

    def chosen(self, scores: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Filters kept within the target, lowest scores removed first."""
        c = self.config
        return choose(self.plan, scores, limit_of(self.plan, c), lambda n: cost_of(self.plan, n, c), c.safeguard, c.round_to)

    def by(self, properties: Mapping[str, np.ndarray], a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        """Scores of each group from a property by a FP + b."""
        return group_scores(self.plan, affine(properties, self.layers, a, b), self.config.group)

    def search(self, properties: Mapping[str, np.ndarray]) -> Search:
        """A new search for the scales and shifts of a property."""
        c = self.config
        spread = np.array([properties[n].std() for n in self.layers])

        def choice(a: np.ndarray, b: np.ndarray) -> tuple[bytes, ...]:
            return choice_key(self.chosen(self.by(properties, a, b)))

        return Search(spread, c.generations, c.population, c.tournament, seed=c.seed, choice=choice, redraws=c.redraws)

    def fitness(self) -> Cached:
        """Loss on validation samples of the cut network after `steps` steps; the same batches for every candidate."""
        c, chips = self.config, self.chips
        with Seeded((c.seed + 500) % 2**32):
            order = torch.randint(0, len(chips.train), (c.steps * min(c.batch, len(chips.train)),))

        def loss(kept: list[np.ndarray]) -> float:
            network = sliced(self.dense, self.plan, kept, chips.values[chips.train[:2]])
            refresh_norms(network, chips.values[chips.train[: c.rank_images]])
            if c.steps:
                learner = Learner(network, chips, c, 1, c.recover_lr, c.seed + 501)
                learner.total = c.steps
                learner.steps(order)
            return judged(network, chips, chips.val)[0]

        return Cached(loss)

    def arm(self, name: str, kept: list[np.ndarray] | None = None, bits: dict[str, int] | None = None) -> Arm:
        """An arm; without `bits` those of the bit rule, without `kept` nothing is removed."""
        kept = kept or [np.arange(g.count) for g in self.plan.groups]
        return Arm(name, kept, bits or assigned(self.plan, counts_of(kept), self.config))


def arm_of(name: str, found: Found, best: Mapping[str, tuple[np.ndarray, np.ndarray]], ours: Arm | None) -> Arm:
    """The arm of PIC-PQ or a rival. best: (a, b) of each finished search. ours: the arm of PIC-PQ, for equal bit operations."""
    plan, c = found.plan, found.config
    ones, zeros = np.ones(len(found.layers)), np.zeros(len(found.layers))
    if name in ("picpq", "shuffled"):
        scores = found.by(found.properties, *best["picpq"])
        return found.arm(name, found.chosen(shuffled(scores, c.seed) if name == "shuffled" else scores))
    if name == "hrank":
        return found.arm(name, found.chosen(found.by(found.properties, ones, zeros)))
    if name == "legr":
        return found.arm(name, found.chosen(found.by(found.norms(), *best["legr"])))
    if name == "random":
        return found.arm(name, found.chosen(random_scores(plan, c.seed)))
    if name == "global_l1":
        return found.arm(name, found.chosen(found.by(found.norms(), ones, zeros)))
    if name == "uniform_l1":
        scores = found.by(found.norms(), ones, zeros)
        cost = lambda n: cost_of(plan, n, c)  # noqa: E731
        return found.arm(name, uniform(plan, scores, limit_of(plan, c), cost, c.safeguard, c.round_to))
    caps = caps_of(plan, c)
    ends = {n: caps[n] for n in (plan.layers[0].name, plan.layers[-1].name)}
    if name == "caps":
        return found.arm(name, bits=caps)
    if name == "cap-1":
        return found.arm(name, bits={**capped(caps, 1), **ends})
    if name.startswith("lsq"):
        return found.arm(name, bits={**dict.fromkeys(caps, int(name[3:])), **ends})
    assert name == "greedy"
    assert ours is not None
    macs = dict(zip(caps, plan.macs().tolist(), strict=True))
    budget = bops_of(plan, counts_of(ours.kept), ours.bits, c)
    rises = measured_sensitivity(found, [n for n in macs if n not in ends], LEVELS).mean(-1)
    return found.arm(name, bits=greedy_bits(rises, macs, LEVELS, budget, ends))


def measured_sensitivity(found: Found, names: Sequence[str], levels: Sequence[int]) -> np.ndarray:
    """(layers, levels, 4) rise of the validation loss; the spread is that over four parts of the validation samples."""
    chips = found.chips
    return sensitivity(lambda: copy.deepcopy(found.dense), chips.values[chips.val], chips.label[chips.val], names, levels)
