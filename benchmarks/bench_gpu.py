"""The same runs on the CPU and on a GPU: how much their metrics differ, and the ratio of their times.

    python benchmarks/bench_gpu.py [--json]

Each method runs twice on each device, on a scene that is embedded; the second time counts, because the first one loads the kernels
of the GPU. The random numbers of both devices differ where a method draws them on the device, so the metrics of a trained network
differ too; those of a detector that draws nothing must not. Ends with exit code 1 if a deterministic detector differs by more than
1e-6, and says so if there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from workbench.execution import execute

# method -> scene, settings
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "rx": ("sim-coast-town", {}),
    "ridge-rx": ("sim-coast-town", {}),
    "pca-rx": ("sim-coast-town", {}),
    "local-rx": ("sim-coast-town", {}),
    "bsdm": ("sim-coast-town", {"steps": 60}),
    "tdds": ("digits", {"epochs": 20}),
    "arcdnet": ("sim-change-sar", {"steps": 60}),
}
EXACT = ("rx", "ridge-rx", "pca-rx", "local-rx")


def timed(method: str, device: str) -> tuple[float, dict[str, float]]:
    """Seconds and metrics of the second of two runs."""
    scene, settings = RUNS[method]
    os.environ["WORKBENCH_DEVICE"] = device
    for _ in range(2):
        began = time.perf_counter()
        result = execute(method, scene, settings).result
        spent = time.perf_counter() - began
    return spent, {str(n): float(v) for n, v in result.data_vars.items() if not v.dims and v.dtype.kind in "fiu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device: there is nothing to compare")
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores, {platform.processor()}, torch {torch.__version__}")
    failed = []
    for method in RUNS:
        cpu, on_cpu = timed(method, "cpu")
        gpu, on_gpu = timed(method, "cuda")
        worst = max((abs(on_cpu[n] - on_gpu[n]), n) for n in on_cpu if n in on_gpu and "seconds" not in n)
        if method in EXACT and worst[0] > 1e-6:
            failed.append(method)
        row = {"method": method, "cpu_s": cpu, "gpu_s": gpu, "ratio": cpu / gpu, "worst": worst[0], "of": worst[1]}
        said = f"{method:<9} CPU {cpu:7.2f} s, GPU {gpu:7.2f} s, {cpu / gpu:6.2f} times; largest difference {worst[0]:.2g} ({worst[1]})"
        print(json.dumps(row) if asked.json else said, flush=True)
    raise SystemExit(f"different on the GPU: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
