"""The settings of AR-CDNet. Defaults train in minutes on two CPU cores; `PAPER` has the settings of the authors' code."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from workbench.config import ReadFile, Settings
from workbench.event import Curves, Film

SMOKE = {"steps": 6, "width": 4, "crop": 32, "batch": 4, "show_every": 3}
HEADLINE = ("f1", "error_auroc", "iou")
SHOWS = (
    Curves("loss", ("loss",), references=("floor",)),
    Curves("F1 on validation pixels", ("val_f1",)),
    Curves("uncertainty against error, AUROC", ("val_error_auroc", "val_error_auroc_entropy")),
    Film(("before", "after", "truth", "change", "uncertainty", "target"), "One validation pair"),
)
NOTEBOOK = "change"
PAGE = "change"

NEEDS = ("before", "after")
RIVALS = ("fc-ef", "fc-siam-conc", "fc-siam-diff")
MEASURES = ("mc-dropout", "ensemble")

# The settings of the authors' code, as overrides; 20 000 steps of 8 crops of 512 pixels need a GPU.
PAPER: dict[str, Any] = {
    "network": "full",
    "compat": True,
    "scaling": "imagenet",
    "steps": 20_000,
    "batch": 8,
    "crop": 512,
    "lr": 5e-4,
    "warmup": 200,
}


class Config(Settings):
    """docs/methods/arcdnet.md has the measured effect of each choice."""

    network: Literal["small", "full"] = Field(
        "small", description="small: 16 channels and 3 levels, for CPUs; full: as published, 14 million parameters"
    )
    width: int | None = Field(None, ge=2, le=256, description="channels of the pyramid; none: 16 small, 64 full")
    context: Literal["window", "global"] | None = Field(
        None,
        description="window: outputs depend on a fixed distance, tiles give the same numbers as the whole image; global: pools "
        "over the whole image, as published; none: window small, global full",
    )
    compat: bool = Field(
        False,
        description="as in the authors' code: one order of dates only, dates exchanged, encoded one by one, global context",
    )
    swap_second: bool = Field(True, description="the second branch of the difference gets the dates in reverse order")
    difference: Literal["tde", "abs"] = Field("tde", description="learnt difference in both orders, or |a - b|")
    krm: bool = Field(True, description="knowledge review; off: the levels go to the last layers unchanged")
    oue: bool = Field(True, description="uncertainty branch; off: no learnt uncertainty, only entropy")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of fused channels dropped while training")
    encoder: ReadFile = Field(None, description="file with weights of timm's resnet18d for the full network's encoder")
    weights: ReadFile = Field(None, description="a run folder or .safetensors file: apply these weights and do not train")
    scaling: Literal["data", "imagenet"] = Field(
        "data", description="mean and spread of bands: from the training pixels, or ImageNet's (3 bands in [0, 1])"
    )
    transform: Literal["auto", "linear", "log"] = Field(
        "auto", description="log: logarithm of the values first; auto: for SAR pairs only; linear: never"
    )
    steps: int = Field(300, ge=1, le=1_000_000, description="optimiser steps of every network")
    batch: int = Field(
        8, ge=2, le=512, description="crops per step; at least 2, because pooled averages are batch-normalised"
    )
    crop: int = Field(64, ge=32, le=2048, multiple_of=32, description="side of training crops, pixels")
    lr: float = Field(1e-2, gt=0, le=1, description="largest learning rate of AdamW; falls as (1 - step/steps)^power")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="decoupled weight decay")
    power: float = Field(0.9, gt=0, le=10, description="exponent of the falling learning rate")
    warmup: int = Field(20, ge=0, description="first steps, during which the rate rises from a tenth of lr")
    augment: tuple[Literal["crop", "flip", "exchange"], ...] = Field(
        ("crop", "flip", "exchange"), description="each with probability 1/2: cut the border and enlarge, mirror, swap dates"
    )
    uncertainty_weight: float = Field(1.0, ge=0, le=100, description="factor on the uncertainty's loss")
    controls: bool = Field(True, description="also run an untrained branch and one trained on shuffled targets")
    rivals: tuple[Literal["fc-ef", "fc-siam-conc", "fc-siam-diff"], ...] = Field(
        ("fc-siam-diff",), description="networks trained for comparison with the same crops, steps and loss"
    )
    measures: tuple[Literal["mc-dropout", "ensemble"], ...] = Field(
        (), description="uncertainties that need further trainings: one for mc-dropout, two for an ensemble of three"
    )
    passes: int = Field(10, ge=2, le=1000, description="forward passes of MC dropout")
    mc_rate: float = Field(0.2, gt=0, lt=1, description="share of channels dropped by MC dropout")
    test_share: float = Field(0.25, gt=0, lt=0.9, description="share held out, if the scene has no split")
    val_share: float = Field(0.125, gt=0, lt=0.5, description="share scored during training and used for the temperature")
    block: int = Field(64, ge=16, le=4096, description="side of the squares by which one large pair is split, pixels")
    tile: int | None = Field(None, ge=64, description="side of inference tiles, pixels; none: 1024 small, the crop full")
    margin: int | None = Field(
        None,
        ge=0,
        description="border of a tile that is discarded; none: the reach of an output, or tile/16 if global",
    )
    show_every: int = Field(20, ge=1, description="steps between two records of maps and scores of the validation pairs")

    @field_validator("rivals", "measures", "augment")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names something twice")
        return names

    @property
    def geometry(self) -> str:
        """`context`, with its default filled in."""
        return self.context or ("global" if self.network == "full" or self.compat else "window")
