"""Values per sample as labelled arrays and as maps of the scene."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from workbench.data.samples import Samples
from workbench.methods.tdds.settings import Config
from workbench.scene import PROVENANCE, fingerprint


def painted(scene: xr.Dataset, samples: Samples, values: xr.DataArray) -> xr.DataArray:
    """`(y, x)` float32 on the scene: the value of every training pixel, NaN elsewhere."""
    assert samples.position is not None
    truth = scene["truth"]
    grid = np.full(truth.shape, np.nan, np.float32)
    grid[tuple(samples.position[samples.train].T)] = values.values
    coords = {n: c.variable for n, c in truth.coords.items() if set(c.dims) <= {"y", "x"} and n != "split"}
    return xr.DataArray(grid, coords, ("y", "x"), attrs=dict(values.attrs))


def provenance(scene: xr.Dataset, config: Config, samples: Samples) -> dict[str, Any]:
    """Source of the data and settings of the selection, which are needed to use it elsewhere."""
    about = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    return {
        **about,
        "scene_fingerprint": fingerprint(scene),
        "samples": samples.fingerprint,
        "kind": samples.kind,
        "config": json.dumps(config.model_dump(mode="json"), sort_keys=True),
    }


def on_samples(values: Tensor, coords: Mapping[str, Any], text: str) -> xr.DataArray:
    """`values (N,)` as float64 on `sample`, with `text` as its long name."""
    return xr.DataArray(values.double().cpu().numpy().copy(), coords, "sample", attrs={"long_name": text})


def accuracy_of(name: str, values: Sequence[float]) -> dict[str, xr.Variable]:
    """0-d `accuracy_NAME` (last) and `accuracy_best_NAME`; empty without a test set."""
    if not values or not math.isfinite(values[-1]):
        return {}
    return {
        f"accuracy_{name}": xr.Variable(
            (), values[-1], {"long_name": f"test accuracy after training on {name}, last epoch"}
        ),
        f"accuracy_best_{name}": xr.Variable(
            (), max(values), {"long_name": f"test accuracy after training on {name}, best epoch on the test set: optimistic"}
        ),
    }
