"""The settings of GHOST. Defaults train in a few minutes on two CPU cores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.config import named_once
from workbench.data.boxed_settings import NEEDS as NEEDS
from workbench.data.boxed_settings import BoxedSettings
from workbench.event import Bars, Boxes, Curves, Film, Map, Matrix

SMOKE = {
    "steps": 4,
    "student_steps": 3,
    "width": 2,
    "crop": 64,
    "batch": 4,
    "show_every": 2,
    "rivals": ["uniform", "off"],
    "uniform_bits": [8],
}
PAGE = "compression?method=ghost"
HEADLINE = ("ap50", "ap50_teacher", "ap50_ptq", "bops_ratio")
SHOWS = (
    Curves("loss", ("loss",), own_steps=True),
    Curves("AP50 on validation images", ("val_ap50",), own_steps=True),
    Curves("share of open switches", ("open",), own_steps=True),
    Curves("attention distance in training", ("attention",), own_steps=True),
    Boxes("chip"),
    Film(("chip", "teacher", "student"), "One validation image: amplitude, and where teacher and student attend"),
    Bars("bits", "Bits of each layer"),
    Map("distance", "d(n) of each layer: error of 2^n centres"),
    Matrix("arm_bits", "Bits of each layer, all arms"),
    Map("openness", "Share of open switches, by block and step"),
    Matrix("logits", "Logits of the switches at the end: student block against teacher block"),
    Matrix("attention_distance", "Distance of the attention maps to the teacher's, test images"),
    Map("precision", "Precision against recall, IoU 0.5"),
)
RIVALS = ("uniform", "spread", "greedy", "off", "on", "coin", "logit", "published")


class Config(BoxedSettings):
    """docs/methods/ghost.md has the reason for each choice."""

    network: Literal["small", "sarnet"] = Field(
        "small",
        description="detector: small, with ReLU everywhere; sarnet, that of the method of this name, whose convolutions are quantised",
    )
    bands: Literal["mean", "all"] = Field(
        "mean",
        description="mean: the mean of the bands of an image, as of SAR; all: every band, such as colour and infrared side by side",
    )
    width: int = Field(
        8, ge=2, le=128, description="channels of the finest map, doubled at every scale; the neck has 4 times as many"
    )
    steps: int = Field(500, ge=1, le=1_000_000, description="optimiser steps of the float detector, the teacher")
    student_steps: int = Field(200, ge=1, le=1_000_000, description="optimiser steps of every quantised copy")
    lr: float = Field(2e-3, gt=0, le=1, description="largest learning rate of AdamW; half a cosine to 0")
    student_lr: float = Field(5e-4, gt=0, le=1, description="the same for the quantised copies")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="decoupled weight decay of the teacher; the copies have none")
    warmup: int = Field(20, ge=0, description="first steps, during which the learning rate rises")
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient")
    plan: Literal["budget", "published"] = Field(
        "budget",
        description="budget: the threshold T that costs as many bit operations as `mean_bits` in every layer; published: T itself",
    )
    mean_bits: int = Field(3, ge=2, le=8, description="bits of the uniform plan that sets the budget")
    distance_threshold: float = Field(0.1, gt=0, description="T of the published plan, in 10^-6 of squared weights")
    quantizer: Literal["lsq", "published"] = Field(
        "lsq", description="lsq: learned steps; published: fixed clip to [0, 1], which costs most of the accuracy"
    )
    gate: Literal["random", "learned", "on"] = Field(
        "random",
        description="switches: random: their weights are never trained, as in the authors' code; learned: trained, with a penalty that "
        "keeps them open (ours); on: all open",
    )
    noise: Literal["gumbel1", "logistic", "none"] = Field(
        "gumbel1",
        description="noise of the switches: one Gumbel variable as in the authors' code, the difference of two, none",
    )
    teach: float = Field(0.3, ge=0, le=1e4, description="factor on the loss of the attention maps")
    pixels: Literal["sum", "mean"] = Field(
        "sum",
        description="the map loss adds or averages pixels; with the mean, as published, fine maps weigh next to nothing",
    )
    query: int = Field(128, ge=1, le=4096, description="length of queries and keys of the switches")
    open_share: float = Field(0.6, gt=0, lt=1, description="share of open switches that gate=learned aims at")
    open_weight: float = Field(1.0, ge=0, le=1e4, description="factor on its penalty")
    rivals: tuple[str, ...] = Field(
        RIVALS,
        description="further copies: uniform bits, bits from the standard deviation, greedy bits, no teacher, all switches on, switches "
        "by chance, the teacher's outputs instead of its attention, the published quantiser",
    )
    uniform_bits: tuple[int, ...] = Field((2, 4, 6, 8), description="further uniform plans without a teacher")
    files: bool = Field(
        False,
        description="also write the mixed-bit file, the float file and onnxruntime's int8 of it, and measure their AP50, bytes and "
        "latency on this machine; test images must have the size of a crop",
    )
    show_every: int = Field(25, ge=1, description="steps between two records of boxes, switches and scores")

    @field_validator("rivals")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(names, RIVALS, "a rival")

    @field_validator("uniform_bits")
    @classmethod
    def _few(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(bits)) < len(bits) or not all(2 <= b <= 8 for b in bits):
            raise ValueError("must be different numbers from 2 to 8")
        return bits
