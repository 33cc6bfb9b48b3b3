"""Which device is chosen, and which requests are refused. That no torch is imported to see none: tests/unit/test_startup.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.backends import cuda

from workbench.errors import InputError
from workbench.parts import device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    yield
    torch.use_deterministic_algorithms(False)
    for allow in (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp):
        allow(True)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("requested", "chosen"), [("auto", "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1")])
def test_the_requested_device_else_cuda(requested: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_DEVICE", requested)
    assert device.device() == torch.device(chosen)
    assert device.name() == chosen
    assert device.gpu() == (None if chosen == "cpu" else torch.device(chosen))
    assert torch.are_deterministic_algorithms_enabled() == (chosen != "cpu")
    fast = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
    assert set(fast) == {chosen == "cpu"}


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ("cuda:2", "torch finds 2 CUDA devices, numbered from 0"),
        ("mps", "not supported; use cpu, cuda or cuda:N"),
        ("meta", "not supported; use cpu, cuda or cuda:N"),
        ("tpu9", "is not a torch device"),
    ],
)
def test_another_device_is_refused(requested: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_DEVICE", requested)
    for ask in (device.device, device.gpu, device.name):
        with pytest.raises(InputError, match=message):
            ask()


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an empty CUDA_VISIBLE_DEVICES on a machine with a GPU; without a request, the CPU is used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORKBENCH_DEVICE", "cuda")
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        device.device()
    monkeypatch.setenv("WORKBENCH_DEVICE", "auto")
    assert (device.device(), device.gpu()) == (torch.device("cpu"), None)


@pytest.mark.parametrize(
    ("files", "platform", "cpu_only"),
    [
        (["null", "nvme0", "dri"], "linux", True),
        (["nvidiactl"], "linux", False),
        (["nvhost-gpu"], "linux", False),  # Jetson
        (["dxg"], "linux", False),  # WSL, and containers in it
        (["kfd"], "linux", False),  # AMD
        ([], "win32", False),
        ([], "darwin", False),
    ],
)
def test_only_a_machine_certainly_without_gpu_skips_torch(
    files: list[str], platform: str, cpu_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in files:
        (tmp_path / file).touch()
    monkeypatch.delenv("WORKBENCH_DEVICE", raising=False)
    monkeypatch.setattr(device, "DEV", tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    assert not device._cpu_only()  # torch is imported: it is asked
    monkeypatch.delitem(sys.modules, "torch")
    assert device._cpu_only() == cpu_only
