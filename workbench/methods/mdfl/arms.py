"""The diffusion networks of one arm of the comparison: which network sees which sensors, and with which parser."""

from __future__ import annotations

from workbench.data.sensor_patches import Patches
from workbench.methods.mdfl.settings import Config
from workbench.parts.bank_training import Denoiser

OWN = "mdfl"  # the arm of the settings


def denoiser_of(arm: str, patches: Patches, config: Config) -> Denoiser:
    """The untrained networks of an arm, `OWN` or the name of a parser: one for each sensor, or one for all."""
    groups = {"joint": patches.sensors} if config.joint else {sensor: [sensor] for sensor in patches.sensors}
    return Denoiser(patches, groups, config, None if arm == OWN else arm)  # type: ignore[arg-type]
