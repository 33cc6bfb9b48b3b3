"""Where torch computes: decided once, here, and nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    import torch


def device() -> torch.device:
    """The device of this process: `WORKBENCH_DEVICE` (`cpu`, `cuda`, `cuda:1`) if set, else CUDA where there is one.

    Raises InputError when a device is asked for that this machine does not have.
    """
    import torch

    asked = os.environ.get("WORKBENCH_DEVICE", "auto")
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(asked)
    except RuntimeError:
        raise InputError(f"Device {asked!r} is not a torch device; use cpu, cuda or cuda:N.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"Device {asked!r} was asked for, but torch sees no CUDA device here; use cpu.")
    return chosen
