"""Settings of `workbench.parts.feature_exchange`, for the settings of the rooms that use it. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workbench.data.patch_settings import PatchSettings


class ExchangeSettings(PatchSettings):
    """How owners train together by features. docs/methods/fedfusion.md has the reason for each choice."""

    subspace: Literal["per_batch", "shared"] = Field(
        "per_batch",
        description="shared: clients send 16 x 16 Gram matrices of a random sample once a round, and messages hold no basis",
    )
    fusion: Literal["additive", "concatenated"] = Field(
        "additive", description="how sensors meet; concatenated: each goes through one shared module, two sensors only"
    )
    bn: Literal["own", "shared"] = Field(
        "own", description="running statistics of batch norm in shared layers: of each sensor, or one for all as published"
    )
    steps: int = Field(300, ge=1, le=10_000_000, description="optimiser steps of each learner that exchanges features")
    batch: int = Field(64, ge=2, le=4096, description="pixels of a batch, and of a message")
    lr: float = Field(1e-3, gt=0, le=1, description="largest learning rate of AdamW; half a cosine to 0")
    decay: float = Field(1e-3, ge=0, le=1, description="weight decay of AdamW")
    penalty: float = Field(
        0.0, ge=0, le=10, description="factor of the sum of norms of the convolutions; the published code has 0.01"
    )
    average_every: int = Field(10, ge=1, le=1_000_000, description="H: steps between two averages of weights")
    groups: int = Field(
        1, ge=1, le=64, description="groups of clients, each with one client for every sensor, in strips of the area"
    )
    label_owner: str = Field(
        "", description="the only sensor whose owner has labels; gradients of logits then travel too. Empty: all have"
    )
