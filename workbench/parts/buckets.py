"""A parameter and its place in a DDP bucket: what it has not sent yet, and how its gradient lies in the flat buffer.

DDP lays a parameter's gradient out as the parameter lies in memory (channels last, transposed), but `GradBucket.gradients()`
shows it as if it were contiguous. Compression wants the order of the dims, so both ways are here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Layer:
    """A parameter, what it has not sent yet, and how its importance changes."""

    name: str
    parameter: Tensor
    number: int
    compressed: bool  # matrices are, vectors go whole
    n: int
    rows: int
    u: Tensor | None = None  # momentum; None: none, or all zero still
    v: Tensor | None = None  # accumulated and unsent
    u_next: Tensor | None = None
    v_next: Tensor | None = None
    reference: tuple[float, int] = (0.0, 0)  # sum and number of the first signals
    signal: float = 1.0
    k: int = 0  # entries it may send in this step
    units: int = 0  # positions that takes: as many, or k / p^2 tiles

    @property
    def shape(self) -> tuple[int, int]:
        """Of its matrix."""
        return self.rows, self.n // self.rows


def kept_as(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 for a model in float64."""
    return dtype if dtype == torch.float64 else torch.float32


def in_memory_order(layer: Layer, part: Tensor) -> Tensor:
    """A flat part of a DDP buffer as the parameter's shape: DDP lays it out as the parameter lies in memory."""
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
    """A gradient flat in the order of DDP's buffer."""
    part = torch.empty(layer.n, dtype=gradient.dtype, device=gradient.device)
    in_memory_order(layer, part).copy_(gradient)
    return part
