"""Applies a trained denoiser to another scene, of any number of bands and any size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from workbench.baselines.anomaly import rx
from workbench.engines import cluster
from workbench.errors import InputError
from workbench.methods.bsdm.network import Denoiser
from workbench.methods.bsdm.result import provenance, with_metrics
from workbench.methods.bsdm.settings import Config, mix
from workbench.methods.bsdm.spectra import Frame, detected, scaled, spectra_of, usable
from workbench.methods.bsdm.suppression import Spread, predictor, suppressed
from workbench.parts.device import device
from workbench.parts.diffusion import predict_x0


def channel_align(bands: int, wanted: int, seed: int = 0) -> np.ndarray:
    """The bands that a network for `wanted` bands gets from a cube with `bands` bands: (blocks, wanted) positions.

    Too few: padded by reflection at both ends. Fewer than twice as many: a random sorted subset. More: n = bands // wanted
    blocks, a random sorted subset of n * wanted bands cut into consecutive blocks. 30 for 15 gives two blocks, 30 for 50
    one block that begins 10 9 8.
    """
    if bands < wanted:
        pad = wanted - bands
        return np.pad(np.arange(bands), ((pad + 1) // 2, pad // 2), mode="reflect")[None]
    blocks = bands // wanted
    kept = np.random.default_rng(seed).choice(bands, blocks * wanted, replace=False)
    return np.sort(kept).reshape(blocks, wanted)


def restore(weights: Mapping[str, Tensor], about: str) -> tuple[Denoiser, Config, int]:
    """(network, its config, number of bands) from `outcome.weights["denoiser"]` and `outcome.result.attrs["denoiser"]`."""
    try:
        facts = json.loads(about)
        config, bands = Config.model_validate(facts["config"]), int(facts["bands"])
        network = Denoiser(bands, config)
        network.load_state_dict(weights)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            "These weights and this description do not belong to one denoiser of bsdm; take both from one run: "
            f"weights['denoiser'] and result.attrs['denoiser']. ({str(error).splitlines()[0]})"
        ) from None
    return network.to(device()), config, bands


def apply(weights: Mapping[str, Tensor], about: str, scene: xr.Dataset, *, double: bool | None = None) -> xr.Dataset:
    """Suppress the background of another scene with a trained denoiser; no training.

    Gives `score` and `score_rx (y, x)` (RX of the same aligned bands after and before), `suppressed (aligned_band, y, x)`,
    coordinate `source_band (aligned_band)`, the band of the scene that each comes from; and, if the scene has truth, the
    AUCs. Bands are aligned by `channel_align` with the seed of the training run.

    A Dask scene of any size is suppressed block by block (it is read once for the scaling and once for each score's
    background; with an offset of the image or with `renorm` once more per pass); the maps stay lazy unless there is
    truth. double: evaluate the network in float64, so that the result does not depend on the blocks; by default in
    float32 for a scene in memory, as in the training run, and in float64 for a Dask scene.
    """
    network, config, wanted = restore(weights, about)
    lazy = "hsi" in scene and scene["hsi"].chunks is not None
    if lazy if double is None else double:
        network = network.double()
    if lazy:
        return _apply_by_block(network, config, wanted, scene)
    values, bands, valid = spectra_of(scene)
    x0 = scaled(torch.from_numpy(values), config.scaling).to(device())
    blocks = channel_align(len(bands), wanted, config.seed)
    quiet = torch.cat([suppressed(network, x0[:, block], config)[0] for block in blocks], 1)
    source = blocks.reshape(-1)
    frame = Frame(scene, bands, valid)
    after, before = detected(rx, quiet), detected(rx, x0[:, source])
    result = xr.Dataset(
        {
            "score": frame.map(after, f"RX after {config.passes} passes, network of another scene"),
            "score_rx": frame.map(before, "RX of the same bands"),
            "suppressed": (("aligned_band", "y", "x"), frame.grid(quiet.float()), {"long_name": "suppressed cube"}),
        },
        coords={"source_band": ("aligned_band", bands[source], {"long_name": "band of the scene"})},
        attrs=provenance(scene),
    )
    return with_metrics(result, scene, frame, "score_rx")


class Part(NamedTuple):
    """Values of the whole scene that a block needs: used bands, smallest value and span (1 or C), and for each aligned block of
    bands the mean and spread of every y_k, if the network or `renorm` uses them."""

    bands: np.ndarray
    low: np.ndarray
    span: np.ndarray
    blocks: np.ndarray
    whole: tuple[tuple[Spread, ...], ...]


def _apply_by_block(network: nn.Module, config: Config, wanted: int, scene: xr.Dataset) -> xr.Dataset:
    """`apply` to a Dask scene."""
    bands, valid_pixels = usable(scene)
    hsi = scene["hsi"]
    data = hsi.data.rechunk({0: -1})
    low, high, count = _over(data, _block_range, _merge_ranges, bands)
    if count < 2:
        raise InputError(f"bsdm needs complete pixels; only {count} of {valid_pixels} have all {len(bands)} bands.")
    if low.min() == high.max():
        raise InputError(f"bsdm cannot scale a constant cube; every value is {low.min():g}.")
    if config.scaling == "global":
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    blocks = channel_align(len(bands), wanted, config.seed)
    part = Part(bands, low, np.where(high > low, high - low, 1.0), blocks, tuple(() for _ in blocks))
    if config.offset == "image" or config.renorm:
        for k in range(config.passes + 1):
            sums = _over(data, _block_spreads, _merge_spreads, network, config, part, k)
            spreads = [(mean, math.sqrt(m2 / (n - 1))) for n, mean, m2 in sums]
            part = part._replace(whole=tuple((*known, s) for known, s in zip(part.whole, spreads, strict=True)))

    source = blocks.reshape(-1)
    chunks = ((len(source),), *data.chunks[1:])

    def cube(passes: int | None) -> xr.DataArray:
        quiet = data.map_blocks(
            _block_quiet, network, config, part, passes, chunks=chunks, dtype=np.float64, meta=np.empty((0, 0, 0))
        )
        coords = {n: c.variable for n, c in hsi.coords.items() if "band" not in c.dims}
        return xr.DataArray(quiet, coords, ("band", "y", "x"))

    quiet = cube(None)
    text = f"RX after {config.passes} passes, network of another scene"
    result = xr.Dataset({"score": rx(quiet).assign_attrs(long_name=text)}, attrs=provenance(scene))
    result["score_rx"] = rx(cube(0)).assign_attrs(long_name="RX of the same bands")
    result["suppressed"] = quiet.rename(band="aligned_band").astype(np.float32).assign_attrs(long_name="suppressed cube")
    result = result.assign_coords(source_band=("aligned_band", bands[source], {"long_name": "band of the scene"}))
    if "truth" not in scene:
        return result
    for name in ("score", "score_rx"):
        values = np.empty(result[name].shape)
        for where, block in cluster.blocks(result[name].data):
            values[where] = block
        result[name] = result[name].copy(data=values)
    frame = Frame(scene, bands, np.isfinite(result["score"].values))
    return with_metrics(result, scene, frame, "score_rx")


def _over(data: Any, work: Callable[..., Any], merged: Callable[[Any, Any], Any], *args: Any) -> Any:
    """`work(block, *args)` of all blocks that have valid pixels (None: it has none), merged in their order."""
    import dask

    constant = [dask.delayed(a, pure=False, traverse=False) for a in args]
    tasks = [dask.delayed(work, pure=False)(block, *constant) for block in data.to_delayed().ravel()]
    total = None
    for part in cluster.results(tasks):
        if part is not None:
            total = part if total is None else merged(total, part)
    return (np.zeros(1), np.zeros(1), 0) if total is None else total


def _valid(block: np.ndarray, bands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(spectra (P, C) float64, valid (y, x)) of a block `(band, y, x)`."""
    cube = block[bands]
    valid = np.isfinite(cube).all(0)
    return np.ascontiguousarray(cube[:, valid].T, dtype=np.float64), valid


def _block_range(block: np.ndarray, bands: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    values, _ = _valid(block, bands)
    return (values.min(0), values.max(0), len(values)) if len(values) else None


def _merge_ranges(a: tuple[Any, Any, int], b: tuple[Any, Any, int]) -> tuple[Any, Any, int]:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1]), a[2] + b[2]


def _block_passed(
    block: np.ndarray, network: nn.Module, config: Config, part: Part, passes: int | None
) -> tuple[list[Tensor], np.ndarray]:
    """(y after `passes` passes (None: all) for each aligned block of bands, before the last `renorm`; valid pixels (y, x))."""
    values, valid = _valid(block, part.bands)
    here = next(network.parameters()).device
    x0 = (torch.from_numpy(values) - torch.from_numpy(part.low)) / torch.from_numpy(part.span)
    x0 = x0.to(here)
    passed = []
    for wanted, known in zip(part.blocks, part.whole, strict=True):
        y = x0[:, wanted]
        passed.append(y if passes == 0 or not len(y) else suppressed(network, y, config, known or None, passes)[0])
    return passed, valid


def _block_spreads(
    block: np.ndarray, network: nn.Module, config: Config, part: Part, k: int
) -> list[tuple[int, float, float]] | None:
    """(count, mean, sum of squares about it) of all numbers of y_k before `renorm`, for each aligned block of bands."""
    if k == 0:
        passed, _ = _block_passed(block, network, config, part, 0)
    else:  # one more step from y_{k-1}, whose spread is known
        passed, _ = _block_passed(block, network, config, part, k - 1)
        dtype = next(network.parameters()).dtype
        predict, coefficients = predictor(network, config, dtype), mix(config)
        spreads = [known[0 if config.renorm else k - 1] for known in part.whole]
        passed = [predict_x0(y, predict(y, s), *coefficients) if len(y) else y for y, s in zip(passed, spreads, strict=True)]
    if not len(passed[0]):
        return None
    return [(y.numel(), float(y.mean()), float((y - y.mean()).square().sum())) for y in passed]


def _merge_spreads(a: list[tuple[int, float, float]], b: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    merged = []
    for (n, mean, m2), (other, mean_, m2_) in zip(a, b, strict=True):
        step, total = mean_ - mean, n + other
        merged.append((total, mean + step * other / total, m2 + m2_ + step**2 * n * other / total))
    return merged


def _block_quiet(block: np.ndarray, network: nn.Module, config: Config, part: Part, passes: int | None) -> np.ndarray:
    """(aligned band, y, x) float64 after `passes` passes, NaN where a pixel is missing."""
    passed, valid = _block_passed(block, network, config, part, passes)
    out = np.full((part.blocks.size, *valid.shape), np.nan)
    out[:, valid] = torch.cat(passed, 1).cpu().numpy().T
    return out
