"""Settings of methods that learn from images with boxes: the split, the crops, and which detections are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workbench.config import Settings

NEEDS = ("image", "box", "box_sample", "box_label")


class BoxedSettings(Settings):
    """A method adds its own."""

    batch: int = Field(8, ge=2, le=512, description="crops per step")
    crop: int = Field(128, ge=32, le=2048, multiple_of=32, description="side of training crops, pixels")
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
    threshold: float = Field(0.02, gt=0, lt=1, description="lowest score of a detection")
    overlap: float = Field(0.6, gt=0, le=1, description="IoU above which the lower of two detections is removed")
    most: int = Field(300, ge=1, le=10_000, description="detections of an image that are kept and scored")
