"""How good the diffusion networks are, each number beside trivial controls: error of the noise, reconstruction, generated patches.

The networks are not conditional: there is no class to be consistent with, so conditional consistency cannot be measured.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.sensor_patches import Patches
from workbench.methods.feddiff.banks import Banks
from workbench.methods.feddiff.settings import Config
from workbench.metrics.class_maps import scalar
from workbench.metrics.generation import gaussian_patches, psnr, spectral_angle, two_sample
from workbench.parts.bank_training import Denoiser, stacked
from workbench.parts.denoised import Cleaned, cleaned, generated, sheet

MOST = 500  # test patches
STRIP = 6  # pictures on the way from noise to a patch
LEAST = 8  # samples of a two-sample test


def quality(result: xr.Dataset, patches: Patches, config: Config, banks: Banks) -> None:
    """`denoising_error`, `psnr` and `spectral_angle (estimate, time)`, `told_apart (owner, sample_kind)`, and
    `strip (owner, level, strip_band, strip_y, strip_x)`; metrics of each owner."""
    draw = np.random.default_rng(config.seed)
    place = patches.place[draw.permutation(patches.test)[:MOST]]
    error: dict[str, list[float]] = {}
    ratio: dict[str, list[float]] = {}
    angle: dict[str, list[float]] = {}
    apart, strips = [], []
    for name in banks.owners:
        learner = banks.made[name]
        mean = stacked(patches, patches.place[patches.train], learner.groups[name]).mean(0, keepdim=True)
        order = torch.from_numpy(draw.permutation(len(place)))
        for t in config.times:
            a = float(learner.products[t])
            seen = cleaned(learner, name, place, t)
            for who, value in (
                ("trained", seen.error),
                ("predicts 0", seen.zero),
                ("mean patch", (a / (1 - a)) ** 0.5 * (seen.clean - mean).abs()),
            ):
                error.setdefault(f"{name}, {who}", []).append(float(value.mean()))
            for who, patch in _estimates(seen, mean, order, a).items():
                ratio.setdefault(f"{name}, {who}", []).append(psnr(seen.clean.numpy(), patch.numpy()))
                if name == "hsi":
                    found = spectral_angle(_spectra(patches, seen.clean), _spectra(patches, patch))
                    angle.setdefault(who, []).append(found)
        steps = list(generated(learner, name, config.generated, config.sample_steps, config.seed))
        apart.append(_told_apart(patches, learner, name, steps[-1][1], mean, config, draw))
        strips.append(_strip(steps))
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
    levels = np.linspace(0, len(strips[0]) - 1, min(STRIP, len(strips[0]))).round().astype(int)
    result["strip"] = (
        ("owner", "level", "strip_band", "strip_y", "strip_x"),
        np.stack([np.stack([strip[i][1] for i in levels]) for strip in strips]).astype(np.float32),
        {"long_name": "from noise to generated patches, three channels"},
    )
    result.coords["level"] = [f"t {strips[0][i][0]}" if strips[0][i][0] >= 0 else "end" for i in levels]


def _estimates(seen: Cleaned, mean: Tensor, order: Tensor, a: float) -> dict[str, Tensor]:
    """Who -> its estimate of the clean patches."""
    return {
        "denoised": seen.denoised,
        "noisy": seen.noisy / a**0.5,
        "mean patch": mean.expand_as(seen.clean),
        "other patches": seen.clean[order],
    }


def _spectra(patches: Patches, x: Tensor) -> np.ndarray:
    """(n, bands, 8, 8): scaled channels of the cube as spectra again."""
    return np.moveaxis(patches.scalers["hsi"].back(np.moveaxis(x.numpy(), 1, 0)), 0, 1)


def _told_apart(
    patches: Patches, learner: Denoiser, name: str, made: Tensor, mean: Tensor, config: Config, draw: np.random.Generator
) -> dict[str, float]:
    """What a random forest is shown beside real test patches -> how often it is right. Neighbours overlap, so other real patches are not
    exactly at 0.5."""
    places = patches.place[draw.permutation(patches.test)]
    n = min(config.generated, len(places) // 2, len(made))
    if n < LEAST:
        return dict.fromkeys(("generated", "Gaussian pixels", "mean patch", "other real"), float("nan"))
    real, other = (stacked(patches, p, learner.groups[name]).numpy() for p in (places[:n], places[n : 2 * n]))
    known = stacked(patches, patches.place[patches.train], learner.groups[name]).numpy()
    shown = {
        "generated": made[:n].numpy(),
        "Gaussian pixels": gaussian_patches(known, n, config.seed),
        "mean patch": np.repeat(mean.numpy(), n, 0),
        "other real": other,
    }
    return {who: two_sample(real, values, config.seed, config.trees).accuracy for who, values in shown.items()}


def _strip(steps: list[tuple[int, Tensor]]) -> list[tuple[int, np.ndarray]]:
    return [(t, sheet(x[:16])) for t, x in steps]


def _table(result: xr.Dataset, name: str, rows: dict[str, list[float]], text: str, units: str) -> None:
    dim = f"{name}_of"
    result[name] = ((dim, "time"), np.array(list(rows.values())), {"long_name": text, "units": units})
    result.coords[dim] = list(rows)


def _metrics(
    result: xr.Dataset, name: str, error: dict[str, list[float]], ratio: dict[str, list[float]], apart: dict[str, float]
) -> None:
    where = f"of {name}, test patches, mean of the noise levels"
    for who, ending in (("trained", ""), ("mean patch", "_mean")):
        result[f"denoising_error_{name}{ending}"] = scalar(
            np.mean(error[f"{name}, {who}"]), f"mean absolute error of the noise, {who}, {where}"
        )
    for who, ending in (("denoised", ""), ("noisy", "_noisy"), ("mean patch", "_mean")):
        result[f"psnr_{name}{ending}"] = scalar(
            np.mean(ratio[f"{name}, {who}"]), f"signal-to-noise ratio, {who}, {where}", "dB"
        )
    for who, ending in (("generated", ""), ("Gaussian pixels", "_gaussian"), ("other real", "_real")):
        if not np.isfinite(apart[who]):
            continue  # too few test pixels
        result[f"told_apart_{name}{ending}"] = scalar(
            apart[who], f"how often a random forest tells {who} from real test patches of {name}; 0.5 = it cannot"
        )
