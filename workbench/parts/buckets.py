"""A parameter and its place in a DDP bucket: its unsent gradient, and the layout of its gradient in the flat buffer.

DDP stores a gradient in the memory order of its parameter (channels last, transposed), but `GradBucket.gradients()` returns
it as if it were contiguous. Compression needs the order of the dims, so this module converts in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Layer:
    """A parameter, its unsent gradient, and how its importance changes."""

    name: str
    parameter: Tensor
    number: int
    compressed: bool  # True for matrices; vectors are sent whole
    n: int
    rows: int
    u: Tensor | None = None  # momentum; None: no momentum, or still zero
    v: Tensor | None = None  # accumulated and unsent
    u_next: Tensor | None = None
    v_next: Tensor | None = None
    reference: tuple[float, int] = (0.0, 0)  # sum and count of the first signals
    signal: float = 1.0
    k: int = 0  # entries to send in this step
    units: int = 0  # positions to send: k entries, or k / p^2 tiles

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the parameter as a matrix."""
        return self.rows, self.n // self.rows


def kept_as(dtype: torch.dtype) -> torch.dtype:
    """The dtype of residuals: float32, or float64 for a model in float64."""
    return dtype if dtype == torch.float64 else torch.float32


def in_memory_order(layer: Layer, part: Tensor) -> Tensor:
    """A flat part of a DDP buffer in the parameter's shape; DDP stores it in the parameter's memory order."""
    p = layer.parameter
    if p.is_contiguous() or not dense_strides(p):
        return part.view(p.shape)
    return part.as_strided(p.shape, p.stride(), part.storage_offset())


def dense_strides(p: Tensor) -> bool:
    """Whether the strides are those of a contiguous tensor in some order of its dims."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(p.stride(), p.shape, strict=True) if n > 1):
        if stride != expected:
            return False
        expected *= size
    return True


def gradient_of(layer: Layer, buffer: Tensor, start: int) -> Tensor:
    """A layer's gradient, flat in the order of its dims, float32 or float64."""
    return in_memory_order(layer, buffer[start : start + layer.n]).reshape(-1).to(kept_as(buffer.dtype))


def flat(gradient: Tensor, layer: Layer) -> Tensor:
    """A gradient as a flat tensor in the order of DDP's buffer."""
    part = torch.empty(layer.n, dtype=gradient.dtype, device=gradient.device)
    in_memory_order(layer, part).copy_(gradient)
    return part
