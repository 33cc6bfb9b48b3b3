"""Autoencoder of the Auto-AD kind: what a network trained on the scene alone reproduces badly.

The mathematics and its source are in `workbench.baselines.autoencoder`; settings are in docs/methods/rx.md. The truth is used only
for the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from workbench.config import Settings
from workbench.data.checks import refuse_bands
from workbench.errors import InputError
from workbench.event import Curves, Event, Map, Outcome, Trace
from workbench.metrics.anomaly import add_metrics, measured
from workbench.scene import PROVENANCE, require

if TYPE_CHECKING:
    import xarray as xr

NEEDS = ("hsi",)
HEADLINE = ("auc",)
SMOKE = {"steps": 4, "width": 6, "levels": 2, "reweight": 2, "show_every": 2}
SHOWS = (Curves("loss", ("loss",), log=True), Curves("AUC", ("auc",)), Map("score"))
NOTEBOOK = "anomaly"


class Config(Settings):
    """Settings of the autoencoder."""

    steps: int = Field(500, ge=1, le=100_000, description="optimiser steps on the whole image")
    width: int = Field(64, ge=1, le=1024, description="channels of every layer")
    levels: int = Field(3, ge=1, le=8, description="halvings of the image")
    lr: float = Field(0.01, gt=0, le=1, description="learning rate of Adam")
    reweight: int = Field(
        100, ge=1, le=100_000, description="steps after which the weights of the pixels follow their residuals"
    )
    show_every: int = Field(50, ge=1, le=100_000, description="steps between two scores; does not change the result")


def run(scene: xr.Dataset, config: Config | None = None) -> Trace:
    """Events: each step its `loss`; every `show_every` steps and at the last also `score (y, x)` and, with truth, its `auc`.

    Raises InputError for a scene without `hsi (band, y, x)`, for several chips, and one that cannot be used.
    """
    import xarray as xr

    from workbench.baselines.autoencoder import Reconstruction

    c = config or Config()
    require(scene, *NEEDS, who="auto-ad")
    cube = scene["hsi"]
    if "sample" in cube.dims:
        raise InputError(
            f"auto-ad works on one image, hsi (band, y, x); this one has {cube.sizes['sample']} chips. "
            "Choose one: scene.isel(sample=0)."
        )
    training = Reconstruction(cube, c.width, c.levels, c.lr, c.reweight, c.seed)
    refuse_bands(training.stats.empty, training.stats.infinite)
    score = None
    for step in range(1, c.steps + 1):
        scalars, arrays = {"loss": training.step()}, {}
        if step % c.show_every == 0 or step == c.steps:
            score = training.map(cube)
            arrays["score"] = score
            found = measured(score, scene["truth"]) if "truth" in scene else {}
            scalars |= {"auc": found["auc"][0]} if found else {}
        yield Event(step, scalars, arrays, of=c.steps)
    result = xr.Dataset({"score": score}, attrs={k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs})
    result.attrs["method"] = "auto-ad"
    return Outcome(add_metrics(result, scene.get("truth")))
