"""BSDM: suppress the background of a hyperspectral cube with a diffusion model.

J. Ma, W. Xie, Y. Li, L. Fang, "BSDM: Background Suppression Diffusion Model for Hyperspectral Anomaly Detection", 2023,
arXiv 2307.09861. What you get: the cube after each of K passes through a denoiser trained on that cube alone, for any
detector; here global RX scores it, beside the controls that say how much of the gain is the training's.

The symbols are the paper's: H the cube, x_0 the cube scaled to [0, 1], eps the pseudo background noise, t the diffusion
time, gamma_t the factor of a noise that is the same at every step, K the number of passes. The paper prints no equation
for the network; we follow the published description of its layers. Where we differ, and why: docs/methods/bsdm.md.

A cube travels through this room as `spectra (P, C)`: its P valid pixels, C used bands. No operation looks at a neighbour.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.baselines.anomaly import pca_rx, ridge_rx, rx
from workbench.config import Settings
from workbench.engines import cluster
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.metrics.anomaly import add_metrics, auc
from workbench.parts.device import device
from workbench.parts.diffusion import Mixing, linear_betas, mixing, noised, predict_x0
from workbench.parts.seeding import Seeded
from workbench.scene import PROVENANCE, require

NEEDS = ("hsi",)


class Config(Settings):
    """Defaults are the authors' code; where the paper prints something else, `gamma`, the paper's."""

    steps: int = Field(500, ge=1, description="optimiser steps on the one scene, each over the whole image")
    schedule_steps: int = Field(
        500, ge=1, description="length of the cosine from lr to final_lr; fewer steps stop on its way"
    )
    passes: int = Field(10, ge=1, le=50, description="how often the cube is sent through the network, K")
    T: int = Field(1000, ge=50, le=10_000, description="diffusion steps of the noise schedule")
    gamma: Literal["paper", "official"] = Field("paper", description="gamma_t as printed, or as the official code has it")
    mixing: Literal["gamma", "alpha"] = Field("gamma", description="one noise for all steps, or the usual independent ones")
    t: int = Field(500, ge=1, description="diffusion time at which noise is mixed in and taken out, at most T")
    frozen: bool = Field(True, description="one noise for the whole training (official code); false: a new one every step")
    pixels: int | None = Field(None, ge=1, description="train every step on so many random pixels; none: the whole image")
    offset: Literal["pixel", "image", "off"] = Field("pixel", description="whose mean and spread the offset module sees")
    scaling: Literal["global", "band"] = Field("global", description="min-max to [0, 1], over the cube or by band")
    renorm: bool = Field(False, description="bring mean and spread back to the scene's after every pass (our extension)")
    lr: float = Field(1e-4, gt=0, le=1, description="first learning rate of AdamW")
    final_lr: float = Field(1e-5, ge=0, le=1, description="learning rate at the end of the cosine")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled weight decay of AdamW")
    embed: int = Field(
        128, ge=2, le=1024, multiple_of=2, description="width of the spectral embedding, and number of time sinusoids"
    )
    inner: int = Field(200, ge=1, le=2048, description="hidden width of the outer blocks")
    width: int = Field(100, ge=1, le=1024, description="width between the outer and the inner blocks")
    code: int = Field(50, ge=1, le=1024, description="width of the bottleneck that every spectrum must pass")
    time_width: int = Field(512, ge=1, le=4096, description="width of the time embedding and of the offset module")
    chunk: int = Field(2500, ge=1, description="pixels sent through the network at once; memory and speed only")
    show_every: int = Field(25, ge=1, description="steps between two score maps while training")

    @field_validator("t")
    @classmethod
    def _t_exists(cls, t: int, info: Any) -> int:
        T, gamma = info.data.get("T", 1000), info.data.get("gamma", "paper")
        last = T - (gamma == "official")  # there abar is an array of T entries, asked for entry t
        if t > last:
            raise ValueError(f"must be at most {last} when T={T} and gamma={gamma!r}")
        return t


def mix(config: Config) -> Mixing:
    """(sqrt(abar_t), gamma_t) of this config; 0.2803 and 17.557 for the defaults, 0.2789 and 17.495 for "official"."""
    return mixing(linear_betas(config.T), config.t, config.mixing, config.gamma)


# --- the cube as a table of spectra -----------------------------------------------------------------------------------


def spectra_of(scene: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(spectra (P, C) float64, bands (C,) int, valid (y, x) bool): all pixels that have every band not marked bad.

    Raises InputError for what cannot be suppressed: several chips, complex values, fewer than 3 bands, a band that is
    empty, no complete pixel, a constant cube.
    """
    bands, _ = _usable(scene)
    cube = scene["hsi"].values[bands]
    finite = np.isfinite(cube)
    empty = bands[~finite.any((1, 2))]
    if len(empty):
        raise InputError(
            f"bsdm needs values in every band; band {empty[0]} has none. Mark it bad in good(band), or drop it."
        )
    valid = finite.all(0)
    spectra = cube[:, valid].T.astype(np.float64)  # (P, C)
    if len(spectra) < 2:
        raise InputError(f"bsdm needs complete pixels; only {len(spectra)} of {valid.size} have all {len(bands)} bands.")
    if spectra.min() == spectra.max():
        raise InputError(f"bsdm cannot scale a constant cube; every value is {spectra.min():g}.")
    return np.ascontiguousarray(spectra), bands, valid


def _usable(scene: xr.Dataset) -> tuple[np.ndarray, int]:
    """The bands not marked bad, and the number of pixels; InputError for what can be seen to be unusable without reading it."""
    require(scene, *NEEDS, who="bsdm")
    hsi = scene["hsi"]
    if hsi.dims != ("band", "y", "x"):
        raise InputError(
            f"bsdm works on one image, hsi (band, y, x); this one has {hsi.dims}. Choose one: scene.isel(sample=0)."
        )
    if hsi.dtype.kind == "c":
        raise InputError("bsdm needs real reflectance or radiance; this hsi is complex. Take its amplitude first.")
    good = scene["good"].values.astype(bool) if "good" in scene.coords else np.ones(hsi.sizes["band"], bool)
    bands = np.flatnonzero(good)
    if len(bands) < 3:
        raise InputError(f"bsdm needs at least 3 bands; this scene has {len(bands)} of {len(good)} marked good.")
    return bands, hsi.sizes["y"] * hsi.sizes["x"]


def scaled(spectra: Tensor, kind: str) -> Tensor:
    """Min-max to [0, 1], one pair of numbers for the whole cube ("global") or one per band (a constant band gives 0)."""
    low, high = (spectra.amin(), spectra.amax()) if kind == "global" else (spectra.amin(0), spectra.amax(0))
    span = high - low
    return (spectra - low) / torch.where(span > 0, span, torch.ones_like(span))


def detected(detector: Callable[[xr.DataArray], xr.DataArray], spectra: Tensor) -> Tensor:
    """What a detector that ignores position says of spectra (P, C): scores (P,) float64."""
    cube = xr.DataArray(spectra.double().cpu().numpy().T[:, :, None], dims=("band", "y", "x"))  # one pixel wide
    return torch.from_numpy(np.array(detector(cube).values, dtype=np.float64)[:, 0])


class Frame:
    """The way back from the table to the scene: its coordinates, its valid pixels, its truth where it has any."""

    def __init__(self, scene: xr.Dataset, bands: np.ndarray, valid: np.ndarray) -> None:
        self.scene, self.bands, self.valid = scene, bands, valid
        truth = scene["truth"].values[valid] if "truth" in scene else np.zeros(0)
        both = (truth > 0).any() and (truth == 0).any()  # else there is no ROC curve
        self.truth = truth if both else None
        self.shown = _shown_bands(scene, bands)

    def grid(self, table: Tensor) -> np.ndarray:
        """(P, ...) -> (..., y, x), NaN where a pixel is missing."""
        values = table.detach().cpu().numpy()
        grid = np.full((*values.shape[1:], *self.valid.shape), np.nan, values.dtype)
        grid[..., self.valid] = np.moveaxis(values, 0, -1)
        return grid

    def map(self, numbers: Tensor, text: str = "score") -> xr.DataArray:
        """(P,) -> (y, x) on the scene's coordinates."""
        return self._on_scene(self.grid(numbers), ("y", "x"), text)

    def cube(self, spectra: Tensor, text: str) -> xr.DataArray:
        """(P, C) -> (band, y, x) float32 on all of the scene's bands; NaN in those not used."""
        grid = np.full(self.scene["hsi"].shape, np.nan, np.float32)
        grid[self.bands] = self.grid(spectra.float())
        return self._on_scene(grid, ("band", "y", "x"), text)

    def glimpse(self, spectra: Tensor, factor: float = 1.0) -> xr.DataArray:
        """(P, C) -> (quiet_band, y, x) float32, times `factor`: red, green and blue where wavelengths are known."""
        three = factor * spectra[:, self.shown].double()
        return self._on_scene(self.grid(three.float()), ("quiet_band", "y", "x"), "three bands")

    def auc(self, numbers: Tensor) -> float:
        """AUC(D,F) of scores (P,); needs truth."""
        return auc(numbers.numpy(), self.truth)

    def aucs(self, **scores: Tensor) -> dict[str, float]:
        """The AUC of each score by its name; nothing for a scene without truth."""
        return {name: self.auc(numbers) for name, numbers in scores.items()} if self.truth is not None else {}

    def _on_scene(self, values: np.ndarray, dims: tuple[str, ...], text: str) -> xr.DataArray:
        coords = {n: c.variable for n, c in self.scene["hsi"].coords.items() if set(c.dims) <= set(dims)}
        if "quiet_band" in dims:
            position = self.bands[self.shown]
            coords["quiet_band"] = xr.Variable("quiet_band", position, {"long_name": "band of the scene"})
            if "wavelength" in self.scene.coords:
                nm = self.scene["wavelength"].values[position]
                coords["quiet_wavelength"] = xr.Variable("quiet_band", nm, {"units": "nm"})
        return xr.DataArray(values, coords=coords, dims=dims, attrs={"long_name": text})


def _shown_bands(scene: xr.Dataset, bands: np.ndarray) -> np.ndarray:
    """Three positions among the used bands: nearest 650, 550, 460 nm, or evenly spread where that says nothing."""
    n = len(bands)
    if "wavelength" in scene.coords:
        nm = scene["wavelength"].values[bands]
        near = [int(np.abs(nm - want).argmin()) for want in (650, 550, 460)]
        if np.isfinite(nm).all() and len(set(near)) == 3:
            return np.array(near)
    return np.array([5 * n // 6, n // 2, n // 6])


# --- the noise --------------------------------------------------------------------------------------------------------


def pseudo_background(mean: float, std: float, shape: tuple[int, ...]) -> Tensor:
    """Noise with the cube's own mean and spread, eps ~ N(mu, sigma^2), one mu and sigma for the whole cube.

    Drawn on the CPU, so that every device trains on the same numbers.
    """
    return mean + std * torch.randn(shape)


# --- the network ------------------------------------------------------------------------------------------------------


class _Tanh(torch.autograd.Function):
    """tanh x = 2 / (1 + exp(-2x)) - 1, with torch's own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.mul(x, 2).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(g, y)


def tanh(x: Tensor) -> Tensor:
    """tanh; on CPUs by way of the sigmoid, which torch computes several times faster (1e-7 apart in float32).

    This network asks for 2600 of them per pixel and step, which was a sixth of a training step.
    """
    return torch.tanh(x) if x.is_cuda else _Tanh.apply(x)


class Denoiser(nn.Module):
    """Predicts the noise of each spectrum: (P, C), time t, moments (P, 2) -> (P, C).

    A network per pixel. There are no skips around the bottleneck: everything passes `code` numbers. Because the last thing
    before the last layer is a tanh, the output is bounded whatever comes in: |e_c| <= |b_c| + sum_j |W_cj|.
    1,137,261 parameters at C = 189 and default widths, 1281 per band.
    """

    def __init__(self, bands: int, config: Config) -> None:
        super().__init__()
        c = config
        self.time = TimeEmbedding(c.embed, c.time_width)
        self.offset = Offset(bands, c.time_width, c.embed) if c.offset != "off" else None
        self.embed = nn.Linear(bands, c.embed)
        self.blocks = nn.ModuleList(
            Block(i, hidden, o, c.time_width)
            for i, hidden, o in (
                (c.embed, c.inner, c.width),  # down
                (c.width, c.inner, c.code),
                (c.code, c.width, c.code),  # middle
                (c.code, c.width, c.code),
                (c.code, c.inner, c.width),  # up
                (c.width, c.inner, c.embed),
            )
        )
        self.out = nn.Linear(c.embed, bands)

    def forward(self, x: Tensor, t: Tensor, moments: Tensor) -> Tensor:
        when = tanh(self.time(t))  # (1, time_width)
        h = self.embed(x)
        if self.offset is not None:
            h = h + self.offset(moments)
        for block in self.blocks:
            h = block(h, when)
        return self.out(tanh(h))  # (P, C)


class TimeEmbedding(nn.Module):
    """Sinusoids of t (base 10000, sines first), then two linear layers: (B,) -> (B, width)."""

    frequencies: Tensor

    def __init__(self, sinusoids: int, width: int) -> None:
        super().__init__()
        half = sinusoids // 2
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * torch.arange(half) / half), persistent=False)
        self.first, self.second = nn.Linear(sinusoids, width), nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        return self.second(tanh(self.first(torch.cat([angles.sin(), angles.cos()], -1))))


class Offset(nn.Module):
    """The statistical offset: a pixel's mean m and spread s move its embedding, (P, 2) -> (P, embed).

    As published, m and s are each repeated C times and sent through Linear(2C, width). Equal inputs only ever meet the sum
    of their columns, so we keep those 2C columns as the parameters and add them up first: the same function and the same
    gradient for 1/C of the work, which was over a third of a training step.

    What is left is a smooth function of two numbers. On CPUs and in float32 it is evaluated on a lattice of (m, s) and
    interpolated between, where that errs less than float32 rounds and is less work than evaluating it for every pixel.
    """

    def __init__(self, bands: int, width: int, embed: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(2 * bands, width), nn.Linear(width, embed)

    def forward(self, moments: Tensor) -> Tensor:
        columns = self.wide.weight.unflatten(1, (2, -1)).sum(-1)  # (width, 2)
        columns = torch.cat([columns, self.wide.bias[:, None]], 1)  # the bias as a third input that is always 1
        between = lattice(moments, columns[:, :2].detach())
        points, shares = (moments, None) if between is None else between
        values = self.narrow(tanh(F.pad(points, (0, 1), value=1.0) @ columns.T))
        return values if shares is None else shares @ values


def lattice(moments: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor] | None:
    """Points (n, 2) and shares (P, n), so that f(moments) = shares @ f(points) for all f = tanh(slope . moments + bias).

    Chebyshev points, as many as hold the error below 2^-25 whatever the bias: tanh(a z + b) on -1 <= z <= 1 is analytic but
    for poles pi / (2 a) off the axis, and with r the sum of the half-axes of an ellipse within nine tenths of that,
    n points err by at most 4 M / (r - 1) / r^n, where |tanh| <= M = 6.4 inside (L. N. Trefethen, Approximation Theory and
    Approximation Practice, theorem 8.2). slopes: (width, 2). None where it would not save work.
    """
    if moments.dtype != torch.float32 or moments.is_cuda or len(moments) < 1000:
        return None
    low, high = moments.double().aminmax(dim=0)
    half = ((high - low) / 2).clamp(min=1e-12)
    sharpest = (slopes.abs().amax(0) * half).clamp(min=1e-3)
    axis = 0.9 * math.pi / 2 / sharpest
    r = axis + (axis.square() + 1).sqrt()
    counts = [math.ceil(n) for n in (torch.log(4 * 6.4 / (r - 1) * 2**25) / torch.log(r)).tolist()]
    if math.prod(counts) > len(slopes) // 2:
        return None
    along, shares = [], []
    for count, x, a, h in zip(counts, moments.double().T, low, half, strict=True):
        k = torch.arange(count, dtype=torch.float64)
        angles = math.pi * (k + 0.5) / count
        along.append(a + h * (1 + angles.cos()))
        back = torch.cos(k[:, None] * angles) * torch.where(k > 0, 2, 1)[:, None] / count  # values -> coefficients
        polynomials = torch.cos(((x - a) / h - 1).clamp(-1, 1).arccos()[:, None] * k)
        shares.append((polynomials @ back).float())
    points = torch.cartesian_prod(*along).float()
    return points, (shares[0][:, :, None] * shares[1][:, None, :]).flatten(1)


class Block(nn.Module):
    """norm, tanh, hidden layer, plus the time, norm, tanh, layer, plus the skip: (P, i) -> (P, o)."""

    def __init__(self, i: int, hidden: int, o: int, time_width: int) -> None:
        super().__init__()
        self.norm_in, self.first, self.second = nn.LayerNorm(i), nn.Linear(i, hidden), nn.Linear(hidden, o)
        self.time = nn.Linear(time_width, o)
        self.norm_out, self.last = nn.LayerNorm(o), nn.Linear(o, o)
        self.skip = nn.Identity() if i == o else nn.Linear(i, o)

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        h = tanh(self.first(tanh(self.norm_in(x))))
        h = F.linear(h, self.second.weight, self.second.bias + self.time(when)[0])  # one time for all pixels: a bias
        return self.last(tanh(self.norm_out(h))) + self.skip(x)


def moments(x: Tensor, kind: str = "pixel") -> Tensor:
    """(mean, standard deviation) over bands of each pixel, or of the whole image repeated for each: (P, C) -> (P, 2)."""
    if kind == "image":
        return torch.stack([x.mean(), x.std()]).expand(len(x), 2)
    m = x.mean(1, keepdim=True)
    return torch.cat([m, ((x - m).square().sum(1, keepdim=True) / (x.shape[1] - 1)).sqrt()], 1)


# --- training ---------------------------------------------------------------------------------------------------------


def learning_rate(done: int, config: Config) -> float:
    """Cosine from `lr` to `final_lr`, after `done` steps of `schedule_steps`; flat afterwards. Halfway it is their mean."""
    fraction = min(done / config.schedule_steps, 1.0)
    return config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * fraction)) / 2


def squared_error(network: nn.Module, x_t: Tensor, seen: Tensor, eps: Tensor, config: Config) -> float:
    """mean((e(x_t, t) - eps)^2) over all P x C numbers, with its gradient added to the parameters'; `seen`: moments of x_t.

    Pixels do not see each other, so it is added up chunk by chunk: the same step in less memory.
    """
    t = torch.tensor([config.t], device=x_t.device)
    total = torch.zeros((), device=x_t.device)
    for x, m, target in zip(x_t.split(config.chunk), seen.split(config.chunk), eps.split(config.chunk), strict=True):
        part = F.mse_loss(network(x, t, m), target, reduction="sum") / eps.numel()
        part.backward()
        total += part.detach()
    return float(total)


class Training:
    """A network on its way: everything a step changes, and the scene it is fitted to.

    x0: scaled spectra (P, C), float64 on the CPU. The initial weights and the frozen noise depend on `config.seed` alone.
    """

    def __init__(self, x0: Tensor, config: Config) -> None:
        self.config = config
        self.mean, self.std = float(x0.mean()), float(x0.std())
        self.coefficients = mix(config)
        self.random = Seeded(config.seed)
        with self.random:
            network = Denoiser(x0.shape[1], config)
            eps = pseudo_background(self.mean, self.std, tuple(x0.shape))
        here = device()
        self.network, self.clean, self.eps = network.to(here), x0.float().to(here), eps.to(here)
        x_t = noised(self.clean, self.eps, *self.coefficients)
        self.same = x_t, moments(x_t, config.offset), self.eps
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.done = 0
        self.first_loss = self.last_loss = math.nan

    @property
    def about(self) -> str:
        """All that is needed to use the weights elsewhere, as JSON text."""
        config = self.config.model_dump()
        return json.dumps({"bands": self.clean.shape[1], "mean": self.mean, "std": self.std, "config": config})

    def material(self) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, its moments, eps) for the next step: always the same with frozen noise and all pixels (official code)."""
        c = self.config
        if c.frozen and c.pixels is None:
            return self.same
        with self.random:
            rows = torch.arange(len(self.eps)) if c.pixels is None else torch.randperm(len(self.eps))[: c.pixels]
            rows = rows.to(self.eps.device)
            if c.frozen:
                x_t, seen, eps = self.same
                return x_t[rows], seen[rows], eps[rows]
            eps = pseudo_background(self.mean, self.std, (len(rows), self.eps.shape[1])).to(self.eps.device)
        x_t = noised(self.clean[rows], eps, *self.coefficients)
        return x_t, moments(x_t, c.offset), eps

    def step(self) -> dict[str, float]:
        """One AdamW step; gives the loss before it and its learning rate."""
        rate = learning_rate(self.done, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss = squared_error(self.network, *self.material(), self.config)
        if not math.isfinite(loss):
            raise InputError(f"bsdm diverged: the loss of step {self.done + 1} is {loss}. Lower lr, now {self.config.lr:g}.")
        self.optimiser.step()
        self.first_loss = loss if self.done == 0 else self.first_loss
        self.last_loss = loss
        self.done += 1
        return {"loss": loss, "lr": rate}

    def weights(self) -> dict[str, Tensor]:
        """A copy of the network's state on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `load` continues from it to the same numbers as without the interruption."""
        return {
            "about": self.about,
            "done": self.done,
            "losses": [self.first_loss, self.last_loss],
            "network": self.weights(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "random": self.random.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Raises InputError when the state is of another scene or another config."""
        theirs, ours = json.loads(state["about"]), json.loads(self.about)
        theirs, ours = theirs | theirs.pop("config"), ours | ours.pop("config")
        other = [n for n in ours if theirs.get(n) != ours[n] and n not in ("chunk", "show_every")]
        if other:
            told = ", ".join(f"{n}={theirs.get(n)} there and {ours[n]} here" for n in other)
            raise InputError(
                f"This checkpoint of bsdm is of another scene or other settings: {told}. Continue with its own."
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.load(state["random"])
        self.done, (self.first_loss, self.last_loss) = state["done"], state["losses"]


# --- suppression ------------------------------------------------------------------------------------------------------

Predictor = Callable[..., Tensor]  # spectra (P, C) float64 -> predicted noise (P, C)
Spread = tuple[float, float]  # mean and standard deviation of all numbers of a cube


def predictor(network: nn.Module, config: Config, dtype: torch.dtype = torch.float32) -> Predictor:
    """The network as a function of spectra alone: t and the offset's moments filled in, chunked, without gradients.

    dtype: of the network. `whole`: moments of the cube that the spectra are a part of, where they are not all of it.
    """

    @torch.no_grad()
    def predict(y: Tensor, whole: Spread | None = None) -> Tensor:
        t = torch.tensor([config.t], device=y.device)
        image = None
        if config.offset == "image":
            image = (moments(y, "image") if whole is None else y.new_tensor(whole).expand(len(y), 2)).to(dtype)
        e = torch.empty(y.shape, dtype=dtype, device=y.device)
        for begin in range(0, len(y), config.chunk):
            rows = slice(begin, begin + config.chunk)
            x = y[rows].to(dtype)
            e[rows] = network(x, t, moments(x) if image is None else image[rows])
        return e

    return predict


def affine_oracle(mu: float, coefficients: Mixing) -> Predictor:
    """The best denoiser there is if every band of the scene were N(mu, sigma^2): e = w x - (w (signal + noise) - 1) mu.

    w = noise / (noise^2 + signal^2), 0.0571446 for the official gamma at t = 500. Being affine it cannot change RX.
    """
    signal, noise = coefficients
    w = noise / (noise**2 + signal**2)
    return lambda y: w * y - (w * (signal + noise) - 1) * mu


def suppress(
    predict: Predictor,
    y: Tensor,
    coefficients: Mixing,
    passes: int,
    renorm: bool = False,
    whole: Sequence[Spread] | None = None,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The modified inference: put the cube in the place of x_t and predict x_0, K times over; yields (y_k, e_k), k = 0..K.

        y_0 = x_0;   e_k = net(y_k, t);   y_{k+1} = (y_k - gamma_t e_k) / sqrt(abar_t)

    y is kept in float64, because values grow 3.6 times a pass while what is left of the scene shrinks as fast.
    `renorm` brings y back to the mean and spread of y_0 after each pass, which RX does not notice but the network does.
    `whole`: mean and spread of every y_k, before `renorm`, of the cube that y is a part of, where it is not all of it.
    """
    mean, std = (y.mean(), y.std()) if whole is None else whole[0]
    for k in range(passes + 1):
        e = predict(y) if whole is None else predict(y, whole[0 if renorm else k])
        yield y, e
        if k < passes:
            y = predict_x0(y, e, *coefficients)
            if renorm:
                now, spread = (y.mean(), y.std()) if whole is None else whole[k + 1]
                y = (y - now) / spread * std + mean


def suppressed(
    network: nn.Module, y: Tensor, config: Config, whole: Sequence[Spread] | None = None, passes: int | None = None
) -> tuple[Tensor, Tensor]:
    """(y_K, e_K): the end of `suppress`, or of fewer passes."""
    dtype = next(network.parameters()).dtype
    passes = config.passes if passes is None else passes
    for pair in suppress(predictor(network, config, dtype), y, mix(config), passes, config.renorm, whole):
        last = pair  # not a list of all: each is as large as the cube
    return last


# --- another scene ----------------------------------------------------------------------------------------------------


def channel_align(bands: int, wanted: int, seed: int = 0) -> np.ndarray:
    """Which bands of a cube with `bands` bands a network made for `wanted` bands gets: (blocks, wanted) positions.

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
            "These weights and this description do not make a denoiser of bsdm; take both from one run: "
            f"weights['denoiser'] and result.attrs['denoiser']. ({str(error).splitlines()[0]})"
        ) from None
    return network.to(device()), config, bands


def apply(weights: Mapping[str, Tensor], about: str, scene: xr.Dataset, *, double: bool | None = None) -> xr.Dataset:
    """Suppress the background of another scene with a trained denoiser; no training.

    Gives `score` and `score_rx (y, x)` (RX of the same aligned bands after and before), `suppressed (aligned_band, y, x)`,
    coordinate `source_band (aligned_band)`: which band of the scene each came from; and, where the scene has truth, the
    AUCs. Bands are aligned by `channel_align` with the seed of the training run.

    A Dask scene of any size is suppressed block by block (`workbench.methods.bsdm` needs one reading for the scaling, and one
    for each score's background; with an offset of the image or with `renorm` one more a pass); the maps stay lazy unless
    there is truth. double: evaluate the network in float64, so that the result does not depend on the blocks; by default in
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
    return with_metrics(result, scene, frame, score=after, score_rx=before)


# --- a scene larger than memory ---------------------------------------------------------------------------------------


class Part(NamedTuple):
    """What a block of a scene needs to know of the whole: used bands, smallest value and span (1 or C), and for each aligned
    block of bands the mean and spread of every y_k where the network or `renorm` asks for them."""

    bands: np.ndarray
    low: np.ndarray
    span: np.ndarray
    blocks: np.ndarray
    whole: tuple[tuple[Spread, ...], ...]


def _apply_by_block(network: nn.Module, config: Config, wanted: int, scene: xr.Dataset) -> xr.Dataset:
    """`apply` to a Dask scene."""
    bands, valid_pixels = _usable(scene)
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
            found = _over(data, _block_spreads, _merge_spreads, network, config, part, k)
            spreads = [(mean, math.sqrt(m2 / (n - 1))) for n, mean, m2 in found]
            part = part._replace(whole=tuple((*known, s) for known, s in zip(part.whole, spreads, strict=True)))

    source = blocks.reshape(-1)
    chunks = ((len(source),), *data.chunks[1:])

    def cube(passes: int | None) -> xr.DataArray:
        made = data.map_blocks(
            _block_quiet, network, config, part, passes, chunks=chunks, dtype=np.float64, meta=np.empty((0, 0, 0))
        )
        coords = {n: c.variable for n, c in hsi.coords.items() if "band" not in c.dims}
        return xr.DataArray(made, coords, ("band", "y", "x"))

    quiet = cube(None)
    text = f"RX after {config.passes} passes, network of another scene"
    result = xr.Dataset({"score": rx(quiet).assign_attrs(long_name=text)}, attrs=provenance(scene))
    result["score_rx"] = rx(cube(0)).assign_attrs(long_name="RX of the same bands")
    result["suppressed"] = quiet.rename(band="aligned_band").astype(np.float32).assign_attrs(long_name="suppressed cube")
    result = result.assign_coords(source_band=("aligned_band", bands[source], {"long_name": "band of the scene"}))
    if "truth" not in scene:
        return result
    for name in ("score", "score_rx"):
        held = np.empty(result[name].shape)
        for where, block in cluster.blocks(result[name].data):
            held[where] = block
        result[name] = result[name].copy(data=held)
    frame = Frame(scene, bands, np.isfinite(result["score"].values))
    scores = {name: torch.from_numpy(result[name].values[frame.valid]) for name in ("score", "score_rx")}
    return with_metrics(result, scene, frame, **scores)


def _over(data: Any, work: Callable[..., Any], merged: Callable[[Any, Any], Any], *args: Any) -> Any:
    """`work(block, *args)` of all blocks that have valid pixels (None: it has none), merged in their order."""
    import dask

    constant = [dask.delayed(a, pure=False, traverse=False) for a in args]
    tasks = [dask.delayed(work, pure=False)(block, *constant) for block in data.to_delayed().ravel()]
    total = None
    for found in cluster.results(tasks):
        if found is not None:
            total = found if total is None else merged(total, found)
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
    """y after so many passes (all: None) for each aligned block of bands, before the last `renorm`; which pixels are valid."""
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
    else:  # from y_{k-1}, whose own spread is known, one more step
        passed, _ = _block_passed(block, network, config, part, k - 1)
        dtype = next(network.parameters()).dtype
        predict, coefficients = predictor(network, config, dtype), mix(config)
        seen = [known[0 if config.renorm else k - 1] for known in part.whole]
        passed = [predict_x0(y, predict(y, s), *coefficients) if len(y) else y for y, s in zip(passed, seen, strict=True)]
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
    """(aligned band, y, x) float64 after so many passes, NaN where a pixel is missing."""
    passed, valid = _block_passed(block, network, config, part, passes)
    out = np.full((part.blocks.size, *valid.shape), np.nan)
    out[:, valid] = torch.cat(passed, 1).cpu().numpy().T
    return out


# --- the face ---------------------------------------------------------------------------------------------------------


def run(scene: xr.Dataset, config: Config | None = None, state: Mapping[str, Any] | None = None) -> Trace:
    """Train on the scene, then suppress its background; RX before, after, and by every control. Needs `hsi`.

    Events: step 0 the controls, steps 1..E training, steps E+1+k the passes k = 0..K. Truth, where the scene has it, only
    turns scores into AUCs. `state`: what an event of an interrupted run gave; the run continues behind that event.
    Names of all scalars, arrays and results: docs/methods/bsdm.md.
    """
    c = config or Config()
    values, bands, valid = spectra_of(scene)
    if c.pixels is not None and c.pixels > len(values):
        raise InputError(f"bsdm was asked for {c.pixels} pixels a step; this scene has {len(values)}. Lower `pixels`.")
    spectra = torch.from_numpy(values)
    x0 = scaled(spectra, c.scaling)
    training = Training(x0, c)
    frame = Frame(scene, bands, valid)
    x0 = x0.to(device())
    last = c.steps + 1 + c.passes

    def event(step: int, scalars: dict[str, float], arrays: dict[str, xr.DataArray] | None = None) -> Event:
        return Event(step, scalars, arrays or {}, last, lambda: {"step": step, **training.state()})

    def passes() -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:  # y_k, e_k, score of y_k
        for y, e in suppress(predictor(training.network, c), x0, training.coefficients, c.passes, c.renorm):
            yield y, e, detected(rx, y)

    def pictures(y: Tensor, e: Tensor) -> dict[str, xr.DataArray]:  # three bands of the cube, and of what is taken off it
        return {"quiet": frame.glimpse(y), "background": frame.glimpse(e, training.coefficients.noise)}

    untrained, before_training = [], {}
    for y, e, score in passes():
        untrained.append(score)
        before_training = pictures(y, e)  # the last pass's stay
    rivals = controls(spectra, x0, training)
    rivals["untrained"] = untrained[-1], f"RX after {c.passes} passes of the untrained network"
    begin = 0
    if state is not None:
        training.load(state)
        begin = int(state["step"]) + 1
    if begin == 0:
        aucs = frame.aucs(auc=untrained[-1], **{f"auc_{name}": score for name, (score, _) in rivals.items()})
        maps = {f"score_{name}": frame.map(*rival) for name, rival in rivals.items()}
        if frame.truth is not None:
            by_k = [frame.auc(score) for score in untrained]
            maps["auc_k_untrained"] = xr.DataArray(
                by_k, dims="k", attrs={"long_name": "AUC(D,F) after pass k, untrained network"}
            )
        yield event(0, noise_floor(training) | aucs, {"score": maps["score_untrained"], **maps, **before_training})

    while training.done < c.steps:
        scalars, arrays = training.step(), {}
        if training.done % c.show_every == 0 or training.done == c.steps:
            y, e = suppressed(training.network, x0, c)
            score = detected(rx, y)
            scalars |= frame.aucs(auc=score)
            arrays = {"score": frame.map(score), **pictures(y, e)}
        yield event(training.done, scalars, arrays)

    record: dict[str, list[Any]] = {"score": [], "quiet": [], "background": [], "range": []}
    for k, (y, e, score) in enumerate(passes()):
        shown = pictures(y, e)
        for name, value in {**shown, "score": score, "range": float(y.abs().max())}.items():
            record[name].append(value)
        if k == 1:
            first = y
        if c.steps + 1 + k >= begin:
            scalars = {"pass": float(k), "range": record["range"][-1]} | frame.aucs(auc_pass=score)
            yield event(c.steps + 1 + k, scalars, {**shown, "score": frame.map(score)})

    result = xr.Dataset(attrs=provenance(scene) | {"denoiser": training.about})
    result["score"] = frame.map(record["score"][-1], f"RX after {c.passes} passes of the trained network")
    for name, rival in rivals.items():
        result[f"score_{name}"] = frame.map(*rival)
    result["scaled"] = frame.cube(x0, "scene scaled to [0, 1]")
    result["suppressed_first"] = frame.cube(first, "cube after the first pass")
    result["suppressed"] = frame.cube(y, f"cube after pass {c.passes}")
    m = moments(x0)
    result["offset_mean"] = frame.map(m[:, 0], "mean over bands, as the offset module sees it")
    result["offset_std"] = frame.map(m[:, 1], "standard deviation over bands, as the offset module sees it")
    result = result.assign(by_pass(record, untrained, frame))
    for name, number, text in (
        *((name, number, "reference line of the loss") for name, number in noise_floor(training).items()),
        ("loss_initial", training.first_loss, "loss before the first step"),
        ("loss_final", training.last_loss, "loss at the last step"),
        ("parameters", sum(p.numel() for p in training.network.parameters()), "parameters of the network"),
        ("bands", len(bands), "bands used"),
    ):
        result[name] = ((), number, {"long_name": text})
    scores = {"score": record["score"][-1], **{f"score_{name}": score for name, (score, _) in rivals.items()}}
    return Outcome(with_metrics(result, scene, frame, **scores), {"denoiser": training.weights()})


def controls(spectra: Tensor, x0: Tensor, training: Training) -> dict[str, tuple[Tensor, str]]:
    """What no training explains: name -> (scores (P,), long name). RX and its kin see the scene's own values."""
    oracle = affine_oracle(training.mean, training.coefficients)
    *_, (once, _) = suppress(oracle, x0, training.coefficients, 1)
    return {
        "rx": (detected(rx, spectra), "RX of the scene"),
        "ridge_rx": (detected(lambda cube: ridge_rx(cube, ridge=1e-4), spectra), "RX with ridge 1e-4"),
        "pca_rx": (detected(lambda cube: pca_rx(cube, components=30), spectra), "RX of 30 principal components"),
        "oracle": (detected(rx, once), "RX after one pass of the best affine denoiser"),
    }


def noise_floor(training: Training) -> dict[str, float]:
    """The two reference lines of the loss: sigma^2, reached by knowing only the noise's mean, and sigma^2 (1 - code/C),
    about the least that a linear code of this width leaves of white noise in C bands (0 where the code is no narrower)."""
    sigma2, bands = training.std**2, training.clean.shape[1]
    return {"sigma2": sigma2, "sigma2_code": sigma2 * max(0.0, 1 - training.config.code / bands)}


def by_pass(record: dict[str, list[Any]], untrained: list[Tensor], frame: Frame) -> xr.Dataset:
    """The variables with dim k: maps, glimpses, range, and AUC curves where there is truth."""
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
    """Where the scene came from, for the result's attributes."""
    return {name: scene.attrs[name] for name in PROVENANCE if name in scene.attrs}


def with_metrics(result: xr.Dataset, scene: xr.Dataset, frame: Frame, **scores: Tensor) -> xr.Dataset:
    """Adds all metrics of `score` and the AUC of every other score, where the scene has a usable truth."""
    if frame.truth is None:
        return result
    result = add_metrics(result, scene["truth"])
    for name, value in frame.aucs(**scores).items():
        result[name.replace("score", "auc")] = ((), value, {"long_name": f"AUC(D,F): {result[name].attrs['long_name']}"})
    return result
