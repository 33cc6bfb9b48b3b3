"""The result of a BSDM run as a labelled dataset: numbers by pass, provenance, scores with their metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.methods.bsdm.spectra import Frame
from workbench.metrics.anomaly import add_metrics
from workbench.scene import PROVENANCE


def by_pass(record: dict[str, list[Any]], untrained: list[Tensor], frame: Frame) -> xr.Dataset:
    """The variables with dim k: maps, three-band images, range, and, with truth, AUC curves."""
    k = xr.Variable("k", np.arange(len(untrained)), {"long_name": "passes through the network"})
    result = xr.Dataset(coords={"k": k})
    for name, text in (
        ("quiet", "cube after pass k"),
        ("background", "gamma e_k, background predicted in the cube after pass k"),
    ):
        result[f"{name}_k"] = xr.concat(record[name], k).assign_attrs(long_name=text)
    score = frame.grid(torch.stack(record["score"], 1).float())
    result["score_k"] = (("k", "y", "x"), score, {"long_name": "RX after pass k"})
    result["range_k"] = ("k", record["range"], {"long_name": "largest magnitude in the cube after pass k"})
    if frame.truth is not None:
        for name, scores in (("auc_k", record["score"]), ("auc_k_untrained", untrained)):
            text = "AUC(D,F) after pass k" + (", untrained network" if scores is untrained else "")
            result[name] = ("k", [frame.auc(s) for s in scores], {"long_name": text})
    return result


def provenance(scene: xr.Dataset) -> dict[str, Any]:
    """The scene's provenance, for the result's attributes."""
    return {name: scene.attrs[name] for name in PROVENANCE if name in scene.attrs}


def with_metrics(result: xr.Dataset, scene: xr.Dataset, frame: Frame, *controls: str) -> xr.Dataset:
    """Add all metrics of `score`, and those that controls are compared by for the maps `controls`, if there is a usable truth."""
    return result if frame.truth is None else add_metrics(result, scene["truth"], *controls)
