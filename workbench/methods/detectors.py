"""RX and its relatives as rooms: settings, events while they run, and a score map with metrics at the end.

The mathematics is in `workbench.baselines.anomaly`; what the settings do and what we measured is in docs/methods/rx.md.
The truth is looked at only after the score is final.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import xarray as xr
from pydantic import Field, field_validator

from workbench.baselines import anomaly
from workbench.baselines.local_rx import by_rows
from workbench.config import Settings
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.metrics.anomaly import add_metrics
from workbench.scene import PROVENANCE, require

# A running score: yields how many rows are done, first 0 when the input is found to be usable; returns the map.
Scoring = Generator[int, None, xr.DataArray]


class RxConfig(Settings):
    """Global RX has nothing to set; the seed has no effect."""


class RidgeConfig(Settings):
    ridge: float = Field(
        1e-4, gt=0, le=1e6, description="added to every principal variance, as a fraction of the largest one"
    )


class PcaConfig(Settings):
    components: int = Field(30, ge=1, le=10_000, description="leading principal components to keep")


class ProjectionConfig(Settings):
    components: int = Field(61, ge=1, le=10_000, description="random linear combinations of the bands")


class LocalConfig(Settings):
    inner: int = Field(
        5, ge=1, le=999, description="width in pixels of the guard window, odd; at least the size of a target"
    )
    outer: int = Field(
        19, ge=3, le=1001, description="width in pixels of the background window, odd; its ring must outnumber the bands"
    )

    @field_validator("inner", "outer")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError("must be odd")
        return width


class Room:
    """One detector as a method. `scoring(cube, config)` computes the map and says how far it is."""

    NEEDS = ("hsi",)

    def __init__(
        self, name: str, about: str, config: type[Settings], scoring: Callable[[xr.DataArray, Any], Scoring]
    ) -> None:
        self.__doc__ = about
        self.name, self.Config, self._scoring = name, config, scoring

    def run(self, scene: xr.Dataset, config: Settings) -> Trace:
        """Events: `rows` done of all, and at the last step the map `score (y, x)` and, where there is truth, its `auc`.

        Raises InputError for a scene without `hsi (band, y, x)` or one that the detector cannot work on.
        """
        require(scene, *self.NEEDS, who=self.name)
        cube = scene["hsi"]
        if "sample" in cube.dims:
            raise InputError(
                f"{self.name} works on one image, hsi (band, y, x); this one has {cube.sizes['sample']} chips. "
                "Choose one: scene.isel(sample=0)."
            )
        height = cube.sizes["y"]
        scoring = self._scoring(cube, config)
        while True:
            try:
                rows = next(scoring)
            except StopIteration as end:
                score = end.value
                break
            if rows < height:
                yield Event(rows, {"rows": float(rows)}, of=height)
        result = xr.Dataset({"score": score}, attrs={k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs})
        result.attrs["method"] = self.name
        result = add_metrics(result, scene.get("truth"))
        scalars = {"rows": float(height), "rank": float(score.attrs["rank"])}
        if "auc" in result:
            scalars["auc"] = float(result["auc"])
        yield Event(height, scalars, {"score": score}, of=height)
        return Outcome(result)


def _whole(detector: Callable[..., xr.DataArray], *settings: str) -> Callable[[xr.DataArray, Any], Scoring]:
    """The running score of a detector that takes the scene in one go, given these settings of its config by name."""

    def scoring(cube: xr.DataArray, config: Settings) -> Scoring:
        score = detector(cube, **{name: getattr(config, name) for name in settings})
        yield 0
        return score.compute()

    return scoring


def _local(cube: xr.DataArray, config: LocalConfig) -> Scoring:
    return by_rows(cube, config.inner, config.outer)


rx = Room("rx", "Global RX: squared Mahalanobis distance from the mean of the scene.", RxConfig, _whole(anomaly.rx))
ridge_rx = Room(
    "ridge-rx",
    "RX with regularised covariance: every principal variance raised by a fraction of the largest.",
    RidgeConfig,
    _whole(anomaly.ridge_rx, "ridge"),
)
pca_rx = Room("pca-rx", "RX on the leading principal components.", PcaConfig, _whole(anomaly.pca_rx, "components"))
rp_rx = Room(
    "rp-rx",
    "RX on a few random linear combinations of the bands.",
    ProjectionConfig,
    _whole(anomaly.random_projection_rx, "components", "seed"),
)
local_rx = Room("local-rx", "Dual-window local RX: mean and covariance of a ring around each pixel.", LocalConfig, _local)
