"""Rivals of a coreset method: other scores that choose samples from the same recorded training dynamics.

A sample scorer turns dynamics into `score (sample)`, higher = keep first; most are `Scorer`s of `workbench.parts.dynamics`,
so that one training run gives all scores, live or from a log:

    recorder = Recorder(labels, 10, scorers())         # all of them at once
    score(open_log("dynamics.zarr"), AUM())            # one of them, from a log

`select(score, keep)` turns a score into a coreset of a given budget. CCS is the exception: it selects, and has no score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.parts.dynamics import Batch, Memory, Scorer

INFINITE = float("inf")


# --- from a score to a budget -----------------------------------------------------------------------------------------


def budget(n: int, keep: float) -> int:
    """Number of samples kept of n at the share `keep` in (0, 1]: round(keep n), at least one. budget(100, 0.29) = 29."""
    if not 0 < keep <= 1:
        raise InputError(
            f"keep is the share of samples kept, above 0 and at most 1; got {keep}. (The share pruned is 1 - keep.)"
        )
    return max(1, round(keep * n))


def ranking(
    score: xr.DataArray | np.ndarray,
    labels: np.ndarray | None = None,
    balance: Literal["class"] | None = None,
    ties: int | None = None,
) -> np.ndarray:
    """Positions (N,), best first; the first k form the coreset of k samples, so coresets of one score are nested.

    ties: None breaks ties by position; a seed breaks them at random, which avoids bias when many scores are equal and the
    samples are sorted by class. balance="class": each class in proportion to its size, with at least one sample of each if
    the budget allows it (Adams' divisor: the r-th best, from 0, of a class with n samples has priority r / n).
    """
    values = np.asarray(score, np.float64).reshape(-1)
    if len(values) == 0 or np.isnan(values).any():
        raise InputError(f"Scores to select by must be numbers; {int(np.isnan(values).sum())} of {len(values)} are not.")
    shuffled = np.arange(len(values)) if ties is None else np.random.default_rng(ties).permutation(len(values))
    order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    if balance is None:
        return order
    if balance != "class":
        raise InputError(f'There is no balance {balance!r}; use None or "class".')
    if labels is None or len(labels) != len(values):
        raise InputError('balance="class" needs the label of every sample; give labels (N,).')
    ranked = np.asarray(labels).reshape(-1)[order]
    priority = np.empty(len(values))
    for c in np.unique(ranked):
        members = np.flatnonzero(ranked == c)
        priority[members] = np.arange(len(members)) / len(members)
    return order[np.argsort(priority, kind="stable")]


def select(
    score: xr.DataArray,
    keep: float,
    labels: np.ndarray | None = None,
    *,
    balance: Literal["class"] | None = None,
    ties: int | None = None,
) -> xr.DataArray:
    """`kept (sample)` bool: the share `keep` of samples with the highest score; see `ranking` for balance and ties.

    >>> select(xr.DataArray([0.1, 0.9, 0.5, 0.7], dims="sample"), 0.5).values
    array([False,  True, False,  True])
    """
    kept = np.zeros(score.size, bool)
    count = budget(score.size, keep)
    kept[ranking(score, labels, balance, ties)[:count]] = True
    return _kept(score, kept)


def ccs(aum: xr.DataArray, keep: float, *, cutoff: float | None = None, strata: int = 50, seed: int = 0) -> xr.DataArray:
    """`kept (sample)` by coverage-centric selection: H. Zheng et al., "Coverage-centric Coreset Selection for High Pruning
    Rates", ICLR 2023, arXiv 2210.15809.

    aum: hardness score, higher = harder, as from `AUM`. The hardest share `cutoff` is dropped as mislabelled (None: from
    0.4 at keep 0.1 to 0 at keep 0.7), the remaining range is cut into `strata` of equal width, and the budget is divided
    evenly among them, smallest first; what a small stratum cannot use goes to the others. Within a stratum at random.
    """
    count = budget(aum.size, keep)
    hard = ranking(aum)
    drop = ccs_cutoff(keep) if cutoff is None else cutoff
    if not 0 <= drop < 1:
        raise InputError(f"cutoff is the share of hardest samples dropped, from 0 to below 1; got {cutoff}.")
    left = hard[min(round(drop * aum.size), aum.size - count) :]
    values = np.asarray(aum.values, np.float64)[left]
    edges = np.linspace(values.min(), values.max(), strata + 1)
    stratum = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, strata - 1)
    random, kept, spent = np.random.default_rng(seed), np.zeros(aum.size, bool), 0
    groups = sorted((left[stratum == s] for s in np.unique(stratum)), key=len)
    for i, group in enumerate(groups):
        take = min(len(group), (count - spent) // (len(groups) - i))
        kept[random.choice(group, take, replace=False)] = True
        spent += take
    rest = left[~kept[left]]
    kept[random.choice(rest, count - spent, replace=False)] = True
    return _kept(aum, kept)


def ccs_cutoff(keep: float) -> float:
    """Share of hardest samples that CCS drops: .4, .3, .2, .1, 0 at keep .1, .2, .3, .5, .7, linear between."""
    return float(np.interp(keep, [0.1, 0.2, 0.3, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1, 0.0]))


def _kept(score: xr.DataArray, kept: np.ndarray) -> xr.DataArray:
    return xr.DataArray(kept, score.coords, score.dims, "kept", {"long_name": "kept in the coreset"})


# --- scores without dynamics ------------------------------------------------------------------------------------------


def random(sample: xr.DataArray, seed: int = 0) -> xr.DataArray:
    """`score (sample)` uniform in [0, 1): the most important rival, because at heavy pruning most scores are worse."""
    values = np.random.default_rng(seed).random(sample.size)
    return xr.DataArray(values, {"sample": sample.values}, "sample", "random", {"long_name": "random score"})


# --- scores of single epochs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mean:
    """The mean of one number over the epochs first <= epoch < until (from 0)."""

    of: ClassVar[Callable[..., Tensor]]  # Batch -> (B,)
    first: int = 0
    until: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.until:
            raise InputError(
                f"{type(self).__name__} averages epochs from first to before until; {self.first} to {self.until} is empty."
            )

    def start(self, n: int) -> Memory:
        """A sum of 0 for each of n samples."""
        return {"sum": torch.zeros(n, dtype=torch.float64)}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Add the numbers of this epoch if it is one of the epochs averaged."""
        if self.first <= batch.epoch < self.until:
            memory["sum"][rows] += self.of(batch)

    def end(self, memory: Memory, epoch: int) -> None:
        """Nothing is left to do after an epoch."""

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """The mean over the epochs averaged; InputError before the last of them."""
        _enough(self, epochs, self.until)
        return memory["sum"] / (self.until - self.first)


@dataclass(frozen=True)
class EL2N(_Mean):
    """||p - onehot(label)||_2, mean over early epochs: M. Paul, S. Ganguli, G. K. Dziugaite, "Deep Learning on a Data Diet:
    Finding Important Examples Early in Training", NeurIPS 2021, arXiv 2107.07075. The paper averages over short runs."""

    def of(self, batch: Batch) -> Tensor:
        """The error of every sample of a batch, `(B,)`."""
        return batch.error


@dataclass(frozen=True)
class GraNd(_Mean):
    """Norm of the last layer's gradient, ||p - onehot(label)||_2 sqrt(1 + ||h||^2) with h the features before it, mean over
    early epochs; Paul et al. 2021, see EL2N. Needs features; `grand` is the norm over all parameters."""

    def of(self, batch: Batch) -> Tensor:
        """The norm of the last layer's gradient of every sample of a batch, `(B,)`."""
        if batch.feature_norm is None:
            raise InputError(
                "GraNd needs the features before the last layer; record them: recorder(index, logits, features=h)."
            )
        return batch.error * (1 + batch.feature_norm.square()).sqrt()


def grand(network: nn.Module, images: Tensor, labels: Tensor, chunk: int = 32) -> Tensor:
    """GraNd with all parameters: (N,) norm of the gradient of every sample's cross-entropy, by vmap over torch.func.grad.

    images (N, ...), labels (N,), on the network's device. Batch normalisation uses its running statistics, since a single
    sample has none. Memory: `chunk` times the parameters. The network's mode is restored.
    """
    from torch.func import functional_call, grad, vmap

    training = network.training
    network.eval()
    parameters = {k: v.detach() for k, v in network.named_parameters()}
    buffers = {k: v.detach() for k, v in network.named_buffers()}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, (parameters, buffers), (x[None],)), y[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    norms = []
    for x, y in zip(images.split(chunk), labels.split(chunk), strict=True):
        gradients = each(parameters, x, y)
        norms.append(torch.stack([g.flatten(1).double().square().sum(1) for g in gradients.values()]).sum(0).sqrt())
    network.train(training)
    return torch.cat(norms)


@dataclass(frozen=True)
class _Last:
    """A number of the last epoch recorded."""

    of: ClassVar[Callable[..., Tensor]]  # Batch -> (B,)

    def start(self, n: int) -> Memory:
        """A zero for each of n samples."""
        return {"score": torch.zeros(n, dtype=torch.float64)}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Replace the numbers of the epoch before by those of this epoch."""
        memory["score"][rows] = self.of(batch)

    def end(self, memory: Memory, epoch: int) -> None:
        """Nothing is left to do after an epoch."""

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """The numbers of the last epoch."""
        _enough(self, epochs, 1)
        return memory["score"]


@dataclass(frozen=True)
class Entropy(_Last):
    """Entropy of p in nats: uncertainty sampling, C. Coleman et al., "Selection via Proxy", ICLR 2020, arXiv 1906.11829."""

    def of(self, batch: Batch) -> Tensor:
        """Entropy in nats, `(B,)`."""
        return torch.special.entr(batch.p).sum(1)


@dataclass(frozen=True)
class Margin(_Last):
    """1 minus the distance between the two most probable classes (Coleman et al. 2020, see Entropy)."""

    def of(self, batch: Batch) -> Tensor:
        """1 minus the margin, `(B,)`."""
        top = batch.p.topk(2, 1).values
        return 1 - (top[:, 0] - top[:, 1])


@dataclass(frozen=True)
class LeastConfidence(_Last):
    """1 minus the probability of the most probable class (Coleman et al. 2020, see Entropy)."""

    def of(self, batch: Batch) -> Tensor:
        """1 minus the largest probability, `(B,)`."""
        return 1 - batch.p.amax(1)


# --- scores of all epochs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forgetting:
    """Number of times a sample changed from right to wrong; infinite for one that was never right. M. Toneva et al., "An Empirical
    Study of Example Forgetting during Deep Neural Network Learning", ICLR 2019, arXiv 1812.05159."""

    def start(self, n: int) -> Memory:
        """For n samples: right in the last epoch, ever right, and times forgotten."""
        zeros = torch.zeros(n, dtype=torch.int32)
        return {"right": zeros.clone().bool(), "ever": zeros.clone().bool(), "times": zeros}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Count the samples that were right in the last epoch and are wrong in this one."""
        memory["times"][rows] += memory["right"][rows] & ~batch.correct
        memory["right"][rows] = batch.correct
        memory["ever"][rows] |= batch.correct

    def end(self, memory: Memory, epoch: int) -> None:
        """Nothing is left to do after an epoch."""

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """Times forgotten; infinite for a sample that was never right."""
        _enough(self, epochs, 1)
        return torch.where(memory["ever"], memory["times"].double(), INFINITE)


@dataclass(frozen=True)
class AUM:
    """Minus the area under the margin, the mean over epochs of p_label minus the largest other p: hard, mislabelled first.

    G. Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020, arXiv 2001.10528,
    which takes the margin of logits; of="probability" is what CCS computes.
    """

    of: Literal["probability", "logit"] = "probability"

    def start(self, n: int) -> Memory:
        """A sum of 0 for each of n samples."""
        return {"sum": torch.zeros(n, dtype=torch.float64)}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Add the margins of this epoch."""
        values = batch.p if self.of == "probability" else batch.logits
        label = batch.known_label[:, None]
        others = values.scatter(1, label, -INFINITE).amax(1)
        memory["sum"][rows] += values.gather(1, label)[:, 0] - others

    def end(self, memory: Memory, epoch: int) -> None:
        """Nothing is left to do after an epoch."""

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """Minus the mean margin."""
        _enough(self, epochs, 1)
        return -memory["sum"] / epochs


@dataclass(frozen=True)
class DynUnc:
    """Standard deviation (n - 1) of p_label in a sliding window of J epochs, mean over windows. M. He et al., "Large-scale
    Dataset Pruning with Dynamic Uncertainty", CVPR workshops 2024, arXiv 2306.05175."""

    J: int = 10

    def __post_init__(self) -> None:
        if self.J < 2:
            raise InputError(f"A window of {type(self).__name__} needs at least 2 epochs; J={self.J}.")

    def start(self, n: int) -> Memory:
        """A ring buffer of the newest J probabilities of n samples, and a sum over windows."""
        return {"ring": torch.zeros(self.J, n, dtype=torch.float64), "sum": torch.zeros(n, dtype=torch.float64)}

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Write the label's probability into the ring buffer."""
        memory["ring"][batch.epoch % self.J, rows] = batch.p_label

    def end(self, memory: Memory, epoch: int) -> None:
        """Add the window that ends with this epoch."""
        if epoch + 1 >= self.J:
            memory["sum"] += self.of(memory["ring"])

    def of(self, window: Tensor) -> Tensor:
        """Of a window `(J, n)` the standard deviation, `(n,)`."""
        return window.std(0)

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """The mean over all windows; InputError for fewer than J epochs."""
        _enough(self, epochs, self.J)
        return memory["sum"] / (epochs - self.J + 1)


@dataclass(frozen=True)
class DUAL(DynUnc):
    """`DynUnc` times 1 minus the window's mean: uncertain and difficult. Y. Cho et al., "Lightweight Dataset Pruning without
    Full Training via Example Difficulty and Prediction Uncertainty", ICML 2025, arXiv 2502.06905; without Beta sampling."""

    def of(self, window: Tensor) -> Tensor:
        """Of a window `(J, n)` the standard deviation times 1 minus the mean, `(n,)`."""
        return window.std(0) * (1 - window.mean(0))


def scorers(J: int = 10, early: int = 10, features: bool = True) -> dict[str, Scorer]:
    """All rivals by name, for runs of at least max(J, early) epochs; GraNd only where features are recorded."""
    all_: dict[str, Scorer] = {
        "el2n": EL2N(0, early),
        "grand": GraNd(0, early),
        "forgetting": Forgetting(),
        "aum": AUM(),
        "dyn_unc": DynUnc(J),
        "dual": DUAL(J),
        "entropy": Entropy(),
        "margin": Margin(),
    }
    if not features:
        del all_["grand"]
    return all_


Selector = Callable[[xr.Dataset, float, np.ndarray, int], xr.DataArray]  # scores, keep, labels (N,), seed -> kept (sample)


def selectors(names: tuple[str, ...] | list[str]) -> dict[str, Selector]:
    """name -> selector, for "random", "ccs" (on aum), the name of any score, and any of these except ccs with the suffix
    "_balanced", which balances the classes, or "_ccs", which takes the score as the hardness that `ccs` stratifies.

    The seed breaks ties at random, in the same way for all.
    """

    def top(name: str) -> Selector:
        base = name.removesuffix("_balanced")
        balance: Literal["class"] | None = "class" if name != base else None

        def choose(scores: xr.Dataset, keep: float, labels: np.ndarray, seed: int) -> xr.DataArray:
            score = random(scores["sample"], seed) if base == "random" else _one(scores, base)
            return select(score, keep, labels, balance=balance, ties=seed)

        return choose

    def covered(name: str) -> Selector:
        hardness = "aum" if name == "ccs" else name.removesuffix("_ccs")

        def choose(scores: xr.Dataset, keep: float, labels: np.ndarray, seed: int) -> xr.DataArray:
            return ccs(_one(scores, hardness), keep, seed=seed)

        return choose

    return {name: covered(name) if name == "ccs" or name.endswith("_ccs") else top(name) for name in names}


def jaccard(kept: xr.Dataset) -> xr.DataArray:
    """`overlap (selector, other)`: shared samples over all samples of every pair of selections (bool, on sample)."""
    names = list(map(str, kept.data_vars))
    sets = np.stack([kept[n].values for n in names]).astype(np.float64)
    both = sets @ sets.T
    sizes = sets.sum(1)
    overlap = both / np.maximum(sizes[:, None] + sizes[None] - both, 1)
    return xr.DataArray(
        overlap, {"selector": names, "other": names}, ("selector", "other"), "overlap", {"long_name": "Jaccard overlap"}
    )


def _one(scores: xr.Dataset, name: str) -> xr.DataArray:
    if name not in scores:
        raise InputError(f"There is no score {name!r} to select by; there are {', '.join(map(str, scores.data_vars))}.")
    return scores[name]


def _enough(scorer: object, epochs: int, needed: int) -> None:
    if epochs < needed:
        raise InputError(
            f"{type(scorer).__name__} needs {needed} epochs; {epochs} were recorded. Train longer, or use a smaller window."
        )
