"""Which samples are kept at a budget, by TDDS and by its rivals."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from workbench.baselines.coresets import select, selectors
from workbench.data.samples import Samples
from workbench.methods.tdds.scoring import trajectory_length
from workbench.methods.tdds.settings import RIVALS, STRATIFIED, Config


def budgets_of(config: Config) -> list[float]:
    """All shares kept at which coresets are trained: `keep` first, then `budgets`."""
    return [config.keep, *(keep for keep in config.budgets if keep != config.keep)]


def length_of(keep: float, config: Config) -> int:
    """T at a budget: `config.T`, else our rule."""
    return config.T or trajectory_length(keep, config.epochs, config.J)


def coreset_name(selector: str, keep: float, config: Config) -> str:
    """Name of a coreset in metrics: `tdds`, and `tdds_at_0.1` for a further budget."""
    return selector if keep == config.keep else f"{selector}_at_{keep:g}"


def series_name(selector: str, keep: float, config: Config) -> str:
    """Name of a coreset in curves: `tdds`, and `tdds@0.1` for a further budget."""
    return selector if keep == config.keep else f"{selector}@{keep:g}"


@dataclass(frozen=True)
class Coreset:
    """A coreset that is trained on. selector: a selector, or "full" for all samples. network: "" for the one that scores.

    name: in metrics, such as `tdds_at_0.1_on_vgg`; series: in curves, such as `tdds@0.1_on_vgg`.
    """

    keep: float
    selector: str
    network: str
    name: str
    series: str


def coresets_of(config: Config) -> list[Coreset]:
    """All coresets that are trained on, in this order: those of the network that scores, then those of each further network."""
    own = [
        Coreset(keep, selector, "", coreset_name(selector, keep, config), series_name(selector, keep, config))
        for keep in budgets_of(config)
        for selector in config.compare
    ]
    full = Coreset(1.0, "full", "", "full", "full")
    others = [
        Coreset(c.keep, c.selector, network, f"{c.name}_on_{network}", f"{c.series}_on_{network}")
        for network in config.networks
        for c in (full, *own)
    ]
    return own + others


def chosen(scores: xr.Dataset, samples: Samples, config: Config, keep: float) -> xr.Dataset:
    """`NAME (sample)` bool for tdds, every rival, and those of STRATIFIED in `config.compare`, at the budget `keep`."""
    labels = samples.label.numpy()[samples.train]
    kept = {"tdds": select(scores["tdds"], keep, labels, balance=config.balance)}
    for name, selector in selectors([*RIVALS, *(n for n in STRATIFIED if n in config.compare)]).items():
        kept[name] = selector(scores, keep, labels, config.seed)
    return xr.Dataset(kept)
