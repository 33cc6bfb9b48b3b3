"""The result of a compression as the page needs it, by the names of its variables: costs of other choices of filters and of bits.

Any method is shown that yields `bits (layer)` and `macs (layer)`. With `plan_*`, `filter_*`, `scale` and `shift` its filters can be cut
elsewhere; with `distance (layer, width)` its bits follow a threshold; with `bops_ratio_NAME` and an accuracy of the same NAME it has
rivals to compare with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from workbench.parts.cluster_bits import below
from workbench.parts.evolution import affine
from workbench.parts.pruning import Plan, after_removals, group_scores
from workbench.views.looks import WORDS

FLOAT = 32
IN_FLOAT = ("dense", "float", "teacher")  # names of the network that is not compressed
PARTS = ("float_", "file_")  # beginnings of names that belong to another network's row
PLAN = ("unit", "ins", "outs", "depthwise", "group", "reads")


class Cost(NamedTuple):
    """Of each layer: filters, MACs and bit operations. rest: bit operations of layers that stay in float. kilobytes: of all weights,
    packed to their bits; NaN where the result does not know them.
    """

    filters: np.ndarray
    macs: np.ndarray
    bops: np.ndarray
    rest: float = 0.0
    kilobytes: float = np.nan

    @property
    def total(self) -> float:
        """Bit operations of the network."""
        return float(self.bops.sum()) + self.rest


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


class Filed(NamedTuple):
    """An exported file as it was measured. latency (batch, statistic): milliseconds, one image and several, median and p95."""

    name: str
    quality: float
    kilobytes: float
    latency: np.ndarray


class Findings:
    """Read from the result. quality: what the accuracies of the rivals are called, such as `accuracy` of `accuracy_lsq4`. own: name of
    the network whose numbers have no ending, such as `ap50`.
    """

    def __init__(self, result: xr.Dataset, quality: str, own: str = "") -> None:
        self.result, self.quality, self.own = result, quality, own
        self.layers = [str(n) for n in result["layer"].values]
        self.bits = result["bits"].values.astype(int)
        self.caps = result["cap"].values.astype(int) if "cap" in result else None
        self.input_bits = (result["input_bits"] if "input_bits" in result else result["bits"]).values.astype(int)
        self.plan = None
        if all(f"plan_{name}" in result for name in PLAN) and "filter_rank" in result:
            self.plan = Plan.from_table(self.layers, {name: result[f"plan_{name}"].values for name in PLAN})

    @property
    def called(self) -> str:
        """The quality as printed."""
        return WORDS.get(self.quality, self.quality)

    # --- bits by a threshold ----------------------------------------------------------------------------------------

    @property
    def distances(self) -> dict[str, np.ndarray] | None:
        """layer -> d(2) to d(8), as `workbench.parts.cluster_bits` computes them; None if the bits do not follow from them."""
        if "distance" not in self.result or self.result["distance"].dims != ("layer", "width"):
            return None
        return dict(zip(self.layers, 10.0 ** self.result["distance"].values, strict=True))

    def bits_below(self, threshold: float) -> np.ndarray:
        """(layers,) the fewest bits of each layer whose distance is below a threshold."""
        assert self.distances is not None
        made = below(
            self.distances, threshold * (1 + 1e-9)
        )  # T of a run lies just above a distance, of which we have the logarithm
        return np.array([made[n] for n in self.layers])

    # --- filters ----------------------------------------------------------------------------------------------------

    @property
    def group_names(self) -> list[str]:
        """The first layer of each group of filters, and how many others it has."""
        assert self.plan is not None
        more = [len(g.members) - 1 for g in self.plan.groups]
        return [g.root + (f" +{n}" if n else "") for g, n in zip(self.plan.groups, more, strict=True)]

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
        return Cost(filters, macs, macs * FLOAT * FLOAT, self._rest, self._kilobytes(np.full(len(macs), FLOAT)))

    @property
    def _rest(self) -> float:
        return float(self.result["float_macs"].sum()) * FLOAT * FLOAT if "float_macs" in self.result else 0.0

    def _kilobytes(self, bits: np.ndarray) -> float:
        if "weight_count" not in self.result:
            return np.nan
        return (
            float((self.result["weight_count"].values * bits).sum() + FLOAT * self.result["float_weights"].values.sum())
            / 8e3
        )

    def cost(self, counts: np.ndarray | None, bits: np.ndarray) -> Cost:
        """With `counts (groups,)` filters left, or those of the run, and these bits; bit operations by the convention input-act.

        Inputs follow the bits of their layer, if all do in the run, or if the result says which ones do not (`input_fixed`).
        """
        whole = self.whole()
        if self.plan is not None:
            counts = self.chosen if counts is None else counts
            shares, macs = self.plan.shares(counts), self.plan.macs(counts).astype(float)
            filters = np.round(whole.filters * shares).astype(int)
        else:
            left = self.result["macs_left"] if "macs_left" in self.result else self.result["macs"]
            filters, macs = whole.filters, left.values.astype(float)
        if "input_fixed" in self.result:
            inputs = np.where(self.result["input_fixed"].values, self.input_bits, bits)
        else:
            inputs = bits if np.array_equal(self.input_bits, self.bits) else self.input_bits
        return Cost(filters, macs, macs * bits * inputs, self._rest, self._kilobytes(bits))

    def files(self) -> list[Filed]:
        """The files whose latency the run measured, the float one first."""
        result = self.result
        if "latency" not in result:
            return []
        found = []
        for name in map(str, result["file"].values):
            end = "" if name == self.own and self.quality in result else f"_{name}"
            quality = next((k for k in (f"{self.quality}_file{end}", f"{self.quality}{end}") if k in result), "")
            numbers = (float(result[k]) if k in result else np.nan for k in (quality, f"kilobytes_file{end}"))
            found.append(Filed(name, *numbers, result["latency"].sel(file=name).values))
        return sorted(found, key=lambda f: f.name not in IN_FLOAT)

    def rivals(self) -> list[Rival]:
        """Every network with a quality, that in float first."""
        result, found = self.result, []
        lead = f"{self.quality}_"
        scalars = {str(n): float(v) for n, v in result.data_vars.items() if v.ndim == 0}
        for key, value in scalars.items():
            name = self.own if key == self.quality else key.removeprefix(lead)
            end = "" if key == self.quality else f"_{name}"
            known = f"bops_ratio{end}" in scalars or f"kilobytes_file_{name}" in scalars or name in IN_FLOAT
            mine = key == self.quality or key.startswith(lead)
            if not mine or not known or name == "file" or name.startswith(PARTS):
                continue
            ratio = 1.0 if name in IN_FLOAT else scalars.get(f"bops_ratio{end}", np.nan)
            packed = scalars.get(f"kilobytes_weights{end}", scalars.get(f"kilobytes{end}", np.nan))
            costs = (packed, *(scalars.get(f"{n}_file{end}", np.nan) for n in ("kilobytes", "milliseconds")))
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
