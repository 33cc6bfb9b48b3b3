"""RX, its relatives and its rivals as rooms: settings, events while they run, and a score map with metrics at the end.

The mathematics is in `workbench.baselines.anomaly`, `crd` and `kernel_forest`; settings and measured results are in docs/methods/rx.md.
The truth is used only after the score is final.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from workbench.baselines import anomaly, crd, kernel_forest
from workbench.baselines import local_rx as local
from workbench.baselines.moments import Background, background_by_rows
from workbench.config import Odd, Settings
from workbench.data.checks import refuse_bands
from workbench.engines import cluster
from workbench.errors import InputError
from workbench.event import Event, Map, Outcome, Trace
from workbench.metrics.anomaly import add_metrics
from workbench.scene import PROVENANCE, require

if TYPE_CHECKING:
    import xarray as xr

# A running score: yields `("read", rows)` read for the statistics, `("rows", rows)` scored, and `("blocks", rows)` scored
# if the steps depend on the chunks of the cube (not reported for a small cube); returns the map.
Scoring = Generator[tuple[str, int], None, "xr.DataArray"]
BIG = 2**28  # bytes: larger cubes report the pass for the statistics, larger maps stay lazy


class RxConfig(Settings):
    """Global RX has nothing to set; the seed has no effect."""


class RidgeConfig(Settings):
    """Settings of ridge RX."""

    ridge: float = Field(
        1e-4, gt=0, le=1e6, description="added to every principal variance, as a fraction of the largest one"
    )


class PcaConfig(Settings):
    """Settings of PCA-RX."""

    components: int = Field(30, ge=1, le=10_000, description="leading principal components to keep")


class ProjectionConfig(Settings):
    """Settings of random-projection RX."""

    components: int = Field(61, ge=1, le=10_000, description="random linear combinations of the bands")


GUARD = "width in pixels of the guard window, odd; at least the size of a target"


class LocalConfig(Settings):
    """Settings of local RX."""

    inner: Odd = Field(5, ge=1, le=999, description=GUARD)
    outer: Odd = Field(
        19, ge=3, le=1001, description="width in pixels of the background window, odd; its ring needs more pixels than bands"
    )


class CrdConfig(LocalConfig):
    """Settings of CRD."""

    inner: int = Field(7, ge=1, le=999, description=GUARD)
    outer: int = Field(15, ge=3, le=1001, description="width in pixels of the background window, odd")
    ridge: float = Field(
        1e-6, gt=0, le=1e6, description="weight of the penalty on neighbours that do not resemble the pixel"
    )


class ForestConfig(Settings):
    """Settings of the kernel isolation forest."""

    components: int = Field(300, ge=1, le=5000, description="kernel principal components to keep")
    samples: int = Field(500, ge=2, le=5000, description="random pixels that the components are computed from")
    trees: int = Field(500, ge=1, le=10_000, description="trees of the forest")
    subset: int = Field(256, ge=2, le=100_000, description="random pixels that each tree sees")


class Room:
    """One detector as a method. `scoring(cube, config, hold)` computes the map and reports its progress; the map stays
    lazy unless `hold`.
    """

    NEEDS = ("hsi",)
    HEADLINE = ("auc",)
    SHOWS = (Map("score"),)
    NOTEBOOK = "anomaly"
    VALIDATES = True  # unusable pixels are refused in `run`, in the pass that reads all pixels

    def __init__(
        self,
        name: str,
        about: str,
        config: type[Settings],
        scoring: Callable[[xr.DataArray, Any, bool], Scoring],
        smoke: Mapping[str, Any] | None = None,
    ) -> None:
        self.__doc__ = about
        self.name, self.Config, self._scoring = name, config, scoring
        self.SMOKE = dict(smoke or {})

    def run(self, scene: xr.Dataset, config: Settings) -> Trace:
        """Events: `rows` finished, and at the last step the map `score (y, x)` and, with truth, its `auc`.

        For a large cube also `read`, the rows read for the statistics, in a first pass of as many steps. If the map itself is
        too large for memory and there is no truth, it is returned lazy and computed while it is written.

        Raises InputError for a scene without `hsi (band, y, x)` or one that the detector cannot use.
        """
        import xarray as xr

        require(scene, *self.NEEDS, who=self.name)
        cube = scene["hsi"]
        if "sample" in cube.dims:
            raise InputError(
                f"{self.name} works on one image, hsi (band, y, x); this one has {cube.sizes['sample']} chips. "
                "Choose one: scene.isel(sample=0)."
            )
        height, big = cube.sizes["y"], cube.nbytes > BIG
        first = height if big else 0  # steps before the scoring
        hold = cube.chunks is None or "truth" in scene or 8 * height * cube.sizes["x"] <= BIG
        scoring = self._scoring(cube, config, hold)
        while True:
            try:
                kind, rows = next(scoring)
            except StopIteration as end:
                score = end.value
                break
            except OSError as error:
                raise InputError(f"The pixels cannot be read ({error}); the file is damaged or was removed.") from None
            if rows < height and (big or kind == "rows"):
                before, kind = (0, kind) if kind == "read" else (first, "rows")
                yield Event(before + rows, {kind: float(rows)}, of=first + height)
        result = xr.Dataset({"score": score}, attrs={k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs})
        result.attrs["method"] = self.name
        if not hold:
            return Outcome(result)
        result = add_metrics(result, scene.get("truth"))
        scalars = {"rows": float(height), "rank": float(score.attrs["rank"])}
        if "auc" in result:
            scalars["auc"] = float(result["auc"])
        yield Event(first + height, scalars, {"score": score}, of=first + height)
        return Outcome(result)


def _background(cube: xr.DataArray, who: str) -> Generator[tuple[str, int], None, Background]:
    """Statistics of a cube; refuses empty bands and infinite values."""
    steps = background_by_rows(cube, who)
    while True:
        try:
            rows = next(steps)
        except StopIteration as end:
            stats = end.value
            break
        yield "read", rows
    refuse_bands(stats.empty, stats.infinite)
    return stats


def _in_memory(score: xr.DataArray) -> Scoring:
    """The map in memory; a lazy one is computed block by block."""
    if score.chunks is None:
        return score
    out = np.empty(score.shape)
    for where, block in cluster.blocks(score.data):
        out[where] = block
        if where[1].stop == score.shape[1]:
            yield "blocks", where[0].stop
    return score.copy(data=out)


def _whole(who: str, detector: Callable[..., xr.DataArray], *settings: str) -> Callable[[xr.DataArray, Any, bool], Scoring]:
    """The running score of a detector with one background; `settings` names the config values that it takes."""

    def scoring(cube: xr.DataArray, config: Settings, hold: bool) -> Scoring:
        stats = yield from _background(cube, who)
        score = detector(cube, stats, **{name: getattr(config, name) for name in settings})
        yield "rows", 0
        return (yield from _in_memory(score)) if hold else score

    return scoring


def _local(cube: xr.DataArray, config: LocalConfig, hold: bool) -> Scoring:
    local.check(cube, config.inner, config.outer)
    stats = yield from _background(cube, "local_rx")
    shared = local.shared_of(cube, stats, config.inner, config.outer)
    yield "rows", 0
    if not hold:
        return local.lazy_against(cube, shared)
    return (yield from _by_rows(local.rows_against(cube, shared)))


def _crd(cube: xr.DataArray, config: CrdConfig, hold: bool) -> Scoring:
    crd.check(cube, config.inner, config.outer, config.ridge)
    stats = yield from _background(cube, "crd")
    yield "rows", 0
    return (yield from _by_rows(crd.rows_against(cube, stats, config.inner, config.outer, config.ridge)))


def _forest(cube: xr.DataArray, config: ForestConfig, hold: bool) -> Scoring:
    kernel_forest.check(config.components, config.samples, config.trees, config.subset)
    stats = yield from _background(cube, "kernel_forest")
    yield "rows", 0
    chosen = config.model_dump(include={"components", "samples", "trees", "subset", "seed"})
    return (yield from _by_rows(kernel_forest.rows_against(cube, stats, **chosen)))


def _by_rows(rows: Generator[int, None, xr.DataArray]) -> Scoring:
    """The map of a detector that works in strips, in memory."""
    while True:
        try:
            done = next(rows)
        except StopIteration as end:
            return end.value
        yield "rows", done


rx = Room(
    "rx", "Global RX: squared Mahalanobis distance from the mean of the scene.", RxConfig, _whole("rx", anomaly.rx_against)
)
ridge_rx = Room(
    "ridge-rx",
    "RX with regularised covariance: every principal variance raised by a fraction of the largest.",
    RidgeConfig,
    _whole("ridge_rx", anomaly.ridge_rx_against, "ridge"),
    {"ridge": 1e-3},
)
pca_rx = Room(
    "pca-rx",
    "RX on the leading principal components.",
    PcaConfig,
    _whole("pca_rx", anomaly.pca_rx_against, "components"),
    {"components": 5},
)
rp_rx = Room(
    "rp-rx",
    "RX on a few random linear combinations of the bands.",
    ProjectionConfig,
    _whole("random_projection_rx", anomaly.random_projection_rx_against, "components", "seed"),
    {"components": 7},
)
local_rx = Room("local-rx", "Dual-window local RX: mean and covariance of a ring around each pixel.", LocalConfig, _local)
crd_room = Room(
    "crd",
    "CRD: how badly the ring around each pixel predicts it, by collaborative representation.",
    CrdConfig,
    _crd,
    {"inner": 3, "outer": 7},
)
kernel_forest_room = Room(
    "kifd",
    "Kernel isolation forest: how soon random cuts in a kernel space isolate each pixel.",
    ForestConfig,
    _forest,
    {"components": 5, "samples": 50, "trees": 20, "subset": 64},
)
