"""What the float teacher tells its quantised copy: attention maps, block by block, through switches (step D of the method).

    A(f) = mean over channels of f^2, flattened, of unit length
    l_ij = <key of student block i, query of teacher block j> / sqrt(length)
    z_i  = whether the switch of block i is open, for each image; straight-through gradient of sigmoid(l_ii + noise)
    loss = sum over blocks of the mean over images of z_i |A(student_i) - A(teacher_i)|^2

With one Gumbel variable as noise a switch is open with probability 1 - exp(-exp(l)): 0.632 at l = 0. The authors' optimiser never sees
the weights of the switches, so their switches are a coin of about this probability (`gate="random"`). Trained on this loss alone all
switches would close, because no term ever rewards an open one; `gate="learned"` adds a penalty, which is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Noise = Literal["gumbel1", "logistic", "none"]
COIN = 0.632  # probability of an open switch at logit 0 with one Gumbel variable


def attention(feature: Tensor) -> Tensor:
    """(B, c, h, w) -> (B, h w), of unit length: where a block has large values."""
    return F.normalize(feature.square().mean(1).flatten(1), dim=1)


def map_distance(student: Tensor, teacher: Tensor, pixels: Literal["sum", "mean"] = "sum") -> Tensor:
    """(B,): squared difference of the attention maps of one block."""
    squared = (attention(student) - attention(teacher)).square()
    return squared.sum(1) if pixels == "sum" else squared.mean(1)


def switch(logit: Tensor, noise: Noise) -> Tensor:
    """1 or 0 for each logit, with the gradient of the sigmoid. Draws from torch's random state."""
    y = torch.sigmoid(logit + _noise(logit, noise))
    return (y > 0.5).float() + y - y.detach()


def _noise(like: Tensor, kind: Noise) -> Tensor:
    if kind == "none":
        return torch.zeros_like(like)
    first = -torch.empty_like(like).exponential_().log()
    return first if kind == "gumbel1" else first + torch.empty_like(like).exponential_().log()


class Taught(NamedTuple):
    """loss: see the module. z (B, L): switches. distance (L,): of the maps, mean over images. logits (L, L): student block i, teacher
    block j, mean over images."""

    loss: Tensor
    z: Tensor
    distance: Tensor
    logits: Tensor


class Switches(nn.Module):
    """The switches of a network with blocks of these channels; used in training only."""

    def __init__(self, channels: Sequence[int], length: int) -> None:
        super().__init__()
        self.scale = length**-0.5
        self.query, self.key = (
            nn.ModuleList(nn.Sequential(nn.Linear(c, length), nn.BatchNorm1d(length)) for c in channels) for _ in range(2)
        )

    def logits(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """(B, L, L)."""
        keys = torch.stack([F.relu(f(x.mean((2, 3)))) for f, x in zip(self.key, student, strict=True)], 1)
        queries = torch.stack([f(x.mean((2, 3))) for f, x in zip(self.query, teacher, strict=True)], 1)
        return self.scale * keys @ queries.transpose(1, 2)

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        how: Literal["switch", "on", "coin"],
        noise: Noise,
        pixels: Literal["sum", "mean"],
    ) -> Taught:
        """how: switches by their logits, all open, or by chance."""
        logits = self.logits(student, teacher)
        own = logits.diagonal(dim1=1, dim2=2)
        z = switch(own, noise) if how == "switch" else torch.ones_like(own)
        if how == "coin":
            z = (torch.rand_like(own) < COIN).float()
        apart = torch.stack([map_distance(s, t, pixels) for s, t in zip(student, teacher, strict=True)], 1)
        return Taught((z * apart).mean(0).sum(), z, apart.mean(0).detach(), logits.detach().mean(0))
