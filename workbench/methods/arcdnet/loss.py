"""The losses and the learning rate. Every mean and sum is over valid pixels only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1e-5  # of Dice; on a batch without change it makes the loss term near 1 for any P


def bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean cross-entropy of logits with targets in [0, 1], soft or not; 0 if no pixel is valid."""
    terms = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (terms * valid).sum() / valid.sum().clamp(min=1)


def dice(logits: Tensor, y: Tensor, valid: Tensor) -> Tensor:
    """(2 sum p y + 1e-5) / (sum p + sum y + 1e-5), summed over the whole batch. P = .9 .2 .6 .5, y = 1 0 0 1: .666667."""
    p = torch.sigmoid(logits) * valid
    y = y * valid
    return (2 * (p * y).sum() + SMOOTH) / (p.sum() + y.sum() + SMOOTH)


def change_loss(logits: Tensor, y: Tensor, valid: Tensor) -> Tensor:
    """BCE + 1 - Dice, for the change map and for each side mask. Of the example above: .817818."""
    return bce(logits, y, valid) + 1 - dice(logits, y, valid)


def uncertainty_target(logits: Tensor, y: Tensor) -> Tensor:
    """T = y (1 - P) + (1 - y) P, which is |y - P|; no gradient flows into P. P = .9 .2 .6 .5, y = 1 0 0 1: .1 .2 .6 .5."""
    p = torch.sigmoid(logits.detach())
    return y * (1 - p) + (1 - y) * p


def network_loss(
    change: Tensor, sides: Sequence[Tensor], uncertainty: Tensor | None, y: Tensor, valid: Tensor, weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """(the loss of the network, its parts by name) from the logits of its maps. weight: factor on the loss of the uncertainty."""
    parts = {"loss_change": change_loss(change, y, valid)}
    parts |= {f"loss_side_{k}": change_loss(m, y, valid) for k, m in enumerate(sides, start=2)}
    loss = torch.stack(list(parts.values())).sum()
    if uncertainty is not None:
        parts["loss_uncertainty"] = bce(uncertainty, uncertainty_target(change, y), valid)
        loss = loss + weight * parts["loss_uncertainty"]
    return loss, parts


def entropy_floor(target: Tensor, valid: Tensor) -> Tensor:
    """BCE(T, T), the minimum of BCE(U, T), at U = T. Of .1 .2 .6 .5: .547911, not 0."""
    t = target.clamp(1e-7, 1 - 1e-7)
    terms = -t * t.log() - (1 - t) * (1 - t).log()
    return (terms * valid).sum() / valid.sum().clamp(min=1)


def shuffled(target: Tensor, valid: Tensor) -> Tensor:
    """The targets of valid pixels in random order: correct values at wrong pixels. Draws from torch's state."""
    chosen = valid > 0
    values = target[chosen]
    permuted = target.clone()
    permuted[chosen] = values[torch.randperm(len(values)).to(values.device)]
    return permuted


def learning_rate(step: int, total: int, lr: float, power: float = 0.9, warmup: int = 200) -> float:
    """Before step `step` (from 0): lr (1 - step/total)^power; in the first `warmup` steps lr (.1 + .9 (step + 1)/warmup) instead.

    lr = 5e-4, total = 20202: 5.225e-5 at step 0, 5e-4 at 199, 4.9554e-4 at 200, 2.7035e-4 at 10000.
    """
    if step < warmup:
        return lr * (0.1 + 0.9 * (step + 1) / warmup)
    return lr * (1 - step / total) ** power
