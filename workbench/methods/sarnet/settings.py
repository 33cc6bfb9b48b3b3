"""The settings of SAR-Net. Defaults train in a minute or two on two CPU cores; `width=16` gives the network of 1.27 million parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.config import ReadFile
from workbench.data.boxed_settings import NEEDS as NEEDS
from workbench.data.boxed_settings import BoxedSettings
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
Arm = Literal["plain", "wide", "ucm", "dam", "ucm-low", "ucm-high", "se", "cbam", "coordinate"]


class Config(BoxedSettings):
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
    lr: float = Field(2e-3, gt=0, le=1, description="largest learning rate of AdamW; half a cosine to 0")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="decoupled weight decay")
    warmup: int = Field(20, ge=0, description="first steps, during which the learning rate rises")
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient")
    box_weight: float = Field(1.0, ge=0, le=100, description="factor on the loss of the boxes")
    weights: ReadFile = Field(None, description="a run folder or .safetensors file: apply these weights and do not train")
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
