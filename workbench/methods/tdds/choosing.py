"""Which samples are kept at a budget, by TDDS and by its rivals."""

from __future__ import annotations

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


def chosen(scores: xr.Dataset, samples: Samples, config: Config, keep: float) -> xr.Dataset:
    """`NAME (sample)` bool for tdds, every rival, and those of STRATIFIED in `config.compare`, at the budget `keep`."""
    labels = samples.label.numpy()[samples.train]
    kept = {"tdds": select(scores["tdds"], keep, labels, balance=config.balance)}
    for name, selector in selectors([*RIVALS, *(n for n in STRATIFIED if n in config.compare)]).items():
        kept[name] = selector(scores, keep, labels, config.seed)
    return xr.Dataset(kept)
