"""The bit rule: a layer has the fewer bits, the smaller the share of its filters that is kept (step D of the method)."""

from __future__ import annotations

import math

import numpy as np

from workbench.methods.picpq.settings import Config
from workbench.parts.pruning import Plan


def layer_bits(cap: int, share: float, penalty: float = 1 / 6) -> int:
    """`cap` where nothing was removed, else cap - ceil(penalty / share), at least 2.

    With the safeguard of 0.1 the rule gives cap, cap - 1 or cap - 2 and nothing else.

    >>> [layer_bits(8, share) for share in (1, 0.5, 0.2, 0.1, 0.05)]
    [8, 7, 7, 6, 4]
    >>> layer_bits(2, 0.1)
    2
    """
    return cap if share >= 1 else min(cap, max(2, cap - math.ceil(penalty / share - 1e-9)))


def caps_of(plan: Plan, config: Config) -> dict[str, int]:
    """layer -> its largest bits: `ends` for the first and the last layer, and `caps` in equal parts for those between."""
    names = [layer.name for layer in plan.layers]
    inner = names[1:-1]
    caps = {name: config.caps[n * len(config.caps) // len(inner)] for n, name in enumerate(inner)}
    return {names[0]: config.ends, **caps, names[-1]: config.ends}


def assigned(plan: Plan, counts: np.ndarray, config: Config) -> dict[str, int]:
    """layer -> bits, with `counts (groups,)` filters left. The first and the last layer keep theirs."""
    caps, shares = caps_of(plan, config), plan.shares(counts)
    ends = {plan.layers[0].name, plan.layers[-1].name}
    return {
        n.name: caps[n.name] if n.name in ends else layer_bits(caps[n.name], s, config.penalty)
        for n, s in zip(plan.layers, shares, strict=True)
    }


def input_bits(bits: dict[str, int], config: Config) -> dict[str, int]:
    """layer -> bits of its input: as its weights, or `activation_bits` where the layer is quantised."""
    own = config.activation_bits
    return bits if own is None else {name: own if b < 32 else b for name, b in bits.items()}


def bops_of(plan: Plan, counts: np.ndarray, bits: dict[str, int], config: Config) -> float:
    """Bit operations by the convention input-act, with `counts (groups,)` filters left."""
    inputs = input_bits(bits, config)
    each = zip(plan.layers, plan.macs(counts).tolist(), strict=True)
    return float(sum(macs * bits[n.name] * inputs[n.name] for n, macs in each))


def cost_of(plan: Plan, counts: np.ndarray, config: Config) -> float:
    """The resource that `target` limits: MACs, or bit operations with the bits that the rule gives."""
    if config.resource == "macs":
        return plan.cost(counts)
    return bops_of(plan, counts, assigned(plan, counts, config), config)


def limit_of(plan: Plan, config: Config) -> float:
    """`target` of the float network's resource."""
    return config.target * plan.cost() * (1 if config.resource == "macs" else 32 * 32)
