"""The result of a compression as the page needs it, by the names of its variables: costs of other choices of filters and of bits.

Any method is shown that yields `bits (layer)` and `macs (layer)`. With `plan_*`, `filter_*`, `scale` and `shift` its filters can be cut
elsewhere; with `bops_ratio_NAME` and an accuracy of the same NAME it has rivals to compare with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from workbench.parts.evolution import affine
from workbench.parts.pruning import Plan, after_removals, group_scores

FLOAT = 32
IN_FLOAT = ("dense", "float")  # names of the network that is not compressed
PLAN = ("unit", "ins", "outs", "depthwise", "group", "reads")


class Cost(NamedTuple):
    """Of each layer: filters, MACs and bit operations."""

    filters: np.ndarray
    macs: np.ndarray
    bops: np.ndarray


class Rival(NamedTuple):
    """A network of the comparison. ratio, kilobytes, file, milliseconds: NaN where the result does not have them."""

    name: str
    about: str
    quality: float
    ratio: float
    macs_left: float
    kilobytes: float
    file: float
    milliseconds: float
    pruned: bool


class Findings:
    """Read from the result. quality: what the accuracies of the rivals are called, such as `accuracy` of `accuracy_lsq4`."""

    def __init__(self, result: xr.Dataset, quality: str) -> None:
        self.result, self.quality = result, quality
        self.layers = [str(n) for n in result["layer"].values]
        self.bits = result["bits"].values.astype(int)
        self.caps = result["cap"].values.astype(int) if "cap" in result else None
        self.input_bits = (result["input_bits"] if "input_bits" in result else result["bits"]).values.astype(int)
        self.plan = None
        if all(f"plan_{name}" in result for name in PLAN) and "filter_rank" in result:
            self.plan = Plan.from_table(self.layers, {name: result[f"plan_{name}"].values for name in PLAN})

    # --- filters ----------------------------------------------------------------------------------------------------

    @property
    def candidates(self) -> int:
        """Number of candidates of the search; 0 without a search."""
        return self.result.sizes.get("candidate", 0)

    @property
    def best(self) -> int:
        """The candidate with the lowest loss; -1 without a search."""
        return int(np.argmin(self.result["search_loss"].values)) if "search_loss" in self.result else -1

    def scores(self, candidate: int) -> list[np.ndarray]:
        """(filters,) score of each group, a FP + b with the scales and shifts of a candidate; -1: the property alone, a = 1 and b = 0."""
        assert self.plan is not None
        owner, rank = self.result["filter_layer"].values.astype(str), self.result["filter_rank"].values
        names = list(dict.fromkeys(owner.tolist()))
        a, b = np.ones(len(names)), np.zeros(len(names))
        if candidate >= 0:
            a, b = np.exp(self.result["scale"].values[candidate]), self.result["shift"].values[candidate]
        return group_scores(
            self.plan,
            affine({n: rank[owner == n] for n in names}, names, a, b),
            str(self.result.attrs.get("group_score", "mean")),
        )

    def counts(self, scores: list[np.ndarray], gone: int) -> np.ndarray:
        """(groups,) filters left when the `gone` lowest scores were removed, with the run's floor and rounding."""
        assert self.plan is not None
        about = self.result.attrs
        left = after_removals(self.plan, scores, float(about.get("safeguard", 0.1)), int(about.get("round_to", 1)))
        return left(gone)

    @property
    def chosen(self) -> np.ndarray:
        """(groups,) filters that the run kept."""
        assert self.plan is not None
        owner, kept = self.result["filter_layer"].values.astype(str), self.result["filter_kept"].values.astype(bool)
        return np.array([int(kept[owner == g.root].sum()) for g in self.plan.groups])

    def removals(self, scores: list[np.ndarray]) -> int:
        """The smallest number of removals that leaves what the run kept; else that which leaves as many filters."""
        assert self.plan is not None
        chosen, every = self.chosen, int(self.plan.full().sum())
        low, high = 0, every
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.counts(scores, middle).sum() <= chosen.sum() else (middle + 1, high)
        return low

    def kept(self, scores: list[np.ndarray], counts: np.ndarray) -> list[np.ndarray]:
        """(filters,) bool of each group: those with the highest scores."""
        made = []
        for score, count in zip(scores, counts, strict=True):
            alive = np.zeros(len(score), bool)
            alive[np.argsort(-score, kind="stable")[:count]] = True
            made.append(alive)
        return made

    # --- costs ------------------------------------------------------------------------------------------------------

    def whole(self) -> Cost:
        """Of the float network."""
        filters = self.result["plan_outs"].values if self.plan is not None else np.ones(len(self.layers))
        macs = self.result["macs"].values.astype(float)
        return Cost(filters, macs, macs * FLOAT * FLOAT)

    def cost(self, counts: np.ndarray | None, bits: np.ndarray) -> Cost:
        """With `counts (groups,)` filters left, or those of the run, and these bits; bit operations by the convention input-act.

        Where the run's inputs have the bits of their layer, they follow the bits; else they keep those of the run.
        """
        whole = self.whole()
        if self.plan is not None:
            counts = self.chosen if counts is None else counts
            shares, macs = self.plan.shares(counts), self.plan.macs(counts).astype(float)
            filters = np.round(whole.filters * shares).astype(int)
        else:
            left = self.result["macs_left"] if "macs_left" in self.result else self.result["macs"]
            filters, macs = whole.filters, left.values.astype(float)
        inputs = bits if np.array_equal(self.input_bits, self.bits) else self.input_bits
        return Cost(filters, macs, macs * bits * inputs)

    def rivals(self) -> list[Rival]:
        """Every network with a quality, that in float first."""
        result, found = self.result, []
        lead = f"{self.quality}_"
        scalars = {str(n): float(v) for n, v in result.data_vars.items() if v.ndim == 0}
        for key, value in scalars.items():
            name = key.removeprefix(lead)
            known = f"bops_ratio_{name}" in scalars or f"kilobytes_file_{name}" in scalars or name in IN_FLOAT
            if not key.startswith(lead) or not known or name.startswith(("float_", "file_")):
                continue
            ratio = 1.0 if name in IN_FLOAT else scalars.get(f"bops_ratio_{name}", np.nan)
            costs = (
                scalars.get(n, np.nan)
                for n in (f"kilobytes_weights_{name}", f"kilobytes_file_{name}", f"milliseconds_file_{name}")
            )
            left = scalars.get(f"macs_left_{name}", 1.0)
            about = str(result[key].attrs.get("long_name", name))
            found.append(Rival(name, about, value, ratio, left, *costs, f"macs_left_{name}" in scalars))
        return sorted(found, key=lambda r: r.name not in IN_FLOAT)


def quality_of(headline: str, method: str) -> str:
    """What a method calls its accuracy: its first main metric without its own name.

    >>> quality_of("accuracy_picpq", "picpq"), quality_of("ap50", "ghost")
    ('accuracy', 'ap50')
    """
    return headline.removesuffix(f"_{method}")


def reads(result: xr.Dataset) -> bool:
    """Whether a result has what the page needs at least."""
    return {"bits", "macs"} <= set(map(str, result.data_vars)) and result["bits"].dims == ("layer",)
