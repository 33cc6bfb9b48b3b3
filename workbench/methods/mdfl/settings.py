"""The settings of MDFL. Defaults train in a minute or two on two CPU cores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.config import Settings
from workbench.event import Bars, Curves, Film, Map, Matrix

SMOKE = {
    "steps": 4,
    "width": 8,
    "batch": 8,
    "components": 3,
    "per_class": 10,
    "times": [5, 50],
    "head_steps": 4,
    "show_every": 2,
    "networks": ["two_branch"],
    "trees": 10,
}
HEADLINE = ("oa", "aa", "kappa")
PAGE = "landcover"
SHOWS = (
    Curves("diffusion loss", ("loss",), references=("loss_of_zero",), own_steps=True),
    Curves("accuracy of the bank while it is learnt", ("probe_oa",)),
    Film(("clean", "noisy", "denoised"), "Test patches side by side: clean, at t = 100, and what the network makes of them"),
    Curves("classifier loss", ("head_loss",), own_steps=True),
    Map("labels", "Class map"),
    Map("uncertainty", "Entropy of the class probabilities"),
    Matrix("confusion", "Confusion of test pixels"),
    Bars("recall", "Accuracy of each class"),
    Matrix("oa_by_time", "Accuracy of the bank at each noise level"),
    Map("bank_rgb", "The bank as colours, one picture for each noise level"),
    Matrix("area", "Mapped and estimated area of each class"),
)
NEEDS = (("hsi", "sar", "image", "lidar"), "truth")
SENSORS = ("hsi", "sar", "image", "lidar", "infrared")
Arm = Literal["none", "real_conv", "complex_mask"]


class Config(Settings):
    """docs/methods/mdfl.md has the reason for each choice."""

    sensors: tuple[Literal["hsi", "sar", "image", "lidar", "infrared"], ...] = Field(
        (), description="sensors that are used, the first with a path of its own in the classifier; none: all of the scene"
    )
    split: Literal["own", "class", "image", "polygon", "halves", "block"] = Field(
        "own",
        description="own: the scene's split, else whole images, else blocks; class: random pixels, too optimistic",
    )
    test: tuple[str, ...] = Field((), description="identifiers of the test pixels, instead of a split")
    test_share: float = Field(0.3, gt=0, lt=1, description="share of the samples for testing")
    block: int = Field(16, ge=2, le=10_000, description="side of the blocks of a split by block, pixels")
    per_class: int = Field(150, ge=2, description="training pixels of each class, at most; drawn at random")
    components: int = Field(16, ge=1, le=500, description="principal components of the cube, fitted on training pixels")
    joint: bool = Field(False, description="one diffusion network for all sensors stacked, instead of one for each sensor")
    width: int = Field(
        32, ge=4, le=512, multiple_of=4, description="channels of the first level of the U-Net; the second has twice as many"
    )
    parser: Arm = Field("complex_mask", description="frequency parser; real_conv is that of the published code of FedDiff")
    rivals: tuple[Arm, ...] = Field(("none",), description="further diffusion networks, with another parser, for comparison")
    times: tuple[int, ...] = Field((5, 50, 100, 200), min_length=1, description="noise levels of the bank, t of 500")
    steps: int = Field(400, ge=1, le=10_000_000, description="optimiser steps of each diffusion network")
    batch: int = Field(64, ge=2, le=4096, description="patches per step")
    lr: float = Field(1e-3, gt=0, le=1, description="learning rate of Adam of the diffusion networks")
    head_steps: int = Field(400, ge=1, le=10_000_000, description="optimiser steps of each classifier")
    head_lr: float = Field(
        1e-3, gt=0, le=1, description="largest learning rate of AdamW of the classifiers; half a cosine to 0"
    )
    networks: tuple[Literal["cnn", "two_branch"], ...] = Field(
        ("cnn", "two_branch"), description="rival networks on raw patches: of the first sensor, and of all"
    )
    trees: int = Field(200, ge=1, le=100_000, description="trees of the random forests")
    map: bool = Field(True, description="also classify every pixel of the tested images")
    show_every: int = Field(50, ge=1, description="steps between two records of pictures and probes")

    @field_validator("sensors", "rivals", "times", "test", "networks")
    @classmethod
    def _once(cls, names: tuple) -> tuple:
        if len(set(names)) < len(names):
            raise ValueError("names something twice")
        return names

    @field_validator("times")
    @classmethod
    def _of_500(cls, times: tuple[int, ...]) -> tuple[int, ...]:
        if min(times) < 0 or max(times) > 499:
            raise ValueError("noise levels lie between 0 and 499")
        return times
