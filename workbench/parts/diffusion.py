"""Diffusion arithmetic: noise schedules, mixing, prediction of x_0, the posterior step. Independent of any network.

Time counts noising steps. At time t a sample has had t of them, so every table has T+1 entries and entry 0 is the
clean sample. Tables are float64 on the CPU; results computed from samples keep the samples' dtype and device.

    betas = linear_betas(1000)
    signal, noise = mixing(betas, 500)          # x_500 = signal * x_0 + noise * eps
    x_t = noised(x_0, eps, signal, noise)
    x_0 == predict_x0(x_t, eps, signal, noise)
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Flavour = Literal["paper", "official"]


class Mixing(NamedTuple):
    """x_t = signal * x_0 + noise * eps."""

    signal: float
    noise: float


# --- schedules --------------------------------------------------------------------------------------------------------


def linear_betas(T: int = 1000, first: float = 1e-4, last: float = 2e-2) -> Tensor:
    """beta_1..beta_T in equal steps, (T,) float64; `first` and `last` are meant for T=1000 and scaled by 1000/T.

    Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv 2006.11239. Raises ValueError when T is so
    small that a beta would reach 1.
    """
    scale = 1000 / T
    if not 0 < scale * first <= scale * last < 1:
        raise ValueError(f"T={T} steps are too few for betas {first} to {last} (times {scale:g}): all must lie in (0, 1)")
    return torch.linspace(scale * first, scale * last, T, dtype=torch.float64)


def cosine_betas(T: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """Betas whose abar_t is cos^2(pi/2 (t/T + offset) / (1 + offset)) over its value at 0; (T,) float64, at most `largest`.

    Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, arXiv 2102.09672.
    """
    if T < 1:
        raise ValueError(f"a schedule needs T >= 1, got {T}")
    t = torch.arange(T + 1, dtype=torch.float64)
    curve = torch.cos((t / T + offset) / (1 + offset) * torch.pi / 2) ** 2
    return (1 - curve[1:] / curve[:-1]).clamp(max=largest)


def abar(betas: Tensor) -> Tensor:
    """Products of alpha = 1 - beta over the first t steps, t = 0..T: (T+1,).

    >>> abar(torch.tensor([0.1, 0.2], dtype=torch.float64)).tolist()
    [1.0, 0.9, 0.7200000000000001]
    """
    return torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, 0)])


# --- one noise for all steps ------------------------------------------------------------------------------------------


def shared_noise_weights(betas: Tensor, t: int, flavour: Flavour = "paper") -> Tensor:
    """Weight in x_t of the shared noise from each of the first t steps: (t,), in the order of the steps.

    Step i adds sqrt(beta_i) eps, and the later steps shrink it: sqrt(beta_i abar_t / abar_i) ("paper"). In the official
    code of BSDM step i also shrinks its own noise: sqrt(beta_i abar_t / abar_{i-1}) ("official"). The squares of the
    paper's weights add up to 1 - abar_t, the usual DDPM variance.
    """
    products = abar(betas)
    before = products[1 : t + 1] if flavour == "paper" else products[:t]
    return torch.sqrt(betas[:t] * products[t] / before)


def gamma(betas: Tensor, flavour: Flavour = "paper") -> Tensor:
    """gamma_t, t = 0..T: the factor of eps in x_t when *the same* eps is used at every step, so that amplitudes add.

    Ma et al., "BSDM: Background Suppression Diffusion Model", 2023, arXiv 2307.09861. (T+1,). The sum of
    `shared_noise_weights` for every t.

    >>> gamma(torch.tensor([0.1, 0.2], dtype=torch.float64)).round(decimals=6).tolist()
    [0.0, 0.316228, 0.730056]
    """
    products = abar(betas)
    before = products[1:] if flavour == "paper" else products[:-1]
    total = torch.cumsum(torch.sqrt(betas / before), 0)
    return torch.cat([betas.new_zeros(1), torch.sqrt(products[1:]) * total])


def mixing(betas: Tensor, t: int, kind: Literal["gamma", "alpha"] = "gamma", flavour: Flavour = "paper") -> Mixing:
    """(signal, noise) of x_t = signal x_0 + noise eps, t = 0..T.

    kind: "gamma", one shared eps; "alpha", the usual independent ones, noise = sqrt(1 - abar_t).
    flavour: "paper" takes abar over t steps. "official" takes it over t+1, because its array is indexed
    from 0 and entry t is read; t = T does not exist there. Raises ValueError for a t the schedule does not have.

    >>> [round(c, 6) for c in mixing(linear_betas(1000), 500, flavour="official")]
    [0.278921, 17.495017]
    """
    last = len(betas) - (flavour == "official")
    if not 0 <= t <= last:
        raise ValueError(f"time {t} is outside 0..{last} of this schedule ({flavour} indexing)")
    product = abar(betas)[t + (flavour == "official")]
    noise = gamma(betas, flavour)[t] if kind == "gamma" else torch.sqrt(1 - product)
    return Mixing(float(torch.sqrt(product)), float(noise))


# --- forth and back ---------------------------------------------------------------------------------------------------


def noised(x0: Tensor, eps: Tensor, signal: float, noise: float) -> Tensor:
    """x_t from x_0 and the noise; any shape."""
    return signal * x0 + noise * eps


def predict_x0(x_t: Tensor, eps: Tensor, signal: float, noise: float) -> Tensor:
    """x_0 from x_t and its (predicted) noise: the inverse of `noised`."""
    return torch.sub(x_t, eps, alpha=noise).div_(signal)  # one new tensor, not three: cubes are large


def predict_noise(x_t: Tensor, x0: Tensor, signal: float, noise: float) -> Tensor:
    """The noise that leads from x_0 to x_t; `noise` must not be 0."""
    return (x_t - signal * x0) / noise


def posterior(betas: Tensor, t: int) -> tuple[float, float, float]:
    """q(x_{t-1} | x_t, x_0) of the usual independent noise: (weight of x_0, weight of x_t, variance), t = 1..T.

    Ho et al. 2020, eqs. 6 and 7. At t = 1 it is x_0 itself: (1, 0, 0).
    """
    if not 1 <= t <= len(betas):
        raise ValueError(f"a step back exists from times 1..{len(betas)}, not from {t}")
    beta = float(betas[t - 1])
    before, now = (float(a) for a in abar(betas)[t - 1 : t + 1])
    return before**0.5 * beta / (1 - now), (1 - beta) ** 0.5 * (1 - before) / (1 - now), beta * (1 - before) / (1 - now)


def posterior_step(x_t: Tensor, x0: Tensor, betas: Tensor, t: int, draw: Tensor | None = None) -> Tensor:
    """x_{t-1}: the posterior's mean, plus its standard deviation times `draw` (standard normal) if given."""
    of_x0, of_xt, variance = posterior(betas, t)
    mean = of_x0 * x0 + of_xt * x_t
    return mean if draw is None else mean + variance**0.5 * draw
