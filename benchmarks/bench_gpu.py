"""The same runs on the CPU and on a GPU: whether every room runs there, repeats, how much its metrics differ, and the ratio of times.

    python benchmarks/bench_gpu.py [METHOD ...] [--jobs N] [--json]

Each method runs on the CPU and twice on the GPU, on a scene that is embedded, in a process of its own. The second run on the GPU counts,
because the first one loads kernels; it must give the same metrics as the first. The random numbers of both devices differ where a
method draws them on the device, so the metrics of a trained network differ too; those of a detector that draws nothing must not. Ends
with exit code 1 if a method fails, does not repeat, or if a deterministic detector differs by more than 1e-6; and says so if there is no
GPU. With --jobs above 1 the methods share the machine: then the ratios of times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

# method -> scene, settings
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "rx": ("sim-coast-town", {}),
    "ridge-rx": ("sim-coast-town", {}),
    "pca-rx": ("sim-coast-town", {}),
    "local-rx": ("sim-coast-town", {}),
    "bsdm": ("sim-coast-town", {"steps": 60}),
    "tdds": ("digits", {"epochs": 20}),
    "rsdgc": ("digits", {"steps": 40, "rivals": ["rsdgc", "dense"]}),
    "arcdnet": ("sim-change-sar", {"steps": 60}),
    "sarnet": ("sim-ships", {"steps": 40, "rivals": []}),
    "picpq": ("digits", {"epochs": 2, "generations": 6, "recover": 1, "quantize_epochs": 1, "rivals": ["lsq3", "random"]}),
    "ghost": ("sim-ships", {"steps": 30, "student_steps": 30, "rivals": ["uniform"]}),
    "mdfl": ("sim-two-sensors", {"steps": 40, "head_steps": 40, "networks": [], "map": False}),
    "fedfusion": ("sim-two-sensors", {"steps": 40, "horizontal": ["fedavg"], "rounds": 3}),
    "feddiff": ("sim-two-sensors", {"steps": 40, "head_steps": 40, "pooled": ["mdfl"], "map": False}),
}
EXACT = ("rx", "ridge-rx", "pca-rx", "local-rx")


def timed(method: str, device: str) -> tuple[float, dict[str, float]]:
    """Seconds and metrics of a run."""
    from workbench.execution import execute

    scene, settings = RUNS[method]
    os.environ["WORKBENCH_DEVICE"] = device
    began = time.perf_counter()
    result = execute(method, scene, settings).result
    spent = time.perf_counter() - began
    return spent, {
        str(n): float(v)
        for n, v in result.data_vars.items()
        if not v.dims and v.dtype.kind in "fiu" and v.attrs.get("units") != "s"
    }


def compared(method: str) -> dict[str, Any]:
    """The row of a method."""
    cpu, on_cpu = timed(method, "cpu")
    _, first = timed(method, "cuda")
    gpu, second = timed(method, "cuda")
    both = [n for n in on_cpu if n in second and "seconds" not in n]
    worst = max((abs(on_cpu[n] - second[n]), n) for n in both)
    changed = [n for n in both if first[n] != second[n] and first[n] == first[n]]
    return {
        "method": method,
        "cpu_s": cpu,
        "gpu_s": gpu,
        "ratio": cpu / gpu,
        "worst": worst[0],
        "of": worst[1],
        "changed": changed,
        "megabytes": torch.cuda.max_memory_allocated() / 1e6,
    }


def in_a_process(method: str) -> dict[str, Any]:
    """As `compared`, or the last line of the error."""
    done = subprocess.run([sys.executable, __file__, "--one", method], capture_output=True, text=True)
    if done.returncode:
        return {"method": method, "error": done.stderr.strip()[-3000:]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device: there is nothing to compare")
    if asked.one:
        print(json.dumps(compared(asked.one)))
        return
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores, {platform.processor()}, torch {torch.__version__}")
    failed = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for row in pool.map(in_a_process, asked.methods or RUNS):
            method = row["method"]
            if "error" in row or row["changed"] or (method in EXACT and row["worst"] > 1e-6):
                failed.append(method)
            print(json.dumps(row) if asked.json else said(row), flush=True)
    raise SystemExit(f"failed, not repeated, or different on the GPU: {', '.join(failed)}" if failed else 0)


def said(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['method']:<9} FAILED\n{row['error']}"
    times = f"CPU {row['cpu_s']:7.2f} s, GPU {row['gpu_s']:7.2f} s, {row['ratio']:6.2f} times, {row['megabytes']:6.0f} MB"
    repeated = f"; DOES NOT REPEAT: {', '.join(row['changed'])}" if row["changed"] else ""
    return f"{row['method']:<9} {times}; largest difference {row['worst']:.2g} ({row['of']}){repeated}"


if __name__ == "__main__":
    main()
