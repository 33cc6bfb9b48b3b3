"""Settings of RS-DGC, and the texts that explain its numbers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from workbench.baselines.compressors import RIVALS
from workbench.config import Odd, Processes, Settings, named_once
from workbench.event import Bars, Curves, Film, Matrix

NEEDS = ("image", "label")
SMOKE = {"steps": 6, "network": "cnn", "width": 4, "batch": 16, "eval_every": 3, "show_every": 3, "size": 8}
HEADLINE = ("accuracy_rsdgc", "accuracy_magnitude-dynamic", "ratio_counted_rsdgc")  # the second: without the indicator
SHOWS = (
    Curves("test accuracy", ("accuracy",), own_steps=True),
    Curves("loss", ("loss",), own_steps=True),
    Curves("sent by all ranks, counted", ("megabytes",), units="MB", own_steps=True),
    Film(("importance",), "Gradient, neighbourhood mean and spread, score, and sent entries"),
    Bars("budget", "Entries that a layer may send", "entries"),
    Bars("signal", "Importance of a layer against its first steps"),
    Matrix("age", "Share of a layer's entries by steps since they were sent"),
)
NOTEBOOK = "gradients"
PAGE = "gradients"

RECONSTRUCTION = "The NSI formula is a reconstruction from the paper's abstract, not the paper's own equation."
RATIOS = {
    "ratio_entries": "entries of the gradient divided by entries sent; the ratio that papers often print",
    "ratio_upload": "bytes of a float32 gradient divided by bytes of one rank's message, positions included",
    "ratio_wire": "bytes of dense ring all-reduce divided by bytes of all messages, by all ranks together; without headers",
    "ratio_counted": "as ratio_wire, but with the headers of all messages counted too; of a small network they are a large part",
    "measured_ratio": "bytes of dense ring all-reduce divided by those measured on the loopback: the saving, if the machine is quiet",
}


class Config(Settings):
    """The paper's settings are not known to us beyond VGG-19 and a compression above 50; these follow DGC's public code."""

    network: Literal["vgg", "vgg19", "resnet", "cnn"] = Field(
        "vgg", description="eight-layer VGG, VGG-19 with one head, ResNet-10, or four layers without normalisation"
    )
    width: int = Field(16, ge=1, le=256, description="channels of the first stage; VGG-19 as published has 64")
    rivals: tuple[str, ...] = Field(
        RIVALS, min_length=1, description="compressors trained one after another: " + ", ".join(RIVALS)
    )
    workers: Annotated[int, Processes()] = Field(2, ge=1, le=64, description="ranks that share every batch")
    steps: int = Field(300, ge=1, description="optimiser steps of each compressor")
    batch: int = Field(16, ge=1, description="chips per worker and step")
    lr: float = Field(0.05, gt=0, le=10, description="largest learning rate; cosine to 0")
    lr_warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps during which the learning rate rises to lr")
    momentum: float = Field(0.9, ge=0, lt=1, description="in the hook (rsdgc, dgc) or in the optimiser, never in both")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="of the optimiser")
    density: float = Field(0.01, gt=0, le=1, description="share of the gradient entries sent per step")
    warmup_stages: int = Field(
        0, ge=0, le=20, description="number of larger densities used first, a geometric sequence down to density"
    )
    warmup_steps: int = Field(10, ge=1, description="steps at each of these densities")
    indicator: Literal["mix", "contrast", "zscore", "energy", "tile", "magnitude"] = Field(
        "mix", description="importance of an entry: a reconstruction of the NSI, or magnitude"
    )
    p: Odd = Field(3, ge=1, le=15, description="side of the neighbourhood, odd")
    dynamic: float = Field(
        0.5, ge=0, le=1, description="how much a layer's share depends on its importance; 0: on its size only"
    )
    values: Literal["f32", "f16"] = Field("f32", description="data type of sent values")
    index: Literal["auto", "elias-fano", "bitmap", "varint", "int32"] = Field("auto", description="coding of positions")
    powersgd_rank: int = Field(2, ge=1, le=32, description="rank of PowerSGD's factors")
    powersgd_start: int = Field(10, ge=2, description="steps of all-reduce before PowerSGD begins")
    train_fraction: float = Field(0.7, gt=0, lt=1, description="share for training, if the scene has no split")
    size: int = Field(64, ge=4, le=512, description="longest side of a chip; larger ones are averaged down")
    augment: bool = Field(
        False, description="flips and rotations by 90 degrees; suitable for overhead images, not for digits"
    )
    eval_every: int = Field(25, ge=1, description="steps between two test accuracies")
    show_every: int = Field(10, ge=1, description="steps between two recorded views of the gradient")
    watch: int = Field(3, ge=0, le=10, description="layers whose gradient is shown, from first to last")
    timeout: float = Field(60.0, gt=0, le=3600, description="seconds without an answer after which a rank counts as lost")
    threads: int = Field(1, ge=1, le=64, description="threads of each rank")

    @field_validator("rivals")
    @classmethod
    def _known(cls, rivals: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(rivals, RIVALS, "a compressor")

    @field_validator("p")
    @classmethod
    def _wide_enough(cls, p: int, info: Any) -> int:
        if p == 1 and info.data.get("indicator") in ("contrast", "zscore"):
            raise ValueError(f"must be 3 or more for {info.data['indicator']}")
        return p
