"""Where torch computes: decided once, here, and nowhere else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    import torch

DEV = Path("/dev")
GPU_FILES = ("nvidia*", "nvhost*", "dxg", "kfd")  # in /dev: NVIDIA, Jetson, Windows' Linux, AMD


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


def gpu() -> torch.device | None:
    """The GPU to compute on, or None. Imports torch only where there may be one: that takes longer than a small run."""
    if _cpu_only():
        return None
    chosen = device()
    return chosen if chosen.type == "cuda" else None


def name() -> str:
    """`device()` as run.json keeps it, such as "cpu" or "cuda". Imports torch only where there may be a GPU."""
    return "cpu" if _cpu_only() else str(device())


def _cpu_only() -> bool:
    """Whether the device is the CPU for certain, seen without torch."""
    asked = os.environ.get("WORKBENCH_DEVICE", "auto")
    if asked != "auto":
        return asked == "cpu"
    return "torch" not in sys.modules and sys.platform == "linux" and not any(any(DEV.glob(f)) for f in GPU_FILES)
