"""Gradient, scores and budget of an RS-DGC step, as labelled arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.baselines.compression import Sparse
from workbench.methods.rsdgc.settings import RECONSTRUCTION
from workbench.methods.rsdgc.training import Training
from workbench.parts.indicators import INDICATORS, neighbourhood, score

SHOWN = (128, 512)  # largest numbers of rows and columns shown of a gradient matrix
AGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # steps since an entry was sent; the last bin is open


def views(training: Training) -> dict[str, xr.DataArray]:
    """Arrays of this step: the watched layers' matrices, all layers' budget, signal and residual."""
    compressor, config = training.compressor, training.config
    assert isinstance(compressor, Sparse)
    arrays = {}
    for name, (A, kept) in compressor.seen.items():
        arrays[f"importance/{name}"] = importance(A.cpu().float(), kept.cpu(), config.indicator, config.p)
    report = compressor.report
    layers = [compressor.layers[n] for n in report.k]
    norms = compressor.residual_norms()
    coords = {"layer": [la.name for la in layers], "entries": ("layer", [la.n for la in layers])}

    def by_layer(values: Sequence[float], what: str) -> xr.DataArray:
        return xr.DataArray(np.asarray(values, np.float64), coords, ("layer",), attrs={"long_name": what})

    arrays["budget"] = by_layer(list(report.k.values()), "entries a layer may send in this step")
    arrays["signal"] = by_layer(list(report.signal.values()), "mean score relative to the first steps, smoothed (ours)")
    arrays["residual"] = by_layer([norms[n] for n in report.k], "norm of the unsent gradient")
    if training.age:
        ages = np.stack([np.histogram(a.numpy(), [*AGES, np.inf])[0] / a.numel() for a in training.age.values()])
        arrays["age"] = xr.DataArray(
            ages,
            {"layer": list(training.age), "steps": list(AGES)},
            ("layer", "steps"),
            attrs={"long_name": "share of entries by steps since they were sent"},
        )
    return arrays


def importance(A: Tensor, kept: Tensor, indicator: str, p: int) -> xr.DataArray:
    """(quantity, row, column): gradient, mean, sigma, score, kept of a layer's matrix, cut to SHOWN.

    For "tile" the score shown is the entry's neighbourhood energy.
    """
    mu, sigma = neighbourhood(A, p)
    S = score(A, "energy" if indicator == "tile" else indicator, p)
    rows, columns = (min(n, most) for n, most in zip(A.shape, SHOWN, strict=True))
    stack = torch.stack([x[:rows, :columns].float() for x in (A, mu, sigma, S, kept)])
    return xr.DataArray(
        stack.numpy(),
        {"quantity": ["gradient", "mean", "sigma", "score", "kept"], "row": np.arange(rows), "column": np.arange(columns)},
        ("quantity", "row", "column"),
        attrs={
            "long_name": f"accumulated gradient and its {indicator} score",
            "indicator": INDICATORS[indicator],
            "p": p,
            "of_rows": A.shape[0],
            "of_columns": A.shape[1],
            "note": RECONSTRUCTION,
        },
    )
