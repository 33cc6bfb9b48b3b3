"""Settings that the methods with a diffusion network, its bank and a classifier share: MDFL and FedDiff. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.data.patch_settings import PatchSettings, once

Arm = Literal["none", "real_conv", "complex_mask"]


class BankSettings(PatchSettings):
    """Patches, diffusion network, bank, classifier. docs/design/0016-diffusion-features.md has the reason for each choice."""

    width: int = Field(
        32, ge=4, le=512, multiple_of=4, description="channels of the first level of the U-Net; the second has twice as many"
    )
    parser: Arm = Field("complex_mask", description="frequency parser; real_conv is that of the published code of FedDiff")
    times: tuple[int, ...] = Field((5, 50, 100, 200), min_length=1, description="noise levels of the bank, t of 500")
    steps: int = Field(400, ge=1, le=10_000_000, description="optimiser steps of each diffusion network")
    batch: int = Field(64, ge=2, le=4096, description="patches per step")
    lr: float = Field(1e-3, gt=0, le=1, description="learning rate of Adam of the diffusion networks")
    head_steps: int = Field(400, ge=1, le=10_000_000, description="optimiser steps of each classifier")
    head_lr: float = Field(
        1e-3, gt=0, le=1, description="largest learning rate of AdamW of the classifiers; half a cosine to 0"
    )
    trees: int = Field(200, ge=1, le=100_000, description="trees of the random forests")
    map: bool = Field(True, description="also classify every pixel of the tested images")
    show_every: int = Field(50, ge=1, description="steps between two records of pictures and probes")

    @field_validator("times")
    @classmethod
    def _of_500(cls, times: tuple[int, ...]) -> tuple[int, ...]:
        if min(times) < 0 or max(times) > 499:
            raise ValueError("noise levels lie between 0 and 499")
        return once(times)
