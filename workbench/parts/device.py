"""The device on which torch computes; no other module chooses one."""

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
    """The device of this process: `WORKBENCH_DEVICE` (`cpu`, `cuda`, `cuda:1`) if set, else CUDA if available.

    Raises InputError when this machine does not have the requested device.
    """
    import torch

    requested = os.environ.get("WORKBENCH_DEVICE", "auto")
    if requested == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(requested)
    except RuntimeError:
        raise InputError(f"Device {requested!r} is not a torch device; use cpu, cuda or cuda:N.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"Device {requested!r} was requested, but torch finds no CUDA device here; use cpu.")
    return chosen


def gpu() -> torch.device | None:
    """The GPU to compute on, or None. Imports torch only if there may be a GPU: the import takes longer than a small run."""
    if _cpu_only():
        return None
    chosen = device()
    return chosen if chosen.type == "cuda" else None


def name() -> str:
    """`device()` as run.json stores it, such as "cpu" or "cuda". Imports torch only if there may be a GPU."""
    return "cpu" if _cpu_only() else str(device())


def _cpu_only() -> bool:
    """Whether the device is certainly the CPU, decided without importing torch."""
    requested = os.environ.get("WORKBENCH_DEVICE", "auto")
    if requested != "auto":
        return requested == "cpu"
    return "torch" not in sys.modules and sys.platform == "linux" and not any(any(DEV.glob(f)) for f in GPU_FILES)
