"""Frequency parsers: a learnable filter of feature maps in the Fourier domain, and the spectra to look at.

    parser = frequency_parser("complex_mask", channels=64, side=8)     # starts as the identity
    h = parser(h)                                                      # (N, channels, 8, 8)

`complex_mask` multiplies every frequency of every channel by a learnable complex number, the idea of the FF-Parser of MedSegDiff (J. Wu
et al., 2023, arXiv 2301.11798). `real_conv` is what the published code of FedDiff does (D. Li et al., 2024): a 1 x 1 convolution of the
real part of the spectrum. Without the imaginary part a map is averaged with its point reflection, which erases half of it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Parser = Literal["complex_mask", "real_conv", "none"]


class ComplexMask(nn.Module):
    """One learnable complex factor for each channel and frequency; a new one is the identity. For maps of one size."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        whole = torch.zeros(channels, side, side // 2 + 1, 2)
        whole[..., 0] = 1
        self.factor = nn.Parameter(whole)

    def forward(self, h: Tensor) -> Tensor:
        """(N, channels, side, side) -> the same shape."""
        spectrum = torch.fft.rfft2(h.float()) * torch.view_as_complex(self.factor)
        return torch.fft.irfft2(spectrum, s=h.shape[-2:]).to(h.dtype)


class RealConv(nn.Module):
    """A 1 x 1 convolution of the real part of the spectrum; the imaginary part is lost. For maps of any size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        """(N, channels, y, x) -> the same shape."""
        return torch.fft.ifft2(self.mix(torch.fft.fft2(h.float()).real)).real.to(h.dtype)


def frequency_parser(kind: Parser, channels: int, side: int) -> nn.Module:
    """The parser of that name; `none` is the identity without weights."""
    if kind == "complex_mask":
        return ComplexMask(channels, side)
    return RealConv(channels) if kind == "real_conv" else nn.Identity()


def log_spectrum(h: Tensor) -> Tensor:
    """log(1 + |FFT|) of maps (..., y, x), the zero frequency in the middle."""
    return torch.log1p(torch.fft.fftshift(torch.fft.fft2(h.float()).abs(), dim=(-2, -1)))


def without_annulus(h: Tensor, low: float, high: float) -> Tensor:
    """Maps (..., y, x) without the frequencies of a radius from `low` to below `high`, in cycles per pixel (0 to 0.71)."""
    radius = frequency_radius(h.shape[-2], h.shape[-1]).to(h.device)
    kept = (radius < low) | (radius >= high)
    return torch.fft.ifft2(torch.fft.fft2(h.float()) * kept).real


def frequency_radius(rows: int, columns: int) -> Tensor:
    """(rows, columns): distance of each frequency of `torch.fft.fft2` from zero, in cycles per pixel."""
    return torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.fftfreq(columns)[None])
