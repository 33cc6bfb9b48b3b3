"""Suppression: repeated passes of the scene through the trained denoiser."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor, nn

from workbench.methods.bsdm.network import moments
from workbench.methods.bsdm.settings import Config, mix
from workbench.parts.diffusion import Mixing, predict_x0

Predictor = Callable[..., Tensor]  # spectra (P, C) float64 -> predicted noise (P, C)


Spread = tuple[float, float]  # mean and standard deviation of all numbers of a cube


def predictor(network: nn.Module, config: Config, dtype: torch.dtype = torch.float32) -> Predictor:
    """The network as a function of spectra only: with t and the offset's moments, in chunks, without gradients.

    dtype: of the network. `whole`: moments of the whole cube, if the spectra are only a part of it.
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
    """The optimal denoiser if every band of the scene were N(mu, sigma^2): e = w x - (w (signal + noise) - 1) mu.

    w = noise / (noise^2 + signal^2), 0.0571446 for the official gamma at t = 500. It is affine, so it cannot change RX.
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
    """The modified inference: use the cube as x_t and predict x_0, K times; yields (y_k, e_k), k = 0..K.

        y_0 = x_0;   e_k = net(y_k, t);   y_{k+1} = (y_k - gamma_t e_k) / sqrt(abar_t)

    y is float64, because values grow 3.6 times per pass while the scene's part of them shrinks by the same factor.
    `renorm` restores the mean and spread of y_0 after each pass, which does not change RX but changes the network's input.
    `whole`: mean and spread of every y_k, before `renorm`, of the whole cube, if y is only a part of it.
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
    """(y_K, e_K): the last results of `suppress`; `passes` overrides the config's K."""
    dtype = next(network.parameters()).dtype
    passes = config.passes if passes is None else passes
    for pair in suppress(predictor(network, config, dtype), y, mix(config), passes, config.renorm, whole):
        last = pair  # keep only the last: each is as large as the cube
    return last
