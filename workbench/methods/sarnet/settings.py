"""The settings of SAR-Net. Defaults train in a minute or two on two CPU cores; `width=16` gives the network of 1.27 million parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.config import ReadFile, Settings
from workbench.event import Bars, Boxes, Curves, Film, Map

SMOKE = {"steps": 6, "width": 2, "crop": 64, "batch": 4, "show_every": 3, "rivals": ["plain"], "cfar_factors": [2.0]}
HEADLINE = ("ap50", "ap", "ap50_ca_cfar")
PAGE = "detection"
SHOWS = (
    Curves("loss", ("loss",), own_steps=True),
    Curves("AP50 on validation images", ("val_ap50",), own_steps=True),
    Boxes("chip"),
    Film(("chip", "truth", "heat"), "One validation image: amplitude, ships, and where the network fires"),
    Film(("row_gate", "column_gate"), "Gates of the two directions, first level"),
    Map("precision", "Precision against recall, IoU 0.5"),
    Bars("lost_ap50", "AP50 lost to each kind of error"),
)
NEEDS = ("image", "box", "box_sample", "box_label")
Arm = Literal["plain", "wide", "ucm", "dam", "ucm-low", "ucm-high", "se", "cbam", "coordinate"]


class Config(Settings):
    """docs/methods/sarnet.md has the reason for each choice."""

    width: int = Field(
        8, ge=2, le=128, description="channels of the finest map, doubled at every scale; the neck has 4 times as many"
    )
    aggregate: Literal["product", "mean"] = Field("product", description="how the gates of rows and columns are joined")
    rivals: tuple[Arm, ...] = Field(
        ("wide",),
        description="networks trained for comparison: plain neck, plain neck with as many parameters, one module alone, other attentions",
    )
    steps: int = Field(500, ge=1, le=1_000_000, description="optimiser steps of every network")
    batch: int = Field(8, ge=2, le=512, description="crops per step")
    crop: int = Field(128, ge=32, le=2048, multiple_of=32, description="side of training crops, pixels")
    lr: float = Field(2e-3, gt=0, le=1, description="largest learning rate of AdamW; half a cosine to 0")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="decoupled weight decay")
    warmup: int = Field(20, ge=0, description="first steps, during which the learning rate rises")
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient")
    box_weight: float = Field(1.0, ge=0, le=100, description="factor on the loss of the boxes")
    augment: tuple[Literal["flip", "transpose", "gain", "speckle"], ...] = Field(
        ("flip", "gain", "speckle"), description="changes of training crops; transpose exchanges range and azimuth"
    )
    transform: Literal["log", "linear"] = Field(
        "log", description="log: log(1 + a) / log 256 of 8-bit amplitude a; linear: a / 255"
    )
    test: tuple[str, ...] = Field(
        (), description="identifiers of the test images; none: the scene's split, else a part of the images"
    )
    folds: int = Field(
        4, ge=2, le=1000, description="number of parts into which images without a split are dealt; one is for testing"
    )
    fold: int = Field(0, ge=0, description="which part is for testing; 0 is the first")
    val: tuple[str, ...] = Field(
        (),
        description="identifiers of the validation images, scored during training and to choose the threshold; none: a share of the others",
    )
    val_share: float = Field(
        0.15, gt=0, lt=0.9, description="share of the training images that are used for validation if val names none"
    )
    weights: ReadFile = Field(None, description="a run folder or .safetensors file: apply these weights and do not train")
    threshold: float = Field(0.02, gt=0, lt=1, description="lowest score of a detection")
    overlap: float = Field(0.6, gt=0, le=1, description="IoU above which the lower of two detections is removed")
    most: int = Field(300, ge=1, le=10_000, description="detections of an image that are kept and scored")
    tile: int | None = Field(None, ge=64, multiple_of=32, description="side of inference tiles, pixels; none: the crop")
    margin: int = Field(48, ge=0, description="pixels that neighbouring tiles share; a longer ship may be cut")
    cfar_guard: int = Field(12, ge=0, le=500, description="half width of CFAR's inner window, pixels")
    cfar_train: int = Field(24, ge=1, le=1000, description="half width of CFAR's outer window, pixels")
    cfar_factors: tuple[float, ...] = Field(
        (1.5, 2.0, 2.5, 3.0, 4.0),
        min_length=1,
        description="factors on the clutter; the best on the test images is reported",
    )
    controls: bool = Field(True, description="also score shuffled gates, and random boxes of the right sizes")
    show_every: int = Field(25, ge=1, description="steps between two records of boxes and scores on validation images")

    @field_validator("rivals", "augment", "test", "val", "cfar_factors")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names something twice")
        return names

    @property
    def side(self) -> int:
        """Side of inference tiles, with its default filled in."""
        return self.tile or self.crop
