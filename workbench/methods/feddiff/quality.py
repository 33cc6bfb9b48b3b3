"""How good the diffusion networks are, each number beside trivial controls: error of the noise, reconstruction, generated patches.

The networks are not conditional: there is no class to be consistent with, so conditional consistency cannot be measured.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.sensor_patches import CENTRE, Patches
from workbench.methods.feddiff.banks import Banks
from workbench.methods.feddiff.settings import Config
from workbench.metrics.class_maps import scalar
from workbench.metrics.generation import LEAST, gaussian_patches, psnr, spectral_angle, two_sample
from workbench.parts.bank_training import Denoiser, stacked
from workbench.parts.denoised import SHOWN, Cleaned, cleaned, generated, sheet

MOST = 500  # test patches
STRIP = 9  # pictures on the way from noise to a patch
GAP = 2  # white columns between the owners


def quality(result: xr.Dataset, patches: Patches, config: Config, banks: Banks) -> None:
    """`denoising_error`, `psnr` and `spectral_angle (estimate, time)`, `told_apart (owner, sample_kind)`, and
    `strip`; metrics of each owner."""
    draw = np.random.default_rng(config.seed)
    place = patches.place[draw.permutation(patches.test)[:MOST]]
    error: dict[str, list[float]] = {}
    ratio: dict[str, list[float]] = {}
    angle: dict[str, list[float]] = {}
    apart, strips = [], []
    for name in banks.owners:
        learner = banks.made[name]
        known = stacked(patches, patches.place[patches.train], learner.groups[name])
        order = torch.from_numpy(draw.permutation(len(place)))
        for t in config.times:
            a = float(learner.products[t])
            seen = cleaned(learner, name, place, t)
            estimates = _estimates(seen, known, order, a)
            linear = (a / (1 - a)) ** 0.5 * (estimates["linear"] - seen.clean).abs()
            for who, value in (("trained", seen.error), ("predicts 0", seen.zero), ("linear", linear)):
                error.setdefault(f"{name}, {who}", []).append(float(value.mean()))
            for who, patch in estimates.items():
                ratio.setdefault(f"{name}, {who}", []).append(psnr(seen.clean.numpy(), patch.numpy()))
                if name == "hsi":
                    found = spectral_angle(_spectra(patches, seen.clean), _spectra(patches, patch))
                    angle.setdefault(who, []).append(found)
        steps = list(generated(learner, name, config.generated, config.sample_steps, config.seed))
        apart.append(_told_apart(patches, learner, name, steps[-1][1], known, config, draw))
        strips.append(steps)
    owners = list(banks.owners)
    result.coords["owner"] = owners
    result.coords["time"] = [f"t {t}" for t in config.times]
    _table(result, "denoising_error", error, "mean absolute error of the predicted noise, test patches", "1")
    _table(result, "psnr", ratio, "signal-to-noise ratio of rebuilt test patches", "dB")
    if angle:
        _table(result, "spectral_angle", angle, "angle between true and rebuilt spectra, test patches", "degree")
    kinds = list(apart[0])
    result.coords["sample_kind"] = kinds
    result["told_apart"] = (
        ("owner", "sample_kind"),
        np.array([list(a.values()) for a in apart]),
        {"long_name": "how often a random forest tells them from real test patches; 0.5 = it cannot", "units": "1"},
    )
    for i, name in enumerate(owners):
        _metrics(result, name, error, ratio, apart[i])
    for who, ending in (("denoised", ""), ("noisy", "_noisy"), ("linear", "_linear"), ("mean patch", "_mean")):
        if angle:
            text = f"angle between true and rebuilt spectra, {who}, test patches, mean of the noise levels"
            result[f"angle{ending}"] = scalar(float(np.mean(angle[who])), text, "degree")
    _strip(result, strips)
    _centres(result, patches, banks, strips, place)


def _estimates(seen: Cleaned, known: Tensor, order: Tensor, a: float) -> dict[str, Tensor]:
    """Who -> its estimate of the clean patches. known: training patches.

    linear: the best estimate from the noisy value of the same pixel and channel alone, by mean and variance of the training patches.
    """
    middle, spread = known.mean((0, 2, 3))[:, None, None], known.var((0, 2, 3))[:, None, None]
    shrunk = a * spread / (a * spread + 1 - a)
    return {
        "denoised": seen.denoised,
        "noisy": seen.noisy / a**0.5,
        "linear": middle + shrunk * (seen.noisy / a**0.5 - middle),
        "mean patch": known.mean(0, keepdim=True).expand_as(seen.clean),
        "other patches": seen.clean[order],
    }


def _spectra(patches: Patches, x: Tensor) -> np.ndarray:
    """(n, bands, 8, 8): scaled channels of the cube as spectra again."""
    return np.moveaxis(patches.scalers["hsi"].back(np.moveaxis(x.numpy(), 1, 0)), 0, 1)


def _told_apart(
    patches: Patches, learner: Denoiser, name: str, made: Tensor, known: Tensor, config: Config, draw: np.random.Generator
) -> dict[str, float]:
    """What a random forest is shown beside real test patches -> how often it is right. Neighbours overlap, so other real patches are not
    exactly at 0.5."""
    places = patches.place[draw.permutation(patches.test)]
    n = min(config.generated, len(places) // 2, len(made))
    if n < LEAST:
        return dict.fromkeys(("generated", "Gaussian pixels", "mean patch", "other real"), float("nan"))
    real, other = (stacked(patches, p, learner.groups[name]).numpy() for p in (places[:n], places[n : 2 * n]))
    shown = {
        "generated": made[:n].numpy(),
        "Gaussian pixels": gaussian_patches(known.numpy(), n, config.seed),
        "mean patch": np.repeat(known.mean(0, keepdim=True).numpy(), n, 0),
        "other real": other,
    }
    return {who: two_sample(real, values, config.seed, config.trees).accuracy for who, values in shown.items()}


def _strip(result: xr.Dataset, paths: list[list[tuple[int, Tensor]]]) -> None:
    """`strip (level, strip_band, strip_y, strip_x)`: generated patches on their way from noise, the first owner's left of the second's."""
    levels = _levels(paths[0])
    pictures = []
    for i in levels:
        sheets = [sheet(path[i][1][: SHOWN * SHOWN]) for path in paths]
        gap = np.ones((*sheets[0].shape[:2], GAP))
        pictures.append(np.concatenate([sheets[0], gap, sheets[1]], 2))
    text = f"generated patches, three channels; left {result['owner'].values[0]}, right {result['owner'].values[1]}"
    dims = ("level", "strip_band", "strip_y", "strip_x")
    result["strip"] = (dims, np.stack(pictures).astype(np.float32), {"long_name": text})
    result.coords["level"] = [f"t {paths[0][i][0]}" if paths[0][i][0] >= 0 else "end" for i in levels]


def _centres(
    result: xr.Dataset, patches: Patches, banks: Banks, paths: list[list[tuple[int, Tensor]]], place: np.ndarray
) -> None:
    """Of an owner of one sensor, in the units of the sensor: `centre_OWNER (level, channel_OWNER)`, the centre pixel of the first
    generated patch on its way, and `real_OWNER (spread, channel_OWNER)`, mean and deviation of the centres of real test patches."""
    for path, (name, sensors) in zip(paths, banks.owners.items(), strict=True):
        if len(sensors) != 1:
            continue
        scaler, dim = patches.scalers[sensors[0]], f"channel_{name}"
        way = np.stack([path[i][1][0, :, CENTRE, CENTRE].numpy() for i in _levels(path)])
        real = scaler.back(stacked(patches, place, sensors)[:, :, CENTRE, CENTRE].numpy().T)
        text = f"values of the centre pixel of a generated patch of {name}"
        result[f"centre_{name}"] = (("level", dim), scaler.back(way.T).T.astype(np.float32), {"long_name": text})
        result[f"real_{name}"] = (
            ("spread", dim),
            np.stack([real.mean(1), real.std(1)]).astype(np.float32),
            {"long_name": f"mean and standard deviation of real test pixels of {name}"},
        )
        result.coords[dim] = np.flatnonzero(scaler.good)
    result.coords["spread"] = ["mean", "deviation"]


def _levels(path: list[tuple[int, Tensor]]) -> np.ndarray:
    return np.linspace(0, len(path) - 1, min(STRIP, len(path))).round().astype(int)


def _table(result: xr.Dataset, name: str, rows: dict[str, list[float]], text: str, units: str) -> None:
    dim = f"{name}_of"
    result[name] = ((dim, "time"), np.array(list(rows.values())), {"long_name": text, "units": units})
    result.coords[dim] = list(rows)


def _metrics(
    result: xr.Dataset, name: str, error: dict[str, list[float]], ratio: dict[str, list[float]], apart: dict[str, float]
) -> None:
    where = f"of {name}, test patches, mean of the noise levels"
    for who, ending in (("trained", ""), ("linear", "_linear")):
        result[f"denoising_error_{name}{ending}"] = scalar(
            float(np.mean(error[f"{name}, {who}"])), f"mean absolute error of the noise, {who}, {where}"
        )
    for who, ending in (("denoised", ""), ("noisy", "_noisy"), ("linear", "_linear"), ("mean patch", "_mean")):
        result[f"psnr_{name}{ending}"] = scalar(
            float(np.mean(ratio[f"{name}, {who}"])), f"signal-to-noise ratio, {who}, {where}", "dB"
        )
    for who, ending in (("generated", ""), ("Gaussian pixels", "_gaussian"), ("other real", "_real")):
        if not np.isfinite(apart[who]):
            continue  # too few test pixels
        result[f"told_apart_{name}{ending}"] = scalar(
            apart[who], f"how often a random forest tells {who} from real test patches of {name}; 0.5 = it cannot"
        )
