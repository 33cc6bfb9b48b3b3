"""Settings of `workbench.data.sensor_patches`, for the settings of the methods that use it. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.config import Settings

SENSORS = ("hsi", "sar", "image", "lidar", "infrared")
NEEDS = (("hsi", "sar", "image", "lidar"), "truth")
Sensor = Literal["hsi", "sar", "image", "lidar", "infrared"]


class PatchSettings(Settings):
    """Which sensors, which split, how many training pixels, how many channels."""

    sensors: tuple[Sensor, ...] = Field(
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

    @field_validator("sensors", "test")
    @classmethod
    def _named_once(cls, names: tuple) -> tuple:
        return once(names)


def once(names: tuple) -> tuple:
    """The names. Raises ValueError where one stands twice."""
    if len(set(names)) < len(names):
        raise ValueError("names something twice")
    return names
