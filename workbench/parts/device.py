"""The device on which torch computes; no other module chooses one.

The CPU or CUDA (NVIDIA, and AMD's ROCm, which torch also calls CUDA). Apple's `mps` is refused: it has no float64, in which RX and
BSDM compute. `CUDA_VISIBLE_DEVICES` works as with all programs of torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    import torch

DEV = Path("/dev")
GPU_FILES = ("nvidia*", "nvhost*", "dxg", "kfd")  # in /dev: NVIDIA, Jetson, WSL, AMD; in containers with a GPU as well


def device() -> torch.device:
    """The device of this process: `WORKBENCH_DEVICE` (`cpu`, `cuda`, `cuda:1`) if set, else CUDA if available.

    Raises InputError for another kind of device, and when this machine does not have the requested one.
    """
    import torch

    requested = os.environ.get("WORKBENCH_DEVICE", "auto")
    if requested == "auto":
        return _repeatable(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        chosen = torch.device(requested)
    except RuntimeError:
        raise InputError(f"Device {requested!r} is not a torch device; use cpu, cuda or cuda:N.") from None
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"Device {requested!r} is not supported; use cpu, cuda or cuda:N.")
    if chosen.type == "cuda":
        present = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= present:
            here = f"{present} CUDA device{'s' * (present > 1)}, numbered from 0" if present else "no CUDA device"
            raise InputError(f"Device {requested!r} was requested, but torch finds {here}; use another, or cpu.")
    return _repeatable(chosen)


def gpu() -> torch.device | None:
    """The GPU to compute on, or None. Imports torch only if there may be a GPU: the import takes longer than a small run."""
    if _cpu_only():
        return None
    chosen = device()
    return chosen if chosen.type == "cuda" else None


def name() -> str:
    """`device()` as run.json stores it, such as "cpu" or "cuda". Imports torch only if there may be a GPU."""
    return "cpu" if _cpu_only() else str(device())


def _repeatable(chosen: torch.device) -> torch.device:
    """On a GPU, make torch choose algorithms that give the same numbers each time, without TensorFloat-32.

    Else two runs with one seed differ from the first steps on, and a resumed run is not the run that was stopped.
    """
    import torch

    if chosen.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, before its first product
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a check for programmers; it takes time
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_flash_sdp(
            False
        )  # attention by plain products: its fast kernels sum gradients in any order
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
    return chosen


def _cpu_only() -> bool:
    """Whether the device is certainly the CPU, decided without importing torch: on Linux, when no driver of a GPU has a file in /dev.

    Once torch is imported, `device()` decides, because it knows more.
    """
    requested = os.environ.get("WORKBENCH_DEVICE", "auto")
    if requested != "auto":
        return requested == "cpu"
    return "torch" not in sys.modules and sys.platform == "linux" and not any(any(DEV.glob(f)) for f in GPU_FILES)
